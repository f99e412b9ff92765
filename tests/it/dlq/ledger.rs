//! A ledger that an older program made.

use crate::support::{Database, Sandbox, order, order_with};

#[test]
fn db_setup_brings_an_older_ledger_up_to_date_and_its_letters_are_open() {
    let sandbox = Sandbox::new("older").with_topic(1);
    let database = Database::new(&sandbox.schema);
    database.run(&["db-setup"]).success();
    sandbox.publish(&[order("1"), order_with("2", "/quantity", 0)]);
    let consume = ["consume", "--table", "orders", "--topic-name", &sandbox.topic, "--until-end"];
    database.run(&consume).code(3);
    database.age_ledger();
    let refused = database.run(&["dlq", "list"]).code(1);
    assert!(refused.stderr.contains("run `orderctl db-setup`"), "{refused}");

    let again = database.run(&["db-setup", "-o", "json"]).success().json();
    assert_eq!(again["ledger_changed"], true);
    let listed = database.run(&["dlq", "list", "-o", "json"]).success().json();
    assert_eq!((&listed["total"], &listed["states"]["open"]), (&1.into(), &1.into()));
    database.run(&["dlq", "redrive", "--all"]).success();
    let states = database.sql("select state from orderctl.dead_letter");
    assert_eq!(states[0][0].as_deref(), Some("redriven"));
}

#[test]
fn without_a_ledger_it_says_what_to_run() {
    let sandbox = Sandbox::new("no_ledger");
    let database = Database::new(&sandbox.schema);
    let refused = database.run(&["dlq", "list"]).code(1);
    assert!(refused.stderr.contains("there is no ledger") && refused.stderr.contains("db-setup"));
}
