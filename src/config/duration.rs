//! Durations as people type them: `250ms`, `2s`, `1m`, `1h`.

use std::time::Duration;

/// Reads a whole number with a unit: ms, s, m or h.
///
/// # Errors
/// When it is not of that form, or zero; the text shows the form.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number with a unit, as in 250ms, 2s, 1m or 1h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number before the unit, as in 2s")?;
    match number.checked_mul(unit_ms) {
        Some(0) => Err("must be more than zero".into()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err("is too long".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_durations() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "2", "s", "-1s", "1.5s", "0s", "2 s", "99999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
