//! One event to one row of COPY BINARY, straight from the borrowed payload.
//!
//! The format is the server's: a 16-bit count of columns, then for each a
//! 32-bit length (-1 for null) and the value as the type's `recv` function
//! reads it. See "COPY" in the PostgreSQL manual, section Binary Format.

use std::ops::Range;

use super::column::ColumnType;
use super::target::{Column, Target};
use crate::events::{Event, Reject, Value};

/// Microseconds from 1970 to 2000, where the server's clock begins.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Longest key in bytes: a btree takes entries up to a third of a page.
const KEY_BYTES_MAX: usize = 2_000;

/// Appends the event's row and says where in it the key's value is, counted
/// from the start of `out`.
///
/// # Errors
/// A reject when a column cannot hold its value; `out` is then as before.
pub fn row(event: &Event<'_>, target: &Target, out: &mut Vec<u8>) -> Result<Range<usize>, Reject> {
    let start = out.len();
    let written = columns(event, target, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends the value of the event's id alone, as the key column holds it.
///
/// # Errors
/// A reject when the column cannot hold it; `out` may have grown then.
pub fn key(event: &Event<'_>, target: &Target, out: &mut Vec<u8>) -> Result<(), Reject> {
    let column = target.key();
    value(event.value(column.field), column, out).map(|_| ())
}

fn columns(event: &Event<'_>, target: &Target, out: &mut Vec<u8>) -> Result<Range<usize>, Reject> {
    out.extend_from_slice(&target.column_count.to_be_bytes());
    let mut key = 0..0;
    for column in &target.columns {
        let length_at = out.len();
        out.extend_from_slice(&(-1i32).to_be_bytes());
        if !value(event.value(column.field), column, out)? {
            continue;
        }
        let value_at = length_at + 4;
        let length = i32::try_from(out.len() - value_at)
            .map_err(|_| reject(column, "is longer than 2 GB".into()))?;
        out[length_at..value_at].copy_from_slice(&length.to_be_bytes());
        if column.is_key {
            key = value_at..out.len();
        }
    }
    if key.len() > KEY_BYTES_MAX {
        let reason = format!("is {} bytes long, the key takes {KEY_BYTES_MAX}", key.len());
        return Err(Reject::new(event_key_name(target), reason));
    }
    Ok(key)
}

fn event_key_name(target: &Target) -> &str {
    target.columns.iter().find(|column| column.is_key).map_or("", |column| column.name.as_str())
}

/// Appends one value; false when it is null.
fn value(value: Value<'_>, column: &Column, out: &mut Vec<u8>) -> Result<bool, Reject> {
    match value {
        Value::Absent if column.nullable => return Ok(false),
        Value::Absent => {
            return Err(reject(column, "is missing and the column is not null".into()));
        }
        Value::Text(text) => from_text(text, column, out)?,
        Value::Integer(number) => from_integer(number, column, out)?,
        Value::Decimal(text) => from_decimal(text, column, out)?,
        Value::Moment { micros, text } => from_moment(micros, text, column, out)?,
    }
    Ok(true)
}

fn from_text(text: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    match &column.column_type {
        ColumnType::Text { chars_max: None } => out.extend_from_slice(text.as_bytes()),
        ColumnType::Text { chars_max: Some(most) } => bounded_text(text, *most, column, out)?,
        ColumnType::Enum { labels } if labels.iter().any(|label| label == text) => {
            out.extend_from_slice(text.as_bytes());
        }
        ColumnType::Enum { labels } => {
            let reason = format!("is {}, the column takes {}", shown(text), labels.join(", "));
            return Err(reject(column, reason));
        }
        ColumnType::Uuid => match uuid::Uuid::try_parse(text) {
            Ok(uuid) => out.extend_from_slice(uuid.as_bytes()),
            Err(_) => return Err(misfit(text, "uuid", column)),
        },
        ColumnType::Bool => match text {
            "true" | "t" | "yes" | "y" | "on" | "1" => out.push(1),
            "false" | "f" | "no" | "n" | "off" | "0" => out.push(0),
            _ => return Err(misfit(text, "boolean", column)),
        },
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => match text.parse::<i64>() {
            Ok(number) => from_integer(number, column, out)?,
            Err(_) => return Err(misfit(text, "integer", column)),
        },
        ColumnType::Numeric { .. } => from_decimal(text, column, out)?,
        ColumnType::Json => json_text(text, out),
        ColumnType::Jsonb => {
            out.push(1);
            json_text(text, out);
        }
        ColumnType::Date | ColumnType::Timestamp => return Err(misfit(text, "date", column)),
    }
    Ok(())
}

fn bounded_text(text: &str, most: usize, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    // Bytes are never fewer than characters, so most texts need no count.
    if text.len() > most {
        let chars = text.chars().count();
        // As SQL has it, the server cuts blanks that are too many.
        if chars > most && text.trim_end_matches(' ').chars().count() > most {
            let reason = format!("is {chars} characters long, the column takes {most}");
            return Err(reject(column, reason));
        }
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn json_text(text: &str, out: &mut Vec<u8>) {
    // Writing a string into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn from_integer(number: i64, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    let narrow =
        |kind: &str| reject(column, format!("is {number}, which is out of range for {kind}"));
    match &column.column_type {
        ColumnType::Int2 => {
            let small = i16::try_from(number).map_err(|_| narrow("smallint"))?;
            out.extend_from_slice(&small.to_be_bytes());
        }
        ColumnType::Int4 => {
            let medium = i32::try_from(number).map_err(|_| narrow("integer"))?;
            out.extend_from_slice(&medium.to_be_bytes());
        }
        ColumnType::Int8 => out.extend_from_slice(&number.to_be_bytes()),
        ColumnType::Numeric { .. } => from_decimal(&number.to_string(), column, out)?,
        _ => plain(&number.to_string(), column, out)?,
    }
    Ok(())
}

fn from_moment(micros: i64, text: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    let since_2000 = micros - EPOCH_2000_MICROS;
    match &column.column_type {
        ColumnType::Timestamp => out.extend_from_slice(&since_2000.to_be_bytes()),
        ColumnType::Date => {
            let days = i32::try_from(since_2000.div_euclid(DAY_MICROS))
                .map_err(|_| misfit(text, "date", column))?;
            out.extend_from_slice(&days.to_be_bytes());
        }
        _ => from_text(text, column, out)?,
    }
    Ok(())
}

fn from_decimal(text: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    match &column.column_type {
        ColumnType::Numeric { bounds } => numeric(text, *bounds, column, out),
        _ => plain(text, column, out),
    }
}

/// A number into a column of text or JSON, where it keeps its digits.
fn plain(digits: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), Reject> {
    match &column.column_type {
        ColumnType::Jsonb => {
            out.push(1);
            out.extend_from_slice(digits.as_bytes());
            Ok(())
        }
        ColumnType::Json => {
            out.extend_from_slice(digits.as_bytes());
            Ok(())
        }
        _ => from_text(digits, column, out),
    }
}

/// `numeric` in groups of four decimal digits: count, weight of the first
/// group, sign, digits after the point, then the groups (`numeric_recv`).
fn numeric(
    text: &str,
    bounds: Option<(i32, i32)>,
    column: &Column,
    out: &mut Vec<u8>,
) -> Result<(), Reject> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
        return Err(misfit(text, "number", column));
    }
    let whole = whole.trim_start_matches('0');
    let is_too_large = match bounds {
        Some((precision, scale)) => rounds_too_high(whole, fraction, precision, scale),
        None => false,
    };
    // The server's own bounds of numeric, in digits before and after the point.
    if is_too_large || whole.len() > 131_072 || fraction.len() > 16_383 {
        return Err(reject(column, format!("is {}, too large for the column", shown(text))));
    }
    let mut groups = decimal_groups(whole, fraction);
    let mut weight = whole.len().div_ceil(4) as i32 - 1;
    let leading_zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading_zeros);
    weight -= leading_zeros as i32;
    if groups.is_empty() {
        weight = 0;
    }
    let sign: u16 = if negative && !groups.is_empty() { 0x4000 } else { 0 };
    out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    out.extend_from_slice(&(weight as i16).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(fraction.len() as u16).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

/// Whether the number (its whole part without leading zeros) does not fit into
/// `numeric(precision, scale)` after the server has rounded it half up: whether
/// it is at least 10^(precision - scale) less half a unit of the last digit,
/// which in digits is as many nines as the precision, and then a five.
fn rounds_too_high(whole: &str, fraction: &str, precision: i32, scale: i32) -> bool {
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    // The digit that counts 10^exponent.
    let digit = |exponent: i32| {
        usize::try_from(whole.len() as i32 - 1 - exponent)
            .ok()
            .and_then(|at| digits.get(at))
            .copied()
            .unwrap_or(b'0')
    };
    let bound = precision - scale;
    let is_above = (bound..whole.len() as i32).any(|exponent| digit(exponent) != b'0');
    is_above || (-scale..bound).all(|exponent| digit(exponent) == b'9') && digit(-scale - 1) >= b'5'
}

fn decimal_groups(whole: &str, fraction: &str) -> Vec<u16> {
    let padding = (4 - whole.len() % 4) % 4;
    let digits: Vec<u8> =
        std::iter::repeat_n(b'0', padding).chain(whole.bytes()).chain(fraction.bytes()).collect();
    digits
        .chunks(4)
        .map(|chunk| {
            let value = chunk.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
            value * 10u16.pow(4 - chunk.len() as u32)
        })
        .collect()
}

fn misfit(text: &str, wanted: &str, column: &Column) -> Reject {
    reject(column, format!("is {}, which is not a valid {wanted}", shown(text)))
}

/// A value in quotes, cut so that a reason stays readable.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn reject(column: &Column, reason: String) -> Reject {
    Reject::new(column.name.as_str(), reason)
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
