//! Card numbers never reach a topic that we write to, nor what we print.

use super::*;

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
