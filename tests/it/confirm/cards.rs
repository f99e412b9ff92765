//! Card numbers never reach a topic that we write to, nor what we print.

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::support::PATIENCE;

const NUMBER: &str = "4111111111111111";

/// Fails when a record has the number, or most of it, in any part.
fn assert_without_number(topic: &str) -> usize {
    let records = kafka().read_all(topic);
    for record in &records {
        let headers = record.headers();
        let values = headers.iter().flat_map(|headers| headers.iter()).filter_map(|one| one.value);
        for bytes in record.payload().into_iter().chain(record.key()).chain(values) {
            let text = String::from_utf8_lossy(bytes);
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert!(!digits.contains("411111111111"), "{topic}: {text}");
            assert!(!text.contains("code-737"), "{topic}: {text}");
        }
    }
    records.len()
}

#[test]
fn a_card_number_in_an_order_is_in_no_topic_and_no_log() {
    let sandbox = Sandbox::new("confirm_cards").with_topic(1);
    let topics = topics(&sandbox);
    let grouped = "4111 1111 1111 1111";
    let card = json!({"payment": {"card_number": NUMBER, "cvc": "code-737"}});
    let events = [
        order_of("1", card.clone()),
        order_of("2", json!({"payment": {"card": {"number": 4_111_111_111_111_111u64}}})),
        order_of("3", json!({"payment": {"note": format!("card {grouped}")}})),
        order_of("4", json!({"card_number": grouped})),
        // Declined, timed out, rejected.
        order_of("5", json!({"payment": {"card_token": "tok_lostCard", "pan": NUMBER}})),
        order_of("6", json!({"payment": {"card_token": "tok_timeout", "card_number": NUMBER}})),
        order_of("7", json!({"quantity": 0, "payment": {"card_number": grouped}})),
        order_of("8", json!({"customer": 7, "payment": {"card_number": NUMBER}})),
    ];
    sandbox.publish(&events);
    let cut = format!("{{\"order_id\":\"9\",\"payment\":{{\"card_number\":\"{NUMBER}\"");
    sandbox.publish_raw([Some(cut.as_bytes())]);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log.json");
    let done = confirm(&sandbox)
        .args(["--until-end", "-v", "-v", "--log-file", log.to_str().expect("UTF-8")])
        .finish()
        .code(3);
    let kept = std::fs::read_to_string(&log).expect("a log");
    assert!(!format!("{done}{kept}").contains("11111111"), "{done}");

    let written = [&topics.confirmed, &topics.analysis, &topics.declined, &topics.letters];
    assert_eq!(written.map(|topic| assert_without_number(topic)), [4, 4, 1, 4]);
    let last4: Vec<Value> = read(&topics.confirmed)
        .iter()
        .map(|order| order["payment"]["card_last4"].clone())
        .collect();
    assert_eq!(last4, [json!("1111"), json!("1111"), Value::Null, json!("1111")]);
}

/// Publishes an order under a key, with the number in a header.
fn publish_with_header(sandbox: &Sandbox, key: &str, order: &Value) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().address.to_string())
        .create()
        .expect("a producer");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "card_number", value: Some(NUMBER) })
        .insert(Header { key: "cvc", value: Some("code-737") })
        .insert(Header { key: "trace", value: Some("t-7") });
    let payload = order.to_string();
    let record = BaseRecord::to(&sandbox.topic).key(key).payload(&payload).headers(headers);
    assert!(producer.send(record).is_ok());
    producer.flush(PATIENCE).expect("an acknowledgement");
}

/// The value of the header `trace` of each record.
fn traces(topic: &str) -> Vec<String> {
    let trace = |record: &OwnedMessage| {
        let headers = record.headers().expect("headers");
        let found = headers.iter().find(|one| one.key == "trace").and_then(|one| one.value);
        String::from_utf8_lossy(found.expect("a value")).into_owned()
    };
    kafka().read_all(topic).iter().map(trace).collect()
}

#[test]
fn a_card_number_in_a_header_or_a_key_goes_no_further() {
    let sandbox = Sandbox::new("confirm_headers").with_topic(1);
    let topics = topics(&sandbox);
    publish_with_header(&sandbox, NUMBER, &order_of("1", json!({})));
    publish_with_header(&sandbox, NUMBER, &order_of("2", json!({"quantity": 0})));
    let prefix = format!("to-{}-", sandbox.topic);
    let letters = format!("{}_cities", topics.letters);
    let group = format!("{}_cities", sandbox.group);
    Run::new(["route-cities", "--until-end", "--from", &sandbox.topic, "--group", &group])
        .args(["--prefix", &prefix, "--dead-letter-topic", &letters])
        .finish()
        .code(3);
    confirm(&sandbox).arg("--until-end").finish().code(3);
    let city = kafka().topics_like(&prefix).remove(0);
    let written = [&topics.confirmed, &topics.analysis, &topics.letters, &city, &letters];
    assert_eq!(written.map(|topic| assert_without_number(topic)), [1, 1, 1, 1, 1]);
    for topic in written {
        assert!(traces(topic).iter().all(|trace| trace == "t-7"), "{topic}: others travel on");
    }

    // An order's own id may look like a card number, and stays its key.
    let own = Sandbox::new("confirm_own_id").with_topic(1);
    publish_with_header(&own, NUMBER, &order_of(NUMBER, json!({"quantity": 0})));
    confirm(&own).arg("--until-end").finish().code(3);
    let kept = kafka().read_all(&super::topics(&own).letters);
    assert_eq!(kept[0].key(), Some(NUMBER.as_bytes()));
}

#[test]
fn the_topics_of_cities_have_no_card_number_either() {
    let sandbox = Sandbox::new("confirm_cities").with_topic(1);
    let card = json!({"payment": {"card_number": NUMBER, "cvc": "code-737"}});
    let mut rejected = order_of("2", card.clone());
    rejected["quantity"] = json!(0);
    sandbox.publish(&[order_of("1", card), rejected]);
    let prefix = format!("to-{}-", sandbox.topic);
    Run::new(["route-cities", "--until-end", "--from", &sandbox.topic])
        .args(["--group", &sandbox.group, "--prefix", &prefix])
        .finish()
        .code(3);
    let cities = kafka().topics_like(&prefix);
    let written = [&cities[0], &topics(&sandbox).letters];
    assert_eq!(written.map(|topic| assert_without_number(topic)), [1, 1]);
}

#[test]
fn generated_orders_have_test_cards_when_asked_for() {
    let generated = |more: &[&str]| {
        Run::new(["produce", "--num", "3", "--seed", "7", "--dry-run"]).args(more).finish()
    };
    let with = generated(&["--payments"]).success();
    assert_eq!(with.stdout.matches("\"card_token\":\"tok_").count(), 3, "{with}");
    assert!(!generated(&[]).success().stdout.contains("payment"));
    generated(&["--payments", "--kind", "user"]).code(2);
}

#[test]
fn produce_passes_a_token_on_in_place_of_the_number() {
    let sandbox = Sandbox::new("confirm_source").with_topic(1);
    let card = json!({"payment": {"card_number": "4000000000009995", "cvc": "code-737"}});
    let lines = format!("{}\n", order_of("1", card));
    let produce = |more: &[&str], lines: String| {
        Run::new(["produce", "--source", "-", "--topic-name", &sandbox.topic])
            .args(more)
            .stdin(lines)
            .finish()
            .success()
    };
    let shown = produce(&["--dry-run"], lines.clone());
    assert!(!shown.stdout.contains("40000000"), "{shown}");
    produce(&[], lines);
    produce(&["--raw"], format!("card_number={NUMBER}\n"));
    assert_eq!(assert_without_number(&sandbox.topic), 2);
    let payment = &payload(&kafka().read_all(&sandbox.topic)[0])["payment"];
    assert_eq!(*payment, json!({"card_token": "tok_insufficientFunds", "card_last4": "9995"}));

    confirm(&sandbox).arg("--until-end").finish().code(3);
    assert_eq!(read(&topics(&sandbox).declined)[0]["payment"]["code"], "insufficient_funds");
}
