//! Workers that are killed, and several at once.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Elsewhere, address, column, notify, sandbox, urgent};
use crate::support::mailbox::header;
use crate::support::turn::Load;
use crate::support::{
    Answer, PATIENCE, Proxy, Run, Smtp, Step, eventually, mailbox, stack, uri_at_port,
};

#[test]
fn a_mail_is_repeated_after_a_kill_only_where_nobody_can_say_whether_it_was_sent() {
    let sandbox = sandbox("killed", 1);
    let server = Smtp::start(|step, to, times| match (step, to, times) {
        (Step::Content, "content", 0) | (Step::Rcpt, "rcpt", 0) => Answer::Stall,
        _ => Answer::Good,
    });
    let elsewhere = Elsewhere::new(&server, "none");
    let orders = ["content", "rcpt"].map(|name| urgent(name, &format!("{name}@example.com")));
    sandbox.publish(&orders);
    let running = elsewhere.at(notify(&sandbox)).args(["--timeout", "180s"]).spawn();
    eventually("both mails hang", || server.stalled() == 2);
    running.kill();
    assert_eq!(column(&sandbox, "state"), ["sending"; 2]);

    let done = elsewhere.at(notify(&sandbox)).finish().success().json();
    assert_eq!([&done["sent"], &done["unknown"]], [2, 0], "{done}");
    assert_eq!(column(&sandbox, "unknowns"), ["1", "0"]);
    let repeated = server.taken("content");
    assert_eq!((repeated.len(), server.taken("rcpt").len()), (2, 1));
    assert_eq!(repeated[0].message_id, repeated[1].message_id);
}

#[test]
fn a_mail_that_was_taken_while_the_database_was_away_is_not_sent_again_by_another() {
    let sandbox = sandbox("outage", 2);
    let database = Arc::new(Proxy::to(stack().postgres));
    let cut = Arc::clone(&database);
    let folder = tempfile::tempdir().unwrap();
    let logs = ["one", "two"].map(|name| folder.path().join(name));
    let is_at_work =
        |log: &PathBuf| fs::read_to_string(log).is_ok_and(|text| text.contains("reading"));
    let both = logs.clone();
    let server = Smtp::start(move |step, _, times| {
        if (step, times) == (Step::Content, 0) {
            // Its very first question a worker asks once only.
            eventually("both are at work", || both.iter().all(is_at_work));
            cut.refuse(true);
            cut.cut();
        }
        Answer::Good
    });
    let elsewhere = Elsewhere::new(&server, "none");
    let worker = |log: PathBuf| {
        let run =
            notify(&sandbox).env("ORDERCTL_POSTGRES_URI", uri_at_port(database.address.port()));
        elsewhere.at(run).args(["-v", "--log-file"]).arg(log).spawn()
    };
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let workers = logs.map(worker);
    eventually("the lease is over", || {
        column(&sandbox, "content_at is not null and lease_until < now()") == ["t"]
    });
    database.refuse(false);
    let sent: u64 = workers
        .into_iter()
        .map(|worker| worker.finish().success().json()["sent"].as_u64().unwrap())
        .sum();
    assert_eq!((sent, server.taken("a").len()), (1, 1));
    assert_eq!(column(&sandbox, "state || unknowns"), ["sent0"]);
}

#[test]
fn two_workers_that_are_killed_and_restarted_leave_one_mail_an_order() {
    let sandbox = sandbox("workers", 3).in_turn(Load::Light);
    let to = address(&sandbox, "a");
    let orders: Vec<_> = (0..60).map(|number| urgent(&format!("o-{number:02}"), &to)).collect();
    sandbox.scatter(&orders);
    sandbox.scatter(&orders);
    let worker = || {
        Run::new(["notify", "--from", &sandbox.topic, "--group", &sandbox.group])
            .args(["--rate", "20/s", "--connections", "2"])
            .spawn()
    };
    let steady = worker();
    for so_far in [5, 15, 25] {
        let victim = worker();
        eventually("mails are sent", || mailbox(&to).len() >= so_far);
        victim.kill();
    }
    steady.kill();
    notify(&sandbox).limit(PATIENCE + Duration::from_secs(30)).finish().success();

    let mails = mailbox(&to);
    let states = column(&sandbox, "state || unknowns");
    for (number, state) in states.iter().enumerate() {
        let subject = format!("We have your urgent order o-{number:02}");
        let copies = mails.iter().filter(|mail| header(mail, "Subject") == subject).count();
        match state.as_str() {
            "sent0" => assert_eq!(copies, 1, "{subject}"),
            // Killed between the final dot and the note about the answer.
            "sent1" => assert!((1..=2).contains(&copies), "{subject}: {copies}"),
            other => panic!("{subject}: {other}"),
        }
    }
    assert_eq!(states.len(), 60);
}
