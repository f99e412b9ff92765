//! The ids of records against the ids of rows, one bucket after the other: pure
//! but for the temporary files.

use std::collections::{BTreeMap, HashMap};
use std::io;

use serde::Serialize;

use super::findings::{Counts, Fault, Finding, Findings};
use super::records::{PLACE_BYTES, Place, Standing};
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

type Entries = HashMap<Box<[u8]>, Entry>;

/// What one id has.
#[derive(Debug, Default)]
struct Entry {
    /// The first record that was read.
    first: Option<Place>,
    /// Whether there is a firm record.
    is_firm: bool,
    /// Records that are to have effect.
    records: u64,
    rows: u64,
    /// Records that were named as missing already.
    named: u64,
}

impl Entry {
    fn rows_wanted(&self, rules: &Rules) -> u64 {
        if rules.unique { self.records.min(1) } else { self.records }
    }

    /// Takes a record in that is to have effect.
    fn count(&mut self, place: Place, rules: &Rules, counts: &mut Counts) {
        self.first.get_or_insert(place);
        self.records += 1;
        if rules.unique && self.records > 1 { counts.duplicates += 1 } else { counts.stored += 1 }
    }

    /// Whether the row of this id is for certain not of a record of this standing.
    fn is_unfit(&self, standing: Standing, rules: &Rules) -> bool {
        standing == Standing::Unfit && rules.unique && self.is_firm
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
    let mut entries: Entries = HashMap::new();
    let mut others: Vec<(Box<[u8]>, Place)> = Vec::new();
    records.each(bucket, |id, place| {
        let place = Place::decoded(place);
        let mut take = |entry: &mut Entry| match place.standing {
            Standing::Firm => {
                entry.is_firm = true;
                entry.count(place, rules, counts.entry(place.partition).or_default());
            }
            Standing::Unfit | Standing::Skipped => others.push((id.into(), place)),
        };
        match entries.get_mut(id) {
            Some(entry) => take(entry),
            None => {
                let mut entry = Entry::default();
                take(&mut entry);
                entries.insert(id.into(), entry);
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
    count_others(&others, &mut entries, rules, counts, findings);
    for (id, entry) in &entries {
        let surplus = entry.rows.saturating_sub(entry.rows_wanted(rules));
        if surplus > 0 && rules.foreign_rows && !rules.unique {
            table.unknown += surplus;
        } else if let (1.., Some(first)) = (surplus, entry.first) {
            counts.entry(first.partition).or_default().duplicated += surplus;
            findings.add(Fault::Duplicated, || of_id(Fault::Duplicated, id, first, entry, rules));
        }
    }
    name_missing(bucket, records, entries, rules, counts, findings)
}

/// Counts the records that are not firm, when it is known what the firm ones and
/// the rows of their ids are: first those that are unfit, and skipped ones only
/// where a row is left for them.
fn count_others(
    others: &[(Box<[u8]>, Place)],
    entries: &mut Entries,
    rules: &Rules,
    counts: &mut BTreeMap<i32, Counts>,
    findings: &mut Findings,
) {
    let (skipped, unfit): (Vec<_>, Vec<_>) =
        others.iter().partition(|(_, place)| place.standing == Standing::Skipped);
    for (id, place) in unfit.into_iter().chain(skipped) {
        let Some(entry) = entries.get_mut(id) else { continue };
        let counts = counts.entry(place.partition).or_default();
        if entry.is_unfit(place.standing, rules) {
            counts.missing += 1;
            findings.add(Fault::Missing, || Finding {
                fault: Fault::Missing,
                partition: Some(place.partition),
                offset: Some(place.offset),
                id: Some(rules.form.shown(id)),
                detail: "no dead letter, though the table does not take it: the row is another \
                         record's"
                    .to_owned(),
            });
        } else if place.standing == Standing::Unfit || entry.rows > entry.rows_wanted(rules) {
            entry.count(*place, rules, counts);
        } else {
            counts.unknown += 1;
        }
    }
}

/// Goes through the bucket's records again, if there are ids with too few rows,
/// to name those without one.
fn name_missing(
    bucket: usize,
    records: &Spill<PLACE_BYTES>,
    mut entries: Entries,
    rules: &Rules,
    counts: &mut BTreeMap<i32, Counts>,
    findings: &mut Findings,
) -> io::Result<()> {
    entries.retain(|_, entry| entry.rows < entry.rows_wanted(rules));
    if entries.is_empty() {
        return Ok(());
    }
    records.each(bucket, |id, place| {
        let (Some(entry), place) = (entries.get_mut(id), Place::decoded(place)) else { return };
        if place.standing == Standing::Skipped || entry.is_unfit(place.standing, rules) {
            return;
        }
        if entry.rows + entry.named < entry.rows_wanted(rules) {
            entry.named += 1;
            let counts = counts.entry(place.partition).or_default();
            counts.stored -= 1;
            counts.missing += 1;
            findings.add(Fault::Missing, || of_id(Fault::Missing, id, place, entry, rules));
        }
    })
}

/// A row of which there is no record.
pub fn row_alone(id: Option<String>) -> Finding {
    let detail = if id.is_some() { "row without a record" } else { "row without id and record" };
    Finding { fault: Fault::Extra, partition: None, offset: None, id, detail: detail.to_owned() }
}

fn of_id(fault: Fault, id: &[u8], place: Place, entry: &Entry, rules: &Rules) -> Finding {
    let Entry { records, rows, .. } = entry;
    let detail = match fault {
        Fault::Missing if rules.unique || *records == 1 => "neither row nor dead letter".to_owned(),
        _ if rules.unique => format!("{rows} rows where one is allowed"),
        _ => format!("rows {rows}, records {records}"),
    };
    let (partition, offset) = (Some(place.partition), Some(place.offset));
    Finding { fault, partition, offset, id: Some(rules.form.shown(id)), detail }
}
