//! Records into tables: ours, and those that someone made by hand.

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, kafka, order, orderctl, orders, sql, sql_value};

/// The order of the system that this one replaces.
fn protein_powder() -> Value {
    json!({
        "order_id": 90123,
        "customer": {"name": "James Clark", "email": "james@gmail.com", "address": {
            "street": "Avenue Street", "city": "Illinois", "state": "Chicago",
            "postal_code": "768987"
        }},
        "product_name": "Protein Powder", "quantity": 5, "order_date": "2023-06-09",
        "priority": "high"
    })
}

#[test]
fn every_record_is_stored_once_and_the_next_run_stores_none() {
    let sandbox = Sandbox::new("once").with_topic(3);
    sandbox.set_up("orders");
    orderctl(["produce", "--num", "5000", "--topic-name", &sandbox.topic]).success();
    let first = sandbox.store("orders").finish().success().json();
    assert_eq!((&first["read"], &first["stored"]), (&5000.into(), &5000.into()));
    assert_eq!(first["duplicates"], 0);
    assert_eq!(sandbox.count("orders"), 5000);
    sandbox.assert_read_to_the_end();
    let again = sandbox.store("orders").finish().success().json();
    assert_eq!((&again["read"], &again["stored"]), (&0.into(), &0.into()));
    assert_eq!(sandbox.count("orders"), 5000);
}

#[test]
fn every_listener_of_the_broker_serves() {
    let sandbox = Sandbox::new("listeners").with_topic(1);
    let stack = crate::support::stack();
    for (index, creds) in [&stack.creds_sasl, &stack.creds_plaintext].into_iter().enumerate() {
        let table = format!("orders{index}");
        sandbox.set_up(&table);
        sandbox.publish(&orders(&table, 10));
        let own = Sandbox { group: format!("{}-{index}", sandbox.group), ..sandbox.clone() };
        own.store(&table).env("ORDERCTL_CREDS", creds).finish().success();
        assert_eq!(own.count(&table), 10 * (index + 1));
    }
}

#[test]
fn the_group_is_named_after_the_table_unless_told() {
    let sandbox = Sandbox::new("group").with_topic(1);
    let table = format!("orders_{}", sandbox.schema);
    sandbox.set_up(&table);
    sandbox.publish(&[order("1")]);
    let run = ["consume", "--schema", &sandbox.schema, "--table", &table, "-o", "json"];
    let run = Run::new(run).args(["--until-end", "--topic-name", &sandbox.topic]);
    let summary = run.finish().success().json();
    assert_eq!(summary["group"], format!("orderctl-{table}"));
    assert_eq!(summary["topic"], sandbox.topic.as_str());
    assert_eq!(summary["table"], sandbox.table(&table));
    for name in ["read", "stored", "duplicates", "rejected", "batches", "seconds"] {
        assert!(summary[name].is_number(), "{name}: {summary}");
    }
    assert_eq!(summary["interrupted"], false);
}

#[test]
fn the_old_systems_order_becomes_a_row_of_the_default_table() {
    let sandbox = Sandbox::new("protein").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[protein_powder()]);
    sandbox.store("orders").finish().success();
    let row = sql(&format!(
        "select order_id, name, email, street, city, state, postal_code, product_name, quantity,
             order_date at time zone 'utc', priority from {}",
        sandbox.table("orders")
    ));
    let row: Vec<String> = row[0].iter().flatten().cloned().collect();
    assert_eq!(
        row,
        [
            "90123",
            "James Clark",
            "james@gmail.com",
            "Avenue Street",
            "Illinois",
            "Chicago",
            "768987",
            "Protein Powder",
            "5",
            "2023-06-09 00:00:00",
            "high",
        ]
    );
}

#[test]
fn the_old_systems_order_becomes_a_row_of_a_table_made_by_hand() {
    let sandbox = Sandbox::new("by_hand").with_topic(1);
    sql(&format!(
        "create table {} (order_id SERIAL PRIMARY KEY, name VARCHAR(255), email VARCHAR(255),
             street VARCHAR(255), city VARCHAR(255), state VARCHAR(255), postal_code VARCHAR(10),
             product_name VARCHAR(255), quantity INTEGER, order_date DATE, priority VARCHAR(255))",
        sandbox.table("orders")
    ));
    sandbox.set_up("orders");
    sandbox.publish(&[protein_powder(), order("no number")]);
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&1.into(), &1.into()));
    let row = sandbox.column("orders", "order_id || name || quantity || order_date || postal_code");
    assert_eq!(row, ["90123James Clark52023-06-09768987"]);
    let dead = sandbox.dead();
    assert_eq!((dead[0].field.as_str(), dead[0].offset), ("order_id", 1));
    assert!(dead[0].reason.contains("no number"), "{dead:?}");
}

#[test]
fn a_table_without_a_unique_id_stores_duplicates_and_says_so() {
    let sandbox = Sandbox::new("no_key").with_topic(1);
    sandbox.set_up("model");
    sql(&format!("create table {} as table {}", sandbox.table("orders"), sandbox.table("model")));
    let made = orderctl(["db-setup", "--schema", &sandbox.schema]).success();
    assert!(made.stderr.contains("no unique index on order_id"), "{made}");
    sandbox.publish(&[order("1"), order("1"), order("2")]);
    let stored = sandbox.store("orders").finish().success();
    assert!(stored.stderr.contains("no unique index on order_id"), "{stored}");
    assert_eq!(sandbox.column("orders", "order_id"), ["1", "1", "2"]);
    let refused = sandbox.store("orders").args(["--on-duplicate", "reject"]).finish().code(2);
    assert!(refused.stderr.contains("only a unique index on order_id"), "{refused}");
}

#[test]
fn unknown_fields_stay_out_of_the_row_and_columns_may_have_other_names() {
    let sandbox = Sandbox::new("aliases").with_topic(1);
    sql(&format!(
        "create table {} (zip text, customer_name text, customer_email text, street text,
             city text, state text, product text, quantity bigint, ordered_at timestamp,
             priority text, id text primary key, price numeric(8,2), noted_at timestamptz default now())",
        sandbox.table("orders")
    ));
    sandbox.set_up("orders");
    let mut full = protein_powder();
    full["unit_price"] = json!("12.50");
    full["colour"] = json!({"deep": ["unknown"]});
    sandbox.publish(&[full]);
    sandbox.store("orders").finish().success();
    let shown = sandbox.column("orders", "id || ' ' || product || ' ' || price || ' ' || zip");
    assert_eq!(shown, ["90123 Protein Powder 12.50 768987"]);
    let noted = format!("select count(noted_at) from {}", sandbox.table("orders"));
    assert_eq!(sql_value(&noted), "1");
}

#[test]
fn records_of_aborted_transactions_are_not_stored_and_gaps_do_not_hinder() {
    let sandbox = Sandbox::new("gaps").with_topic(1);
    sandbox.set_up("orders");
    for (prefix, commits) in [("kept", true), ("aborted", false), ("also", true), ("last", false)] {
        kafka().produce_transaction(&sandbox.topic, &orders(prefix, 3), commits);
    }
    let summary = sandbox.store("orders").finish().success().json();
    assert_eq!(summary["stored"], 6);
    let ids = sandbox.column("orders", "order_id");
    assert_eq!(ids, ["also0", "also1", "also2", "kept0", "kept1", "kept2"]);
    let again = sandbox.store("orders").finish().success().json();
    assert_eq!(again["read"], 0);
}
