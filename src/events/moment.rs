//! Moments as events write them: a date, or a date and time with offset
//! (RFC 3339), read by hand because this is on the hot path.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error};

use super::value::{CowVisitor, Value, short};

const EXPECTED: &str = "a date like 2023-06-09, or RFC 3339 like 2023-06-09T14:30:00Z";
const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// A moment with the text it was written as. A date means its midnight in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment<'a> {
    micros: i64,
    text: Cow<'a, str>,
}

impl<'a> Moment<'a> {
    /// A moment that stands in the payload as it is; none when it is no moment.
    pub(super) fn plain(text: &'a str) -> Option<Moment<'a>> {
        let micros = parse_micros(text.as_bytes()).ok()?;
        Some(Moment { micros, text: Cow::Borrowed(text) })
    }

    /// Microseconds since 1970-01-01T00:00:00Z; negative before.
    pub fn micros(&self) -> i64 {
        self.micros
    }

    /// The moment as the value of a field.
    pub fn value(&self) -> Value<'_> {
        Value::Moment { micros: self.micros, text: &self.text }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Moment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(CowVisitor(EXPECTED))?;
        match parse_micros(text.as_bytes()) {
            Ok(micros) => Ok(Moment { micros, text }),
            Err(fault) => Err(D::Error::custom(format_args!(
                "{fault} in {:?}, expected {EXPECTED}",
                short(&text)
            ))),
        }
    }
}

/// Reads a date or an RFC 3339 moment as microseconds since 1970 in UTC.
/// Fractions beyond microseconds are cut off; years are 0001 to 9999, as
/// written; a leap second (`:60`) is refused, because the scale has no place
/// for it.
///
/// # Errors
/// What part of the text is wrong.
pub fn parse_micros(text: &[u8]) -> Result<i64, &'static str> {
    let (date, rest) = text.split_at_checked(10).ok_or("no complete date")?;
    let midnight = days(date)? * SECONDS_A_DAY * MICROS_A_SECOND;
    if rest.is_empty() {
        return Ok(midnight);
    }
    let (time, rest) = rest.split_at_checked(9).ok_or("no complete time")?;
    let seconds = seconds(time)?;
    let (fraction_micros, rest) = fraction(rest)?;
    let seconds = seconds - offset_seconds(rest)?;
    Ok(midnight + seconds * MICROS_A_SECOND + fraction_micros)
}

/// Days since 1970-01-01 of a date `YYYY-MM-DD`.
fn days(date: &[u8]) -> Result<i64, &'static str> {
    if date[4] != b'-' || date[7] != b'-' {
        return Err("no date");
    }
    let (century, rest) = (digits(&date[..2])?, digits(&date[2..4])?);
    let (year, month, day) = (century * 100 + rest, digits(&date[5..7])?, digits(&date[8..])?);
    if year == 0 {
        return Err("year 0000");
    }
    if !(1..=12).contains(&month) {
        return Err("no such month");
    }
    if day < 1 || day > days_of_month(year, month) {
        return Err("no such day");
    }
    Ok(days_from_civil(year, month, day))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years
/// that begin in March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Seconds since midnight of `Thh:mm:ss`; RFC 3339 also allows `t` and a blank.
fn seconds(time: &[u8]) -> Result<i64, &'static str> {
    if !matches!(time[0], b'T' | b't' | b' ') || time[3] != b':' || time[6] != b':' {
        return Err("no time");
    }
    let (hour, minute, second) = (digits(&time[1..3])?, digits(&time[4..6])?, digits(&time[7..])?);
    match (hour, minute, second) {
        (24.., _, _) => Err("no such hour"),
        (_, 60.., _) => Err("no such minute"),
        (_, _, 60) => Err("a leap second"),
        (_, _, 61..) => Err("no such second"),
        _ => Ok(hour * 3600 + minute * 60 + second),
    }
}

/// Microseconds of a fraction `.123456789`, if there is one, and what follows.
fn fraction(rest: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Ok((0, rest));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return Err("a fraction of other than 1 to 9 digits");
    }
    let micros = (0..6).fold(0, |micros, place| {
        let digit = if place < length { i64::from(rest[place] - b'0') } else { 0 };
        micros * 10 + digit
    });
    Ok((micros, &rest[length..]))
}

/// Seconds east of UTC of `Z` or `±hh:mm`.
fn offset_seconds(rest: &[u8]) -> Result<i64, &'static str> {
    let (sign, offset) = match rest {
        b"Z" | b"z" => return Ok(0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        [] => return Err("no offset"),
        _ => return Err("something else than an offset after the time"),
    };
    if offset.len() != 5 || offset[2] != b':' {
        return Err("no complete offset");
    }
    let (hours, minutes) = (digits(&offset[..2])?, digits(&offset[3..])?);
    if hours > 23 || minutes > 59 {
        return Err("no such offset");
    }
    Ok(sign * (hours * 3600 + minutes * 60))
}

/// The number of two ASCII digits.
fn digits(two: &[u8]) -> Result<i64, &'static str> {
    let (tens, ones) = (two[0].wrapping_sub(b'0'), two[1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err("something else than digits");
    }
    Ok(i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::Date;
    use jiff::tz::Offset;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_moments_are_read() {
        assert_eq!(parse_micros(b"1970-01-01"), Ok(0));
        assert_eq!(parse_micros(b"2023-06-09"), Ok(1_686_268_800_000_000));
        assert_eq!(parse_micros(b"2024-02-29"), Ok(1_709_164_800_000_000));
        assert_eq!(parse_micros(b"1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(parse_micros(b"1970-01-01 00:00:00.9999999z"), Ok(999_999));
        assert_eq!(parse_micros(b"1969-12-31T23:59:59.5Z"), Ok(-500_000));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2023",
            "2023-02-30",
            "2023-02-29",
            "1900-02-29",
            "2023-00-10",
            "2023-13-01",
            "2023-01-00",
            "0000-01-01",
            "2023-6-9",
            "2023/06/09",
            "20230609",
            "+023-01-01",
            "2023-06-09T",
            "2023-06-09T12:00",
            "2023-06-09T12:00:00",
            "2023-06-09T24:00:00Z",
            "2023-06-09T23:59:60Z",
            "2023-06-09T12:60:00Z",
            "2023-06-09T12:00:00.Z",
            "2023-06-09T12:00:00.1234567890Z",
            "2023-06-09T12:00:00+24:00",
            "2023-06-09T12:00:00+0100",
            "2023-06-09T12:00:00Z ",
            "2023-06-09Z",
            "yesterday at 5",
        ] {
            assert!(parse_micros(text.as_bytes()).is_err(), "{text:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn every_date_agrees_with_jiff(year in 0i16..=9999, month in 0i8..=13, day in 0i8..=32) {
            let ours = parse_micros(format!("{year:04}-{month:02}-{day:02}").as_bytes()).ok();
            let theirs = Date::new(year, month, day).ok().filter(|_| year > 0)
                .map(|date| date.to_zoned(jiff::tz::TimeZone::UTC).unwrap())
                .map(|midnight| midnight.timestamp().as_microsecond());
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn every_moment_agrees_with_jiff(
            micros in -62_135_000_000_000_000i64..253_402_000_000_000_000,
            offset_minutes in -1439i32..=1439,
        ) {
            let moment = Timestamp::from_microsecond(micros).unwrap();
            let offset = Offset::from_seconds(offset_minutes * 60).unwrap();
            let text = moment.display_with_offset(offset).to_string();
            prop_assume!(!text.starts_with('-') && !text.starts_with("0000"));
            prop_assert_eq!(parse_micros(text.as_bytes()), Ok(micros));
        }

        #[test]
        fn arbitrary_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_micros(&bytes);
        }

        #[test]
        fn one_changed_byte_is_never_a_panic(at in 0usize..35, byte: u8) {
            let mut text = *b"2023-06-09T12:30:45.123456789+01:30";
            text[at] = byte;
            let _ = parse_micros(&text);
        }
    }
}
