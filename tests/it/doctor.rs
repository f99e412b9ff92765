//! `doctor`: what it says of a stack that is well, and of everything that can
//! be wrong with one.

mod certificates;
mod others;
mod services;

use serde_json::Value;

use crate::support::program::Finished;
use crate::support::{Run, Sandbox};

/// `doctor` for the sandbox's table, topic and group, with findings as JSON.
fn doctor(sandbox: &Sandbox) -> Run {
    let (schema, topic, group) = (&sandbox.schema, &sandbox.topic, &sandbox.group);
    Run::new(["doctor", "-o", "json", "--schema", schema, "--table", "orders"]).args([
        "--topic-name",
        topic,
        "--group",
        group,
    ])
}

/// Status and message of a check; the worst when it was made of several things.
#[track_caller]
fn found(run: &Finished, service: &str, check: &str) -> (String, String) {
    let json = run.json();
    let all = json.as_array().expect("an array");
    let of = |one: &&Value| one["service"] == service && one["check"] == check;
    let rank = |one: &Value| {
        let ranks = ["ok", "skipped", "warning", "failed"];
        ranks.iter().position(|status| one["status"] == *status).expect("a status")
    };
    let worst = all.iter().filter(of).max_by_key(|one| rank(one));
    let worst = worst.unwrap_or_else(|| panic!("no {service} {check}: {run}"));
    let text = |name: &str| worst[name].as_str().expect("a text").to_owned();
    (text("status"), text("message"))
}

/// Fails unless a check ended so and says these words.
#[track_caller]
fn assert_found(run: &Finished, service: &str, check: &str, status: &str, words: &[&str]) {
    let (came, message) = found(run, service, check);
    assert_eq!(came, status, "{service} {check}: {message}: {run}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in {service} {check}: {message}");
    }
}
