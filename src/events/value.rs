//! Values with one door: what a field holds after parse, borrowed from the
//! payload where possible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

/// The value of one field of one event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An optional field that is not there.
    Absent,
    /// Text, free of NUL.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A decimal number in plain notation (`-12.50`), as written.
    Decimal(&'a str),
    /// A moment in microseconds since 1970-01-01 UTC (a date is its midnight in
    /// UTC), with the text it was written as.
    Moment {
        /// Microseconds since 1970-01-01T00:00:00Z; may be negative.
        micros: i64,
        /// As written in the event.
        text: &'a str,
    },
}

/// Why an event can never be stored: which field, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The path of the field (`customer.address.city`), or empty where the
    /// payload as a whole is at fault.
    pub field: String,
    /// What is wrong with it, at most [`Reject::REASON_CHARS_MAX`] characters.
    pub reason: String,
}

impl Reject {
    /// The longest reason kept, in characters; longer ones end in `…`.
    pub const REASON_CHARS_MAX: usize = 300;

    /// A reject of one field; an overlong reason is cut, and control characters
    /// in it are shown as `\u{0}`, `\n` and so on, so that it can be stored as
    /// text and printed on any terminal.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Reject {
        let mut reason = reason.into();
        if reason.contains(char::is_control) {
            reason = reason.chars().map(shown).collect();
        }
        if let Some((cut, _)) = reason.char_indices().nth(Reject::REASON_CHARS_MAX) {
            reason.truncate(cut);
            reason.push('…');
        }
        Reject { field: field.into(), reason }
    }
}

/// The character itself, or its escape where it is a control character.
fn shown(character: char) -> String {
    if character.is_control() { character.escape_default().to_string() } else { character.into() }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.field, self.reason)
        }
    }
}

impl std::error::Error for Reject {}

/// Free text without NUL, which PostgreSQL cannot store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// A text that stands in the payload as it is, so that it has no NUL.
    pub(super) fn plain(text: &'a str) -> Text<'a> {
        Text(Cow::Borrowed(text))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as the value of a field.
    pub fn value(&self) -> Value<'_> {
        Value::Text(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        without_nul(deserializer.deserialize_str(CowVisitor("a text"))?).map(Text)
    }
}

/// An event's identifier: a text that is not empty, or a whole number, which
/// means its decimal digits, as many as there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a>(Cow<'a, str>);

impl<'a> Id<'a> {
    /// An identifier that stands in the payload as it is; none when empty.
    pub(super) fn plain(text: &'a str) -> Option<Id<'a>> {
        (!text.is_empty()).then_some(Id(Cow::Borrowed(text)))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The raw text, because a number type would lose digits of a long one.
        let id = without_nul(text_or_digits(<&RawValue>::deserialize(deserializer)?)?)?;
        if id.is_empty() {
            return Err(Error::invalid_value(Unexpected::Str(""), &"an id that is not empty"));
        }
        Ok(Id(id))
    }
}

/// A quantity: a whole number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(i64);

impl Quantity {
    /// None when it is less than 1.
    pub(super) fn new(number: i64) -> Option<Quantity> {
        (number >= 1).then_some(Quantity(number))
    }

    /// The number, at least 1.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of at least 1")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
        if number < 1 {
            return Err(E::invalid_value(Unexpected::Signed(number), &self));
        }
        Ok(Quantity(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}

/// How urgent an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
}

impl Priority {
    /// From the word in the event.
    pub(super) fn parse(word: &str) -> Option<Priority> {
        match word {
            "low" => Some(Priority::Low),
            "medium" => Some(Priority::Medium),
            "high" => Some(Priority::High),
            _ => None,
        }
    }

    /// The word in the event: `low`, `medium`, `high`.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
        }
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &str = "low, medium or high";
        let word = deserializer.deserialize_str(CowVisitor(WORDS))?;
        Priority::parse(&word).ok_or_else(|| Error::invalid_value(Unexpected::Str(&word), &WORDS))
    }
}

/// Seat numbers, at least one, separated by commas without blanks: `A1,A2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seats<'a>(Cow<'a, str>);

impl Seats<'_> {
    /// The seat numbers, separated by commas.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Seats<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeatsVisitor)
    }
}

struct SeatsVisitor;

impl<'de> Visitor<'de> for SeatsVisitor {
    type Value = Seats<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seat numbers separated by commas, or an array of them")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Seats<'de>, E> {
        let mut seats = text.split(',');
        if seats.all(|seat| !seat.is_empty() && seat.trim() == seat) {
            return Ok(Seats(Cow::Borrowed(text)));
        }
        self.visit_str(text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Seats<'de>, E> {
        let seats: Vec<&str> = text.split(',').map(str::trim).collect();
        if seats.contains(&"") {
            return Err(E::invalid_value(Unexpected::Str(text), &self));
        }
        without_nul(Cow::Owned(seats.join(","))).map(Seats)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seats<'de>, A::Error> {
        let mut seats = String::new();
        while let Some(raw) = items.next_element::<&RawValue>()? {
            let seat = without_nul(text_or_digits::<A::Error>(raw)?)?;
            let seat = seat.trim();
            if seat.is_empty() || seat.contains(',') {
                return Err(Error::invalid_value(Unexpected::Str(seat), &"one seat number"));
            }
            if !seats.is_empty() {
                seats.push(',');
            }
            seats.push_str(seat);
        }
        if seats.is_empty() {
            return Err(Error::invalid_length(0, &"at least one seat number"));
        }
        Ok(Seats(Cow::Owned(seats)))
    }
}

/// A JSON string's text, or the digits of a JSON integer.
fn text_or_digits<E: Error>(raw: &RawValue) -> Result<Cow<'_, str>, E> {
    let json = raw.get();
    if let Some(text) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        if !text.contains('\\') {
            return Ok(Cow::Borrowed(text));
        }
        return serde_json::from_str(json).map(Cow::Owned).map_err(E::custom);
    }
    match json {
        "-0" => Ok(Cow::Borrowed("0")),
        _ if is_integer(json) => Ok(Cow::Borrowed(json)),
        _ => {
            Err(E::custom(format_args!("expected a text or a whole number, found {}", short(json))))
        }
    }
}

fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The beginning of a JSON value, long enough to recognise it by.
pub(super) fn short(json: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 60;
    match json.char_indices().nth(CHARS_MAX) {
        Some((cut, _)) => Cow::Owned(format!("{}…", &json[..cut])),
        None => Cow::Borrowed(json),
    }
}

/// Refuses a text with a NUL. JSON can only write one as an escape, so that a
/// text borrowed from the payload needs no look.
fn without_nul<E: Error>(text: Cow<'_, str>) -> Result<Cow<'_, str>, E> {
    match text {
        Cow::Owned(text) if text.contains('\0') => {
            Err(E::custom("has a NUL character (U+0000), which PostgreSQL cannot store"))
        }
        text => Ok(text),
    }
}

/// Takes a string, borrowed where the payload has it without escapes; the text
/// says what was expected.
pub(super) struct CowVisitor(pub(super) &'static str);

impl<'de> Visitor<'de> for CowVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(json: &str) -> Result<String, String> {
        serde_json::from_str::<Id<'_>>(json)
            .map(|id| id.as_str().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_is_a_text_or_the_digits_of_an_integer_of_any_length() {
        assert_eq!(id(r#""a\u0041""#).unwrap(), "aA");
        assert_eq!(id("90123").unwrap(), "90123");
        assert_eq!(id("-7").unwrap(), "-7");
        assert_eq!(id("-0").unwrap(), "0");
        let long = "123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(id(long).unwrap(), long);
    }

    #[test]
    fn an_id_is_nothing_else() {
        for json in [r#""""#, "1.5", "1e3", "null", "true", "[1]", "{}", r#""a\u0000""#] {
            assert!(id(json).is_err(), "{json} must be refused");
        }
    }

    #[test]
    fn seats_are_a_list_in_text_or_an_array() {
        for json in [r#""A1,A2""#, r#"" A1 , A2""#, r#"["A1","A2"]"#, r#""A\u0031,A2""#] {
            let seats: Seats<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(seats.as_str(), "A1,A2", "{json}");
        }
        let numbers: Seats<'_> = serde_json::from_str(r#"[12, "13"]"#).unwrap();
        assert_eq!(numbers.as_str(), "12,13");
    }

    #[test]
    fn seats_without_a_seat_are_refused() {
        for json in [r#""""#, "[]", r#""A1,,A2""#, r#"["A1,A2"]"#, r#"[""]"#, "7", "[1.5]", "null"]
        {
            assert!(serde_json::from_str::<Seats<'_>>(json).is_err(), "{json} must be refused");
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_a_nul_in_it_is_shown() {
        let reject = Reject::new("a", "x\0".repeat(400));
        assert_eq!(reject.reason.chars().count(), Reject::REASON_CHARS_MAX + 1);
        assert!(reject.reason.starts_with("x\\u{0}x\\u{0}"));
        assert_eq!(Reject::new("a", "x\n\u{1b}[31m\u{9b}").reason, "x\\n\\u{1b}[31m\\u{9b}");
    }
}
