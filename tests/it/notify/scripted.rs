//! Against a mail server that refuses, stalls and hangs up.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Elsewhere, LIMIT, column, notify, sandbox, urgent};
use crate::support::{Answer, Run, Smtp, Step, eventually, order, orderctl};

/// Every way to be refused, once or for ever, by the name of the recipient.
fn moody(step: Step, to: &str, times: usize) -> Answer {
    match (step, to, times) {
        (Step::Rcpt, "later", 0) => Answer::Say("450 4.2.1 try again"),
        (Step::Rcpt, "busy", 0) => Answer::Say("421 4.3.2 shutting down"),
        (Step::Rcpt, "cut", 0) | (Step::Data, "cutdata", 0) => Answer::HangUp,
        (Step::Rcpt, "stall", 0) => Answer::Stall,
        (Step::Rcpt, "never", _) => Answer::Say("550 5.1.1 no such user"),
        (Step::Content, "full", 0) => Answer::Say("452 4.3.1 no space"),
        (Step::Content, "spam", _) => Answer::Say("554 5.7.1 we do not want this"),
        (Step::Content, "lost", 0) | (Step::Content, "gone", _) => Answer::HangUp,
        _ => Answer::Good,
    }
}

/// Name of the recipient, state at the end, how often it was taken, and what the
/// ledger says about the last try.
const FATES: [(&str, &str, usize, &str); 11] = [
    ("busy", "sent", 1, ""),
    ("cut", "sent", 1, ""),
    ("cutdata", "sent", 1, ""),
    ("full", "sent", 1, ""),
    ("gone", "unknown", 2, "no answer to the content"),
    ("good", "sent", 1, ""),
    ("later", "sent", 1, ""),
    ("lost", "sent", 2, ""),
    ("never", "failed", 0, "550 5.1.1 no such user"),
    ("spam", "failed", 0, "554 5.7.1"),
    ("stall", "sent", 1, ""),
];

#[test]
fn each_answer_of_the_server_has_its_consequence_for_that_mail_alone() {
    let sandbox = sandbox("moody", 1);
    let server = Smtp::start(moody);
    let orders: Vec<_> =
        FATES.iter().map(|(name, ..)| urgent(name, &format!("{name}@example.com"))).collect();
    sandbox.publish(&orders);
    let elsewhere = Elsewhere::new(&server, "none");
    let run = notify(&sandbox).args(["--timeout", "2s", "--connections", "3"]);
    let done = elsewhere.at(run).finish().code(3).json();
    assert_eq!([&done["failed"], &done["unknown"]], [2, 3], "{done}");
    let states = column(&sandbox, "state");
    let errors = column(&sandbox, "last_error");
    for (index, (name, state, taken, error)) in FATES.iter().enumerate() {
        let mails = server.taken(name);
        assert_eq!((states[index].as_str(), mails.len()), (*state, *taken), "{name}");
        assert!(errors[index].contains(error), "{name}: {}", errors[index]);
        assert!(mails.windows(2).all(|pair| pair[0].message_id == pair[1].message_id), "{name}");
    }
}

#[test]
fn an_order_without_an_address_that_works_fails_at_once() {
    let sandbox = sandbox("addresses", 1);
    let server = Smtp::start(|_, _, _| Answer::Good);
    let mut none = urgent("a", "");
    none["customer"].as_object_mut().unwrap().remove("email");
    let injected = urgent("b", "a@example.com>\r\nRCPT TO:<evil@example.com");
    sandbox.publish(&[none, injected, urgent("c", "no address"), urgent("d", "good@example.com")]);
    let done = Elsewhere::new(&server, "none").at(notify(&sandbox)).finish().code(3).json();
    assert_eq!([&done["rejected"], &done["sent"]], [0, 1], "{done}");
    assert_eq!(column(&sandbox, "state"), ["failed", "failed", "failed", "sent"]);
    assert_eq!(column(&sandbox, "attempts"), ["0", "0", "0", "1"]);
    assert!(column(&sandbox, "last_error")[0].contains("no e-mail address"));
    assert_eq!(server.offered("evil"), 0);
}

#[test]
fn a_mail_that_is_put_off_for_too_long_has_failed() {
    let sandbox = sandbox("put_off", 1);
    let server = Smtp::start(|step, _, _| match step {
        Step::Rcpt => Answer::Say("451 4.7.1 greylisted"),
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let run = notify(&sandbox).args(["--give-up-after", "1s"]);
    let done = Elsewhere::new(&server, "none").at(run).finish().code(3).json();
    assert_eq!(done["failed"], 1, "{done}");
    assert_eq!(column(&sandbox, "last_error"), ["given up: 451 4.7.1 greylisted"]);
    assert!(server.offered("a") >= 2);
}

#[test]
fn who_waits_for_no_more_records_leaves_what_is_put_off_for_another_run() {
    let sandbox = sandbox("idle", 1);
    let server = Smtp::start(|step, _, times| match (step, times) {
        // The fifth wait is 16 s at least.
        (Step::Rcpt, 0..=9) => Answer::Say("450 4.2.1 try again"),
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let run = Run::new(["notify", "-o", "json", "--from", &sandbox.topic, "--group"]).args([
        sandbox.group.as_str(),
        "--idle-exit",
        "1s",
    ]);
    let done = Elsewhere::new(&server, "none").at(run).finish().success().json();
    assert_eq!([&done["planned"], &done["sent"], &done["failed"]], [1, 0, 0], "{done}");
    assert_eq!(column(&sandbox, "state || coalesce(owner, '')"), ["sending"]);
}

#[test]
fn status_counts_and_retry_sends_what_had_failed() {
    let sandbox = sandbox("again", 1);
    let server = Smtp::start(|step, to, times| match (step, to, times) {
        (Step::Rcpt, "a" | "b", 0) => Answer::Say("550 no such user yet"),
        _ => Answer::Good,
    });
    let elsewhere = Elsewhere::new(&server, "none");
    let orders = ["a", "b", "c"].map(|name| urgent(name, &format!("{name}@example.com")));
    sandbox.publish(&orders);
    elsewhere.at(notify(&sandbox)).finish().code(3);

    let group = ["--group", &sandbox.group];
    let status = || {
        let status = orderctl(["notify", "status", "-o", "json"].iter().chain(&group));
        status.success().json()
    };
    let counts = |status: &serde_json::Value| -> Vec<(String, i64)> {
        let counts = status["counts"].as_array().unwrap().iter();
        counts
            .map(|one| (one["state"].as_str().unwrap().to_owned(), one["mails"].as_i64().unwrap()))
            .collect()
    };
    let before = status();
    assert_eq!(counts(&before), [("failed".to_owned(), 2), ("sent".into(), 1)]);
    assert!(before["last_errors"][0]["last_error"].as_str().unwrap().contains("no such user yet"));
    let table = orderctl(["notify", "status"].iter().chain(&group)).success().stdout;
    assert!(table.contains("failed") && table.contains("550 no such user yet"), "{table}");

    let retry = ["notify", "retry", "--failed", "--to", "a@example.com"];
    let unasked = orderctl(retry.iter().chain(&group)).code(2);
    assert!(unasked.stderr.contains("1 mail would be sent again"), "{unasked}");
    let again = orderctl(retry.iter().chain(&group).chain(&["--yes", "-o", "json"]));
    assert_eq!(again.success().json()["mails"], 1);
    elsewhere.at(notify(&sandbox)).finish().success();
    assert_eq!(column(&sandbox, "state"), ["sent", "failed", "sent"]);
    let other = orderctl(["notify", "retry", "--failed", "b", "--yes"].iter().chain(&group));
    other.success();
    elsewhere.at(notify(&sandbox)).finish().success();
    assert_eq!(counts(&status()), [("sent".to_owned(), 3)]);
    assert_eq!(["a", "b", "c"].map(|name| server.taken(name).len()), [1; 3]);
}

#[test]
fn a_stop_is_obeyed_while_the_server_says_nothing() {
    let sandbox = sandbox("stopped", 1);
    let server = Smtp::start(|step, _, _| match step {
        Step::Rcpt => Answer::Stall,
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let elsewhere = Elsewhere::new(&server, "none");
    let running = elsewhere.at(notify(&sandbox)).spawn();
    eventually("the server goes silent", LIMIT, || server.stalled() == 1);
    let asked = Instant::now();
    running.signal("TERM");
    running.finish().code(130);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(column(&sandbox, "state"), ["sending"]);
    assert_eq!(column(&sandbox, "owner"), [""], "put back for the next one");
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let sandbox = sandbox("away", 1);
    let server = Smtp::start(|step, _, times| match (step, times) {
        (Step::Greeting, 0..=2) => Answer::Say("421 4.3.2 too busy"),
        _ => Answer::Good,
    });
    let mut low = order("low");
    low["payment"] = json!({"status": "approved"});
    low["customer"]["email"] = json!("a@example.com");
    sandbox.publish(&[low]);
    let run: Run = notify(&sandbox).args(["--connections", "1"]);
    let done = Elsewhere::new(&server, "none").at(run).finish().success();
    assert!(done.stderr.contains("too busy") && done.stderr.contains("is back"), "{done}");
    assert_eq!((server.taken("a").len(), server.logins()), (1, 1));
}
