//! The comparison on made-up topics and tables.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::compare::{Rules, TableCounts, compare};
use super::findings::{Counts, Fault, Finding, Findings};
use super::letters::Letters;
use super::records::{Place, Records, Standing};
use super::spill::{BUCKETS, Spill};
use crate::edges::kafka::range::Span;
use crate::edges::postgres::column::ColumnType;
use crate::edges::postgres::effects::Letter;
use crate::edges::postgres::key::KeyForm;
use crate::edges::postgres::target::{Column, Target};
use crate::engine::record::Raw;
use crate::events::Kind;

const TIME_MS: i64 = 1_735_689_600_000;

/// A table with nothing but the id, as text.
fn target() -> Target {
    let key = Column {
        name: "user_id".parse().unwrap(),
        field: 0,
        column_type: ColumnType::Text { chars_max: None },
        base_type: "text".into(),
        collation: None,
        nullable: false,
        is_key: true,
    };
    Target {
        schema: "s".parse().unwrap(),
        table: "t".parse().unwrap(),
        kind: Kind::User,
        columns: vec![key],
        column_count: 1,
        unique_key: true,
        server_may_refuse: false,
        has_seating: false,
        left_out: Vec::new(),
    }
}

fn user(id: &str) -> Vec<u8> {
    format!(r#"{{"user_id":"{id}","full_name":"a","email":"a@example.com"}}"#).into_bytes()
}

fn letter(offset: i64, time_ms: Option<i64>) -> Letter {
    Letter { partition: 0, offset, time_ms, is_stored: false, is_before_move: false }
}

/// As [`pass_moved`], with a position that never was.
fn pass(
    span: Span,
    is_compacted: bool,
    payloads: &[(i64, Option<Vec<u8>>)],
    given: &[Letter],
    rows: &[&str],
) -> (Counts, TableCounts, Vec<Finding>) {
    pass_moved(None, span, is_compacted, payloads, given, rows)
}

/// As [`pass_over`], into a table that takes any id.
fn pass_moved(
    moved_to: Option<i64>,
    span: Span,
    is_compacted: bool,
    payloads: &[(i64, Option<Vec<u8>>)],
    given: &[Letter],
    rows: &[&str],
) -> (Counts, TableCounts, Vec<Finding>) {
    pass_over(&target(), moved_to, span, is_compacted, payloads, given, rows)
}

/// Passes records (offset and payload) of partition 0 by letters; all are to be
/// rows of the ids named. The position may have been moved to an offset.
fn pass_over(
    target: &Target,
    moved_to: Option<i64>,
    span: Span,
    is_compacted: bool,
    payloads: &[(i64, Option<Vec<u8>>)],
    given: &[Letter],
    rows: &[&str],
) -> (Counts, TableCounts, Vec<Finding>) {
    let mut letters = Letters::new().unwrap();
    given.iter().for_each(|letter| letters.push(*letter).unwrap());
    letters.flush().unwrap();
    let mut findings = Findings::new(100);
    let spans = BTreeMap::from([(0, span)]);
    let moved = moved_to.map(|offset| (0, offset)).into_iter().collect();
    let mut records = Records::new(target, &letters, &spans, &moved, is_compacted).unwrap();
    for (offset, payload) in payloads {
        let (offset, payload) = (*offset, payload.as_deref());
        let raw = Raw { partition: 0, offset, time_ms: Some(TIME_MS), key: None, payload };
        records.take(&raw, &mut findings).unwrap();
    }
    let (mut counts, ids) = records.finish(&BTreeMap::new(), &mut findings).unwrap();
    let mut stored = Spill::new().unwrap();
    rows.iter().for_each(|id| stored.push(id.as_bytes(), []).unwrap());
    let foreign_rows = counts[&0].unknown > 0 || moved_to.is_some();
    let rules = Rules { unique: true, foreign_rows, form: KeyForm::Text { chars_max: None } };
    let mut table = TableCounts::default();
    for bucket in 0..BUCKETS {
        let sides = (&ids, &stored);
        compare(bucket, sides, &rules, &mut counts, &mut table, &mut findings).unwrap();
    }
    (counts[&0], table, findings.into_sorted().0)
}

fn span(first: i64, position: i64) -> Span {
    Span { first, position, end: position }
}

fn faults(findings: &[Finding]) -> Vec<(Fault, Option<i64>, Option<&str>)> {
    findings.iter().map(|one| (one.fault, one.offset, one.id.as_deref())).collect()
}

#[test]
fn a_record_is_a_row_a_duplicate_or_a_dead_letter() {
    let records =
        [(0, Some(user("a"))), (1, Some(b"{}".to_vec())), (2, Some(user("a"))), (4, None)];
    let letters = [letter(1, Some(TIME_MS)), letter(4, Some(TIME_MS))];
    let (counts, table, findings) = pass(span(0, 5), false, &records, &letters, &["a"]);
    let wanted = Counts { read: 4, stored: 1, duplicates: 1, rejected: 2, ..Counts::default() };
    assert_eq!((counts, table, findings), (wanted, TableCounts::default(), Vec::new()));
}

#[test]
fn what_is_wrong_is_named() {
    let records = [(0, Some(user("a"))), (1, Some(b"{}".to_vec())), (2, Some(user("b")))];
    let letters = [
        letter(2, Some(TIME_MS)),
        letter(2, Some(TIME_MS)),
        letter(2, Some(TIME_MS + 1)),
        letter(3, None),
    ];
    let (counts, table, findings) = pass(span(0, 4), false, &records, &letters, &["x"]);
    let wanted =
        Counts { read: 3, rejected: 1, missing: 2, duplicated: 1, extra: 2, ..Counts::default() };
    assert_eq!(counts, wanted, "{findings:?}");
    assert_eq!(table.extra, 1);
    let named = [
        (Fault::Missing, Some(0), Some("a")),
        (Fault::Missing, Some(1), None),
        (Fault::Duplicated, Some(2), None),
        (Fault::Extra, None, Some("x")),
        (Fault::Extra, Some(2), None),
        (Fault::Extra, Some(3), None),
    ];
    assert_eq!(faults(&findings), named);
    assert!(findings[1].detail.contains("user_id"), "{findings:?}");
}

#[test]
fn what_retention_or_compaction_took_is_unknown() {
    let records = [(5, Some(user("a")))];
    let letters = [letter(2, Some(TIME_MS)), letter(6, Some(TIME_MS))];
    let rows = ["a", "gone"];
    let (counts, table, _) = pass(span(5, 7), false, &records, &letters, &rows);
    assert_eq!((counts.stored, counts.unknown, counts.extra), (1, 5, 1), "retention");
    assert_eq!((table.extra, table.unknown), (0, 1));
    let (counts, table, findings) = pass(span(0, 7), true, &records, &letters, &rows);
    assert_eq!((counts.stored, counts.unknown, counts.extra), (1, 6, 0), "compaction");
    assert_eq!((table.extra, table.unknown), (0, 1));
    assert_eq!(findings, []);
    let (counts, table, _) = pass(span(0, 7), false, &records, &letters, &rows);
    assert_eq!((counts.unknown, counts.extra, table.extra), (0, 2, 1), "neither");
}

#[test]
fn a_letter_beyond_the_position_is_extra_and_one_that_was_stored_after_all_is_a_row() {
    let records = [(0, Some(user("a"))), (1, Some(user("b")))];
    let stored = |offset| Letter { is_stored: true, ..letter(offset, Some(TIME_MS)) };
    let letters = [stored(0), stored(1), letter(9, Some(TIME_MS))];
    let (counts, _, findings) = pass(span(0, 2), false, &records, &letters, &["a"]);
    let wanted = Counts { read: 2, stored: 1, missing: 1, extra: 1, ..Counts::default() };
    assert_eq!(counts, wanted);
    let named = [(Fault::Missing, Some(1), Some("b")), (Fault::Extra, Some(9), None)];
    assert_eq!(faults(&findings), named);
}

#[test]
fn what_may_be_of_a_topic_that_is_gone_or_was_skipped_is_unknown() {
    let records = [(0, Some(user("a"))), (1, Some(b"{}".to_vec())), (2, Some(user("b")))];
    let records = [&records[..], &[(3, Some(user("c"))), (4, Some(user("a")))]].concat();
    let old = |offset| Letter { is_before_move: true, ..letter(offset, Some(TIME_MS - 1)) };
    let letters = [old(1), old(3), letter(3, Some(TIME_MS)), old(9)];
    let (counts, table, findings) =
        pass_moved(Some(2), span(0, 5), false, &records, &letters, &["a", "b", "old"]);
    let wanted = Counts { read: 5, stored: 2, rejected: 1, unknown: 2 + 3, ..Counts::default() };
    assert_eq!((counts, findings), (wanted, Vec::new()));
    assert_eq!((table.extra, table.unknown), (0, 1));
    let rows = ["old"];
    let (counts, _, findings) = pass_moved(Some(2), span(0, 5), false, &records, &letters, &rows);
    assert_eq!((counts.missing, counts.unknown), (2, 5));
    let named = [(Fault::Missing, Some(2), Some("b")), (Fault::Missing, Some(4), Some("a"))];
    assert_eq!(faults(&findings), named, "those that were read");
    let skipped = &records[..1];
    let (counts, ..) = pass_moved(Some(2), span(0, 2), false, skipped, &[], &["a"]);
    assert_eq!((counts.stored, counts.unknown), (1, 0), "its row is there all the same");
}

/// The target, which takes a `full_name` of one character too.
fn narrow_target() -> Target {
    let mut target = target();
    target.columns.push(Column {
        name: "full_name".parse().unwrap(),
        field: Kind::User.fields().iter().position(|field| field.name == "full_name").unwrap(),
        column_type: ColumnType::Text { chars_max: Some(1) },
        is_key: false,
        ..target.columns[0].clone()
    });
    target.column_count = 2;
    target
}

#[test]
fn a_record_that_the_table_does_not_take_is_no_duplicate_of_another_ones_row() {
    let unfit =
        |id: &str| String::from_utf8(user(id)).unwrap().replace(":\"a\",\"e", ":\"ab\",\"e");
    let unfit = |id: &str| Some(unfit(id).into_bytes());
    let records =
        [(0, unfit("a")), (1, Some(user("a"))), (2, unfit("b")), (3, unfit("b")), (4, unfit("c"))];
    let (counts, _, findings) =
        pass_over(&narrow_target(), None, span(0, 5), false, &records, &[], &["a", "b"]);
    // The rows of b may be older than the column is as narrow.
    let wanted = Counts { read: 5, stored: 2, duplicates: 1, missing: 2, ..Counts::default() };
    assert_eq!(counts, wanted, "{findings:?}");
    let named = [(Fault::Missing, Some(0), Some("a")), (Fault::Missing, Some(4), Some("c"))];
    assert_eq!(faults(&findings), named);
}

/// What must come out, found in the plainest way.
fn model(records: &[(u8, i32)], rows: &[u8], rules: &Rules) -> (Counts, TableCounts) {
    let mut counts = Counts::default();
    let mut table = TableCounts::default();
    for id in 0..=u8::MAX {
        let of_id = records.iter().filter(|(record, _)| *record == id).count() as u64;
        let found = rows.iter().filter(|row| **row == id).count() as u64;
        let wanted = if rules.unique { of_id.min(1) } else { of_id };
        let surplus = found.saturating_sub(wanted);
        counts.duplicates += of_id - wanted;
        counts.stored += wanted.min(found);
        counts.missing += wanted.saturating_sub(found);
        match of_id {
            0 if rules.foreign_rows => table.unknown += surplus,
            0 => table.extra += surplus,
            _ if rules.foreign_rows && !rules.unique => table.unknown += surplus,
            _ => counts.duplicated += surplus,
        }
    }
    (counts, table)
}

proptest! {
    #[test]
    fn any_topic_and_table_are_compared_as_the_plainest_way_does(
        records in proptest::collection::vec((0..30u8, 0..3i32), 0..80),
        rows in proptest::collection::vec(0..35u8, 0..80),
        unique: bool,
        foreign_rows: bool,
    ) {
        let rules = Rules { unique, foreign_rows, form: KeyForm::Text { chars_max: None } };
        let (mut ids, mut stored) = (Spill::new().unwrap(), Spill::new().unwrap());
        let mut read: BTreeMap<i32, u64> = BTreeMap::new();
        for (offset, (id, partition)) in records.iter().enumerate() {
            let (partition, offset, standing) = (*partition, offset as i64, Standing::Firm);
            ids.push(&[*id], Place { partition, offset, standing }.encoded()).unwrap();
            *read.entry(partition).or_default() += 1;
        }
        rows.iter().for_each(|id| stored.push(&[*id], []).unwrap());
        let (mut counts, mut table) = (BTreeMap::new(), TableCounts::default());
        let mut findings = Findings::new(1000);
        for bucket in 0..BUCKETS {
            let sides = (&ids, &stored);
            compare(bucket, sides, &rules, &mut counts, &mut table, &mut findings).unwrap();
        }
        let mut totals = Counts::default();
        for (partition, counts) in &counts {
            let judged = counts.stored + counts.duplicates + counts.missing;
            prop_assert_eq!(judged, read[partition], "partition {}", partition);
            totals += *counts;
        }
        prop_assert_eq!((totals, table), model(&records, &rows, &rules));
        let (findings, _) = findings.into_sorted();
        let missing = findings.iter().filter(|one| one.fault == Fault::Missing);
        let mut places: Vec<_> = missing.map(|one| (one.partition, one.offset)).collect();
        places.dedup();
        prop_assert_eq!(places.len() as u64, totals.missing, "each is named once");
        let extra = findings.iter().filter(|one| one.fault == Fault::Extra).count();
        prop_assert_eq!(extra as u64, table.extra);
    }
}
