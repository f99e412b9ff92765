//! Ids that come again: within a batch, across batches and across runs.

use serde_json::Value;

use crate::support::{Sandbox, order, order_with, orders};

/// Three ids twice in one batch, then two of them again in a later run; each
/// time with another product.
fn run_twice(sandbox: &Sandbox, policy: &str, code: i32) -> (Value, Value) {
    sandbox.set_up("orders");
    let product = |id: &str, name: &str| order_with(id, "/product_name", name);
    sandbox.publish(&[
        product("a", "a1"),
        product("b", "b1"),
        product("a", "a2"),
        product("c", "c1"),
        product("b", "b2"),
        product("c", "c2"),
    ]);
    let store = || sandbox.store("orders").args(["--on-duplicate", policy]);
    let first = store().finish().code(code).json();
    sandbox.publish(&[
        product("b", "b3"),
        product("d", "d1"),
        product("a", "a3"),
        product("d", "d2"),
    ]);
    let second = store().finish().code(code).json();
    (first, second)
}

#[track_caller]
fn assert_counts(summary: &Value, stored: u64, duplicates: u64, rejected: u64) {
    let counts = ["stored", "duplicates", "rejected"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [stored, duplicates, rejected], "{summary}");
}

#[test]
fn skip_keeps_the_row_that_came_first() {
    let sandbox = Sandbox::new("skip").with_topic(1);
    let (first, second) = run_twice(&sandbox, "skip", 0);
    assert_counts(&first, 3, 3, 0);
    assert_counts(&second, 1, 3, 0);
    assert_eq!(sandbox.column("orders", "product_name"), ["a1", "b1", "c1", "d1"]);
    assert!(sandbox.dead().is_empty());
}

#[test]
fn update_keeps_the_values_that_came_last() {
    let sandbox = Sandbox::new("update").with_topic(1);
    let (first, second) = run_twice(&sandbox, "update", 0);
    assert_counts(&first, 3, 3, 0);
    assert_counts(&second, 3, 3, 0);
    assert_eq!(sandbox.column("orders", "product_name"), ["a3", "b3", "c2", "d2"]);
    assert!(sandbox.dead().is_empty());
}

#[test]
fn reject_keeps_the_first_and_makes_the_others_dead_letters() {
    let sandbox = Sandbox::new("reject").with_topic(1);
    let (first, second) = run_twice(&sandbox, "reject", 3);
    assert_counts(&first, 3, 0, 3);
    assert_counts(&second, 1, 0, 3);
    assert_eq!(sandbox.column("orders", "product_name"), ["a1", "b1", "c1", "d1"]);
    let dead = sandbox.dead();
    assert_eq!(dead.iter().map(|one| one.offset).collect::<Vec<_>>(), [2, 4, 5, 6, 8, 9]);
    assert!(dead.iter().all(|one| one.reason.contains("duplicate") && one.bytes > Some(100)));
}

#[test]
fn duplicates_across_many_small_batches_are_counted_one_by_one() {
    for (policy, code) in [("skip", 0), ("update", 0), ("reject", 3)] {
        let sandbox = Sandbox::new("batches").with_topic(1);
        sandbox.set_up("orders");
        let all: Vec<Value> = [orders("o", 400), orders("o", 300), orders("p", 200)].concat();
        sandbox.publish(&all);
        let run = sandbox.store("orders").args(["--on-duplicate", policy, "--batch-rows", "50"]);
        let summary = run.finish().code(code).json();
        match policy {
            "skip" => assert_counts(&summary, 600, 300, 0),
            "update" => assert_counts(&summary, 900, 300, 0),
            _ => assert_counts(&summary, 600, 0, 300),
        }
        assert_eq!(sandbox.count("orders"), 600);
        sandbox.assert_read_to_the_end();
    }
}

#[test]
fn ids_that_only_the_type_of_the_column_makes_alike_are_duplicates() {
    let sandbox = Sandbox::new("alike").with_topic(1);
    let made = ["db-setup", "--schema", &sandbox.schema, "--id-type", "uuid"];
    crate::support::orderctl(made).success();
    let id = "018f4e2a-7c3b-7000-8000-00000000abcd";
    sandbox.publish(&[order(id), order(id.to_uppercase()), order(id.replace('-', ""))]);
    let summary = sandbox.store("orders").finish().success().json();
    assert_counts(&summary, 1, 2, 0);
}

#[test]
fn padded_ids_of_a_char_column_are_duplicates() {
    let sandbox = Sandbox::new("padded").with_topic(1);
    sandbox.set_up("orders");
    let table = sandbox.table("orders");
    crate::support::sql(&format!("alter table {table} alter order_id type char(8)"));
    sandbox.publish(&[order("long id"), order("a"), order("a ")]);
    let summary = sandbox.store("orders").finish().success().json();
    assert_counts(&summary, 2, 1, 0);
    assert_eq!(sandbox.column("orders", "order_id::text"), ["a", "long id"]);
}
