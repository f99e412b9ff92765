use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// One record that came out.
#[derive(Debug, PartialEq)]
struct Out {
    topic: String,
    key: String,
    order: Value,
}

fn order(changes: Value) -> Value {
    let mut order = json!({
        "order_id": "o-1",
        "customer": {
            "name": "Ann", "email": "ann@example.com",
            "address": {"street": "1 St", "city": "Boston", "state": "MA", "postal_code": "02101"}
        },
        "product_name": "Tea", "quantity": 3, "order_date": "2023-06-09", "priority": "low",
        "unit_price": "4.25", "currency": "EUR"
    });
    for (name, value) in changes.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

fn confirm_with(catalogue: &Catalogue, payload: &str) -> Result<Vec<Out>, Reject> {
    let to = ["confirmed".to_owned(), "analysis".to_owned()];
    let confirm = Confirm {
        catalogue,
        currency: Currency::parse("USD").unwrap(),
        by_amount: false,
        to: &to,
        declined_to: &"declined".to_owned(),
        now: &|| Timestamp::from_second(1_700_000_000).unwrap(),
    };
    let payload = Some(payload.as_bytes());
    let raw = Raw { partition: 0, offset: 0, time_ms: None, key: Some(b"k"), payload };
    let mut outgoing = Outgoing::default();
    confirm.step(&raw, &mut outgoing)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let out = |record: crate::engine::relay::Output<'_>| Out {
        topic: record.topic.to_owned(),
        key: text(record.key.unwrap()),
        order: serde_json::from_slice(record.payload.unwrap()).unwrap(),
    };
    Ok(outgoing.records().map(out).collect())
}

fn confirm(changes: Value) -> Result<Vec<Out>, Reject> {
    confirm_with(&Catalogue::built_in(), &order(changes).to_string())
}

fn rejected(changes: Value) -> String {
    confirm(changes).unwrap_err().to_string()
}

#[test]
fn a_confirmed_order_goes_to_every_topic_under_its_id() {
    let out = confirm(json!({"note": {"gift": [1]}})).unwrap();
    let topics: Vec<&str> = out.iter().map(|out| out.topic.as_str()).collect();
    assert_eq!(topics, ["confirmed", "analysis"]);
    assert_eq!((&out[0].key, &out[0].order), (&out[1].key, &out[1].order));
    let expected = order(json!({
        "note": {"gift": [1]},
        "unit_price": "4.25", "total_cost": "12.75", "currency": "EUR",
        "payment": {"status": "approved", "reference": bank::reference("o-1")},
        "confirmed_at": "2023-11-14T22:13:20.000Z"
    }));
    assert_eq!((out[0].key.as_str(), &out[0].order), ("o-1", &expected));
}

#[test]
fn unknown_members_keep_every_digit_and_what_is_ours_is_written_anew() {
    let payload = order(json!({})).to_string().replacen(
        '{',
        r#"{"od\"d\n":0,"loyalty":1.50e3,"big":12345678901234567890,"total_cost":"0.01","confirmed_at":"2020-01-01","#,
        1,
    );
    let to = ["t".to_owned()];
    let confirm = Confirm {
        catalogue: &Catalogue::default(),
        currency: Currency::parse("USD").unwrap(),
        by_amount: false,
        to: &to,
        declined_to: &"d".to_owned(),
        now: &|| Timestamp::UNIX_EPOCH,
    };
    let payload = Some(payload.as_bytes());
    let raw = Raw { partition: 0, offset: 0, time_ms: None, key: None, payload };
    let mut outgoing = Outgoing::default();
    confirm.step(&raw, &mut outgoing).unwrap();
    let written = outgoing.records().next().unwrap().payload.unwrap().to_vec();
    let written = String::from_utf8(written).unwrap();
    assert!(
        written.starts_with(r#"{"od\"d\n":0,"loyalty":1.50e3,"big":12345678901234567890,"#),
        "{written}"
    );
    assert_eq!(written.matches("total_cost").count(), 1);
    assert!(written.ends_with(r#""confirmed_at":"1970-01-01T00:00:00.000Z"}"#), "{written}");
}

#[test]
fn a_declined_order_goes_to_the_topic_of_those() {
    let payment = json!({"card_token": "tok_insufficientFunds", "card_last4": "9995"});
    let out = confirm(json!({"payment": payment})).unwrap();
    assert_eq!((out.len(), out[0].topic.as_str()), (1, "declined"));
    assert_eq!(
        out[0].order["payment"],
        json!({"status": "declined", "code": "insufficient_funds",
               "reference": bank::reference("o-1"), "card_last4": "9995"})
    );
    assert_eq!(out[0].order["declined_at"], "2023-11-14T22:13:20.000Z");
    assert_eq!(out[0].order.get("confirmed_at"), None);
}

#[test]
fn a_bank_without_an_answer_is_a_reject_that_names_the_payment() {
    for token in ["tok_timeout", "tok_error"] {
        let reject = confirm(json!({"payment": {"card_token": token}})).unwrap_err();
        assert_eq!(reject.field, "payment");
        assert!(reject.reason.contains(&bank::reference("o-1")), "{reject}");
    }
}

#[test]
fn a_price_comes_from_the_order_or_the_catalogue() {
    let total = |changes: Value| {
        let out = confirm(changes).unwrap();
        let get = |name: &str| out[0].order[name].as_str().unwrap().to_owned();
        format!("{} {} {}", get("unit_price"), get("total_cost"), get("currency"))
    };
    assert_eq!(total(json!({"unit_price": 4.5})), "4.5 13.50 EUR");
    assert_eq!(total(json!({"currency": null})), "4.25 12.75 USD");
    assert_eq!(total(json!({"currency": "jpy", "unit_price": "100.5"})), "100.5 302 JPY");
    let listed = |currency: Value| json!({"product_name": "Yoga Mat", "unit_price": null, "currency": currency});
    assert_eq!(total(listed(Value::Null)), "24.95 74.85 USD");
    assert_eq!(total(listed("USD".into())), "24.95 74.85 USD");
    let reject = rejected(listed("EUR".into()));
    assert!(reject.contains("in USD while the order is in EUR"), "{reject}");
}

#[test]
fn what_cannot_be_charged_is_rejected_by_its_field() {
    for (changes, part) in [
        (json!({"unit_price": null}), "unit_price: is missing, and the catalogue has no price"),
        (json!({"unit_price": "-1"}), "unit_price: must not be negative"),
        (json!({"unit_price": "1e15"}), "unit_price: is more than"),
        (json!({"unit_price": "cheap"}), "unit_price: expected a decimal number"),
        (json!({"quantity": 0}), "quantity"),
        (json!({"quantity": -3}), "quantity"),
        (json!({"quantity": 1_000_001}), "quantity: is more than 1000000"),
        (json!({"quantity": 1_000_000, "unit_price": "2000000"}), "total_cost: 1000000 × 2000000"),
        (json!({"currency": "euro"}), "currency: expected three letters"),
        (json!({"order_id": null}), "order_id"),
    ] {
        let reject = rejected(changes);
        assert!(reject.contains(part), "{reject}");
    }
}

#[test]
fn a_card_number_becomes_the_last_four_digits_wherever_it_was() {
    for changes in [
        json!({"payment": {"card_number": "4111 1111 1111 1111", "cvc": "737"}}),
        json!({"payment": {"card": {"number": 4111111111111111u64}}}),
        json!({"card": {"number": "4111111111111111"}}),
        json!({"card_number": "4111-1111-1111-1111"}),
    ] {
        let out = confirm(changes.clone()).unwrap();
        let text = out[0].order.to_string();
        assert!(!text.contains("411111") && !text.contains("1111 1111"), "{text}");
        assert!(!text.contains("737") && !text.contains("tok_"), "{text}");
        assert_eq!(out[0].order["payment"]["card_last4"], "1111", "{changes}");
    }
    let declined = json!({"payment": {"card_number": "4000000000000002"}});
    assert_eq!(confirm(declined).unwrap()[0].topic, "declined");
}

#[test]
fn a_reject_does_not_quote_a_card_number() {
    let reject = rejected(json!({"customer": "4111111111111111", "payment": {}}));
    assert!(!reject.contains("41111"), "{reject}");
}

#[test]
fn what_is_no_last_four_digits_is_left_out() {
    for last4 in ["12", "12a4", "\",\"x\":\"", "４２４２"] {
        let out = confirm(json!({"payment": {"card_last4": last4}})).unwrap();
        assert_eq!(out[0].order["payment"].get("card_last4"), None);
    }
}

proptest! {
    #[test]
    fn a_replay_writes_the_same_and_pays_under_the_same_reference(
        id in "[a-z0-9-]{1,20}", quantity in 1i64..1000, price in "[0-9]{1,4}\\.[0-9]{2}",
    ) {
        let price = price.trim_start_matches('0');
        let price = if price.starts_with('.') { format!("0{price}") } else { price.to_owned() };
        let changes = json!({"order_id": id, "quantity": quantity, "unit_price": price});
        let once = confirm(changes.clone()).unwrap();
        prop_assert_eq!(&once, &confirm(changes.clone()).unwrap());
        // Another copy of the order that says something else is the same payment.
        let mut other = changes;
        other["quantity"] = 7.into();
        let other = confirm(other).unwrap();
        prop_assert_eq!(&once[0].order["payment"], &other[0].order["payment"]);
        let reference = once[0].order["payment"]["reference"].as_str().unwrap();
        prop_assert_eq!(reference.len(), 36);
    }

    #[test]
    fn no_card_number_leaves_whatever_the_payment_is(
        name in "card_number|number|note|card_token|card_last4|reference|x",
        other in "card_number|card|status|y",
        before in "[a-z ]{0,3}", nested: bool,
    ) {
        let number = "5105105105105100";
        let inner = json!({name: format!("{before}{number}"), other: [number]});
        let payment = if nested { json!({"z": [inner]}) } else { inner };
        if let Ok(out) = confirm(json!({"payment": payment})) {
            for out in out {
                prop_assert!(!out.order.to_string().contains("510510510"), "{}", out.order);
            }
        }
    }
}
