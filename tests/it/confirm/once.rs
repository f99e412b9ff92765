//! Charged once: whatever is replayed, repeated or redriven has one payment.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::support::orders;

/// The payment references of each order, and how many records the topic has.
fn references(topic: &str) -> (BTreeMap<String, BTreeSet<String>>, usize) {
    let confirmed = read(topic);
    let mut references: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for order in &confirmed {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let reference = text(&order["payment"]["reference"]);
        references.entry(text(&order["order_id"])).or_default().insert(reference);
    }
    (references, confirmed.len())
}

/// How many records a topic has, committed or not.
fn written(topic: &str) -> i64 {
    (0..kafka().partitions(topic) as i32).map(|partition| kafka().end(topic, partition)).sum()
}

#[test]
fn a_worker_that_is_killed_within_its_transaction_charges_once() {
    let sandbox = Sandbox::new("confirm_kill").with_topic(2);
    let topics = topics(&sandbox);
    let mut all = orders("o", 200);
    // Published twice by their maker.
    all.extend(orders("o", 20));
    sandbox.scatter(&all);
    let published = || written(&topics.confirmed);
    let mut before = 0;
    for kill in 0..2 {
        let worker =
            confirm(&sandbox).args(["--instance", "one", "--commit-interval", "5s"]).spawn();
        eventually("records of an open transaction", || published() >= before + 100);
        worker.kill();
        before = published();
        assert_eq!(kafka().read_all(&topics.confirmed).len(), 0, "kill {kill} was too late");
    }
    confirm(&sandbox).args(["--instance", "one", "--until-end"]).finish().success();
    for topic in [&topics.confirmed, &topics.analysis] {
        let (references, records) = references(topic);
        assert_eq!((references.len(), records), (200, 220), "each input once");
        assert!(references.values().all(|of_order| of_order.len() == 1), "one payment an order");
        let distinct: BTreeSet<_> = references.values().flatten().collect();
        assert_eq!(distinct.len(), 200, "no two orders share a payment");
    }
}

#[test]
fn an_order_that_is_redriven_keeps_its_payment() {
    let sandbox = Sandbox::new("confirm_redrive").with_topic(1);
    sandbox.set_up("orders");
    let topics = topics(&sandbox);
    let payment = json!({"payment": {"card_token": "tok_timeout"}});
    sandbox.publish(&[order_of("late", payment)]);
    confirm(&sandbox).arg("--until-end").finish().code(3);
    Run::new(["dlq", "redrive", "--all", "--topic", &topics.letters]).finish().success();
    confirm(&sandbox).arg("--until-end").finish().code(3);
    let reasons = rejected(&topics.letters);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(reasons[0], reasons[1]);
    // Another order of the same id, that the bank answers: the same payment.
    sandbox.publish(&[order("late")]);
    confirm(&sandbox).arg("--until-end").finish().success();
    let reference = read(&topics.confirmed)[0]["payment"]["reference"].clone();
    assert!(reasons[0].1.contains(reference.as_str().expect("a text")), "{reasons:?}");
}
