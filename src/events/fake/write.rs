//! Identifiers, moments and numbers written as text into a buffer.

/// The last microsecond of the year 9999, the last that an event can hold.
const MICROS_MAX: i64 = 253_402_300_799_999_999;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A moment that both an event and a UUIDv7 can hold: `base` and `index`
/// microseconds after it, kept between 1970 and 9999.
pub(super) fn moment_micros(base_micros: i64, index: u64) -> i64 {
    base_micros.saturating_add_unsigned(index).clamp(0, MICROS_MAX)
}

/// A UUIDv7 (RFC 9562, section 6.2, method 3): 48 bits of milliseconds, 12 bits
/// of their fraction, so that ids of successive microseconds sort, and 62 bits
/// of the hash.
pub(super) fn uuid_v7(micros: i64, hash: u64) -> [u8; 36] {
    let millis = micros.unsigned_abs() / 1000;
    let fraction = micros.unsigned_abs() % 1000 * 4096 / 1000;
    hyphenated((millis << 16) | 0x7000 | fraction, variant(hash))
}

/// A UUIDv4: 122 bits of the two hashes.
pub(super) fn uuid_v4(high: u64, low: u64) -> [u8; 36] {
    hyphenated((high & !0xf000) | 0x4000, variant(low))
}

fn variant(low: u64) -> u64 {
    (low & (u64::MAX >> 2)) | (1 << 63)
}

fn hyphenated(high: u64, low: u64) -> [u8; 36] {
    let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// A moment of the years 1970 to 9999 in RFC 3339 and UTC, to the millisecond.
pub(super) fn rfc3339(micros: i64, out: &mut Vec<u8>) {
    let millis = micros.clamp(0, MICROS_MAX) / 1000;
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    text[..10].copy_from_slice(&date(days));
    two_digits(&mut text[11..], in_day / 3_600_000);
    two_digits(&mut text[14..], in_day / 60_000 % 60);
    two_digits(&mut text[17..], in_day / 1000 % 60);
    two_digits(&mut text[20..], in_day % 1000 / 10);
    text[22] = ascii_digit(in_day % 10);
    out.extend_from_slice(&text);
}

/// The date `YYYY-MM-DD` so many days after 1970-01-01, up to the year 9999.
pub(super) fn date(days: i64) -> [u8; 10] {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let mut text = *b"0000-00-00";
    two_digits(&mut text, year / 100);
    two_digits(&mut text[2..], year % 100);
    two_digits(&mut text[5..], month);
    two_digits(&mut text[8..], day);
    text
}

/// A number in decimal digits.
pub(super) fn number(number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let (mut at, mut rest) = (text.len(), number);
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

fn two_digits(text: &mut [u8], number: i64) {
    text[0] = ascii_digit(number / 10);
    text[1] = ascii_digit(number % 10);
}

fn ascii_digit(digit: i64) -> u8 {
    b'0' + digit as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::{Uuid, Variant};

    use super::*;
    use crate::events::moment::parse_micros;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_moment_is_read_back_to_the_millisecond(micros in 0..=MICROS_MAX) {
            let written = text(|out| rfc3339(micros, out));
            prop_assert_eq!(parse_micros(written.as_bytes()), Ok(micros / 1000 * 1000));
        }

        #[test]
        fn numbers_are_written_as_rust_does(value: u64) {
            prop_assert_eq!(text(|out| number(value, out)), value.to_string());
        }

        #[test]
        fn uuids_have_their_version_and_variant(micros in 0..=MICROS_MAX, high: u64, low: u64) {
            for (bytes, version) in [(uuid_v7(micros, low), 7), (uuid_v4(high, low), 4)] {
                let text = std::str::from_utf8(&bytes).unwrap();
                let uuid = Uuid::parse_str(text).unwrap();
                prop_assert_eq!(uuid.get_version_num(), version);
                prop_assert_eq!(uuid.get_variant(), Variant::RFC4122);
                prop_assert_eq!(uuid.hyphenated().to_string(), text);
            }
        }

        #[test]
        fn uuids_of_version_7_sort_by_microsecond(micros in 0..MICROS_MAX, a: u64, b: u64) {
            prop_assert!(uuid_v7(micros, a) < uuid_v7(micros + 1, b));
        }
    }

    #[test]
    fn a_moment_never_leaves_what_an_event_can_hold() {
        assert_eq!(moment_micros(-5, 0), 0);
        assert_eq!(moment_micros(10, 5), 15);
        assert_eq!(moment_micros(i64::MAX, u64::MAX), MICROS_MAX);
    }
}
