//! Against a mail server that refuses, stalls and hangs up.

use serde_json::json;

use super::{Elsewhere, column, notify, sandbox, urgent};
use crate::seen::Watched;
use crate::support::{Answer, Run, Smtp, Step, eventually, order, orderctl, sql};

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
    let run = notify(&sandbox).args(["--timeout", "5s", "--connections", "3"]);
    let done = elsewhere.at(run).finish().code(3).json();
    assert_eq!([&done["failed"], &done["unknown"]], [2, 1], "{done}");
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
fn mails_that_the_server_hangs_up_on_for_ever_do_not_hold_up_others() {
    let sandbox = sandbox("poison", 1);
    let server = Smtp::start(|step, to, _| match (step, to) {
        (Step::Rcpt, "bad0" | "bad1" | "bad2") => Answer::Say("421 4.7.0 not to this one"),
        (Step::Data, "bad3") | (Step::Rcpt, "bad4") => Answer::HangUp,
        _ => Answer::Good,
    });
    let names = ["bad0", "bad1", "bad2", "bad3", "bad4", "good"];
    sandbox.publish(&names.map(|name| urgent(name, &format!("{name}@example.com"))));
    let run = notify(&sandbox).args(["--connections", "2", "--give-up-after", "3s"]);
    let done = Elsewhere::new(&server, "none").at(run).finish().code(3).json();
    assert_eq!([&done["failed"], &done["sent"]], [5, 1], "{done}");
    assert_eq!(server.taken("good").len(), 1);
    let errors = column(&sandbox, "last_error");
    assert!(errors[..5].iter().all(|error| error.starts_with("given up: ")), "{errors:?}");
}

#[test]
fn neither_the_rate_nor_the_number_of_connections_is_exceeded() {
    let sandbox = sandbox("rate", 1);
    let server = Smtp::start(|_, _, _| Answer::Good);
    let orders: Vec<_> = (0..20).map(|id| urgent(&id.to_string(), "a@example.com")).collect();
    sandbox.publish(&orders);
    let run = notify(&sandbox).args(["--rate", "10/s", "--connections", "3"]);
    let done = Elsewhere::new(&server, "none").at(run).finish().success().json();
    assert_eq!((done["sent"].as_u64(), server.taken("a").len()), (Some(20), 20), "{done}");
    // Ten are there at once, ten come one by one.
    assert!(done["seconds"].as_f64().unwrap() >= 0.9, "{done}");
    assert!((1..=3).contains(&server.most_open()), "{}", server.most_open());
}

#[test]
fn a_mail_of_unknown_fate_is_sent_again_when_someone_says_so() {
    let sandbox = sandbox("unknown", 1);
    let server = Smtp::start(|step, _, times| match (step, times) {
        (Step::Content, 0) => Answer::HangUp,
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let elsewhere = Elsewhere::new(&server, "none");
    let once = notify(&sandbox).args(["--repeat-unknown", "0"]);
    let done = elsewhere.at(once).finish().code(3).json();
    assert_eq!([&done["sent"], &done["unknown"]], [0, 1], "{done}");
    elsewhere.at(notify(&sandbox).args(["--repeat-unknown", "0"])).finish().success();
    assert_eq!((column(&sandbox, "state"), server.taken("a").len()), (vec!["unknown".into()], 1));
    let retry = ["notify", "retry", "--unknown", "o", "--yes", "-o", "json", "--group"];
    let again = orderctl(retry.iter().chain(&[sandbox.group.as_str()])).success().json();
    assert_eq!(again["mails"], 1);
    elsewhere.at(notify(&sandbox)).finish().success();
    let taken = server.taken("a");
    assert_eq!((column(&sandbox, "state"), taken.len()), (vec!["sent".into()], 2));
    assert_eq!(taken[0].message_id, taken[1].message_id);
}

#[test]
fn no_card_number_is_told_or_kept() {
    const NUMBER: &str = "4111111111111111";
    let sandbox = sandbox("cards", 1);
    let server = Smtp::start(|_, _, _| Answer::Good);
    let mut odd = urgent("a", "a@example.com");
    odd["payment"] = json!({"status": "approved", "card_last4": NUMBER});
    let mut bad = urgent("b", "b@example.com");
    bad["quantity"] = json!(NUMBER);
    bad["payment"] = json!({"card_number": NUMBER});
    sandbox.publish(&[odd, bad]);
    let elsewhere = Elsewhere::new(&server, "none");
    let done = elsewhere.at(notify(&sandbox)).arg("-v").finish().code(3);
    assert_eq!([&done.json()["sent"], &done.json()["rejected"]], [1, 1], "{done}");
    let letters = sql(&format!(
        "select reason || (convert_from(payload, 'UTF8')::jsonb ->> 'payment')
         from orderctl.dead_letter where group_name = '{}'",
        sandbox.group
    ));
    let kept = format!("{done}{letters:?}{:?}", column(&sandbox, "details::text"));
    assert!(kept.contains("card_last4") && !kept.contains(NUMBER), "{kept}");
}

#[test]
fn figures_are_served_while_it_runs() {
    let sandbox = sandbox("figures", 1);
    let server = Smtp::start(|step, to, _| match (step, to) {
        (Step::Rcpt, "never") => Answer::Say("550 no such user"),
        _ => Answer::Good,
    });
    sandbox.publish(&["a", "b", "never"].map(|name| urgent(name, &format!("{name}@example.com"))));
    let run = Run::new(["notify", "--from", &sandbox.topic, "--group", &sandbox.group]);
    let elsewhere = Elsewhere::new(&server, "none");
    let watched = Watched::start(elsewhere.at(run));
    watched.wait_for("all have their fate", |seen| {
        seen.0.contains("orderctl_mails_total{state=\"sent\"} 2\n")
            && seen.0.contains("orderctl_mails_total{state=\"failed\"} 1\n")
    });
    assert_eq!(watched.get("/healthz").0, 200);
    watched.running.interrupt();
    watched.running.finish().code(130);
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
    assert!(server.offered("a") >= 1);
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
        "10s",
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
    let terminal = {
        let mut terminal = Run::new(retry.iter().chain(&group)).on_terminal();
        terminal.wait_for("send 1 mail again? [y/N] ");
        terminal
    };
    terminal.signal("INT");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    assert_eq!(counts(&status()), counts(&before), "{screen}");
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
    let server = Smtp::start(|step, _, times| match (step, times) {
        (Step::Rcpt, 0) => Answer::Stall,
        _ => Answer::Good,
    });
    sandbox.publish(&[urgent("o", "a@example.com")]);
    let elsewhere = Elsewhere::new(&server, "none");
    let running = elsewhere.at(notify(&sandbox)).spawn();
    eventually("the server goes silent", || server.stalled() == 1);
    running.end_in_time("TERM");
    assert_eq!(column(&sandbox, "state"), ["sending"]);
    assert_eq!(column(&sandbox, "owner"), [""], "put back for the next one");
    let next = elsewhere.at(notify(&sandbox)).finish().success().json();
    assert_eq!([&next["read"], &next["sent"]], [0, 1], "{next}");
    assert_eq!((column(&sandbox, "state"), server.taken("a").len()), (vec!["sent".into()], 1));
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
