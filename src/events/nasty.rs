//! Payloads of every malformed sort, for the property tests.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::Kind;
use super::fake::{Generator, IdStyle};

/// Where a payload of the kind has a value to be replaced, as JSON pointers.
fn places(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Order => vec![
            "/order_id",
            "/customer",
            "/customer/name",
            "/customer/address",
            "/customer/address/city",
            "/customer/address/postal_code",
            "/quantity",
            "/order_date",
            "/priority",
            "/unit_price",
            "/payment",
            "/confirmed_at",
            "/unknown",
        ],
        Kind::MovieTicket => vec!["/ticket_id", "/phone_number", "/seats", "/unknown"],
        Kind::User => vec!["/user_id", "/full_name", "/date_of_birth", "/hobby", "/unknown"],
    }
}

/// A JSON text that some reader will trip over; not always valid JSON.
pub fn fragment() -> impl Strategy<Value = String> {
    let listed: Vec<&str> = "1e999 -1e999 1e-999 1E400 0 -0 -1 0.1 1.0 01 +1 1. .5 0x10 NaN Infinity
        9223372036854775807 9223372036854775808 -9223372036854775809 18446744073709551616
        1234567890123456789012345678901234567890 99999.995 999.994999 2147483648 32768
        null true false nul [] {} [[]] [null] {\"a\":1} [1,\"2\",3.5] , : ] } {\"a\":1,\"a\":2}
        \"\" \"\\u0000\" \"a\\u0000b\" \"\\ud800\" \"\\udc00\\ud800\" \"\\ud83d\\ude00\" \"\\uZZZZ\" \"\\x\"
        \"\\n\\t\\\"\\\\\" \"\u{202e}\u{feff}\" \"\u{7f}\u{85}\" '' \" \" \",\" \"A1,,A2\"
        \"2023-02-29\" \"2024-02-29\" \"0000-01-01\" \"9999-12-31T23:59:60Z\" \"0001-01-01T00:00:00+14:00\"
        \"9999-12-31T23:59:59-14:00\" \"12.50\" \"1e5\" \"-0.00\" \"t\" \"yes\" \"low\" \"7\"
        \"018f4e2a-7c3b-7000-8000-00000000abcd\""
        .split_whitespace()
        .collect();
    let deep = |levels: usize, open: &str| open.repeat(levels);
    prop_oneof![
        8 => select(listed).prop_map(str::to_owned),
        1 => (1usize..4000).prop_map(move |levels| deep(levels, "[")),
        1 => (1usize..4000).prop_map(move |levels| deep(levels, "{\"a\":")),
        1 => (1usize..4000).prop_map(|levels| "[".repeat(levels) + &"]".repeat(levels)),
        1 => "[0-9]{1,60}(\\.[0-9]{0,30})?([eE][-+]?[0-9]{1,4})?",
        2 => any::<String>().prop_map(|text| Value::String(text).to_string()),
        1 => (0usize..3000).prop_map(|length| format!("\"{}\"", "ä".repeat(length))),
    ]
}

/// Event `index` of the kind, as generated.
pub fn generated(kind: Kind, index: u64) -> Value {
    // Their pools take a while to make.
    static GENERATORS: LazyLock<[Generator; 3]> =
        LazyLock::new(|| Kind::ALL.map(|kind| Generator::new(kind, 3, 0, IdStyle::V4)));
    let (mut key, mut payload) = (Vec::new(), Vec::new());
    GENERATORS[kind as usize].write(index, &mut key, &mut payload);
    serde_json::from_slice(&payload).unwrap()
}

/// A generated payload of the kind with some values replaced by fragments.
pub fn with_fragments(kind: Kind) -> impl Strategy<Value = String> {
    let replacements = prop::collection::vec((select(places(kind)), fragment()), 0..3);
    (0u64..100, replacements).prop_map(move |(index, replacements)| {
        let mut event = generated(kind, index);
        // What is inside something replaced earlier is not there any more.
        let mut marks = Vec::new();
        for (number, (place, fragment)) in replacements.into_iter().enumerate() {
            let mark = format!("mark-{number}");
            let (parent, name) = place.rsplit_once('/').unwrap();
            if let Some(Value::Object(parent)) = event.pointer_mut(parent) {
                parent.insert(name.to_owned(), Value::String(mark.clone()));
                marks.push((mark, fragment));
            }
        }
        let mut text = event.to_string();
        for (mark, fragment) in marks {
            text = text.replace(&format!("\"{mark}\""), &fragment);
        }
        text
    })
}

/// Such a payload, often with more done to its bytes: cut short, followed or
/// preceded by something, with a byte replaced, or with a field twice.
pub fn payload(kind: Kind) -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        4 => Just(Change::None),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => select(vec!["x", "{}", "\0", "\u{feff}", " \n", "]", ","]).prop_map(Change::After),
        1 => select(vec!["\u{feff}", "\0", " ", "[", "x"]).prop_map(Change::Before),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (select(places(kind)), fragment())
            .prop_map(|(place, json)| Change::Twice(place.rsplit('/').next().unwrap(), json)),
    ];
    (with_fragments(kind), change).prop_map(|(text, change)| change.apply(text))
}

#[derive(Debug, Clone)]
enum Change {
    None,
    Cut(Index),
    After(&'static str),
    Before(&'static str),
    Byte(Index, u8),
    Twice(&'static str, String),
}

impl Change {
    fn apply(self, text: String) -> Vec<u8> {
        let mut bytes = text.into_bytes();
        match self {
            Change::None => {}
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::After(more) => bytes.extend(more.bytes()),
            Change::Before(more) => drop(bytes.splice(..0, more.bytes())),
            Change::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Change::Twice(name, json) => {
                drop(bytes.splice(1..1, format!("\"{name}\":{json},").into_bytes()));
            }
        }
        bytes
    }
}
