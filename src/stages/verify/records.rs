//! The topic's side: each record passes by the dead letters of its partition,
//! and those that should be rows go into the spill by their ids.

use std::collections::BTreeMap;
use std::ops::Range;

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

/// A [`Place`] in the spill.
pub const PLACE_BYTES: usize = 13;

/// Where a record is, and what may be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// What may be asked of it.
    pub standing: Standing,
}

/// What may be asked of a record that has no dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its id must be in the table.
    Firm,
    /// Its id can be a key, but the table as it is does not take the record: so
    /// the row of its id is another record's, if there is one.
    Unfit,
    /// Nothing: it may never have been read, as the position was moved beyond it.
    Skipped,
}

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
    row: Vec<u8>,
}

#[derive(Debug)]
struct Partition {
    span: Span,
    /// Records before this offset may never have been read.
    moved_to: i64,
    counts: Counts,
    cursor: Cursor,
}

impl<'a> Records<'a> {
    /// Before the first record. `moved` has the offsets that positions were moved
    /// to with `--on-data-loss`.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn new(
        target: &'a Target,
        letters: &'a Letters,
        spans: &BTreeMap<i32, Span>,
        moved: &BTreeMap<i32, i64>,
        is_compacted: bool,
    ) -> anyhow::Result<Records<'a>> {
        let partition = |(number, span): (&i32, &Span)| {
            let cursor = letters.of(*number);
            let moved_to = moved.get(number).copied().unwrap_or(0);
            (*number, Partition { span: *span, moved_to, counts: Counts::default(), cursor })
        };
        let partitions = spans.iter().map(partition).collect();
        let form = KeyForm::of(target.key());
        let (ids, row) = (Spill::new()?, Vec::new());
        Ok(Records { target, form, letters, is_compacted, partitions, ids, row })
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
        let is_skipped = raw.offset < partition.moved_to;
        match key_of(raw, self.target, &mut self.row) {
            Ok((key, standing)) => {
                let standing = if is_skipped { Standing::Skipped } else { standing };
                let place = Place { partition: raw.partition, offset: raw.offset, standing };
                self.ids.push(&self.form.canonical(&self.row[key]), place.encoded())
            }
            Err(_) if is_skipped => {
                partition.counts.unknown += 1;
                Ok(())
            }
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

    /// A dead letter that is of no record here. From before the position was moved
    /// it may be of one that is gone.
    fn stray(&mut self, letter: &Letter, what: &str, findings: &mut Findings) {
        if letter.is_before_move {
            self.counts.unknown += 1;
            return;
        }
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
        self.counts.unknown += apart(0, first);
        if is_compacted {
            let offsets = apart(first, position.min(end));
            self.counts.unknown += offsets.saturating_sub(self.counts.read);
        }
    }
}

/// Where in `row` the id of a record is then, as the key column would hold it, and
/// what may be asked of the record.
fn key_of(
    raw: &Raw<'_>,
    target: &Target,
    row: &mut Vec<u8>,
) -> Result<(Range<usize>, Standing), Reject> {
    row.clear();
    let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
    let event = target.kind.parse(payload)?;
    if let Ok(key) = encode::row(&event, target, row) {
        return Ok((key, Standing::Firm));
    }
    row.clear();
    encode::key(&event, target, row)?;
    Ok((0..row.len(), Standing::Unfit))
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

impl Place {
    /// As it is in the spill, little-endian.
    pub fn encoded(&self) -> [u8; PLACE_BYTES] {
        let mut place = [0; PLACE_BYTES];
        place[..4].copy_from_slice(&self.partition.to_le_bytes());
        place[4..12].copy_from_slice(&self.offset.to_le_bytes());
        place[12] = self.standing as u8;
        place
    }

    /// As it was.
    pub fn decoded(place: [u8; PLACE_BYTES]) -> Place {
        let [a, b, c, d, offset @ .., standing] = place;
        let standing = match standing {
            0 => Standing::Firm,
            1 => Standing::Unfit,
            _ => Standing::Skipped,
        };
        let partition = i32::from_le_bytes([a, b, c, d]);
        Place { partition, offset: i64::from_le_bytes(offset), standing }
    }
}
