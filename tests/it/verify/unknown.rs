//! What can no longer be judged is neither fine nor wrong.

use rdkafka::Message as _;

use super::{counts, fine, found, wrong};
use crate::support::{Raw, Sandbox, eventually, kafka, order, orders, sql};

/// Ten records of which the second is rejected, stored, and before an offset
/// removed.
fn removed_before(name: &str, offset: i64) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    let mut events = orders("a", 10);
    events[1] = order("");
    sandbox.publish(&events);
    sandbox.store("orders").finish().code(3);
    kafka().remove_before(&sandbox.topic, offset);
    sandbox
}

#[test]
fn what_retention_took_is_unknown_and_what_is_left_is_still_judged() {
    let sandbox = removed_before("retention", 4);
    let report = fine(&sandbox);
    assert_eq!(counts(&report["partitions"][0], ["read", "stored", "unknown"]), [6, 6, 4]);
    assert_eq!(counts(&report["rows"], ["rows", "extra", "unknown"]), [9, 0, 3]);
    assert_eq!(report["totals"]["unknown"], 7, "offsets and rows");
    let table = sandbox.table("orders");
    sql(&format!("delete from {table} where order_id in ('a0', 'a8')"));
    assert_eq!(found(&wrong(&sandbox)), ["missing a8 0/8"]);
}

#[test]
fn a_topic_of_which_nothing_is_left_is_unknown_as_a_whole() {
    let sandbox = removed_before("nothing_left", 10);
    let report = fine(&sandbox);
    assert_eq!(counts(&report["totals"], ["read", "stored", "behind"]), [0, 0, 0]);
    assert_eq!(report["partitions"][0]["unknown"], 10);
    assert_eq!(report["rows"]["unknown"], 9);
}

#[test]
fn records_that_were_removed_before_they_were_stored_are_named() {
    let sandbox = removed_before("unread", 4);
    sandbox.publish(&orders("b", 10));
    kafka().remove_before(&sandbox.topic, 15);
    let report = fine(&sandbox);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("offsets 10 to 14") && note.contains("not stored"), "{report}");
    assert_eq!(counts(&report["totals"], ["read", "behind"]), [0, 5]);
}

#[test]
fn rows_that_another_group_may_have_stored_are_unknown() {
    let first = Sandbox::new("one_table").with_topic(1);
    first.set_up("orders");
    let other = Sandbox::new("other_topic").with_topic(1);
    let other = Sandbox { schema: first.schema.clone(), ..other };
    first.publish(&orders("a", 10));
    first.store("orders").finish().success();
    other.publish(&orders("b", 4));
    other.store("orders").finish().success();
    let report = fine(&first);
    assert_eq!(counts(&report["totals"], ["read", "stored", "unknown"]), [10, 10, 4]);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains(&other.group) && note.contains(&other.topic), "{report}");
    sql(&format!("delete from {} where order_id in ('a1', 'b1')", first.table("orders")));
    assert_eq!(found(&wrong(&first)), ["missing a1 0/1"]);
    assert_eq!(found(&wrong(&other)), ["missing b1 0/1"]);
}

/// Ten rows and a dead letter of a topic that is made anew then, with five other
/// orders in it; consumed on from where `choice` says.
fn went_on(name: &str, choice: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[&[order("")], &orders("old", 10)[..]].concat());
    sandbox.store("orders").finish().code(3);
    let sandbox = sandbox.with_topic_anew();
    sandbox.publish(&orders("new", 5));
    sandbox.store("orders").args(["--on-data-loss", choice]).finish().success();
    sandbox
}

#[test]
fn what_came_from_a_topic_that_is_gone_is_unknown() {
    let sandbox = went_on("went_on_earliest", "earliest");
    let report = fine(&sandbox);
    let names = ["read", "stored", "rejected", "unknown"];
    assert_eq!(counts(&report["totals"], names), [5, 5, 0, 11]);
    assert_eq!(counts(&report["partitions"][0], names), [5, 5, 0, 1], "the letter");
    assert_eq!(counts(&report["rows"], ["rows", "extra", "unknown"]), [15, 0, 10]);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("--on-data-loss") && note.contains("partition 0 to 0"), "{report}");

    let table = sandbox.table("orders");
    sql(&format!("delete from {table} where order_id in ('old3', 'new3')"));
    sql(&format!(
        "insert into orderctl.dead_letter (group_name, topic, partition, \"offset\", field, reason,
             table_schema, table_name)
         values ('{}', '{}', 0, 9, '', 'made up', '{}', 'orders')",
        sandbox.group, sandbox.topic, sandbox.schema
    ));
    assert_eq!(found(&wrong(&sandbox)), ["missing new3 0/3", "extra - 0/9"]);
}

#[test]
fn records_that_were_skipped_by_choice_are_unknown_and_later_ones_are_judged() {
    let sandbox = went_on("went_on_latest", "latest");
    sandbox.publish(&[order("new3"), order("later"), order("")]);
    sandbox.store("orders").finish().code(3);
    let report = fine(&sandbox);
    let names = ["read", "stored", "duplicates", "rejected", "unknown"];
    assert_eq!(counts(&report["partitions"][0], names), [8, 2, 0, 1, 5 + 1]);
    assert_eq!(report["rows"]["unknown"], 10);
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.contains("partition 0 to 5"), "{report}");
    sql(&format!("delete from {} where order_id = 'new3'", sandbox.table("orders")));
    assert_eq!(found(&wrong(&sandbox)), ["missing new3 0/5"], "the one that was read");
}

#[test]
fn aborted_transactions_and_their_markers_are_no_records() {
    let sandbox = Sandbox::new("aborted").with_topic(1);
    sandbox.set_up("orders");
    kafka().produce_transaction(&sandbox.topic, &orders("a", 5), true);
    kafka().produce_transaction(&sandbox.topic, &orders("never", 3), false);
    kafka().produce_transaction(&sandbox.topic, &orders("b", 5), true);
    sandbox.store("orders").finish().success();
    let report = fine(&sandbox);
    let names = ["read", "stored", "behind", "unknown"];
    assert_eq!(counts(&report["totals"], names), [10, 10, 0, 0]);
    let table = sandbox.table("orders");
    sql(&format!("update {table} set order_id = 'never1' where order_id = 'b1'"));
    assert_eq!(found(&wrong(&sandbox)), ["missing b1 0/11", "extra never1 null/null"]);
}

#[test]
fn what_compaction_took_is_unknown() {
    let sandbox = Sandbox::new("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    kafka().create_topic(&sandbox.topic, 1, &settings);
    sandbox.set_up("orders");
    // The same key for all: only the last one is to stay.
    sandbox.publish(&orders("a", 10));
    sandbox.store("orders").finish().success();
    eventually("records are compacted away", || {
        let payload = order("later").to_string();
        let later =
            Raw { partition: Some(0), key: Some(b"key"), payload: Some(payload.as_bytes()) };
        kafka().produce(&sandbox.topic, [later]);
        kafka().read_all(&sandbox.topic).iter().all(|one| one.offset() >= 10)
    });
    let report = fine(&sandbox);
    assert_eq!(counts(&report["partitions"][0], ["read", "unknown"]), [0, 10]);
    assert_eq!(report["rows"]["unknown"], 10);
}
