use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NUMBER: &str = "4222222222222";
const OTHER: &str = "4111111111111111";

fn cleaned(payload: &Value) -> Value {
    serde_json::from_slice(&clean(payload.to_string().as_bytes())).unwrap()
}

fn own_token(order_id: &str) -> String {
    let paid = json!({"order_id": order_id, "payment": {"card_number": OTHER}});
    cleaned(&paid)["payment"]["card_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_number_becomes_a_token_and_the_last_four_digits() {
    let order = json!({"order_id": "o", "payment": {"card_number": "4242 4242 4242 4242", "cvc": "123", "x": 1.5}});
    assert_eq!(
        cleaned(&order),
        json!({"order_id": "o", "payment": {"card_token": "tok_visa", "card_last4": "4242", "x": 1.5}})
    );
}

#[test]
fn a_token_tells_nothing_of_the_number_and_stays_for_the_event() {
    assert_eq!(own_token("a"), own_token("a"));
    assert_ne!(own_token("a"), own_token("b"));
    let number =
        |number: &str| cleaned(&json!({"order_id": "a", "pan": number}))["card_token"].clone();
    assert_eq!(number(OTHER), number("4929000000006"));
    assert!(own_token("a").starts_with("tok_") && own_token("a").len() == 28);
}

#[test]
fn a_token_that_is_there_stays() {
    let order = json!({"payment": {"card_number": OTHER, "card_token": "tok_timeout"}});
    assert_eq!(
        cleaned(&order),
        json!({"payment": {"card_token": "tok_timeout", "card_last4": "1111"}})
    );
    let null = json!({"payment": {"card_token": OTHER, "card_last4": OTHER}});
    let payment = &cleaned(&null)["payment"];
    assert_eq!(payment["card_last4"], "1111");
    assert!(payment["card_token"].as_str().unwrap().starts_with("tok_"));
}

#[test]
fn numbers_are_found_wherever_a_card_is_spoken_of() {
    for order in [
        json!({"payment": {"note": format!("it is {OTHER}!")}}),
        json!({"payment": {"deep": [{"er": [4111111111111111u64]}]}}),
        json!({"payment": {OTHER: true}}),
        json!({"payment": OTHER}),
        json!({"payment": [OTHER]}),
        json!({"payment": format!("{{\"card_number\":\"{OTHER}\"}}")}),
        json!({"customer": {"creditCard": {"no": OTHER}}}),
        json!({"items": [{"Card-Number": OTHER}]}),
        json!({"payment": {"valid": format!("{OTHER} 12/27")}}),
        json!({"payment": {"card_number": "4111.1111.1111.1111", "card_no": NUMBER}}),
        json!({"source": {"object": "card", "number": OTHER}}),
        json!({"source": {"cvc": "123", "number": OTHER}}),
        json!({"items": [{"type": "credit_card", "number": OTHER}]}),
        json!({"Kreditkarte": OTHER}),
        json!({"notes": format!("card {OTHER} cvc 123")}),
        json!({"note": "Visa 4111\u{2013}1111\u{2013}1111\u{2013}1111"}),
        Value::from(OTHER),
        json!([OTHER]),
    ] {
        let payload = order.to_string();
        let after = clean(payload.as_bytes());
        let text = String::from_utf8(after.to_vec()).unwrap();
        assert!(!text.contains("41111") && !text.contains("4111.1111"), "{order} → {text}");
        assert!(!text.contains(NUMBER), "{order} → {text}");
    }
}

#[test]
fn other_ways_to_write_the_number_hide_nothing() {
    for payload in [
        r#"{"payment":{"card_number":4.111111111111111e15}}"#,
        r#"{"payment":{"card_number":4111111111111111.0}}"#,
        r#"{"p\u0061yment":{"card_number":"\u0034111111111111111"}}"#,
        r#"{"payment":{"card_number":"4111111111111111"},"payment":{"x":"4111111111111111"}}"#,
        r#"{"payment":{"card_number":"4111111111111111""#,
        r#"{"payment":{"card_number":"\u0034111111111111111""#,
        r#"{"payment":{"card_number":"4111\/111111111111"}}"#,
        r#"{"payment":{"card_number":"4111\/111111111111""#,
        r#"{"payment":{"card_number":"4111\t111111111111"}}"#,
        r#"{"payment":{"card_number":"4111\u0020111111111111"}}"#,
        "order_id=7&card_number=4111111111111111",
    ] {
        let after = clean(payload.as_bytes());
        let text = String::from_utf8(after.to_vec()).unwrap();
        assert!(!text.contains("111111111111"), "{payload} → {text}");
    }
}

#[test]
fn what_is_nested_too_deep_is_left_out_with_its_number() {
    let deep = format!("{}\"{OTHER}\"{}", "[".repeat(5000), "]".repeat(5000));
    let payload = format!("{{\"payment\":{deep},\"note\":1}}");
    let text = String::from_utf8(clean(payload.as_bytes()).to_vec()).unwrap();
    assert!(text.contains("null") && !text.contains(OTHER), "{text}");
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}

#[test]
fn what_is_said_to_be_a_number_is_hidden_though_a_digit_is_mistyped() {
    let order = json!({"order_id": "o", "payment": {"card_number": "4111 1111 1111 1112"}, "pan": 4111111111111112u64});
    let stars = "*".repeat(16);
    assert_eq!(
        cleaned(&order),
        json!({"order_id": "o", "payment": {"card_number": stars}, "pan": stars})
    );
    let short = json!({"payment": {"card_number": "4111"}, "card_no": null});
    assert_eq!(cleaned(&short), short);
}

#[test]
fn verification_codes_are_left_out() {
    let order = json!({"payment": {"cvc": 123, "CVV2": "1", "securityCode": "2", "security_code": 3}, "cardCvc": 4, "a": 1});
    assert_eq!(cleaned(&order), json!({"payment": {}, "a": 1}));
    for alone in [
        "cvc",
        "cv2",
        "cvn",
        "CSC",
        "Security_Code",
        "security-code",
        "securityCode",
        "SECURITY CODE",
        "card_verification_code",
        "verificationCode",
        "cardVerificationValue",
        "c.v.c",
        "security / code",
        "c\\v\"c",
    ] {
        assert_eq!(cleaned(&json!({"payment": {alone: "737"}})), json!({"payment": {}}), "{alone}");
    }
}

#[test]
fn payloads_without_card_data_stay_byte_for_byte() {
    for payload in [
        r#"{ "order_id": 4111111111111111, "note": "4111111111111111", "payment": {"method": "cash"} }"#,
        r#"{"payment":{"paid_at":1700000000000,"card_token":"tok_visa","card_last4":"4242"}}"#,
        r#"{"order_id":4111111111111111,"type":"card","greeting card":"4111111111111112"}"#,
        r#"{"order_id":"card-4111111111111111"}"#,
        r#"{"name":"\u00e9","order_id":"01941f29-7c00-7000-8630-891040000000"}"#,
        "not JSON",
    ] {
        assert!(matches!(clean(payload.as_bytes()), Cow::Borrowed(_)), "{payload}");
    }
}

#[test]
fn a_key_or_header_has_no_number_but_the_events_own_id_and_times() {
    let payload = format!("{{\"order_id\":\"{OTHER}\",\"quantity\":0}}");
    let beside = |payload: &str, text: &str| {
        let cleaned = clean_beside(Some(payload.as_bytes()), text.as_bytes()).into_owned();
        String::from_utf8(cleaned).unwrap()
    };
    assert_eq!(beside(&payload, OTHER), OTHER);
    for payload in ["{\"order_id\":7}", "{", ""] {
        assert_eq!(beside(payload, OTHER), "*".repeat(16), "{payload}");
    }
    // Luhn's check passes for one in ten.
    for number in 0..20 {
        for time in [1_732_000_000_000u64, 1_732_000_000_000_000] {
            let time = (time + number).to_string();
            assert_eq!(beside("{}", &time), time);
        }
    }
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let mut headers = vec![
        header("card_number", "4111 1111 1111 1111"),
        header("Card-CVC", "737"),
        header(OTHER, "x"),
        header("trace", "id-7"),
        ("none".to_owned(), None),
    ];
    clean_headers(Some(b"{}"), &mut headers);
    let expected = [
        header("card_number", "**** **** **** ****"),
        header(&"*".repeat(16), "x"),
        header("trace", "id-7"),
        ("none".to_owned(), None),
    ];
    assert_eq!(headers, expected);
}

proptest! {
    #[test]
    fn the_quick_look_misses_no_code(
        word in "cvc|cvv|csc|cvn|cv2|security_?code|verification_?code|card_?verification_?value",
        separators in prop::collection::vec("[-_. /:é]?", 30), cases: u32, blank in "[ \t\n]?",
    ) {
        let mut separators = separators.into_iter();
        let name: String = (word.chars().enumerate())
            .flat_map(|(at, letter)| {
                let is_upper = cases >> at & 1 == 1;
                let letter = if is_upper { letter.to_ascii_uppercase() } else { letter };
                separators.next().unwrap_or_default().chars().chain([letter]).collect::<Vec<_>>()
            })
            .collect();
        let payload = format!("{{\"a\":{{\"{name}\"{blank}:\"737\"}}}}");
        prop_assert!(is_verification_code(&folded(&name)));
        prop_assert_eq!(&*clean(payload.as_bytes()), b"{\"a\":{}}");
    }

    #[test]
    fn cleaning_again_changes_nothing(
        name in "payment|card|note|cvc|card_token", value in "[0-9 a\\\\\"-]{0,24}", extra: i64,
    ) {
        let payload = json!({"order_id": "7", &name: {"x": value.clone(), "n": extra}, "payment": value});
        let payload = payload.to_string();
        let once = clean(payload.as_bytes()).into_owned();
        prop_assert!(serde_json::from_slice::<Value>(&once).is_ok());
        prop_assert_eq!(&*clean(&once), &once[..]);
    }

    #[test]
    fn any_payload_is_cleaned_without_a_panic(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-c0-9\\\\u]{0,60}") {
        clean(&bytes);
        clean(text.as_bytes());
        clean(format!("{{\"payment\":{text}}}").as_bytes());
    }
}
