//! Values of flags that several verbs take.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

/// The longest name of a consumer group, in bytes: it is part of other names, and
/// stands in the ledger's indexes.
const GROUP_BYTES_MAX: usize = 255;

/// Reads a value that may hold a secret: unlike clap's own, its error does not quote
/// the value.
#[derive(Debug, Clone)]
pub struct Unquoted<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Unquoted<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| "is not UTF-8".to_owned());
        text.and_then(self.0).map_err(|why| {
            let flag = argument.map(|flag| format!("{flag}: ")).unwrap_or_default();
            let text = format!("{flag}{why}\n\nFor more information, try '--help'.\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// Reads a number of times a second, greater than 0, as the time between two.
///
/// # Errors
/// When it is something else; the text says how to write it.
pub fn parse_rate(text: &str) -> Result<Duration, String> {
    let read = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && rate.is_finite());
    read.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok())
        .ok_or_else(|| "write how many a second, greater than 0: 1000, or 0.5".into())
}

/// Checks the name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`
/// (Kafka's own rule, org.apache.kafka.common.internals.Topic).
///
/// # Errors
/// When it is no such name; the text says the rule.
pub fn parse_topic_name(text: &str) -> Result<String, String> {
    const LENGTH_MAX: usize = 249;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > LENGTH_MAX || !text.bytes().all(legal) {
        return Err(format!("a topic's name is 1 to {LENGTH_MAX} of a-z A-Z 0-9 . _ -"));
    }
    if matches!(text, "." | "..") {
        return Err("a topic cannot be named . or ..".into());
    }
    Ok(text.to_owned())
}

/// Checks the name of a consumer group.
///
/// # Errors
/// When it is empty or too long, or would not be seen as it is.
pub fn parse_group(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("name a consumer group".into());
    }
    if text.len() > GROUP_BYTES_MAX {
        return Err(format!("at most {GROUP_BYTES_MAX} bytes: take a shorter name"));
    }
    if text.contains(char::is_control) {
        return Err("a group's name has no control characters".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_greater_than_zero() {
        assert_eq!(parse_rate("1000"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_rate("0.5"), Ok(Duration::from_secs(2)));
        for wrong in ["0", "-1", "abc", "", "NaN", "inf", "1e-300"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_group_has_a_name_that_can_be_seen() {
        assert!(parse_group("orders é 7").is_ok() && parse_group(&"g".repeat(255)).is_ok());
        for wrong in ["", " ", "a\nb", "\u{7f}", &"g".repeat(256)] {
            assert!(parse_group(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_topic_has_a_legal_name() {
        assert!(parse_topic_name("product_orders").is_ok());
        assert!(parse_topic_name(&"a".repeat(249)).is_ok());
        for wrong in ["", ".", "..", "a b", "ä", "a/b", &"a".repeat(250)] {
            assert!(parse_topic_name(wrong).is_err(), "{wrong}");
        }
    }
}
