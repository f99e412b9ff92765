//! The quick way through a payload: JSON as programs write it, in one pass that
//! borrows everything.
//!
//! It takes only what is plain: known fields, each once, strings without
//! escapes. At anything else it gives up with none, and the general parser
//! decides; whatever it does take, the general parser would take too and read
//! the same (a property test holds the two together).

/// A place in a payload.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    text: &'a str,
    at: usize,
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

impl<'a> Plain<'a> {
    /// At the beginning.
    pub fn new(text: &'a str) -> Plain<'a> {
        Plain { text, at: 0 }
    }

    /// Reads an object; `field` reads the value of each key.
    pub fn object(
        &mut self,
        mut field: impl FnMut(&mut Plain<'a>, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        loop {
            let key = self.string()?;
            self.take(b':')?;
            field(self, key)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads a string that has no escapes.
    pub fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start;
        // Eight bytes at a time up to a quote, a backslash or a control
        // character; the lowest bit found is exact, those above it may not be.
        while let Some(eight) = bytes.get(end..end + 8) {
            let word = u64::from_le_bytes(eight.try_into().ok()?);
            let control = word.wrapping_sub(ONES * 0x20) & !word;
            let found =
                (control | zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c))) & HIGHS;
            if found != 0 {
                end += found.trailing_zeros() as usize / 8;
                break;
            }
            end += 8;
        }
        while !matches!(bytes.get(end)?, b'"' | b'\\' | 0..0x20) {
            end += 1;
        }
        if bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        Some(&self.text[start..end])
    }

    /// Reads a whole number without sign.
    pub fn digits(&mut self) -> Option<&'a str> {
        let first = self.next()?;
        if !matches!(first, b'1'..=b'9') {
            return None;
        }
        let start = self.at - 1;
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // What follows a complete number; a point or an exponent is not plain.
        match self.text.as_bytes().get(self.at)? {
            b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t' => Some(&self.text[start..self.at]),
            _ => None,
        }
    }

    /// Whether a string comes next.
    pub fn is_at_string(&mut self) -> bool {
        self.skip_blanks();
        self.text.as_bytes().get(self.at) == Some(&b'"')
    }

    /// Nothing but blanks is left.
    pub fn end(&mut self) -> Option<()> {
        self.skip_blanks();
        (self.at == self.text.len()).then_some(())
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn next(&mut self) -> Option<u8> {
        self.skip_blanks();
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }
}

/// Sets the high bit of the lowest byte that is zero.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

/// Fills a field, once.
pub(super) fn fill<T>(slot: &mut Option<T>, value: Option<T>) -> Option<()> {
    match (&slot, value) {
        (None, Some(value)) => {
            *slot = Some(value);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_ends_at_its_quote_wherever_that_is() {
        for length in 0..40 {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let json = format!("\"{text}\",\"rest\\\"");
            assert_eq!(Plain::new(&json).string(), Some(text.as_str()));
        }
    }

    #[test]
    fn escapes_control_characters_and_open_ends_are_not_plain() {
        for json in [r#""a\n""#, "\"a\tb\"", "\"abcdefghijkl", "\"1234567\\u0000\"", "a\"", ""] {
            assert_eq!(Plain::new(json).string(), None, "{json:?}");
        }
    }

    #[test]
    fn numbers_are_whole_and_complete() {
        assert_eq!(Plain::new("12,").digits(), Some("12"));
        for json in ["0,", "-1,", "1.5,", "1e3,", "01,", "12", "x,"] {
            assert_eq!(Plain::new(json).digits(), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_string_is_what_the_general_parser_reads(text in "\\PC{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            if let Some(plain) = Plain::new(&json).string() {
                prop_assert_eq!(plain, text);
            } else {
                prop_assert!(json.contains('\\'));
            }
        }
    }
}
