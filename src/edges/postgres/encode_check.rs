//! What must hold of every payload before every table: the property tests and
//! the fuzz targets ask the same.

use serde::de::IgnoredAny;

use super::column::ColumnType;
use super::encode;
use super::target::{Column, Target};
use crate::events::{Field, Kind, Reject};

/// The columns that rows are tried with.
fn column_types() -> Vec<ColumnType> {
    let labels = ["low", "high", "ä"].map(str::to_owned).to_vec();
    vec![
        ColumnType::Text { chars_max: None },
        ColumnType::Text { chars_max: Some(10) },
        ColumnType::Text { chars_max: Some(1) },
        ColumnType::Int2,
        ColumnType::Int4,
        ColumnType::Int8,
        ColumnType::Numeric { bounds: None },
        ColumnType::Numeric { bounds: Some((5, 2)) },
        ColumnType::Numeric { bounds: Some((3, -2)) },
        ColumnType::Numeric { bounds: Some((2, 4)) },
        ColumnType::Uuid,
        ColumnType::Date,
        ColumnType::Timestamp,
        ColumnType::Bool,
        ColumnType::Json,
        ColumnType::Jsonb,
        ColumnType::Enum { labels },
    ]
}

/// A table for the kind; each choice picks the type of a column among those
/// that take its field, and whether it may be null.
pub fn table(kind: Kind, choices: &[u8]) -> Target {
    let choice = |field: usize| usize::from(choices.get(field).copied().unwrap_or_default());
    let column = |(index, field): (usize, &Field)| {
        let fitting: Vec<ColumnType> =
            column_types().into_iter().filter(|kind| kind.takes(field)).collect();
        Column {
            name: field.name.parse().expect("an identifier"),
            field: index,
            column_type: fitting[(choice(index) >> 1) % fitting.len()].clone(),
            base_type: String::new(),
            collation: None,
            nullable: choice(index) & 1 == 0,
            is_key: index == 0,
        }
    };
    let columns: Vec<Column> = kind.fields().iter().enumerate().map(column).collect();
    Target {
        schema: "public".parse().expect("an identifier"),
        table: "t".parse().expect("an identifier"),
        kind,
        column_count: columns.len() as i16,
        columns,
        unique_key: true,
        server_may_refuse: false,
        has_seating: false,
        left_out: Vec::new(),
    }
}

/// Fails unless the payload becomes a row that the server's `recv` functions can
/// read, or a reject that says why; whether it became a row.
pub fn assert_row_or_reject(payload: &[u8], target: &Target) -> bool {
    let event = match target.kind.parse(payload) {
        Ok(event) => event,
        Err(reject) => {
            assert_tells(&reject);
            return false;
        }
    };
    assert!(!event.id().is_empty() && !event.id().contains('\0'), "id {:?}", event.id());
    let before = b"before".to_vec();
    let mut out = before.clone();
    match encode::row(&event, target, &mut out) {
        Ok(key) => {
            let (row, values) = (&out[before.len()..], &out[..before.len()]);
            assert_eq!(values, before);
            let found = assert_row(row, target);
            assert_eq!(out[key], row[found]);
            true
        }
        Err(reject) => {
            assert_eq!(out, before, "a reject leaves nothing behind");
            assert_tells(&reject);
            false
        }
    }
}

/// A reject that a person can read: some text, not too much, no control
/// characters.
pub fn assert_tells(reject: &Reject) {
    let Reject { field, reason } = reject;
    assert!(!reason.is_empty() && reason.chars().count() <= Reject::REASON_CHARS_MAX + 1);
    assert!(field.len() <= 100, "{field}");
    assert!(!format!("{field}{reason}").contains(char::is_control), "{reject:?}");
}

/// Reads the row as the server does; where its key is.
fn assert_row(row: &[u8], target: &Target) -> std::ops::Range<usize> {
    let mut at = 2;
    assert_eq!(row[..2], target.column_count.to_be_bytes());
    let mut key = 0..0;
    for column in &target.columns {
        let length = i32::from_be_bytes(row[at..at + 4].try_into().expect("four bytes"));
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            assert!(length == -1 && column.nullable, "{column:?} is null");
            continue;
        };
        assert_value(&row[at..at + length], &column.column_type);
        if column.is_key {
            key = at..at + length;
        }
        at += length;
    }
    assert_eq!(at, row.len());
    key
}

fn assert_value(bytes: &[u8], column_type: &ColumnType) {
    let text = || {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        assert!(!text.contains('\0'), "{text:?}");
        text
    };
    match column_type {
        ColumnType::Text { chars_max } => {
            let chars = text().trim_end_matches(' ').chars().count();
            assert!(chars_max.is_none_or(|most| chars <= most), "{chars} characters");
        }
        ColumnType::Enum { labels } => assert!(labels.iter().any(|label| label == text())),
        ColumnType::Json => assert_json(bytes),
        ColumnType::Jsonb => {
            assert_eq!(bytes[0], 1);
            assert_json(&bytes[1..]);
        }
        ColumnType::Bool => assert!(matches!(bytes, [0 | 1])),
        ColumnType::Int2 => assert_eq!(bytes.len(), 2),
        ColumnType::Int4 | ColumnType::Date => assert_eq!(bytes.len(), 4),
        ColumnType::Int8 | ColumnType::Timestamp => assert_eq!(bytes.len(), 8),
        ColumnType::Uuid => assert_eq!(bytes.len(), 16),
        ColumnType::Numeric { bounds } => assert_numeric(bytes, *bounds),
    }
}

fn assert_json(bytes: &[u8]) {
    assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok(), "{bytes:?}");
}

/// The four 16-bit numbers of the head, and groups of four digits that stand in
/// their bounds.
fn assert_numeric(bytes: &[u8], bounds: Option<(i32, i32)>) {
    let words: Vec<u16> = bytes.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
    let (head, groups) = words.split_at(4);
    assert_eq!(groups.len(), usize::from(head[0]));
    assert!(head[2] == 0 || head[2] == 0x4000 && !groups.is_empty(), "sign {:x}", head[2]);
    assert!(head[3] <= 16_383 && groups.iter().all(|group| *group < 10_000));
    assert_ne!(groups.first(), Some(&0), "a leading group of zeros");
    if let (Some((precision, scale)), Some(first)) = (bounds, groups.first()) {
        let whole = i32::from(head[1] as i16) * 4 + first.to_string().len() as i32;
        assert!(whole <= precision - scale, "{whole} digits");
    }
}
