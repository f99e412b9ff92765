//! Values with one door: what a field holds after parse, borrowed from the
//! payload where possible.

use std::fmt;

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

    /// A reject of one field; an overlong reason is cut.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Reject {
        let mut reason = reason.into();
        if let Some((cut, _)) = reason.char_indices().nth(Reject::REASON_CHARS_MAX) {
            reason.truncate(cut);
            reason.push('…');
        }
        Reject { field: field.into(), reason }
    }
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
