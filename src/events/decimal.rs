//! Decimal numbers, exact: never floating point.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;

use super::value::{Value, short};

/// A decimal number in plain notation: an optional `-`, digits, and digits
/// after a point if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal<'a>(Cow<'a, str>);

impl<'a> Decimal<'a> {
    /// The most characters of a number in plain notation, so that `1e999999999`
    /// does not become a gigabyte of zeros.
    pub const CHARS_MAX: usize = 1000;

    /// Reads a number as JSON writes it (RFC 8259, section 6), with or without
    /// an exponent; the value and the number of its decimal places stay exact.
    /// None where it is no number or longer than [`Decimal::CHARS_MAX`].
    pub fn parse(text: &'a str) -> Option<Decimal<'a>> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (negative, unsigned) = match mantissa.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, mantissa),
        };
        let (whole, places) = match unsigned.split_once('.') {
            Some((_, "")) => return None,
            parts => parts.unwrap_or((unsigned, "")),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if leading_zero || !is_digits(whole) || !places.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let plain = match exponent {
            0 => Cow::Borrowed(mantissa),
            _ => Cow::Owned(move_point(negative, whole, places, exponent)?),
        };
        (plain.len() <= Decimal::CHARS_MAX).then_some(Decimal(plain))
    }

    /// The number in plain notation.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as the value of a field.
    pub fn value(&self) -> Value<'_> {
        Value::Decimal(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Decimal<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let text = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
        Decimal::parse(text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "expected a decimal number like 12.50 of at most {} characters, found {}",
                Decimal::CHARS_MAX,
                short(json)
            ))
        })
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_exponent(text: &str) -> Option<i32> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !is_digits(unsigned) {
        return None;
    }
    text.parse().ok()
}

/// Writes `whole.places × 10^exponent` without an exponent, or None where that
/// would be too long.
fn move_point(negative: bool, whole: &str, places: &str, exponent: i32) -> Option<String> {
    let limit = i32::try_from(Decimal::CHARS_MAX).ok()?;
    if exponent.checked_abs()? > limit || whole.len() + places.len() > Decimal::CHARS_MAX {
        return None;
    }
    let mut digits = format!("{whole}{places}");
    let mut point = i32::try_from(whole.len()).ok()? + exponent;
    if point < 1 {
        digits.insert_str(0, &"0".repeat(usize::try_from(1 - point).ok()?));
        point = 1;
    }
    let point = usize::try_from(point).ok()?;
    if point > digits.len() {
        digits.push_str(&"0".repeat(point - digits.len()));
    }
    let (whole, places) = digits.split_at(point);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let sign = if negative { "-" } else { "" };
    let dot = if places.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{dot}{places}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Option<String> {
        Decimal::parse(text).map(|decimal| decimal.as_str().to_owned())
    }

    #[test]
    fn numbers_come_out_in_plain_notation_with_their_places() {
        for (text, expected) in [
            ("0", "0"),
            ("12.50", "12.50"),
            ("-3", "-3"),
            ("1e2", "100"),
            ("1.5E-3", "0.0015"),
            ("12.34e1", "123.4"),
            ("-12.34e2", "-1234"),
            ("0.005e+3", "5"),
            ("0e5", "0"),
            (
                "12345678901234567890.12345678901234567890",
                "12345678901234567890.12345678901234567890",
            ),
        ] {
            assert_eq!(plain(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "1.e2",
            "+1",
            "01",
            "1,5",
            "0x1",
            "1e",
            "1e+",
            "1e+-2",
            "NaN",
            "Infinity",
            " 1",
            "1 ",
            "1.2.3",
            "1e2e3",
            "1.-5",
            "--1",
            "1e99999999999",
            "1e1001",
            "1e-1001",
        ] {
            assert_eq!(plain(text), None, "{text:?} must be refused");
        }
    }

    #[test]
    fn a_decimal_is_a_string_or_a_number_in_json() {
        for json in ["12.50", r#""12.50""#] {
            let decimal: Decimal<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(decimal.as_str(), "12.50");
        }
        for json in ["true", r#""twelve""#, "[1]", "{}", r#""1\u0030""#] {
            assert!(serde_json::from_str::<Decimal<'_>>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn moving_the_point_there_and_back_keeps_the_value(
            whole in "0|[1-9][0-9]{0,8}", places in "[0-9]{1,6}", exponent in 1i32..40,
        ) {
            let text = format!("{whole}.{places}");
            let up = plain(&format!("{text}e{exponent}")).unwrap();
            let back = plain(&format!("{up}e-{exponent}")).unwrap();
            let trimmed = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
            prop_assert_eq!(trimmed(&back), trimmed(&text));
        }

        #[test]
        fn arbitrary_text_is_never_a_panic_and_never_too_long(text in "[-+0-9.eE]{0,40}") {
            if let Some(plain) = plain(&text) {
                prop_assert!(plain.len() <= Decimal::CHARS_MAX);
                prop_assert!(!plain.contains(['e', 'E']));
            }
        }
    }
}
