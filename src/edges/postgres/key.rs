//! Ids as the key column holds them, brought into one form, so that the id of a
//! record, encoded as `consume` encodes it, equals the bytes that the server
//! sends for the row it became.
//!
//! For most types they are equal as they are. `char(n)` is padded, `varchar(n)`
//! loses surplus blanks, `citext` ignores case, `numeric` keeps how many digits
//! were written after the point, and is rounded where the column says so, and
//! `json` is written anew by the server.

use std::borrow::Cow;

use super::column::ColumnType;
use super::target::Column;

/// How two keys of a column are compared, and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Text, byte by byte, as far as the column takes it.
    Text {
        /// n of `varchar(n)`, in characters; beyond are only blanks.
        chars_max: Option<usize>,
    },
    /// `char(n)`: blanks at the end do not count.
    Padded,
    /// `citext`: case does not count.
    Folded,
    /// Two's complement, of 2, 4 or 8 bytes.
    Integer,
    /// Sixteen bytes.
    Uuid,
    /// Zeros at the end do not count.
    Numeric {
        /// s of `numeric(p,s)`: digits after the point that are kept, half of the
        /// last one rounding away from zero; below zero, digits before it go too.
        scale: Option<i32>,
    },
    /// Any spelling of the same JSON value; `jsonb` begins with a version byte.
    Json {
        /// Whether it is `jsonb`.
        binary: bool,
    },
}

impl KeyForm {
    /// The form of a key column.
    pub fn of(column: &Column) -> KeyForm {
        match &column.column_type {
            // Outside the search path the type's name comes with its schema.
            ColumnType::Text { chars_max } => match column.base_type.rsplit('.').next() {
                Some("bpchar" | "character") => KeyForm::Padded,
                Some("citext") => KeyForm::Folded,
                _ => KeyForm::Text { chars_max: *chars_max },
            },
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => KeyForm::Integer,
            ColumnType::Uuid => KeyForm::Uuid,
            ColumnType::Numeric { bounds } => {
                KeyForm::Numeric { scale: bounds.map(|(_, scale)| scale) }
            }
            ColumnType::Json => KeyForm::Json { binary: false },
            ColumnType::Jsonb => KeyForm::Json { binary: true },
            // No id goes into these (`ColumnType::takes`).
            ColumnType::Date
            | ColumnType::Timestamp
            | ColumnType::Bool
            | ColumnType::Enum { .. } => KeyForm::Text { chars_max: None },
        }
    }

    /// The one form of a value that the server's `send` function or our encoder
    /// wrote: equal for equal keys.
    pub fn canonical(self, value: &[u8]) -> Cow<'_, [u8]> {
        match self {
            KeyForm::Integer | KeyForm::Uuid | KeyForm::Text { chars_max: None } => {
                Cow::Borrowed(value)
            }
            KeyForm::Text { chars_max: Some(most) } => Cow::Borrowed(first_chars(value, most)),
            KeyForm::Padded => Cow::Borrowed(without_end(value, b" ")),
            KeyForm::Folded => match std::str::from_utf8(value) {
                Ok(text) => Cow::Owned(text.to_lowercase().into_bytes()),
                Err(_) => Cow::Borrowed(value),
            },
            KeyForm::Numeric { scale: None } => numeric(value),
            KeyForm::Numeric { scale: Some(scale) } => match rounded(value, scale) {
                Some(rounded) => Cow::Owned(numeric(&rounded).into_owned()),
                None => numeric(value),
            },
            KeyForm::Json { binary } => {
                let text = value.get(usize::from(binary)..).unwrap_or_default();
                match serde_json::from_slice::<serde_json::Value>(text) {
                    Ok(json) => Cow::Owned(json.to_string().into_bytes()),
                    Err(_) => Cow::Borrowed(text),
                }
            }
        }
    }

    /// A canonical value as people write it.
    pub fn shown(self, canonical: &[u8]) -> String {
        let as_text = || String::from_utf8_lossy(canonical).into_owned();
        match self {
            KeyForm::Integer => match *canonical {
                [a, b] => i16::from_be_bytes([a, b]).to_string(),
                [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).to_string(),
                [a, b, c, d, e, f, g, h] => {
                    i64::from_be_bytes([a, b, c, d, e, f, g, h]).to_string()
                }
                _ => as_text(),
            },
            KeyForm::Uuid => {
                uuid::Uuid::from_slice(canonical).map_or_else(|_| as_text(), |id| id.to_string())
            }
            KeyForm::Numeric { .. } => numeric_shown(canonical).unwrap_or_else(as_text),
            KeyForm::Text { .. } | KeyForm::Padded | KeyForm::Folded | KeyForm::Json { .. } => {
                as_text()
            }
        }
    }
}

fn without_end<'v>(value: &'v [u8], end: &[u8]) -> &'v [u8] {
    let mut rest = value;
    while let Some(shorter) = rest.strip_suffix(end) {
        rest = shorter;
    }
    rest
}

fn first_chars(value: &[u8], most: usize) -> &[u8] {
    // Bytes are never fewer than characters.
    if value.len() <= most {
        return value;
    }
    let starts_char = |(_, byte): &(usize, &u8)| (**byte & 0xc0) != 0x80;
    let next = value.iter().enumerate().filter(starts_char).nth(most);
    &value[..next.map_or(value.len(), |(at, _)| at)]
}

/// The number to so many digits after the point, as the server rounds it; none
/// when it has no more, or is none.
fn rounded(value: &[u8], scale: i32) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u16::from_be_bytes([*value.get(at)?, *value.get(at + 1)?]));
    let (weight, sign) = (i32::from(word(2)?.cast_signed()), word(4)?);
    if sign != 0 && sign != 0x4000 {
        // NaN and the infinities.
        return None;
    }
    // A group of zeros before the first takes what is carried.
    let groups = std::iter::once(0).chain((8..value.len()).step_by(2).map_while(word));
    let mut digits: Vec<u16> = groups
        .flat_map(|group| [group / 1000 % 10, group / 100 % 10, group / 10 % 10, group % 10])
        .collect();
    let kept = 4 * (weight + 2) + scale;
    if kept >= digits.len() as i32 {
        return None;
    }
    // Less than a tenth of the last digit kept, if that is before the first.
    let kept = usize::try_from(kept).unwrap_or(0);
    let is_up = kept > 0 && digits[kept] >= 5;
    digits.truncate(kept);
    for digit in digits.iter_mut().rev().take_while(|_| is_up) {
        *digit = (*digit + 1) % 10;
        if *digit != 0 {
            break;
        }
    }
    digits.resize(kept.next_multiple_of(4), 0);
    let groups = digits.chunks(4).map(|four| four.iter().fold(0, |sum, digit| sum * 10 + digit));
    let groups: Vec<u16> = groups.collect();
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    let weight = (weight + 1 - zeros as i32) as u16;
    let head = [(groups.len() - zeros) as u16, weight, sign, 0];
    let words = head.iter().chain(&groups[zeros..]);
    Some(words.flat_map(|word| word.to_be_bytes()).collect())
}

/// Weight, sign and groups without the zero groups at their end; the count of
/// groups and the digits after the point say nothing more about the number.
fn numeric(value: &[u8]) -> Cow<'_, [u8]> {
    let (Some(weight_and_sign), Some(groups)) = (value.get(2..6), value.get(8..)) else {
        return Cow::Borrowed(value);
    };
    let mut end = groups.len() - groups.len() % 2;
    while end >= 2 && groups[end - 2..end] == [0, 0] {
        end -= 2;
    }
    // Zero has no groups, and its weight is of no matter.
    let head = if end == 0 { &[0, 0, 0, 0] } else { weight_and_sign };
    Cow::Owned([head, &groups[..end]].concat())
}

fn numeric_shown(canonical: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes([*canonical.get(at)?, *canonical.get(at + 1)?]));
    let weight = i32::from(word(0)?.cast_signed());
    let sign = word(2)?;
    if sign != 0 && sign != 0x4000 {
        // NaN and the infinities.
        return None;
    }
    let groups: Vec<u16> = (4..canonical.len()).step_by(2).map_while(word).collect();
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).unwrap_or(&0);
    let whole: String = (0..=weight).map(|at| format!("{:04}", group(at))).collect();
    let fraction: String =
        (weight + 1..groups.len() as i32).map(|at| format!("{:04}", group(at))).collect();
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let minus = if sign == 0 { "" } else { "-" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{minus}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `numeric_send` writes it: groups of four digits, with a scale.
    fn sent(groups: &[u16], weight: i16, sign: u16, scale: u16) -> Vec<u8> {
        let head = [groups.len() as u16, weight.cast_unsigned(), sign, scale];
        head.iter().chain(groups).flat_map(|word| word.to_be_bytes()).collect()
    }

    const TEXT: KeyForm = KeyForm::Text { chars_max: None };
    const NUMERIC: KeyForm = KeyForm::Numeric { scale: None };

    fn column(column_type: ColumnType, base_type: &str) -> Column {
        let name = "id".parse().unwrap();
        let base_type = base_type.to_owned();
        let (nullable, is_key, collation) = (false, true, None);
        Column { name, field: 0, column_type, base_type, collation, nullable, is_key }
    }

    #[test]
    fn the_form_follows_from_the_type_of_the_column() {
        let text = || ColumnType::Text { chars_max: None };
        assert_eq!(KeyForm::of(&column(text(), "text")), TEXT);
        let bounded = ColumnType::Text { chars_max: Some(3) };
        let form = KeyForm::Text { chars_max: Some(3) };
        assert_eq!(KeyForm::of(&column(bounded, "character varying")), form);
        let numeric = ColumnType::Numeric { bounds: Some((9, 2)) };
        let form = KeyForm::Numeric { scale: Some(2) };
        assert_eq!(KeyForm::of(&column(numeric, "numeric")), form);
        assert_eq!(KeyForm::of(&column(text(), "bpchar")), KeyForm::Padded);
        assert_eq!(KeyForm::of(&column(text(), "public.citext")), KeyForm::Folded);
        assert_eq!(KeyForm::of(&column(ColumnType::Uuid, "uuid")), KeyForm::Uuid);
    }

    #[test]
    fn padding_case_scale_and_spelling_do_not_count() {
        assert_eq!(KeyForm::Padded.canonical(b"a b   "), KeyForm::Padded.canonical(b"a b"));
        assert_eq!(
            KeyForm::Folded.canonical("ÄB".as_bytes()),
            KeyForm::Folded.canonical("äb".as_bytes())
        );
        let (plain, scaled) = (sent(&[7], 0, 0, 0), sent(&[7, 0], 0, 0, 2));
        assert_eq!(NUMERIC.canonical(&plain), NUMERIC.canonical(&scaled));
        let jsonb = KeyForm::Json { binary: true };
        assert_eq!(jsonb.canonical(b"\x01\"a\\u0062\""), jsonb.canonical(b"\x01\"ab\""));
    }

    #[test]
    fn surplus_blanks_are_cut_as_the_server_does() {
        let form = KeyForm::Text { chars_max: Some(3) };
        for (given, stored) in [("ab    ", "ab "), ("äöü ", "äöü"), ("ab", "ab"), ("", "")] {
            assert_eq!(&*form.canonical(given.as_bytes()), stored.as_bytes());
        }
    }

    #[test]
    fn numbers_are_rounded_as_the_server_does() {
        for (groups, weight, scale, text) in [
            (&[7, 1250][..], 0, 2, "7.13"),
            (&[7, 1249], 0, 2, "7.12"),
            (&[9999, 9950], 0, 2, "10000"),
            (&[9999, 9949], 0, 2, "9999.99"),
            (&[7, 1200], 0, 2, "7.12"),
            (&[7], 0, 2, "7"),
            (&[5000], -1, 0, "1"),
            (&[4999, 9999], -1, 0, "0"),
            (&[1], -3, 2, "0"),
            (&[1550], 0, -2, "1600"),
            (&[12, 3456], 1, -5, "100000"),
            (&[4], 0, -3, "0"),
            (&[5000], 0, -4, "10000"),
            (&[1, 0, 5000], 1, 0, "10001"),
            (&[], 0, 2, "0"),
        ] {
            let form = KeyForm::Numeric { scale: Some(scale) };
            let rounded = form.canonical(&sent(groups, weight, 0, 8)).into_owned();
            assert_eq!(form.shown(&rounded), text, "{groups:?}");
        }
        let form = KeyForm::Numeric { scale: Some(0) };
        let minus = form.canonical(&sent(&[1, 5000], 0, 0x4000, 1)).into_owned();
        assert_eq!(form.shown(&minus), "-2");
        let is_zero = form.canonical(&sent(&[4000], -1, 0x4000, 1)).into_owned();
        assert_eq!(is_zero, NUMERIC.canonical(&sent(&[], 0, 0, 0)).into_owned());
    }

    #[test]
    fn different_keys_stay_different() {
        assert_ne!(TEXT.canonical(b"a "), TEXT.canonical(b"a"));
        assert_ne!(KeyForm::Padded.canonical(b" a"), KeyForm::Padded.canonical(b"a"));
        let (one, ten_thousand) = (sent(&[1], 0, 0, 0), sent(&[1], 1, 0, 0));
        assert_ne!(NUMERIC.canonical(&one), NUMERIC.canonical(&ten_thousand));
        let minus_one = sent(&[1], 0, 0x4000, 0);
        assert_ne!(NUMERIC.canonical(&one), NUMERIC.canonical(&minus_one));
    }

    #[test]
    fn keys_are_shown_as_people_write_them() {
        assert_eq!(KeyForm::Integer.shown(&(-7i32).to_be_bytes()), "-7");
        assert_eq!(KeyForm::Integer.shown(&90123i64.to_be_bytes()), "90123");
        let uuid = "018f4e2a-7c3b-7000-8000-00000000abcd";
        let bytes = uuid::Uuid::parse_str(uuid).unwrap();
        assert_eq!(KeyForm::Uuid.shown(bytes.as_bytes()), uuid);
        for (groups, weight, sign, text) in [
            (&[7][..], 0, 0, "7"),
            (&[9, 123], 1, 0, "90123"),
            (&[1], 2, 0, "100000000"),
            (&[1, 5000], 0, 0x4000, "-1.5"),
            (&[25], -1, 0, "0.0025"),
            (&[], 0, 0, "0"),
        ] {
            let canonical = NUMERIC.canonical(&sent(groups, weight, sign, 3)).into_owned();
            assert_eq!(NUMERIC.shown(&canonical), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_one_form_and_can_be_shown(
            bytes in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            for form in [
                TEXT, KeyForm::Text { chars_max: Some(3) }, KeyForm::Padded, KeyForm::Folded,
                KeyForm::Integer, KeyForm::Uuid, NUMERIC, KeyForm::Numeric { scale: Some(2) },
                KeyForm::Numeric { scale: Some(-3) }, KeyForm::Json { binary: true }, KeyForm::Json { binary: false },
            ] {
                let canonical = form.canonical(&bytes);
                form.shown(&canonical);
            }
        }
    }
}
