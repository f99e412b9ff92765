//! The topic's side: each record passes by the dead letters of its partition,
//! and those that should be rows go into the spill by their ids.

use std::collections::BTreeMap;

use super::findings::{Counts, Fault, Finding, Findings};
use super::letters::{Cursor, Letters};
use super::spill::Spill;
use crate::edges::kafka::range::Span;
use crate::edges::postgres::effects::Letter;
use crate::edges::postgres::encode;
use crate::edges::postgres::key::KeyForm;
use crate::edges::postgres::target::Target;
use crate::edges::postgres::transaction::storable_time;
use crate::engine::record::Raw;
use crate::events::Reject;

/// A record's partition and offset, little-endian.
pub const PLACE_BYTES: usize = 12;

/// The records of the topic, as far as they were read.
#[derive(Debug)]
pub struct Records<'a> {
    target: &'a Target,
    form: KeyForm,
    letters: &'a Letters,
    /// Whether records within the log may have been removed.
    is_compacted: bool,
    partitions: BTreeMap<i32, Partition>,
    /// The ids of those that should be rows.
    ids: Spill<PLACE_BYTES>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Partition {
    span: Span,
    counts: Counts,
    cursor: Cursor,
}

impl<'a> Records<'a> {
    /// Before the first record.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn new(
        target: &'a Target,
        letters: &'a Letters,
        spans: &BTreeMap<i32, Span>,
        is_compacted: bool,
    ) -> anyhow::Result<Records<'a>> {
        let partition = |(number, span): (&i32, &Span)| {
            let cursor = letters.of(*number);
            (*number, Partition { span: *span, counts: Counts::default(), cursor })
        };
        let partitions = spans.iter().map(partition).collect();
        let form = KeyForm::of(target.key());
        let (ids, key) = (Spill::new()?, Vec::new());
        Ok(Records { target, form, letters, is_compacted, partitions, ids, key })
    }

    /// Takes the next record of its partition.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn take(&mut self, raw: &Raw<'_>, findings: &mut Findings) -> anyhow::Result<()> {
        let Some(partition) = self.partitions.get_mut(&raw.partition) else { return Ok(()) };
        partition.counts.read += 1;
        let mut is_rejected = false;
        while let Some(letter) = partition.cursor.next_up_to(self.letters, raw.offset)? {
            let same_offset = letter.offset == raw.offset;
            match same_offset && letter.time_ms == storable_time(raw.time_ms) {
                // Its id decides.
                true if letter.is_stored => {}
                true if is_rejected => partition.doubled(&letter, findings),
                true => is_rejected = true,
                false if same_offset => {
                    partition.stray(&letter, "dead letter of another record", findings);
                }
                false => partition.without_record(&letter, self.is_compacted, findings),
            }
        }
        if is_rejected {
            partition.counts.rejected += 1;
            return Ok(());
        }
        match key_of(raw, self.target, &mut self.key) {
            Ok(()) => self.ids.push(&self.form.canonical(&self.key), place(raw)),
            Err(reject) => {
                partition.counts.missing += 1;
                findings.add(Fault::Missing, || unstorable(raw, &reject));
                Ok(())
            }
        }
    }

    /// Passes the remaining dead letters, and gives the counts of each partition
    /// so far. `next` is the record that comes next in a partition.
    ///
    /// # Errors
    /// When a temporary file fails.
    pub fn finish(
        self,
        next: &BTreeMap<i32, i64>,
        findings: &mut Findings,
    ) -> anyhow::Result<(BTreeMap<i32, Counts>, Spill<PLACE_BYTES>)> {
        let mut counts = BTreeMap::new();
        for (number, mut partition) in self.partitions {
            while let Some(letter) = partition.cursor.next_up_to(self.letters, i64::MAX)? {
                if letter.offset < partition.span.position {
                    partition.without_record(&letter, self.is_compacted, findings);
                } else {
                    let what = "dead letter of a record that the ledger's position is before";
                    partition.stray(&letter, what, findings);
                }
            }
            partition.count_the_rest(next.get(&number).copied(), self.is_compacted);
            counts.insert(number, partition.counts);
        }
        Ok((counts, self.ids))
    }
}

impl Partition {
    fn doubled(&mut self, letter: &Letter, findings: &mut Findings) {
        self.counts.duplicated += 1;
        let what = "more than one dead letter of this record";
        findings.add(Fault::Duplicated, || of_letter(Fault::Duplicated, letter, what));
    }

    fn stray(&mut self, letter: &Letter, what: &str, findings: &mut Findings) {
        self.counts.extra += 1;
        findings.add(Fault::Extra, || of_letter(Fault::Extra, letter, what));
    }

    /// A dead letter at an offset where there is no record. What retention or
    /// compaction took is counted by offsets already.
    fn without_record(&mut self, letter: &Letter, is_compacted: bool, findings: &mut Findings) {
        if letter.offset >= self.span.first && !is_compacted {
            self.stray(letter, "dead letter of a record that is not in the topic", findings);
        }
    }

    fn count_the_rest(&mut self, next: Option<i64>, is_compacted: bool) {
        let Span { first, position, end } = self.span;
        let apart = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
        self.counts.behind = next.map_or(0, |next| apart(next, end));
        self.counts.unknown = apart(0, first);
        if is_compacted {
            let offsets = apart(first, position.min(end));
            self.counts.unknown += offsets.saturating_sub(self.counts.read);
        }
    }
}

/// The id of a record as the key column would hold it.
fn key_of(raw: &Raw<'_>, target: &Target, key: &mut Vec<u8>) -> Result<(), Reject> {
    key.clear();
    let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
    encode::key(&target.kind.parse(payload)?, target, key)
}

fn unstorable(raw: &Raw<'_>, reject: &Reject) -> Finding {
    let named = if reject.field.is_empty() { "it" } else { &reject.field };
    Finding {
        fault: Fault::Missing,
        partition: Some(raw.partition),
        offset: Some(raw.offset),
        id: None,
        detail: format!("no dead letter, though {named} is at fault: {}", reject.reason),
    }
}

fn of_letter(fault: Fault, letter: &Letter, what: &str) -> Finding {
    let (partition, offset) = (Some(letter.partition), Some(letter.offset));
    Finding { fault, partition, offset, id: None, detail: what.to_owned() }
}

fn place(raw: &Raw<'_>) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    place[..4].copy_from_slice(&raw.partition.to_le_bytes());
    place[4..].copy_from_slice(&raw.offset.to_le_bytes());
    place
}

/// Partition and offset again.
pub fn placed(place: [u8; PLACE_BYTES]) -> (i32, i64) {
    let [a, b, c, d, offset @ ..] = place;
    (i32::from_le_bytes([a, b, c, d]), i64::from_le_bytes(offset))
}
