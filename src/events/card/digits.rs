//! Card numbers in text: 13 to 19 digits that pass Luhn's check (ISO/IEC 7812-1),
//! written together or in groups.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

/// How many digits a card number has.
const DIGITS: RangeInclusive<usize> = 13..=19;
/// The most bytes between two digits of one number.
const GAP_MAX: usize = 3;

/// Whether a card number may have so many digits.
pub fn could_be_number(digits: usize) -> bool {
    DIGITS.contains(&digits)
}

/// The card number that a text is, and nothing else: its digits.
pub fn whole(text: &str) -> Option<String> {
    let text = text.trim();
    let run = next_run(text.as_bytes(), 0)?;
    let digits: Vec<u8> = digits(text.as_bytes(), &run).map(|(digit, _)| digit).collect();
    let is_card = run == (0..text.len()) && DIGITS.contains(&digits.len()) && passes_luhn(&digits);
    is_card.then(|| digits.iter().map(|digit| char::from(b'0' + digit)).collect())
}

/// Whether there are so many digits in a row somewhere that a card number could
/// be among them, in a text without escapes. Quick, as it is asked of every payload:
/// it looks closer only where so many bytes in a row are digits or may stand between
/// them.
pub fn has_run(text: &[u8]) -> bool {
    const OVERLAP: usize = *DIGITS.start() - 1;
    let mut rest = text;
    while !may_have_run(&rest[..rest.len().min(BLOCK)]) {
        match rest.get(BLOCK - OVERLAP..) {
            Some(next) if rest.len() > BLOCK => rest = next,
            _ => return false,
        }
    }
    next_run(text, 0).is_some()
}

/// How many bytes are looked at together: as many as a number has bits.
const BLOCK: usize = 64;

/// Whether 13 bytes in a row, of 64 at most, can be part of a number. Without a
/// branch a byte, so that the compiler does many at a time.
fn may_have_run(block: &[u8]) -> bool {
    let mut flags = [0; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        // From - to 9 are - . / and the digits.
        let is_part = matches!(*byte, b'-'..=b'9') | matches!(*byte, b' ' | b'\t' | b'_');
        *flag = u8::from(is_part | !byte.is_ascii());
    }
    // Eight flags become eight bits by one multiplication.
    let (eights, _) = flags.as_chunks::<8>();
    let bits = eights.iter().enumerate().fold(0, |bits, (at, eight)| {
        let eight = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | eight << (8 * at)
    });
    // A bit stays where as many are set from there on: 2, 4, 8, 13.
    let pairs = bits & bits >> 1;
    let fours = pairs & pairs >> 2;
    let many = fours & fours >> 4;
    many & many >> 5 != 0
}

/// The text with `*` for each digit of every row of digits that has a card number
/// in it; its length stays. Digits may be escaped as JSON does (`\u0034`).
pub fn mask(text: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = Cow::Borrowed(text);
    let mut from = 0;
    while let Some(run) = next_run(text, from) {
        from = run.end;
        let (values, places): (Vec<u8>, Vec<Range<usize>>) = digits(text, &run).unzip();
        if has_card(&values, &places) {
            let masked = masked.to_mut();
            for place in places {
                match place.len() {
                    1 => masked[place.start] = b'*',
                    // U+FF0A
                    3 => masked[place.end - 1] = 0x8a,
                    // U+002A
                    _ => masked[place.end - 2..place.end].copy_from_slice(b"2a"),
                }
            }
        }
    }
    masked
}

/// As [`mask`].
pub fn mask_str(text: &str) -> Cow<'_, str> {
    match mask(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Digits only were replaced.
        Cow::Owned(masked) => Cow::Owned(String::from_utf8(masked).unwrap_or_default()),
    }
}

/// Whether whole groups of digits are a card number together; in a group that is
/// longer than any card number, whatever part of it is one.
fn has_card(digits: &[u8], places: &[Range<usize>]) -> bool {
    let is_card = |part: &[u8]| DIGITS.contains(&part.len()) && passes_luhn(part);
    let begins = |at: &usize| *at == 0 || places[at - 1].end != places[*at].start;
    let mut bounds: Vec<usize> = (0..digits.len()).filter(begins).collect();
    bounds.push(digits.len());
    bounds.iter().enumerate().any(|(index, start)| {
        let ends = bounds[index + 1..].iter().take_while(|end| *end - start <= *DIGITS.end());
        let group = bounds.get(index + 1).map_or(&[][..], |end| &digits[*start..*end]);
        let is_long = group.len() > *DIGITS.end();
        ends.into_iter().any(|end| is_card(&digits[*start..*end]))
            || (is_long && DIGITS.flat_map(|length| group.windows(length)).any(passes_luhn))
    })
}

fn passes_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let weighed = digits.iter().rev().enumerate().map(|(place, digit)| match place % 2 {
        0 => u32::from(*digit),
        _ => u32::from(doubled(*digit)),
    });
    weighed.sum::<u32>().is_multiple_of(10)
}

/// The next row of at least as many digits as a card number has, from its first
/// digit to behind its last.
fn next_run(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    while at < text.len() {
        let Some((_, length)) = digit(text, at) else {
            at += 1;
            continue;
        };
        let start = at;
        let (mut end, mut count) = (start + length, 1);
        while let Some(next) = digit_after_gap(text, end) {
            end = next.end;
            count += 1;
        }
        if count >= *DIGITS.start() {
            return Some(start..end);
        }
        at = end;
    }
    None
}

/// The digits of a row with their places.
fn digits<'t>(
    text: &'t [u8],
    run: &Range<usize>,
) -> impl Iterator<Item = (u8, Range<usize>)> + use<'t> {
    let first = digit(text, run.start).map(|(_, length)| run.start..run.start + length);
    let places = std::iter::successors(first, |place| digit_after_gap(text, place.end));
    places.filter_map(|place| Some((digit(text, place.start)?.0, place)))
}

fn digit_after_gap(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        if let Some((_, length)) = digit(text, at) {
            return Some(at..at + length);
        }
        at += gap(text, at)?;
        if at > from + GAP_MAX {
            return None;
        }
    }
}

/// The digit here and how many bytes it takes.
#[inline]
fn digit(text: &[u8], at: usize) -> Option<(u8, usize)> {
    match *text.get(at)? {
        byte @ b'0'..=b'9' => Some((byte - b'0', 1)),
        b'\\' => match text.get(at + 1..at + 6)? {
            [b'u', b'0', b'0', b'3', byte @ b'0'..=b'9'] => Some((byte - b'0', 6)),
            _ => None,
        },
        // The full width ones of East Asian texts, U+FF10 to U+FF19.
        0xef => match text.get(at + 1..at + 3)? {
            [0xbc, byte @ 0x90..=0x99] => Some((byte - 0x90, 3)),
            _ => None,
        },
        _ => None,
    }
}

/// How many bytes of what stands between groups of digits are here.
fn gap(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b' ' | b'\t' | b'-' | b'.' | b'/' | b'_' => Some(1),
        // As JSON may write a slash and a tab.
        b'\\' if matches!(text.get(at + 1), Some(b'/' | b't')) => Some(2),
        // A blank that does not break the line, U+00A0.
        0xc2 if text.get(at + 1) == Some(&0xa0) => Some(2),
        // Other blanks and dashes of Unicode, U+2000 to U+2015, U+202F, U+2212, U+3000.
        0xe2 | 0xe3 => match text.get(at..at + 3)? {
            [0xe2, 0x80, 0x80..=0x95 | 0xaf] | [0xe2, 0x88, 0x92] | [0xe3, 0x80, 0x80] => Some(3),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Luhn's check again, on a number: the digits but the last, and the digit
    /// that makes it pass.
    fn with_check_digit(digits: &str) -> String {
        let sum: u32 = digits
            .bytes()
            .rev()
            .enumerate()
            .map(|(place, byte)| {
                let digit = u32::from(byte - b'0') * if place % 2 == 0 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        format!("{digits}{}", (10 - sum % 10) % 10)
    }

    #[test]
    fn card_numbers_are_known_in_every_way_of_writing() {
        for text in [
            "4242424242424242",
            " 4242 4242 4242 4242 ",
            "4242-4242-4242-4242",
            "4242.4242.4242.4242",
            "4242\u{a0}4242\u{a0}4242\u{a0}4242",
            "4242\u{2013}4242\u{2013}4242\u{2013}4242",
            "4242\u{202f}4242\u{3000}4242\u{2212}4242",
            "378282246310005",
            "6799990100000000019",
        ] {
            assert!(whole(text).is_some(), "{text}");
            let around = format!("pan: {text}, paid");
            assert_eq!(whole(&around), None);
            assert!(!mask_str(&around).contains("42424"), "{around}");
            assert_ne!(mask_str(&around), around);
        }
    }

    #[test]
    fn other_digits_stay() {
        for text in [
            "4242424242424241",
            "4242 4242 4242 4241 9",
            "2025-01-01T10:20:30.123Z",
            "+1-202-555-0123",
            "123",
        ] {
            assert_eq!((whole(text), mask_str(text)), (None, Cow::Borrowed(text)));
        }
    }

    #[test]
    fn a_number_beside_other_digits_is_masked_with_them() {
        assert_eq!(mask_str("4222222222222 12/27"), "************* **/**");
        assert_eq!(mask_str("00004242424242424242"), "*".repeat(20));
        assert_eq!(mask_str("4242424242424242 12/27"), "**************** **/**");
        let wide = "\u{ff14}\u{ff12}".repeat(2) + "-4242-4242-4242";
        assert_eq!(mask_str(&wide), "\u{ff0a}".repeat(4) + "-****-****-****");
        let escaped = "\"\\u0034242424242424242\"";
        assert_eq!(mask_str(escaped), "\"\\u002a***************\"");
    }

    proptest! {
        #[test]
        fn the_quick_look_misses_no_row_of_digits(
            before in "[a-z\", é]{0,70}", number in "[0-9](-?[0-9]){12,18}", after in "[a-z\", 1-]{0,70}",
            wide in "([0-9４]–?){13,16}",
        ) {
            for number in [number, wide] {
                let text = format!("{before}{number}{after}");
                prop_assert!(has_run(text.as_bytes()), "{text}");
            }
            let without = format!("{before}a123456789012{after}").replace('1', "");
            prop_assert_eq!(has_run(without.as_bytes()), next_run(without.as_bytes(), 0).is_some());
        }

        #[test]
        fn no_card_number_survives(
            digits in "[1-9][0-9]{11,17}", before in "[a-z\" ]{0,5}", gap in "[- ]?", after in "[a-z\"]{0,5}",
        ) {
            let number = with_check_digit(&digits);
            let (left, right) = number.split_at(6);
            let masked = mask_str(&format!("{before}{left}{gap}{right}{after}")).into_owned();
            prop_assert!(!masked.bytes().any(|byte| byte.is_ascii_digit()), "{}", masked);
            prop_assert_eq!(whole(&format!("{left}{gap}{right}")), Some(number));
        }

        #[test]
        fn any_bytes_keep_their_length(bytes: Vec<u8>) {
            prop_assert_eq!(mask(&bytes).len(), bytes.len());
        }
    }
}
