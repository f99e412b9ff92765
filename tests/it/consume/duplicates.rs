//! Ids that come again: within a batch, across batches and across runs.

use serde_json::Value;

use crate::support::{Sandbox, order, order_with, orders, sql, try_sql};

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
    sql(&format!("alter table {table} alter order_id type char(8)"));
    sandbox.publish(&[order("long id"), order("a"), order("a ")]);
    let summary = sandbox.store("orders").finish().success().json();
    assert_counts(&summary, 2, 1, 0);
    assert_eq!(sandbox.column("orders", "order_id::text"), ["a", "long id"]);
}

#[test]
fn a_record_is_no_duplicate_of_one_that_the_server_refuses() {
    let with = |id: &str, name: &str, city: &str| {
        let mut order = order_with(id, "/customer/address/city", city);
        order["product_name"] = name.into();
        order
    };
    let (good, bad) = ("Springfield", "Nowhere");
    for (policy, refused) in [("skip", vec![0, 3]), ("update", vec![3]), ("reject", vec![0, 3])] {
        let sandbox = Sandbox::new("refused_first").with_topic(1);
        sandbox.set_up("orders");
        let table = sandbox.table("orders");
        sql(&format!("alter table {table} add constraint known check (city <> 'Nowhere')"));
        let a_comes_first = if policy == "update" { good } else { bad };
        sandbox.publish(&[
            with("a", "a1", a_comes_first),
            with("a", "a2", good),
            with("b", "b1", good),
            with("b", "b2", bad),
        ]);
        let run = sandbox.store("orders").args(["--on-duplicate", policy]).finish().code(3);
        assert_eq!(sandbox.column("orders", "product_name"), ["a2", "b1"], "{policy} {run}");
        let offsets: Vec<i64> = sandbox.dead().iter().map(|letter| letter.offset).collect();
        assert_eq!(offsets, refused, "{policy}");
    }
}

/// Two ids, each in two spellings of which either comes first once, in one batch;
/// then the first one again, in a later run. For the type of the column both
/// spellings are the same id.
#[track_caller]
fn alike(name: &str, id_type: &str, spellings: [&str; 4]) {
    for policy in ["skip", "update", "reject"] {
        let sandbox = Sandbox::new(name).with_topic(1);
        sandbox.set_up("orders");
        let (table, schema) = (sandbox.table("orders"), &sandbox.schema);
        sql(&format!(
            "create collation {schema}.no_case
                 (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             alter table {table} alter order_id type {} using null",
            id_type.replace("SCHEMA", schema)
        ));
        let [a, same_as_a, b, same_as_b] = spellings;
        let product = |id: &str, name: &str| order_with(id, "/product_name", name);
        sandbox.publish(&[
            product(a, "a1"),
            product(same_as_a, "a2"),
            product(b, "b1"),
            product(same_as_b, "b2"),
        ]);
        let store = || sandbox.store("orders").args(["--on-duplicate", policy]);
        let code = if policy == "reject" { 3 } else { 0 };
        let (duplicates, rejected) = if policy == "reject" { (0, 2) } else { (2, 0) };
        let first = store().finish().code(code).json();
        assert_counts(&first, 2, duplicates, rejected);
        let products = || sandbox.column("orders", "product_name");
        let kept = if policy == "update" { ["a2", "b2"] } else { ["a1", "b1"] };
        assert_eq!(products(), kept, "{id_type} {policy}");

        sandbox.publish(&[product(same_as_a, "a3")]);
        let again = store().finish().code(code).json();
        let kept = if policy == "update" { ["a3", "b2"] } else { ["a1", "b1"] };
        assert_eq!(products(), kept, "{id_type} {policy}");
        match policy {
            "skip" => assert_counts(&again, 0, 1, 0),
            "update" => assert_counts(&again, 1, 1, 0),
            _ => assert_counts(&again, 0, 0, 1),
        }
        let dead = sandbox.dead();
        let offsets: Vec<i64> = dead.iter().map(|letter| letter.offset).collect();
        assert_eq!(offsets, if policy == "reject" { &[1, 3, 4][..] } else { &[] });
        assert!(dead.iter().all(|one| one.reason.contains("duplicate: a record")), "{dead:?}");
    }
}

#[test]
fn numbers_written_in_two_ways_are_one_id_and_the_order_of_the_records_decides() {
    alike("alike_numeric", "numeric", ["20000", "20000.0", "30000.00", "30000"]);
    alike("alike_rounded", "numeric(8,1)", ["20000", "20000.04", "29999.96", "30000"]);
}

#[test]
fn text_with_and_without_blanks_is_one_id_where_the_column_says_so() {
    alike("alike_char", "char(8)", ["a", "a ", "b  ", "b"]);
    alike("alike_varchar", "varchar(2)", ["aa", "aa ", "bb  ", "bb"]);
}

#[test]
fn text_in_either_case_is_one_id_where_the_column_says_so() {
    try_sql("create extension if not exists citext with schema public").expect("citext");
    alike("alike_citext", "public.citext", ["A", "a", "b", "B"]);
    alike("alike_no_case", "text collate SCHEMA.no_case", ["A", "a", "b", "B"]);
}
