//! Positions that Kafka no longer has.

use crate::support::{Run, Sandbox, kafka, order, orders, verified};

/// Ten records stored, ten more published, and of those the first five removed.
fn with_loss(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 10));
    sandbox.store("orders").finish().success();
    sandbox.publish(&orders("b", 10));
    kafka().remove_before(&sandbox.topic, 15);
    sandbox
}

fn store(sandbox: &Sandbox, choice: &str) -> Run {
    sandbox.store("orders").args(["--on-data-loss", choice])
}

#[test]
fn records_removed_before_they_were_read_stop_the_run_with_the_choices_named() {
    let sandbox = with_loss("loss_stop");
    let stopped = sandbox.store("orders").finish().code(1);
    for word in [
        "--on-data-loss earliest",
        "--on-data-loss latest",
        "--group",
        "offset 10",
        "15 to 20",
        "partition 0",
        "retention",
    ] {
        assert!(stopped.stderr.contains(word), "{word}: {stopped}");
    }
    assert_eq!(sandbox.count("orders"), 10);
    assert_eq!(sandbox.positions(), [(0, 10)]);
    // Fifteen offsets that are gone, and ten rows that came from there.
    assert_eq!(verified(sandbox.verify("orders"), 0), "behind 5, unknown 25");
}

#[test]
fn earliest_goes_on_with_what_is_left() {
    let sandbox = with_loss("loss_earliest");
    let summary = store(&sandbox, "earliest").finish().success().json();
    assert_eq!(summary["stored"], 5);
    assert_eq!(sandbox.count("orders"), 15);
    sandbox.store("orders").finish().success();
    assert_eq!(sandbox.count("orders"), 15);
    assert_eq!(verified(sandbox.verify("orders"), 0), "stored 5, unknown 25");
}

#[test]
fn latest_goes_on_with_what_comes_next() {
    let sandbox = with_loss("loss_latest");
    let summary = store(&sandbox, "latest").finish().success().json();
    assert_eq!(summary["stored"], 0);
    sandbox.publish(&[order("next")]);
    sandbox.store("orders").finish().success();
    assert_eq!(sandbox.count("orders"), 11);
    // The five that were left were passed over: that is what was chosen.
    assert_eq!(verified(sandbox.verify("orders"), 0), "stored 1, unknown 30");
}

/// Fails unless `verify` refuses to compare the table with another topic than the
/// one that it was stored from.
#[track_caller]
fn assert_not_comparable(sandbox: &Sandbox) {
    let refused = sandbox.verify("orders").finish().code(1);
    assert!(refused.stderr.contains("deleted and created again"), "{refused}");
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_topic_made_anew_with_as_many_records_is_noticed_by_its_id() {
    let sandbox = Sandbox::new("anew_same").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("old", 10));
    sandbox.store("orders").finish().success();
    let sandbox = sandbox.with_topic_anew();
    sandbox.publish(&orders("new", 30));
    let stopped = sandbox.store("orders").finish().code(1);
    for word in ["deleted and created again", "--on-data-loss earliest", "offset 10", "0 to 30"] {
        assert!(stopped.stderr.contains(word), "{word}: {stopped}");
    }
    assert_eq!(sandbox.count("orders"), 10);
    assert_not_comparable(&sandbox);
    let summary = store(&sandbox, "earliest").finish().success().json();
    assert_eq!(summary["stored"], 30);
    let again = sandbox.store("orders").finish().success().json();
    assert_eq!(again["stored"], 0, "the new topic's positions count from now on");
    // Rows of the old topic are of no record that there still is.
    assert_eq!(verified(sandbox.verify("orders"), 0), "stored 30, unknown 10");
}

#[test]
fn a_topic_made_anew_under_a_running_worker_is_noticed_before_its_first_record_is_stored() {
    let sandbox = Sandbox::new("anew_running").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("old", 10));
    let mut worker = sandbox.consume("orders").spawn();
    sandbox.wait_for_rows("orders", 10, &mut worker);
    // Stopped, it sees the topic neither go nor come: for the client nothing but
    // the id tells the two apart.
    worker.signal("STOP");
    let sandbox = sandbox.with_topic_anew();
    sandbox.publish(&orders("new", 30));
    worker.signal("CONT");
    let stopped = worker.finish().code(1);
    assert!(stopped.stderr.contains("deleted and created again"), "{stopped}");
    assert_eq!(sandbox.count("orders"), 10);
    assert_eq!(sandbox.positions(), [(0, 10)]);
    assert_not_comparable(&sandbox);
}

#[test]
fn a_topic_made_anew_is_noticed_and_read_again_on_request() {
    let sandbox = Sandbox::new("anew").with_topic(1);
    sandbox.set_up("orders");
    let bad = order("");
    sandbox.publish(&[order("1"), bad.clone(), order("2")]);
    sandbox.store("orders").finish().code(3);
    let sandbox = sandbox.with_topic_anew();
    sandbox.publish(&[order("3"), bad]);
    let stopped = sandbox.store("orders").finish().code(1);
    assert!(stopped.stderr.contains("created again"), "{stopped}");
    let summary = store(&sandbox, "earliest").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&1.into(), &1.into()));
    assert_eq!(sandbox.column("orders", "order_id"), ["1", "2", "3"]);
    let offsets: Vec<i64> = sandbox.dead().iter().map(|letter| letter.offset).collect();
    assert_eq!(offsets, [1, 1], "a record of either topic");
    // Two rows and a letter are of the old topic.
    assert_eq!(verified(sandbox.verify("orders"), 0), "stored 1, rejected 1, unknown 3");
}
