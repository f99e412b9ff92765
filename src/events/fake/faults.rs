//! Breaking a generated payload so that it is certainly rejected.

use super::Kind;

/// One way to break a payload.
#[derive(Debug, Clone, Copy)]
enum Breakage {
    /// Only its beginning is there.
    Truncate,
    /// A required field has another name.
    Rename(&'static str),
    /// A field has another value, in JSON.
    Set(&'static str, &'static str),
}

use Breakage::{Rename, Set, Truncate};

const ORDER: &[Breakage] = &[
    Truncate,
    Rename("order_id"),
    Rename("product_name"),
    Rename("city"),
    Set("email", "null"),
    Set("quantity", "0"),
    Set("quantity", "-1"),
    Set("quantity", "1.5"),
    Set("quantity", "\"many\""),
    Set("order_date", "\"2023-02-30\""),
    Set("order_date", "\"yesterday\""),
    Set("priority", "\"urgent\""),
    Set("unit_price", "\"free\""),
    Set("street", "\"nul \\u0000 inside\""),
];

const MOVIE_TICKET: &[Breakage] = &[
    Truncate,
    Rename("ticket_id"),
    Rename("theater"),
    Set("movie", "12"),
    Set("phone_number", "null"),
    Set("seats", "\"\""),
    Set("seats", "[]"),
    Set("name", "\"nul \\u0000 inside\""),
];

const USER: &[Breakage] = &[
    Truncate,
    Rename("user_id"),
    Rename("full_name"),
    Set("email", "[]"),
    Set("date_of_birth", "\"1990-13-01\""),
    Set("registered_at", "\"2023-06-09T25:00:00Z\""),
    Set("city", "7"),
    Set("username", "\"nul \\u0000 inside\""),
];

/// Breaks a payload that the generator wrote in one of several ways, which
/// `choice` picks: the result is never a valid event of its kind.
pub fn malform(kind: Kind, choice: u64, payload: &mut Vec<u8>) {
    let ways = match kind {
        Kind::Order => ORDER,
        Kind::MovieTicket => MOVIE_TICKET,
        Kind::User => USER,
    };
    let count = ways.len() as u64;
    match ways[(choice % count) as usize] {
        Truncate => payload.truncate((choice / count) as usize % payload.len()),
        Rename(field) => {
            let name = position(payload, &format!("\"{field}\":")) + 1;
            payload.splice(name..name, *b"no_");
        }
        Set(field, json) => {
            let start = position(payload, &format!("\"{field}\":")) + field.len() + 3;
            let end = start + scalar_length(&payload[start..]);
            payload.splice(start..end, json.bytes());
        }
    }
}

/// Where the name of a field begins; our own payloads have every field.
fn position(payload: &[u8], name: &str) -> usize {
    let found = payload.windows(name.len()).position(|window| window == name.as_bytes());
    found.expect("a generated payload has every field of its kind")
}

/// The length of the string or number that the JSON text begins with.
fn scalar_length(json: &[u8]) -> usize {
    if json[0] != b'"' {
        return json.iter().position(|byte| matches!(byte, b',' | b'}')).unwrap_or(json.len());
    }
    let mut escaped = false;
    let end = json[1..].iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}
