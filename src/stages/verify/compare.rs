//! The ids of records against the ids of rows, one bucket after the other: pure
//! but for the temporary files.

use std::collections::{BTreeMap, HashMap};
use std::io;

use serde::Serialize;

use super::findings::{Counts, Fault, Finding, Findings};
use super::records::{PLACE_BYTES, placed};
use super::spill::Spill;
use crate::edges::postgres::key::KeyForm;

/// How ids are to be compared.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether an id can be in the table only once, so that later records of it
    /// are duplicates; else each record has a row of its own.
    pub unique: bool,
    /// Whether there may be rows that came from no record we could read, so that
    /// a row too many proves nothing.
    pub foreign_rows: bool,
    /// How an id is shown.
    pub form: KeyForm,
}

/// What concerns the table and no partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TableCounts {
    /// Rows.
    pub rows: u64,
    /// Rows of which there is no record.
    pub extra: u64,
    /// Rows of which there is no record any more, or another group's.
    pub unknown: u64,
}

/// What one id has.
#[derive(Debug)]
struct Entry {
    /// The first record that was read.
    first: (i32, i64),
    records: u64,
    rows: u64,
    /// Records that were named as missing already.
    named: u64,
}

impl Entry {
    fn rows_wanted(&self, rules: &Rules) -> u64 {
        if rules.unique { 1 } else { self.records }
    }
}

/// Compares the ids of one bucket. Which of several records of an id is missing
/// or has a row too many cannot be told; the first ones are named.
///
/// # Errors
/// When a temporary file cannot be read.
pub fn compare(
    bucket: usize,
    (records, rows): (&Spill<PLACE_BYTES>, &Spill<0>),
    rules: &Rules,
    counts: &mut BTreeMap<i32, Counts>,
    table: &mut TableCounts,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut entries: HashMap<Box<[u8]>, Entry> = HashMap::new();
    records.each(bucket, |id, place| {
        let first = placed(place);
        let counts = counts.entry(first.0).or_default();
        match entries.get_mut(id) {
            Some(entry) => {
                entry.records += 1;
                if rules.unique { counts.duplicates += 1 } else { counts.stored += 1 }
            }
            None => {
                entries.insert(id.into(), Entry { first, records: 1, rows: 0, named: 0 });
                counts.stored += 1;
            }
        }
    })?;
    rows.each(bucket, |id, []| match entries.get_mut(id) {
        Some(entry) => entry.rows += 1,
        None if rules.foreign_rows => table.unknown += 1,
        None => {
            table.extra += 1;
            findings.add(Fault::Extra, || row_alone(Some(rules.form.shown(id))));
        }
    })?;
    for (id, entry) in &entries {
        let surplus = entry.rows.saturating_sub(entry.rows_wanted(rules));
        if surplus > 0 && rules.foreign_rows && !rules.unique {
            table.unknown += surplus;
        } else if surplus > 0 {
            counts.entry(entry.first.0).or_default().duplicated += surplus;
            findings.add(Fault::Duplicated, || of_id(Fault::Duplicated, id, entry, rules));
        }
    }
    name_missing(bucket, records, entries, rules, counts, findings)
}

/// Goes through the bucket's records again, if there are ids with too few rows,
/// to name those without one.
fn name_missing(
    bucket: usize,
    records: &Spill<PLACE_BYTES>,
    mut entries: HashMap<Box<[u8]>, Entry>,
    rules: &Rules,
    counts: &mut BTreeMap<i32, Counts>,
    findings: &mut Findings,
) -> io::Result<()> {
    entries.retain(|_, entry| entry.rows < entry.rows_wanted(rules));
    if entries.is_empty() {
        return Ok(());
    }
    records.each(bucket, |id, place| {
        let Some(entry) = entries.get_mut(id) else { return };
        if entry.rows + entry.named < entry.rows_wanted(rules) {
            entry.named += 1;
            entry.first = placed(place);
            let counts = counts.entry(entry.first.0).or_default();
            counts.stored -= 1;
            counts.missing += 1;
            findings.add(Fault::Missing, || of_id(Fault::Missing, id, entry, rules));
        }
    })
}

/// A row of which there is no record.
pub fn row_alone(id: Option<String>) -> Finding {
    let detail = if id.is_some() { "row without a record" } else { "row without id and record" };
    Finding { fault: Fault::Extra, partition: None, offset: None, id, detail: detail.to_owned() }
}

fn of_id(fault: Fault, id: &[u8], entry: &Entry, rules: &Rules) -> Finding {
    let Entry { first, records, rows, .. } = entry;
    let detail = match fault {
        Fault::Missing if rules.unique || *records == 1 => "neither row nor dead letter".to_owned(),
        _ if rules.unique => format!("{rows} rows where one is allowed"),
        _ => format!("rows {rows}, records {records}"),
    };
    let (partition, offset) = (Some(first.0), Some(first.1));
    Finding { fault, partition, offset, id: Some(rules.form.shown(id)), detail }
}
