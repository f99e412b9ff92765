//! Payloads that can never be stored, between good ones.

use crate::support::orders::DeadLetter;
use crate::support::{Raw, Sandbox, kafka, order, order_with, sql, sql_value};

/// A payload that is wrong, and what its dead letter must say.
struct Poison {
    payload: Option<Vec<u8>>,
    field: &'static str,
    reason: &'static str,
}

fn poison(payload: impl Into<Vec<u8>>, field: &'static str, reason: &'static str) -> Poison {
    Poison { payload: Some(payload.into()), field, reason }
}

fn wrong_values() -> Vec<Poison> {
    let of = |pointer: &str, value: serde_json::Value, field, reason| {
        poison(order_with("wrong", pointer, value).to_string(), field, reason)
    };
    vec![
        of("/quantity", 0.into(), "quantity", "`0`"),
        of("/quantity", (-1).into(), "quantity", "`-1`"),
        of("/quantity", 1.5.into(), "quantity", "`1.5`"),
        of("/quantity", 1e30.into(), "quantity", "1e+30"),
        of("/quantity", "5".into(), "quantity", "string"),
        of("/quantity", (i64::from(i32::MAX) + 1).into(), "quantity", "out of range for integer"),
        of("/order_date", "2023-02-30".into(), "order_date", "2023-02-30"),
        of("/order_date", 5.into(), "order_date", ""),
        of("/priority", "urgent".into(), "priority", "urgent"),
        of("/customer/name", "a\0b".into(), "customer.name", "NUL"),
        of("/customer/address/city", 7.into(), "customer.address.city", "7"),
        of("/customer", "nobody".into(), "customer", "nobody"),
        of("/order_id", "".into(), "order_id", "empty"),
        of("/order_id", "k".repeat(2001).into(), "order_id", "2001 bytes"),
        of("/product_name", serde_json::Value::Null, "product_name", "null"),
    ]
}

fn wrong_payloads() -> Vec<Poison> {
    let valid = order("wrong").to_string();
    let missing = valid.replace("\"priority\"", "\"urgency\"");
    let twice = valid.replacen("{", "{\"quantity\":1,", 1);
    let deep = valid.replacen("{", &format!("{{\"x\":{}{},", "[".repeat(300), "]".repeat(300)), 1);
    let mut not_utf8 = valid.clone().into_bytes();
    let at = valid.find("James").unwrap();
    not_utf8[at] = 0xff;
    let bogus = order_with("wrong", "/priority", "x".repeat(5_000_000)).to_string();
    vec![
        poison("not JSON", "", "not JSON"),
        poison("[1]", "", "object"),
        poison(&valid.as_bytes()[..valid.len() - 1], "", "not JSON"),
        poison(valid + " trailing", "", "not JSON"),
        poison(missing, "priority", "missing"),
        poison(twice, "quantity", "more than once"),
        poison(deep, "", "128 levels"),
        poison(not_utf8, "", "not UTF-8"),
        poison(bogus, "priority", "xxx"),
        poison("", "", "empty"),
        Poison { payload: None, field: "", reason: "tombstone" },
    ]
}

fn assert_tells(letter: &DeadLetter, poison: &Poison) {
    assert_eq!(letter.field, poison.field, "{letter:?}");
    assert!(letter.reason.contains(poison.reason), "{:?} in {letter:?}", poison.reason);
    assert!(letter.reason.chars().count() <= 301, "{letter:?}");
    assert_eq!(letter.bytes, poison.payload.as_ref().map(Vec::len), "{letter:?}");
    assert_eq!(letter.key.as_deref(), Some("6b6579"), "{letter:?}");
}

#[test]
fn good_records_are_stored_and_each_bad_one_between_them_is_a_dead_letter() {
    let sandbox = Sandbox::new("poison");
    kafka().create_topic(&sandbox.topic, 1, &[("max.message.bytes", "10485760")]);
    sandbox.set_up("orders");
    let poisons: Vec<Poison> = wrong_values().into_iter().chain(wrong_payloads()).collect();
    let good: Vec<String> = (0..=poisons.len()).map(|number| order(number).to_string()).collect();
    let mut payloads = vec![Some(good[0].as_bytes())];
    for (poison, good) in poisons.iter().zip(&good[1..]) {
        payloads.extend([poison.payload.as_deref(), Some(good.as_bytes())]);
    }
    sandbox.publish_raw(payloads.iter().copied());

    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!(summary["stored"], good.len());
    assert_eq!(summary["rejected"], poisons.len());
    assert_eq!(summary["read"], payloads.len());
    assert_eq!(sandbox.count("orders"), good.len());
    let dead = sandbox.dead();
    assert_eq!(dead.len(), poisons.len());
    for (index, (letter, poison)) in dead.iter().zip(&poisons).enumerate() {
        assert_eq!((letter.partition, letter.offset), (0, 2 * index as i64 + 1));
        assert_tells(letter, poison);
    }
    let again = sandbox.store("orders").finish().success().json();
    assert_eq!((&again["read"], &again["rejected"]), (&0.into(), &0.into()));
    assert_eq!(sandbox.dead().len(), poisons.len());
}

#[test]
fn a_dead_letter_has_the_records_own_bytes_time_and_table() {
    let sandbox = Sandbox::new("evidence").with_topic(2);
    sandbox.set_up("orders");
    let payload = b"\x00\xffnot JSON".as_slice();
    let record = Raw { partition: Some(1), key: None, payload: Some(payload) };
    kafka().produce(&sandbox.topic, [record]);
    sandbox.store("orders").finish().code(3);
    let row = sql(&format!(
        "select encode(payload, 'hex'), key is null, table_schema || '.' || table_name, partition,
             abs(extract(epoch from record_time - rejected_at)) < 300
         from orderctl.dead_letter where topic = '{}'",
        sandbox.topic
    ));
    let row: Vec<&str> = row[0].iter().flatten().map(String::as_str).collect();
    let table = sandbox.table("orders");
    assert_eq!(row, ["00ff6e6f74204a534f4e", "t", &table, "1", "t"]);
}

#[test]
fn a_topic_of_nothing_but_bad_records_is_read_to_its_end() {
    let sandbox = Sandbox::new("all_bad").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish_raw((0..2500).map(|_| Some(b"{".as_slice())));
    let run = sandbox.store("orders").args(["--batch-rows", "1000"]);
    let summary = run.finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&0.into(), &2500.into()));
    sandbox.assert_read_to_the_end();
}

#[test]
fn a_record_of_an_impossible_time_does_not_stop_the_others() {
    let sandbox = Sandbox::new("no_time");
    let any_time = [("message.timestamp.after.max.ms", "9223372036854775807")];
    kafka().create_topic(&sandbox.topic, 1, &any_time);
    sandbox.set_up("orders");
    kafka().produce_at(&sandbox.topic, i64::MAX, b"not JSON");
    sandbox.publish(&[order("1")]);
    let summary = sandbox.store("orders").finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&1.into(), &1.into()));
    let without_time = format!(
        "select count(*) from orderctl.dead_letter where topic = '{}' and record_time is null",
        sandbox.topic
    );
    assert_eq!(sql_value(&without_time), "1");
}
