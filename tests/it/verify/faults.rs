//! What somebody else did to the table, the dead letters and the ledger.

use super::{counts, fine, for_people, found, wrong};
use crate::support::{Sandbox, order, orders, sql};

const JUDGED: [&str; 5] = ["read", "stored", "duplicates", "rejected", "missing"];

/// Ten orders `a0` to `a9` at the offsets 0 to 9, stored.
fn ten_stored(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 10));
    sandbox.store("orders").finish().success();
    sandbox
}

#[test]
fn a_topic_that_was_stored_well_has_nothing_missing_duplicated_or_extra() {
    let sandbox = Sandbox::new("well").with_topic(3);
    sandbox.set_up("orders");
    sandbox.scatter(&orders("a", 1_000));
    sandbox.scatter(&orders("a", 300));
    sandbox.publish_raw([Some(&b"{}"[..]), None]);
    sandbox.store("orders").finish().code(3);
    sandbox.scatter(&orders("later", 50));
    let report = fine(&sandbox);
    assert_eq!(counts(&report["totals"], JUDGED), [1_302, 1_000, 300, 2, 0]);
    assert_eq!(counts(&report["totals"], ["behind", "unknown"]), [50, 0]);
    assert_eq!(report["rows"]["rows"], 1_000);
    let partitions = report["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    for one in partitions {
        let [read, stored, duplicates, rejected, missing] = counts(one, JUDGED);
        assert_eq!(read, stored + duplicates + rejected + missing, "{one}");
        assert!(read > 300, "{one}");
    }
    sandbox.store("orders").finish().success();
    assert_eq!(counts(&fine(&sandbox)["totals"], ["read", "behind"]), [1_352, 0]);
}

#[test]
fn the_table_for_people_names_partitions_and_faults() {
    let sandbox = ten_stored("shown");
    sql(&format!("delete from {} where order_id = 'a3'", sandbox.table("orders")));
    let run = for_people(&sandbox, "orders").finish().code(1);
    let has = |words: &[&str]| {
        run.stdout.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == words)
    };
    assert!(has(&["0", "10", "9", "0", "0", "1", "0", "0", "0", "0"]), "{run}");
    assert!(has(&["total", "10", "9", "0", "0", "1", "0", "0", "0", "0"]), "{run}");
    assert!(run.stdout.contains("missing  id \"a3\"  partition 0 offset 3"), "{run}");
    assert!(run.stderr.contains("1 missing, 0 duplicated, 0 extra"), "{run}");
}

#[test]
fn deleted_rows_are_missing_by_name() {
    let sandbox = ten_stored("deleted");
    fine(&sandbox);
    sql(&format!("delete from {} where order_id in ('a3', 'a7')", sandbox.table("orders")));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing a3 0/3", "missing a7 0/7"]);
    assert_eq!(counts(&report["totals"], JUDGED), [10, 8, 0, 0, 2]);
}

#[test]
fn a_row_that_is_there_twice_is_duplicated_and_each_record_wants_its_own() {
    let sandbox = Sandbox::new("twice").with_topic(1);
    sandbox.set_up("orders");
    let table = sandbox.table("orders");
    sql(&format!("alter table {table} drop constraint orders_pkey"));
    sandbox.publish(&[orders("a", 5), orders("a", 2)].concat());
    sandbox.store("orders").finish().success();
    let report = fine(&sandbox);
    assert_eq!(counts(&report["totals"], JUDGED), [7, 7, 0, 0, 0]);

    sql(&format!("insert into {table} select * from {table} where order_id in ('a0', 'a4')"));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["duplicated a0 0/0", "duplicated a4 0/4"]);
    assert_eq!(report["totals"]["duplicated"], 3, "a0 had two rows, and has four");
    let detail = report["findings"][0]["detail"].as_str().unwrap();
    assert_eq!(detail, "rows 4, records 2");

    sql(&format!("delete from {table} where order_id in ('a0', 'a4')"));
    sql(&format!(
        "delete from {table} where ctid = (select min(ctid) from {table} where order_id = 'a1')"
    ));
    let report = wrong(&sandbox);
    let named = ["missing a0 0/0", "missing a1 0/1", "missing a4 0/4", "missing a0 0/5"];
    assert_eq!(found(&report), named);
}

#[test]
fn a_strange_row_is_extra() {
    let sandbox = ten_stored("strange");
    let table = sandbox.table("orders");
    sql(&format!("update {table} set order_id = 'stranger' where order_id = 'a5'"));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing a5 0/5", "extra stranger null/null"]);
    assert_eq!(report["rows"]["extra"], 1);
    assert_eq!(report["totals"]["extra"], 1);
}

#[test]
fn a_dead_letter_that_was_removed_is_missing_and_one_without_a_record_is_extra() {
    let sandbox = Sandbox::new("letters").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("a"), order(""), order("b"), order("")]);
    sandbox.store("orders").finish().code(3);
    fine(&sandbox);
    let letters = format!("orderctl.dead_letter where group_name = '{}'", sandbox.group);
    sql(&format!("delete from {letters} and \"offset\" = 3"));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing - 0/3"]);
    assert!(report["findings"][0]["detail"].as_str().unwrap().contains("order_id"), "{report}");

    // Records that were published at once have the same time.
    let moved = "update orderctl.dead_letter
        set record_time = record_time + interval '1 s', \"offset\" = 2";
    sql(&format!("{moved} where group_name = '{}'", sandbox.group));
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing - 0/1", "missing - 0/3", "extra - 0/2"]);

    sql(&format!("{moved} + 7 where group_name = '{}'", sandbox.group));
    assert_eq!(found(&wrong(&sandbox)), ["missing - 0/1", "missing - 0/3", "extra - 0/9"]);
}

#[test]
fn a_position_that_was_moved_too_far_leaves_records_missing() {
    let sandbox = ten_stored("moved");
    sandbox.publish(&orders("b", 3));
    let move_to = |position: i64| {
        sql(&format!(
            "update orderctl.ledger_position set next_offset = {position} where group_name = '{}'",
            sandbox.group
        ));
    };
    move_to(12);
    let report = wrong(&sandbox);
    assert_eq!(found(&report), ["missing b0 0/10", "missing b1 0/11"]);
    assert_eq!(counts(&report["totals"], ["read", "behind"]), [12, 1]);
    move_to(5);
    let report = wrong(&sandbox);
    assert_eq!(report["totals"]["extra"], 5, "{report}");
    assert_eq!(report["totals"]["behind"], 8, "{report}");
    sandbox.store("orders").finish().success();
    fine(&sandbox);
    move_to(40);
    let report = wrong(&sandbox);
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("position 40") && problem.contains("end 13"), "{report}");
    assert_eq!(counts(&report["totals"], ["missing", "extra"]), [0, 0]);
}

#[test]
fn only_as_many_are_named_as_wanted_and_the_others_are_counted() {
    let sandbox = ten_stored("many");
    let table = sandbox.table("orders");
    sql(&format!("update {table} set order_id = 'x' || order_id where order_id <> 'a0'"));
    let report = sandbox.verify("orders").args(["--show", "2"]).finish().code(1).json();
    assert_eq!(found(&report).len(), 4, "{report}");
    assert_eq!(report["findings_left_out"], 14);
    assert_eq!(counts(&report["totals"], ["missing", "extra"]), [9, 9]);
}
