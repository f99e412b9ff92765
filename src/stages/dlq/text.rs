//! Bytes that nobody vouches for, shown so that no terminal acts on them.

use serde::de::IgnoredAny;

use crate::console::escaped;

/// The most of a text that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most of other bytes that is shown.
const HEX_BYTES_MAX: usize = 1024;
/// How many bytes a line of hexadecimal digits has.
const HEX_LINE_BYTES: usize = 32;
/// Deeper JSON is shown as it is.
const INDENT_MAX: usize = 32;

/// A payload for people: JSON indented, other text with its control characters
/// escaped, anything else in hexadecimal digits. What is too long is cut, and
/// says so.
pub fn payload(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return hex_lines(bytes) };
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let shown = if is_json { indented(text) } else { text.to_owned() };
    let cut = shown.floor_char_boundary(TEXT_BYTES_MAX);
    match shown.len() - cut {
        0 => escaped(&shown),
        more => format!("{}\n{}", escaped(&shown[..cut]), rest(more)),
    }
}

fn rest(bytes: usize) -> String {
    format!("… {bytes} bytes more; --raw writes all as it is")
}

fn hex_lines(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(HEX_BYTES_MAX)];
    let mut lines: Vec<String> = shown.chunks(HEX_LINE_BYTES).map(hex).collect();
    lines.insert(0, format!("{} bytes, not UTF-8, in hexadecimal digits:", bytes.len()));
    if shown.len() < bytes.len() {
        lines.push(rest(bytes.len() - shown.len()));
    }
    lines.join("\n")
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A short text for a key: as it is when it is UTF-8, else `0x` and digits.
pub fn key(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("0x{}", hex(bytes)),
    }
}

/// JSON with a line for each element. Only spaces change, so that numbers,
/// repeated names and escapes stay as they were sent.
fn indented(json: &str) -> String {
    let mut shown = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut after_escape) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    while let Some(character) = rest.next() {
        if in_string {
            shown.push(character);
            in_string = after_escape || character != '"';
            after_escape = !after_escape && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                shown.push(character);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                depth += 1;
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => {
                        depth -= 1;
                        shown.push(end);
                    }
                    None => line(&mut shown, depth),
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, depth);
                shown.push(character);
            }
            ',' => {
                shown.push(',');
                line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            _ if character.is_ascii_whitespace() => {}
            _ => {
                in_string = character == '"';
                shown.push(character);
            }
        }
    }
    shown
}

fn line(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.push_str(&"  ".repeat(depth.min(INDENT_MAX)));
}

/// A text of at most so many characters on one line, safe for a terminal.
pub fn short(text: &str, chars_max: usize) -> String {
    let safe = escaped(text).replace(['\n', '\t'], " ");
    match safe.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}…", &safe[..cut]),
        None => safe,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_indented_and_keeps_what_a_parser_would_lose() {
        let shown = payload(br#"{"a": 1e999,"a":[1 , {}],"b":"x\",{","c":[]}"#);
        let expected = "{\n  \"a\": 1e999,\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"x\\\",{\",\n  \"c\": []\n}";
        assert_eq!(shown, expected);
    }

    #[test]
    fn text_has_its_escapes_shown_and_other_bytes_are_digits() {
        assert_eq!(payload(b"a\x1b]0;owned\x07"), "a\\u001b]0;owned\\u0007");
        assert_eq!(payload(b"\xff\x00"), "2 bytes, not UTF-8, in hexadecimal digits:\nff00");
        assert_eq!(payload(b""), "");
    }

    #[test]
    fn long_payloads_are_cut_and_say_so() {
        let text = payload("é".repeat(TEXT_BYTES_MAX).as_bytes());
        assert!(text.len() < TEXT_BYTES_MAX + 100 && text.ends_with("as it is"), "{}", text.len());
        let bytes = payload(&[0xff; 5000]);
        assert!(bytes.contains("… 3976 bytes more"), "{bytes}");
    }

    proptest! {
        #[test]
        fn no_payload_can_steer_a_terminal(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!payload(&bytes).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }

        #[test]
        fn indented_json_means_the_same(texts in prop::collection::vec(any::<String>(), 0..5)) {
            let json = serde_json::json!({"a": texts, "b": {"c": texts, "d": [[], {}, null, -1.5]}});
            let shown = indented(&json.to_string());
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
        }
    }
}
