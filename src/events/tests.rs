use proptest::prelude::*;

use super::*;

const ORDER: &str = r#"{"order_id": 90123, "customer": {"name": "James Clark",
    "email": "james@gmail.com", "address": {"street": "Avenue Street", "city": "Illinois",
    "state": "Chicago", "postal_code": "768987"}}, "product_name": "Protein Powder",
    "quantity": 5, "order_date": "2023-06-09", "priority": "high"}"#;
const TICKET: &str = r#"{"ticket_id": "t-1", "theater": "Regal", "movie": "Heat",
    "name": "Ann Lee", "email": "ann@example.com", "phone_number": "555-0100",
    "seats": ["A1", 2]}"#;
const USER: &str = r#"{"user_id": "u-1", "full_name": "Zoë Ng", "email": "zoe@example.org",
    "phone": "1", "address": "2", "city": "3", "country": "4",
    "date_of_birth": "1990-01-02T00:00:00Z", "username": "5",
    "registered_at": "2020-02-29", "picture": "6", "enriched_at": "1970-01-01T00:00:01Z",
    "major": "7", "hobby": null}"#;

fn reject(payload: impl AsRef<[u8]>) -> Reject {
    Kind::Order.parse(payload.as_ref()).expect_err("must be rejected")
}

/// The valid order with one piece of its text replaced.
fn order_with(piece: &str, replacement: &str) -> String {
    assert!(ORDER.contains(piece), "{piece} is not in the order");
    ORDER.replace(piece, replacement)
}

fn reject_with(piece: &str, replacement: &str) -> Reject {
    reject(order_with(piece, replacement))
}

/// Each field's name with its value as text.
fn row(kind: Kind, payload: &str) -> Vec<(&'static str, String)> {
    let event = kind.parse(payload.as_bytes()).expect("must parse");
    let text = |value: Value<'_>| match value {
        Value::Absent => "-".to_owned(),
        Value::Text(text) | Value::Decimal(text) => text.to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Moment { micros, .. } => micros.to_string(),
    };
    let fields = kind.fields().iter().enumerate();
    fields.map(|(index, field)| (field.name, text(event.value(index)))).collect()
}

fn expected(row: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    row.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn an_order_becomes_a_row() {
    let names = [
        ("order_id", "90123"),
        ("name", "James Clark"),
        ("email", "james@gmail.com"),
        ("street", "Avenue Street"),
        ("city", "Illinois"),
        ("state", "Chicago"),
        ("postal_code", "768987"),
        ("product_name", "Protein Powder"),
        ("quantity", "5"),
        ("order_date", "1686268800000000"),
        ("priority", "high"),
    ];
    let absent = ["unit_price", "currency", "restaurant"].map(|name| (name, "-"));
    let unpaid = [
        "total_cost",
        "payment_status",
        "payment_reference",
        "card_last4",
        "confirmed_at",
        "declined_at",
    ]
    .map(|name| (name, "-"));
    assert_eq!(row(Kind::Order, ORDER), expected(&[&names[..], &absent, &unpaid].concat()));
    let priced = order_with(
        r#""quantity""#,
        r#""unit_price": 12.50, "currency": "USD", "restaurant": "Da Ugo", "quantity""#,
    );
    let present = [("unit_price", "12.50"), ("currency", "USD"), ("restaurant", "Da Ugo")];
    assert_eq!(row(Kind::Order, &priced), expected(&[&names[..], &present, &unpaid].concat()));
}

#[test]
fn a_confirmed_order_has_its_payment() {
    let paid = order_with(
        r#""quantity""#,
        r#""total_cost": "12.50", "payment": {"status": "declined", "code": "lost_card",
           "reference": "pay_1", "card_last4": "4242", "other": 1}, "declined_at": "1970-01-01",
           "quantity""#,
    );
    let found = row(Kind::Order, &paid);
    let expected = expected(&[
        ("total_cost", "12.50"),
        ("payment_status", "declined"),
        ("payment_reference", "pay_1"),
        ("card_last4", "4242"),
        ("confirmed_at", "-"),
        ("declined_at", "0"),
    ]);
    assert_eq!(found[found.len() - expected.len()..], expected);
    for other in ["\"cash\"", "7", "[]", "{\"status\": 1}", "null"] {
        let order = order_with(r#""quantity""#, &format!(r#""payment": {other}, "quantity""#));
        assert_eq!(row(Kind::Order, &order), row(Kind::Order, ORDER), "{other}");
    }
}

#[test]
fn a_ticket_becomes_a_row() {
    let names = [
        ("ticket_id", "t-1"),
        ("theater", "Regal"),
        ("movie", "Heat"),
        ("name", "Ann Lee"),
        ("email", "ann@example.com"),
        ("phone_number", "555-0100"),
        ("seats", "A1,2"),
    ];
    assert_eq!(row(Kind::MovieTicket, TICKET), expected(&names));
}

#[test]
fn a_user_becomes_a_row() {
    let names = [
        ("user_id", "u-1"),
        ("full_name", "Zoë Ng"),
        ("email", "zoe@example.org"),
        ("phone", "1"),
        ("address", "2"),
        ("city", "3"),
        ("country", "4"),
        ("date_of_birth", "631238400000000"),
        ("username", "5"),
        ("registered_at", "1582934400000000"),
        ("picture", "6"),
        ("enriched_at", "1000000"),
        ("major", "7"),
        ("hobby", "-"),
    ];
    assert_eq!(row(Kind::User, USER), expected(&names));
    let least = r#"{"user_id": "u", "full_name": "n", "email": "e"}"#;
    assert!(Kind::User.parse(least.as_bytes()).is_ok());
}

#[test]
fn a_missing_field_is_named_by_its_path() {
    for field in ["order_id", "customer", "product_name", "quantity", "order_date", "priority"] {
        let reject = reject_with(&format!("\"{field}\""), "\"other\"");
        assert_eq!((reject.field.as_str(), reject.reason.as_str()), (field, "is missing"));
    }
    for field in ["name", "email", "address"] {
        let reject = reject_with(&format!("\"{field}\""), "\"other\"");
        assert_eq!(reject.field, format!("customer.{field}"));
    }
    for field in ["street", "city", "state", "postal_code"] {
        let reject = reject_with(&format!("\"{field}\""), "\"other\"");
        assert_eq!(reject.field, format!("customer.address.{field}"));
    }
}

#[test]
fn a_wrong_type_is_named_by_its_path_and_what_was_found() {
    let reject = reject_with("\"Illinois\"", "7");
    assert_eq!(
        reject.to_string(),
        "customer.address.city: invalid type: integer `7`, expected a text"
    );
    for (piece, found, field) in [
        ("90123", "[1]", "order_id"),
        ("90123", "1.5", "order_id"),
        ("90123", "\"\"", "order_id"),
        ("90123", "null", "order_id"),
        ("\"James Clark\"", "null", "customer.name"),
        ("\"Protein Powder\"", "{}", "product_name"),
        ("\"high\"", "\"urgent\"", "priority"),
        ("\"high\"", "2", "priority"),
        ("\"high\"", "\"high\", \"unit_price\": \"dear\"", "unit_price"),
        ("\"high\"", "\"high\", \"currency\": 1", "currency"),
    ] {
        assert_eq!(reject_with(piece, found).field, field, "{found}");
    }
}

#[test]
fn an_array_in_place_of_an_object_is_refused() {
    let address = r#"["Avenue Street", "Illinois", "Chicago", "768987"]"#;
    let start = ORDER.find(r#"{"street""#).unwrap();
    let end = ORDER.find("}}").unwrap();
    let payload = format!("{}{address}{}", &ORDER[..start], &ORDER[end + 1..]);
    let reject = reject(payload);
    assert_eq!(reject.to_string(), "customer.address: invalid type: sequence, expected an object");
}

#[test]
fn a_quantity_is_a_whole_number_of_at_least_one() {
    for wrong in ["0", "-1", "1.5", "1e30", "\"5\"", "18446744073709551615", "null", "true"] {
        assert_eq!(reject_with(": 5", &format!(": {wrong}")).field, "quantity", "{wrong}");
    }
    assert!(reject_with(": 5", ": 1e999").reason.contains("number out of range"));
    let reject = reject_with(": 5", ": -1");
    assert_eq!(reject.reason, "invalid value: integer `-1`, expected a whole number of at least 1");
}

#[test]
fn a_date_that_does_not_exist_is_refused() {
    let reject = reject_with("2023-06-09", "2023-02-30");
    assert_eq!(reject.field, "order_date");
    assert!(reject.reason.starts_with("no such day in \"2023-02-30\""), "{reject}");
    assert_eq!(reject_with("\"2023-06-09\"", "20230609").field, "order_date");
}

#[test]
fn a_nul_in_any_text_is_refused_by_name() {
    let nul = "\\u0000";
    for (piece, field) in [
        ("James Clark", "customer.name"),
        ("Chicago", "customer.address.state"),
        ("768987", "customer.address.postal_code"),
        ("Protein Powder", "product_name"),
    ] {
        let reject = reject_with(piece, &format!("x{nul}y"));
        assert_eq!(reject.field, field);
        assert!(reject.reason.contains("NUL"), "{reject}");
    }
    let reject = reject_with("90123", &format!("\"9{nul}\""));
    assert_eq!(reject.field, "order_id");
    let ticket = TICKET.replace("\"A1\"", &format!("\"A{nul}\""));
    assert!(Kind::MovieTicket.parse(ticket.as_bytes()).is_err());
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let reject = reject_with("\"priority\"", "\"quantity\": 6, \"priority\"");
    assert_eq!(reject.to_string(), "quantity: is there more than once");
    let reject = reject_with("\"state\"", "\"city\": \"x\", \"state\"");
    assert_eq!(reject.field, "customer.address.city");
}

#[test]
fn fields_of_others_are_ignored() {
    let note = r#""note": {"quantity": [0, {"order_id": null}], "note": 1}, "note": 2, "quantity""#;
    let payload = order_with("\"quantity\"", note);
    assert!(Kind::Order.parse(payload.as_bytes()).is_ok());
}

#[test]
fn what_is_no_json_object_is_refused_as_a_whole() {
    for payload in
        ["", " \n", "null", "7", "\"x\"", "[]", "order", "{", "{\"order_id\":", "\u{feff}{}"]
    {
        assert_eq!(reject(payload).field, "", "{payload:?}");
    }
    assert_eq!(reject("").reason, "the payload is empty");
    let trailing = reject(format!("{ORDER}x"));
    assert_eq!(trailing.reason, "not JSON: trailing characters at line 4 column 67");
    assert_eq!(reject(b"{\"order_id\": \"\xff\"}").reason, "not UTF-8 from byte 15");
}

#[test]
fn invalid_utf8_is_refused_also_in_fields_of_others() {
    let mut payload = order_with("\"quantity\"", "\"note\": \"#\", \"quantity\"").into_bytes();
    let at = payload.iter().position(|byte| *byte == b'#').unwrap();
    payload[at] = 0xfe;
    assert!(reject(payload).reason.starts_with("not UTF-8"));
}

#[test]
fn deep_nesting_is_refused_wherever_it_is() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(reject("[".repeat(1_000_000)).reason.contains("levels deep"));
    assert!(reject("{\"customer\":".repeat(1_000_000)).reason.contains("levels deep"));
    let note = |json: &str| order_with("\"quantity\"", &format!("\"note\": {json}, \"quantity\""));
    assert!(reject(note(&deep(128))).reason.contains("levels deep"));
    assert!(Kind::Order.parse(note(&deep(127)).as_bytes()).is_ok());
    let brackets_in_text = note(&format!("\"\\\"{}\"", "[{".repeat(500)));
    assert!(Kind::Order.parse(brackets_in_text.as_bytes()).is_ok());
}

#[test]
fn a_huge_payload_has_a_bounded_reason() {
    let reject = reject_with("\"high\"", &format!("\"{}\"", "x".repeat(5_000_000)));
    assert_eq!(reject.field, "priority");
    assert_eq!(reject.reason.chars().count(), Reject::REASON_CHARS_MAX + 1);
}

#[test]
fn names_and_aliases_of_a_kind_are_never_ambiguous() {
    for kind in Kind::ALL {
        let mut seen = std::collections::HashSet::new();
        for field in kind.fields() {
            assert!(seen.insert(field.name), "{}", field.name);
            assert!(field.aliases.iter().all(|alias| seen.insert(alias)), "{}", field.name);
        }
        assert_eq!(kind.fields()[0].shape, Shape::Id);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in Kind::ALL {
            prop_assert!(kind.parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_valid_payload_with_changed_bytes_is_never_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (kind, payload) in Kind::ALL.into_iter().zip([ORDER, TICKET, USER]) {
            let mut bytes = payload.as_bytes().to_vec();
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Err(reject) = kind.parse(&bytes) {
                prop_assert!(!reject.reason.is_empty());
            }
        }
    }

    #[test]
    fn a_valid_payload_cut_short_is_refused(at: prop::sample::Index) {
        for (kind, payload) in Kind::ALL.into_iter().zip([ORDER, TICKET, USER]) {
            let cut = at.index(payload.len());
            prop_assume!(payload.is_char_boundary(cut));
            prop_assert!(kind.parse(&payload.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn any_text_survives_its_json_form(id in "[^\0]{1,20}", name in "[^\0]{0,40}") {
        let user = serde_json::json!({"user_id": id, "full_name": name, "email": "e"}).to_string();
        let event = Kind::User.parse(user.as_bytes()).unwrap();
        prop_assert_eq!(event.id(), id.as_str());
        prop_assert_eq!(event.value(1), Value::Text(&name));
    }
}
