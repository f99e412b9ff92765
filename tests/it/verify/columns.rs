//! Ids of every type that a column may have.

use super::{counts, fine, found, wrong};
use crate::support::{Sandbox, order, order_with, sql};

/// Ids as events have them, stored into an id column of a type; then the row of
/// the first is deleted and must be missing under `name`.
#[track_caller]
fn stored_and_deleted(sandbox_name: &str, id_type: &str, ids: &[&str], stored: u64, name: &str) {
    let sandbox = Sandbox::new(sandbox_name).with_topic(1);
    sandbox.set_up("orders");
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} alter order_id type {id_type} using null"));
    let events: Vec<_> = ids.iter().map(|id| order(*id)).collect();
    sandbox.publish(&events);
    sandbox.store("orders").finish().success();
    let report = fine(&sandbox);
    let duplicates = ids.len() as u64 - stored;
    assert_eq!(counts(&report["totals"], ["stored", "duplicates"]), [stored, duplicates]);
    let first = ids[0];
    sql(&format!("delete from {table} where order_id = '{first}'::{id_type}"));
    assert_eq!(found(&wrong(&sandbox)), [format!("missing {name} 0/0")]);
}

#[test]
fn uuids_are_one_however_they_are_written() {
    let (first, second) =
        ("018f4e2a-7c3b-7000-8000-00000000abcd", "018f4e2a-7c3b-7000-8000-00000000ffff");
    let ids = [first, second, &second.to_uppercase(), &second.replace('-', "")];
    stored_and_deleted("uuids", "uuid", &ids, 2, first);
}

#[test]
fn numbers_are_one_with_or_without_zeros() {
    stored_and_deleted("int4s", "integer", &["1", "2", "90123", "02"], 3, "1");
    stored_and_deleted("int8s", "bigint", &["1", "9007199254740993"], 2, "1");
    stored_and_deleted("numerics", "numeric", &["1.50", "20000", "20000.0", "3"], 3, "1.5");
    stored_and_deleted("scaled", "numeric(12,2)", &["10000", "7", "7.00"], 2, "10000");
}

#[test]
fn blanks_at_the_end_of_a_padded_column_do_not_count() {
    stored_and_deleted("padding", "char(8)", &["a", "long id", "long id "], 2, "a");
}

#[test]
fn text_that_a_column_bounds_and_quotes_is_compared_as_it_is() {
    stored_and_deleted("bounded", "varchar(20)", &["a \"b\"", "b", "é", "B"], 4, "a \"b\"");
}

#[test]
fn ids_that_no_column_can_hold_are_dead_letters_on_both_sides() {
    let sandbox = Sandbox::new("too_large").with_topic(1);
    sandbox.set_up("orders");
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} alter order_id type smallint using null"));
    sandbox.publish(&[order("1"), order("70000"), order("x")]);
    sandbox.store("orders").finish().code(3);
    assert_eq!(counts(&fine(&sandbox)["totals"], ["stored", "rejected"]), [1, 2]);
    sql(&format!("delete from orderctl.dead_letter where group_name = '{}'", sandbox.group));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing - 0/1", "missing - 0/2"]);
}

#[test]
fn a_record_without_its_dead_letter_is_missing_though_another_one_stored_its_id() {
    let sandbox = Sandbox::new("same_id").with_topic(1);
    sandbox.set_up("orders");
    sql(&format!("alter table {} alter quantity type smallint", sandbox.table("orders")));
    sandbox.publish(&[order("1"), order_with("1", "/quantity", 70000), order("1")]);
    sandbox.store("orders").finish().code(3);
    let names = ["stored", "duplicates", "rejected"];
    assert_eq!(counts(&fine(&sandbox)["totals"], names), [1, 1, 1]);
    sql(&format!("delete from orderctl.dead_letter where group_name = '{}'", sandbox.group));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing 1 0/1"]);
    assert_eq!(counts(&report["totals"], names), [1, 1, 0]);
}

#[test]
fn ids_that_the_server_cuts_or_rounds_are_compared_as_it_stores_them() {
    stored_and_deleted("cut", "varchar(3)", &["abc   ", "ab", "abc"], 2, "abc");
    stored_and_deleted("rounded", "numeric(6,1)", &["9.96", "10", "7.04", "7.05"], 3, "10");
}

#[test]
fn ids_in_a_column_of_json_are_compared_however_the_server_writes_them() {
    for id_type in ["json", "jsonb"] {
        let sandbox = Sandbox::new("documents").with_topic(1);
        sandbox.set_up("orders");
        let table = sandbox.table("orders");
        sql(&format!(
            "alter table {table} drop constraint orders_pkey;
             alter table {table} alter order_id type {id_type} using null"
        ));
        sandbox.publish(&[order("a \"b\""), order("\u{1f}/\u{e9}"), order("7")]);
        sandbox.store("orders").finish().success();
        assert_eq!(counts(&fine(&sandbox)["totals"], ["stored"]), [3], "{id_type}");
        sql(&format!("delete from {table} where order_id::text = '\"7\"'"));
        assert_eq!(found(&wrong(&sandbox)), ["missing \"7\" 0/2"], "{id_type}");
    }
}
