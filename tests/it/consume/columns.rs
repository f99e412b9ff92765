//! Columns of every type that rows are encoded for, and values that do not fit.

use serde_json::{Value, json};

use crate::support::{Sandbox, order, order_with, sql, sql_value};

/// The orders table with some columns replaced: `("quantity", "smallint")`.
fn table_with(sandbox: &Sandbox, changed: &[(&str, &str)]) {
    let usual = [
        ("order_id", "text primary key"),
        ("name", "text"),
        ("email", "text"),
        ("street", "text"),
        ("city", "text"),
        ("state", "text"),
        ("postal_code", "text"),
        ("product_name", "text"),
        ("quantity", "integer"),
        ("order_date", "timestamptz"),
        ("priority", "text"),
    ];
    let own = |name: &str| changed.iter().any(|(changed, _)| *changed == name);
    let columns = usual.iter().filter(|(name, _)| !own(name)).chain(changed);
    let columns: Vec<String> = columns.map(|(name, kind)| format!("{name} {kind}")).collect();
    sql(&format!("create table {} ({})", sandbox.table("orders"), columns.join(", ")));
    sandbox.set_up("orders");
}

/// Stores one good order with `value` at `pointer` and one bad order for each of
/// `misfits`; what the column then holds, as text.
#[track_caller]
fn stored(
    name: &str,
    column: (&str, &str),
    pointer: &str,
    value: Value,
    misfits: &[Value],
) -> String {
    let sandbox = Sandbox::new(name).with_topic(1);
    table_with(&sandbox, &[column]);
    let mut events = vec![order_with("1", pointer, value)];
    for (index, misfit) in misfits.iter().enumerate() {
        events.push(order_with((index + 2).to_string(), pointer, misfit.clone()));
    }
    sandbox.publish(&events);
    let run = sandbox.store("orders").finish();
    let run = run.code(if misfits.is_empty() { 0 } else { 3 });
    assert_eq!(run.json()["stored"], 1, "{column:?}: {run}");
    let dead = sandbox.dead();
    assert_eq!(dead.len(), misfits.len(), "{column:?}: {dead:?}");
    for letter in dead {
        // The server does not say which column a number is too large for.
        let is_told = letter.field == column.0 || letter.reason.contains("22003");
        assert!(is_told, "{letter:?}");
        assert!(!letter.reason.is_empty() && letter.bytes > Some(100), "{letter:?}");
    }
    sql_value(&format!("select ({})::text from {}", column.0, sandbox.table("orders")))
}

#[test]
fn text_of_bounded_length_counts_characters_not_bytes() {
    let city = "/customer/address/city";
    let long = [json!("ä".repeat(6))];
    assert_eq!(stored("varchar", ("city", "varchar(5)"), city, json!("ääääö"), &long), "ääääö");
    assert_eq!(stored("char", ("city", "char(5)"), city, json!("äö"), &long), "äö");
    assert_eq!(
        stored("any_char", ("city", "varchar"), city, json!("ö".repeat(60)), &[]),
        "ö".repeat(60)
    );
}

#[test]
fn numbers_go_into_integers_of_every_size_when_they_fit() {
    let quantity = "/quantity";
    for (name, kind, most) in [
        ("int2", "smallint", 32_767),
        ("int4", "integer", 2_147_483_647),
        ("int8", "bigint", i64::MAX),
    ] {
        let misfits = most.checked_add(1).map(|more| json!(more));
        let found = stored(name, ("quantity", kind), quantity, json!(most), misfits.as_slice());
        assert_eq!(found, most.to_string());
    }
    assert_eq!(stored("int_text", ("quantity", "text"), quantity, json!(12), &[]), "12");
    assert_eq!(stored("int_num", ("quantity", "numeric"), quantity, json!(40_000), &[]), "40000");
    let none =
        stored("int_small", ("quantity", "numeric(3,1)"), quantity, json!(99), &[json!(100)]);
    assert_eq!(none, "99.0");
    let rounded = ("quantity", "numeric(3,-2)");
    assert_eq!(stored("int_round", rounded, quantity, json!(12_300), &[json!(100_000)]), "12300");
}

#[test]
fn decimals_keep_their_digits() {
    let price = |name, kind, value: Value, misfits: &[Value]| {
        stored(name, ("unit_price", kind), "/unit_price", value, misfits)
    };
    assert_eq!(
        price("num", "numeric", json!("12345678901234567890.123456789"), &[]),
        "12345678901234567890.123456789"
    );
    assert_eq!(price("num_zero", "numeric(10,4)", json!("0.0001"), &[]), "0.0001");
    assert_eq!(price("num_fit", "numeric(5,2)", json!("999.99"), &[json!("1000")]), "999.99");
    // Rounding carries it over the bound, which only the server knows.
    assert_eq!(price("num_up", "numeric(4,1)", json!("9"), &[json!("999.96")]), "9.0");
    assert_eq!(price("num_text", "text", json!(0.5), &[]), "0.5");
    assert_eq!(price("num_json", "jsonb", json!("12.50"), &[]), "12.50");
}

#[test]
fn ids_go_into_uuids_and_numbers() {
    let id = "018f4e2a-7c3b-7000-8000-00000000abcd";
    let uuid = ("order_id", "uuid primary key");
    assert_eq!(stored("id_uuid", uuid, "/order_id", json!(id), &[json!("x"), json!(7)]), id);
    let bigint = ("order_id", "bigint primary key");
    let misfits = [json!("x"), json!("9223372036854775808")];
    assert_eq!(stored("id_int", bigint, "/order_id", json!("-7"), &misfits), "-7");
    let numeric = ("order_id", "numeric(20) primary key");
    let digits = "12345678901234567890";
    assert_eq!(stored("id_num", numeric, "/order_id", json!(digits), &[json!("1.2.3")]), digits);
}

#[test]
fn moments_go_into_dates_and_timestamps() {
    let moment = |name, kind, value: &str| {
        stored(name, ("order_date", kind), "/order_date", json!(value), &[json!("yesterday")])
    };
    assert_eq!(moment("date", "date", "2023-06-09"), "2023-06-09");
    assert_eq!(moment("date_old", "date", "1969-12-31T23:00:00Z"), "1969-12-31");
    assert_eq!(
        moment("stamp", "timestamp", "2023-06-09T10:00:00.123456+02:00"),
        "2023-06-09 08:00:00.123456"
    );
    let utc = ("order_date at time zone 'utc'", "");
    let sandbox = Sandbox::new("stamptz").with_topic(1);
    table_with(&sandbox, &[]);
    sandbox.publish(&[order_with("1", "/order_date", "1999-12-31T23:59:59-01:00")]);
    sandbox.store("orders").finish().success();
    let found = sql_value(&format!("select {} from {}", utc.0, sandbox.table("orders")));
    assert_eq!(found, "2000-01-01 00:59:59");
    let text = "2023-06-09T10:00:00+02:00";
    assert_eq!(moment("moment_text", "text", text), text);
}

#[test]
fn text_goes_into_json_enumerations_domains_and_booleans() {
    let name = "/customer/name";
    let quoted = "a \"quoted\" \\ name\n";
    for kind in ["json", "jsonb"] {
        let found = stored(kind, ("name", kind), name, json!(quoted), &[]);
        assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), quoted);
    }
    let bool = stored("bool", ("name", "bool"), name, json!("yes"), &[json!("perhaps")]);
    assert_eq!(bool, "true");
}

#[test]
fn enumerations_and_domains_take_what_they_allow() {
    let sandbox = Sandbox::new("own_types").with_topic(1);
    let schema = &sandbox.schema;
    sql(&format!(
        "create type {schema}.\"Urgency\" as enum ('low', 'high');
         create domain {schema}.code as varchar(5) not null check (value ~ '^[0-9]*$')"
    ));
    let (urgency, code) = (format!("{schema}.\"Urgency\""), format!("{schema}.code"));
    table_with(&sandbox, &[("priority", &urgency), ("postal_code", &code)]);
    let postal = "/customer/address/postal_code";
    sandbox.publish(&[
        order("1"),
        order_with("2", "/priority", "medium"),
        order_with("3", postal, "123456"),
        order_with("4", postal, "12a"),
        order("5"),
    ]);
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&2.into(), &3.into()));
    let dead = sandbox.dead();
    let fields: Vec<&str> = dead.iter().map(|letter| letter.field.as_str()).collect();
    assert_eq!(fields[..2], ["priority", "postal_code"]);
    assert!(dead[0].reason.contains("low, high"), "{dead:?}");
    assert!(dead[2].reason.contains("code_check"), "{dead:?}");
    assert_eq!(sandbox.column("orders", "order_id"), ["1", "5"]);
}

#[test]
fn generated_identity_and_default_columns_are_the_servers() {
    let sandbox = Sandbox::new("generated").with_topic(1);
    table_with(
        &sandbox,
        &[
            ("total", "bigint generated always as (quantity * 2) stored"),
            ("number", "bigint generated always as identity"),
            ("noted_at", "timestamptz not null default now()"),
            ("remark", "text"),
        ],
    );
    sandbox.publish(&[order("1"), order("1"), order_with("2", "/quantity", 7)]);
    sandbox.store("orders").finish().success();
    let found = sandbox.column("orders", "order_id || ' ' || total || ' ' || (remark is null)");
    assert_eq!(found, ["1 10 true", "2 14 true"]);
    let numbers = format!("select count(distinct number) from {}", sandbox.table("orders"));
    assert_eq!(sql_value(&numbers), "2");
}

#[test]
fn an_id_column_that_is_always_generated_takes_the_events_id() {
    let sandbox = Sandbox::new("identity_key").with_topic(1);
    table_with(&sandbox, &[("order_id", "bigint generated always as identity primary key")]);
    sandbox.publish(&[order(7), order(8)]);
    sandbox.store("orders").finish().success();
    sandbox.publish(&[order(8), order(9)]);
    let second = sandbox.store("orders").finish().success().json();
    assert_eq!((&second["stored"], &second["duplicates"]), (&1.into(), &1.into()));
    assert_eq!(sandbox.column("orders", "order_id"), ["7", "8", "9"]);
}
