//! What is refused before the first record, each with its cure and with
//! nothing stored.

use crate::support::program::Finished;
use crate::support::{Database, Run, Sandbox, drop_role, order, sql, sql_value, stack, uri_as};

fn sandbox(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(1);
    // The ledger is there.
    sandbox.set_up("model");
    sandbox.publish(&[order("1")]);
    sandbox
}

#[track_caller]
fn assert_refused(ended: &Finished, words: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word}: {ended}");
    }
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
}

#[test]
fn a_missing_table_names_the_command_that_makes_it() {
    let sandbox = sandbox("no_table");
    let ended = sandbox.store("orders").finish();
    let setup = format!("orderctl db-setup --table-name orders --schema {}", sandbox.schema);
    assert_refused(&ended, &["no table orders", &setup]);
    assert!(sandbox.positions().is_empty());
}

#[test]
fn a_missing_topic_is_named_with_the_way_to_make_it() {
    let sandbox = Sandbox::new("no_topic");
    sandbox.set_up("orders");
    let ended = sandbox.store("orders").finish();
    assert_refused(&ended, &[&sandbox.topic, "--create-topic", "--topic-name"]);
    assert!(sandbox.positions().is_empty());
}

#[test]
fn a_database_without_a_ledger_is_to_be_set_up_first() {
    let sandbox = sandbox("no_ledger");
    let database = Database::new(&sandbox.schema);
    database.sql("create table orders (order_id text primary key)");
    let run = ["consume", "--table", "orders", "--topic-name", &sandbox.topic, "--until-end"];
    let ended = database.run(&run);
    assert_refused(&ended, &["no ledger", "orderctl db-setup --table-name orders"]);
}

#[test]
fn a_ledger_of_an_older_version_is_to_be_brought_up_to_date_first() {
    let sandbox = sandbox("old_ledger");
    let database = Database::new(&sandbox.schema);
    database.run(&["db-setup"]).success();
    database.age_ledger();
    let run = ["consume", "--topic-name", &sandbox.topic, "--until-end"];
    let ended = database.run(&run);
    assert_refused(&ended, &["ledger in schema orderctl has version 1", "orderctl db-setup"]);
    database.run(&["db-setup"]).success();
    database.run(&run).success();
}

#[test]
fn a_table_of_another_shape_is_refused_by_column() {
    let sandbox = sandbox("shape");
    sql(&format!(
        "create table {} (order_id text primary key, quantity date, shop text not null)",
        sandbox.table("orders")
    ));
    let ended = sandbox.store("orders").finish();
    assert_refused(
        &ended,
        &["quantity is date", "column shop", "no column product_name", "--kind"],
    );
    assert_eq!(sandbox.count("orders"), 0);
    assert!(sandbox.positions().is_empty());
}

#[test]
fn a_table_of_no_kind_must_be_told_which() {
    let sandbox = sandbox("kindless");
    sql(&format!("create table {} (number int)", sandbox.table("things")));
    assert_refused(&sandbox.store("things").finish(), &["--kind"]);
}

#[test]
fn a_view_is_refused() {
    let sandbox = sandbox("view");
    sql(&format!("create view {} as select 1 as order_id", sandbox.table("orders")));
    assert_refused(&sandbox.store("orders").finish(), &["a view", "name a table"]);
}

#[test]
fn a_group_that_stores_the_topic_elsewhere_is_refused() {
    let sandbox = sandbox("shared");
    sandbox.set_up("orders");
    sandbox.set_up("others");
    sandbox.store("orders").finish().success();
    let ended = sandbox.store("others").finish();
    assert_refused(&ended, &[&sandbox.group, &sandbox.table("orders"), "--group"]);
    assert_eq!(sandbox.count("others"), 0);
    let own = Sandbox { group: format!("{}-2", sandbox.group), ..sandbox.clone() };
    own.store("others").finish().success();
    assert_eq!(sandbox.count("others"), 1);
}

#[test]
fn a_missing_right_on_the_table_stops_at_once_and_stores_nothing() {
    let sandbox = sandbox("rights");
    sandbox.set_up("orders");
    let role = format!("{}_role", sandbox.schema);
    sql(&format!(
        "create role {role} login password 'pw-{role}';
         grant usage on schema {0}, orderctl to {role};
         grant select, insert, update on all tables in schema orderctl to {role};
         grant select on all tables in schema {0} to {role}",
        sandbox.schema
    ));
    let own = uri_as(&role, stack().postgres.port());
    let ended = sandbox.store("orders").env("ORDERCTL_POSTGRES_URI", own).finish();
    drop_role(&role);
    assert_refused(&ended, &["permission denied for table orders", "grant"]);
    assert!(!ended.stderr.contains(&format!("pw-{role}")), "{ended}");
    assert_eq!(sandbox.count("orders"), 0);
    assert!(sandbox.positions().iter().all(|(_, offset)| *offset == 0));
}

#[test]
fn positions_and_group_are_not_free_properties() {
    let sandbox = sandbox("properties");
    sandbox.set_up("orders");
    for (property, word) in [
        ("group.id=other", "--group"),
        ("auto.offset.reset=earliest", "auto.offset.reset"),
        ("enable.auto.commit=true", "enable.auto.commit"),
    ] {
        let ended = sandbox.store("orders").args(["-X", property]).finish().code(2);
        assert!(ended.stderr.contains(word), "{ended}");
    }
}

#[test]
fn numbers_and_choices_that_make_no_sense_are_usage_errors() {
    let sandbox = sandbox("usage");
    for (flag, value) in [
        ("--max-messages", "0"),
        ("--max-messages", "-5"),
        ("--max-messages", "many"),
        ("--idle-exit", "soon"),
        ("--writers", "0"),
        ("--batch-rows", "0"),
        ("--on-duplicate", "explode"),
        ("--kind", "car"),
        ("--table", ""),
    ] {
        let ended = Run::new(["consume", flag, value, "--topic-name", &sandbox.topic]).finish();
        let ended = ended.code(2);
        assert!(ended.stderr.contains(flag), "{ended}");
    }
}

#[test]
fn a_table_dropped_in_the_middle_stops_the_run() {
    let sandbox = sandbox("dropped");
    sandbox.set_up("orders");
    let mut worker = sandbox.consume("orders").spawn();
    sandbox.wait_for_rows("orders", 1, &mut worker);
    let before = sql_value(&format!("drop table {}; select 1", sandbox.table("orders")));
    assert_eq!(before, "1");
    sandbox.publish(&[order("2")]);
    let ended = worker.finish();
    assert_refused(&ended, &["does not exist"]);
    assert_eq!(sandbox.positions(), [(0, 1)]);
}
