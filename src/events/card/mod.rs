//! Card data: only a token and the last four digits of a card may be published.
//!
//! A payload is cleaned before it goes to any topic:
//! - what is under a name that speaks of a payment or a card (`payment`, `card`,
//!   `card_number`, `pan` …, at any depth), or in an object that says it is a card,
//!   is searched for card numbers; a value that is one becomes `card_token` and
//!   `card_last4`, one that has one in it gets `*` for the digits;
//! - a value whose name says that it is a card's number gets `*` for as many digits
//!   as one has, also when they do not pass for one: a digit may be mistyped;
//! - any other text that speaks of a card gets `*` for the card numbers in it;
//! - card verification codes (`cvc`, `cvv`, `security_code` …) are left out;
//! - in a payload that is no JSON object nothing says what a number is, so that
//!   every card number in it gets `*`; the same in the record's key and headers,
//!   but for the event's id and times.
//!
//! Other fields stay as they are: an order's id of 16 digits may look like a card
//! number. A token is made of the event's id, never of the number: few enough
//! numbers share their last four digits that any hash of one could be undone by
//! trying them all.

mod digits;

use std::borrow::Cow;
use std::fmt::Write as _;

use memchr::{memchr, memchr_iter, memrchr};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::decimal::Decimal;
use super::members::members;

pub use digits::{mask, mask_str};

/// How deep we look; deeper, what has a card number in it is left out.
const DEPTH_MAX: usize = 64;
/// The members that say which event a payload is.
const ID_NAMES: [&str; 4] = ["order_id", "ticket_id", "user_id", "id"];
/// Numbers that payment services publish for tests, with the token that behaves
/// as they do. All others get a token of their own.
const TEST_NUMBERS: [(&str, &str); 8] = [
    ("4242424242424242", "tok_visa"),
    ("5555555555554444", "tok_mastercard"),
    ("378282246310005", "tok_amex"),
    ("4000000000000002", "tok_chargeDeclined"),
    ("4000000000009995", "tok_insufficientFunds"),
    ("4000000000000069", "tok_expiredCard"),
    ("4000000000000127", "tok_incorrectCvc"),
    ("4000000000000119", "tok_error"),
];

/// The payload without card data, borrowed when it has none.
pub fn clean(payload: &[u8]) -> Cow<'_, [u8]> {
    if !is_suspect(payload) {
        return Cow::Borrowed(payload);
    }
    let text = std::str::from_utf8(payload).ok();
    let Some((text, members)) = text.and_then(|text| Some((text, members(text)?))) else {
        return mask(payload);
    };
    let mut cleaner = Cleaner { seed: seed(&members), cards: 0, has_changed: false };
    let mut out = String::with_capacity(text.len());
    cleaner.object(&members, false, 0, &mut out);
    match cleaner.has_changed {
        true => Cow::Owned(out.into_bytes()),
        false => Cow::Borrowed(payload),
    }
}

/// The payload without card data; none when it has none, so that it may stay.
pub fn cleaned(payload: &[u8]) -> Option<Vec<u8>> {
    match clean(payload) {
        Cow::Borrowed(_) => None,
        Cow::Owned(cleaned) => Some(cleaned),
    }
}

/// A key or a header's value of a record with this payload, without card data. The
/// id of the payload's event stays, and so does a time.
pub fn clean_beside<'t>(payload: Option<&[u8]>, text: &'t [u8]) -> Cow<'t, [u8]> {
    match clean(text) {
        Cow::Owned(_) if is_time(text) || is_id(payload, text) => Cow::Borrowed(text),
        cleaned => cleaned,
    }
}

/// Takes card data out of the headers of a record with this payload, as
/// [`clean_beside`] does; those that are a verification code are left out.
pub fn clean_headers(payload: Option<&[u8]>, headers: &mut Vec<(String, Option<Vec<u8>>)>) {
    headers.retain(|(name, _)| !is_verification_code(&folded(name)));
    for (name, value) in headers {
        if let Cow::Owned(masked) = mask_str(name) {
            *name = masked;
        }
        if let Some(value) = value
            && let Cow::Owned(cleaned) = clean_beside(payload, value)
        {
            *value = cleaned;
        }
    }
}

/// Whether digits are a time since 1970 in milliseconds, microseconds or
/// nanoseconds, which begins with 1 until 2033: no card of so many digits does.
fn is_time(text: &[u8]) -> bool {
    matches!(text.len(), 13 | 16 | 19)
        && text.starts_with(b"1")
        && text.iter().all(u8::is_ascii_digit)
}

fn is_id(payload: Option<&[u8]>, text: &[u8]) -> bool {
    let members = payload.and_then(|payload| members(std::str::from_utf8(payload).ok()?));
    members.is_some_and(|members| seed(&members).as_bytes() == text)
}

/// Whether a closer look is worth it: a member has the name of a verification code,
/// there are digits enough, or an escape may hide either. Quick: it is asked of
/// every payload.
fn is_suspect(payload: &[u8]) -> bool {
    memchr(b'\\', payload).is_some() || names_a_code(payload) || digits::has_run(payload)
}

/// Whether a member's name, as written without escapes, is that of a verification
/// code.
fn names_a_code(payload: &[u8]) -> bool {
    memchr_iter(b':', payload).any(|colon| {
        let Some(before) = payload[..colon].trim_ascii_end().strip_suffix(b"\"") else {
            return false;
        };
        let start = memrchr(b'"', before).map_or(0, |quote| quote + 1);
        let name = &before[start..];
        may_be_code(name) && is_verification_code(&folded(&String::from_utf8_lossy(name)))
    })
}

/// Whether a name has letters that all names of verification codes have: a v, or an
/// s and two c. Nearly no other name has, and so need not be folded.
fn may_be_code(name: &[u8]) -> bool {
    let (mut v, mut s, mut c) = (0, 0, 0);
    for byte in name {
        let lower = byte | 0x20;
        v += u32::from(lower == b'v');
        s += u32::from(lower == b's');
        c += u32::from(lower == b'c');
    }
    v > 0 || (s > 0 && c > 1)
}

/// What an event's tokens are made of: its id as it is written.
fn seed<'m>(members: &[(Cow<'_, str>, &'m RawValue)]) -> &'m str {
    let find = |name: &&str| members.iter().find(|(other, _)| other == name);
    let id = ID_NAMES.iter().find_map(find).map_or("", |(_, value)| value.get());
    id.trim_matches('"')
}

/// The name in lower case without what separates words.
fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn speaks_of_card(name: &str) -> bool {
    let words = ["card", "payment", "credit", "debit", "billing", "karte", "tarjeta"];
    words.iter().any(|word| name.contains(word)) || is_card_number_name(name) || name == "cc"
}

fn is_card_number_name(name: &str) -> bool {
    let names = ["cardnumber", "cardno", "ccnumber", "ccnum", "ccno", "primaryaccountnumber"];
    name == "pan" || names.iter().any(|ending| name.ends_with(ending))
}

/// Whether a text that is no card's by its name says that it is about one.
fn text_speaks_of_card(json: &str) -> bool {
    let words = ["card", "visa", "amex", "cvc", "cvv", "karte", "tarjeta"];
    let text = json.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// Whether an object is a card by what it says of itself (`"object": "card"`, as a
/// payment service has it) or by having a verification code.
fn says_it_is_card(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    members.iter().any(|(name, value)| {
        let name = folded(name);
        let is_kind = matches!(&*name, "object" | "type" | "method" | "kind");
        is_verification_code(&name) || (is_kind && text_speaks_of_card(value.get()))
    })
}

fn is_verification_code(name: &str) -> bool {
    name.contains("cvc")
        || name.contains("cvv")
        || name.contains("securitycode")
        || name.contains("verificationcode")
        || matches!(name, "csc" | "cvn" | "cv2" | "cardverificationvalue")
}

struct Cleaner<'s> {
    seed: &'s str,
    cards: u32,
    has_changed: bool,
}

impl Cleaner<'_> {
    fn value(&mut self, json: &str, is_inside: bool, depth: usize, out: &mut String) {
        match json.as_bytes().first() {
            Some(b'{') if depth < DEPTH_MAX => match members(json) {
                Some(members) => self.object(&members, is_inside, depth, out),
                None => self.leave_out_if_held(json, out),
            },
            Some(b'[') if depth < DEPTH_MAX => match serde_json::from_str::<Vec<&RawValue>>(json) {
                Ok(items) => self.array(&items, is_inside, depth, out),
                Err(_) => self.leave_out_if_held(json, out),
            },
            Some(b'{' | b'[') => self.leave_out_if_held(json, out),
            Some(b'"') if is_inside || text_speaks_of_card(json) => self.scalar(json, out),
            _ if is_inside => self.scalar(json, out),
            _ => out.push_str(json),
        }
    }

    /// A value that is said to be a card's number, whatever its digits.
    fn starred(&mut self, json: &str, depth: usize, out: &mut String) {
        let digits = json.bytes().filter(u8::is_ascii_digit).count();
        match json.as_bytes().first() {
            Some(b'"' | b'0'..=b'9') if digits::could_be_number(digits) => {
                self.has_changed = true;
                out.push_str(&quoted(&"*".repeat(digits)));
            }
            _ => self.value(json, true, depth + 1, out),
        }
    }

    fn object(
        &mut self,
        members: &[(Cow<'_, str>, &RawValue)],
        is_inside: bool,
        depth: usize,
        out: &mut String,
    ) {
        let is_set = |wanted: &str| {
            members.iter().any(|(name, value)| name == wanted && value.get() != "null")
        };
        let (mut has_token, mut has_last4) = (is_set("card_token"), is_set("card_last4"));
        // Not the event itself, whose id may look like a number.
        let is_card = depth > 0 && says_it_is_card(members);
        let mut separator = '{';
        for (name, value) in members {
            let name_folded = folded(name);
            if is_verification_code(&name_folded) {
                self.has_changed = true;
                continue;
            }
            let is_inside = is_inside || is_card || speaks_of_card(&name_folded);
            // The event's own id stays, whatever it looks like.
            if depth == 0 && ID_NAMES.contains(&&**name) {
                begin_member(out, &mut separator, name);
                out.push_str(value.get());
                continue;
            }
            let number = if is_inside { card_number(value.get()) } else { None };
            let Some(number) = number else {
                let name = if is_inside { self.masked(name) } else { Cow::Borrowed(&**name) };
                begin_member(out, &mut separator, &name);
                match is_card_number_name(&name_folded) {
                    true => self.starred(value.get(), depth, out),
                    false => self.value(value.get(), is_inside, depth + 1, out),
                }
                continue;
            };
            let (token, last4) = (self.token(&number), &number[number.len() - 4..]);
            if name == "card_token" || !std::mem::replace(&mut has_token, true) {
                begin_member(out, &mut separator, "card_token");
                let _ = write!(out, "\"{token}\"");
            }
            if name == "card_last4" || !std::mem::replace(&mut has_last4, true) {
                begin_member(out, &mut separator, "card_last4");
                let _ = write!(out, "\"{last4}\"");
            }
        }
        out.push_str(if separator == '{' { "{}" } else { "}" });
    }

    fn array(&mut self, items: &[&RawValue], is_inside: bool, depth: usize, out: &mut String) {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            self.value(item.get(), is_inside, depth + 1, out);
        }
        out.push(']');
    }

    /// A text or a number where card data may be.
    fn scalar(&mut self, json: &str, out: &mut String) {
        let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
        let masked = match card_number(json) {
            Some(number) => Cow::Owned("*".repeat(number.len())),
            None => mask_str(&text),
        };
        if masked == text {
            out.push_str(json);
        } else {
            self.has_changed = true;
            out.push_str(&quoted(&masked));
        }
    }

    fn leave_out_if_held(&mut self, json: &str, out: &mut String) {
        let is_held = matches!(mask_str(json), Cow::Owned(_));
        self.has_changed |= is_held;
        out.push_str(if is_held { "null" } else { json });
    }

    fn masked<'n>(&mut self, name: &'n str) -> Cow<'n, str> {
        let masked = mask_str(name);
        self.has_changed |= matches!(masked, Cow::Owned(_));
        masked
    }

    fn token(&mut self, number: &str) -> String {
        self.has_changed = true;
        self.cards += 1;
        if let Some((_, token)) = TEST_NUMBERS.iter().find(|(test, _)| *test == number) {
            return (*token).to_owned();
        }
        let digest = Sha256::digest(format!("orderctl card {} {}", self.cards, self.seed));
        digest[..12].iter().fold("tok_".to_owned(), |token, byte| format!("{token}{byte:02x}"))
    }
}

fn begin_member(out: &mut String, separator: &mut char, name: &str) {
    out.push(*separator);
    *separator = ',';
    out.push_str(&quoted(name));
    out.push(':');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The card number that a JSON text or number is.
fn card_number(json: &str) -> Option<String> {
    if json.starts_with('"') {
        return digits::whole(&serde_json::from_str::<String>(json).ok()?);
    }
    let number = Decimal::parse(json)?;
    let (whole, places) = number.as_str().split_once('.').unwrap_or((number.as_str(), ""));
    if places.bytes().all(|byte| byte == b'0') { digits::whole(whole) } else { None }
}

#[cfg(test)]
mod tests;
