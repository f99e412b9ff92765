//! A batch: encoded rows, dead letters, and the positions they advance.

use std::cmp::Ordering;
use std::ops::Range;
use std::time::Instant;

use super::checkpoint::{Advance, Claim};
use super::record::{DeadLetter, Moments, Raw};
use crate::edges::postgres::target::{OnDuplicate, Target};
use crate::events::Reject;

/// When a batch is full, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records.
    pub rows_max: usize,
    /// Bytes of encoded rows, of dead letters and of payloads kept.
    pub bytes_max: usize,
}

/// One encoded row of a batch: ranges into the batch's bytes.
#[derive(Debug, Clone)]
struct Row {
    /// The first 16 bytes of the key, so that most comparisons touch nothing
    /// else.
    prefix: u128,
    start: u32,
    end: u32,
    key_start: u32,
    key_end: u32,
    partition: i32,
    offset: i64,
    kept: Option<u32>,
}

/// Key and payload of a row that the server may still refuse.
#[derive(Debug, Clone)]
struct Kept {
    time_ms: Option<i64>,
    key: Option<Range<u32>>,
    payload: Range<u32>,
}

/// Records on their way into one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Which assignment of partitions it belongs to.
    pub generation: u64,
    /// What it does to each of its partitions, in their order.
    pub advances: Vec<Advance>,
    /// Records that will be dead letters.
    pub dead: Vec<DeadLetter>,
    /// Records whose id is in the batch a second time and that are passed over.
    pub repeated: u64,
    /// Payloads of its records, in bytes.
    pub payload_bytes: u64,
    /// Timestamps of its records.
    pub times: Moments,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    kept: Vec<Kept>,
    kept_bytes: Vec<u8>,
    dead_bytes: usize,
    records: u64,
    /// When its first record came.
    pub begun: Option<Instant>,
}

impl Batch {
    /// An empty batch of an assignment.
    pub fn new(generation: u64) -> Batch {
        Batch { generation, ..Batch::default() }
    }

    /// Empties the batch for another use; its memory stays, so that a steady
    /// stream of batches asks the system for none.
    pub fn reset(&mut self, generation: u64) {
        let mut old = std::mem::take(self);
        old.advances.clear();
        old.dead.clear();
        old.times.clear();
        old.bytes.clear();
        old.rows.clear();
        old.kept.clear();
        old.kept_bytes.clear();
        let Batch { advances, dead, times, bytes, rows, kept, kept_bytes, .. } = old;
        let empty =
            Batch { advances, dead, times, bytes, rows, kept, kept_bytes, ..Batch::default() };
        *self = Batch { generation, ..empty };
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.advances.is_empty()
    }

    /// Records read into it, whatever became of each.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Rows that are to be stored.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Whether it should be written now.
    pub fn is_full(&self, bounds: Bounds) -> bool {
        self.rows.len() + self.dead.len() >= bounds.rows_max
            || self.bytes.len() + self.kept_bytes.len() + self.dead_bytes >= bounds.bytes_max
    }

    /// Notes that a record was read; `claim` is the partition's, with the
    /// position before this record.
    pub fn advance(&mut self, claim: &Claim, offset: i64) {
        let to = offset + 1;
        self.records += 1;
        match self.advances.iter_mut().find(|advance| advance.partition == claim.partition) {
            Some(advance) => advance.to = to,
            None => {
                self.begun.get_or_insert_with(Instant::now);
                self.advances.push(Advance {
                    partition: claim.partition,
                    from: claim.next_offset,
                    to,
                    epoch: claim.epoch,
                });
                self.advances.sort_unstable_by_key(|advance| advance.partition);
            }
        }
    }

    /// Appends a row by an encoder that gives the range of its key within the
    /// bytes, or a reject, which becomes a dead letter.
    pub fn push(
        &mut self,
        raw: &Raw<'_>,
        keep_payload: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Range<usize>, Reject>,
    ) {
        self.payload_bytes += raw.payload.map_or(0, <[u8]>::len) as u64;
        self.times.note(raw.time_ms);
        let start = self.bytes.len();
        match encode(&mut self.bytes) {
            Ok(key) => {
                let kept = keep_payload.then(|| self.keep(raw));
                self.rows.push(Row {
                    prefix: prefix(&self.bytes[key.clone()]),
                    start: start as u32,
                    end: self.bytes.len() as u32,
                    key_start: key.start as u32,
                    key_end: key.end as u32,
                    partition: raw.partition,
                    offset: raw.offset,
                    kept,
                });
            }
            Err(reject) => {
                self.dead_bytes += raw.payload.map_or(0, <[u8]>::len);
                self.dead.push(raw.dead(reject));
            }
        }
    }

    fn keep(&mut self, raw: &Raw<'_>) -> u32 {
        let mut append = |bytes: &[u8]| {
            let start = self.kept_bytes.len() as u32;
            self.kept_bytes.extend_from_slice(bytes);
            start..self.kept_bytes.len() as u32
        };
        let key = raw.key.map(&mut append);
        let payload = append(raw.payload.unwrap_or_default());
        self.kept.push(Kept { time_ms: raw.time_ms, key, payload });
        self.kept.len() as u32 - 1
    }

    /// Brings the rows into the order in which they are stored: that of their keys,
    /// or, where the ticket that came first gets the seat, as they came.
    pub fn arrange(&mut self, target: &Target, on_duplicate: OnDuplicate) {
        if !target.has_seating {
            self.sort(target.repeat(on_duplicate));
        }
    }

    /// Sorts the rows by key, which keeps the writes to the table's index close
    /// together, and, where keys are unique, passes over or rejects rows whose
    /// key the batch holds already.
    pub fn sort(&mut self, repeat: Option<OnDuplicate>) {
        let mut rows = std::mem::take(&mut self.rows);
        // Stable, so that repeated keys stay in the order they came; and quick on
        // the ascending runs that time-ordered ids arrive in.
        rows.sort_by(|a, b| self.compare_keys(a, b));
        let is_repeated = |pair: &[Row]| self.compare_keys(&pair[0], &pair[1]) == Ordering::Equal;
        let repeat = match repeat {
            Some(repeat) if rows.windows(2).any(is_repeated) => repeat,
            _ => {
                self.rows = rows;
                return;
            }
        };
        let mut stored: Vec<Row> = Vec::with_capacity(rows.len());
        for row in rows {
            match stored.last_mut() {
                Some(last) if self.compare_keys(last, &row) == Ordering::Equal => match repeat {
                    OnDuplicate::Skip => self.repeated += 1,
                    OnDuplicate::Update => {
                        self.repeated += 1;
                        *last = row;
                    }
                    OnDuplicate::Reject => {
                        let letter = self.letter(&row, repeated_id());
                        self.dead.push(letter);
                    }
                },
                _ => stored.push(row),
            }
        }
        self.rows = stored;
    }

    fn compare_keys(&self, a: &Row, b: &Row) -> Ordering {
        a.prefix.cmp(&b.prefix).then_with(|| self.key(a).cmp(self.key(b)))
    }

    fn key(&self, row: &Row) -> &[u8] {
        &self.bytes[row.key_start as usize..row.key_end as usize]
    }

    /// The encoded rows of a range, in order.
    pub fn encoded(&self, rows: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.rows[rows].iter().map(|row| &self.bytes[row.start as usize..row.end as usize])
    }

    /// For each row of a range a number that is the larger the later its record
    /// came, as the rows themselves are in the order of their keys.
    pub fn places(&self, rows: Range<usize>) -> impl Iterator<Item = u32> {
        self.rows[rows].iter().map(|row| row.start)
    }

    /// Whether a row that the server refuses can become a dead letter: its
    /// payload was kept.
    pub fn keeps_payloads(&self) -> bool {
        self.rows.iter().all(|row| row.kept.is_some())
    }

    /// Turns rows, by their ascending numbers, into dead letters.
    pub fn reject_rows(&mut self, refused: Vec<(usize, Reject)>) {
        let mut refused = refused.into_iter().peekable();
        let rows = std::mem::take(&mut self.rows);
        for (number, row) in rows.into_iter().enumerate() {
            match refused.next_if(|(at, _)| *at == number) {
                Some((_, reject)) => {
                    let letter = self.letter(&row, reject);
                    self.dead.push(letter);
                }
                None => self.rows.push(row),
            }
        }
    }

    fn letter(&self, row: &Row, reject: Reject) -> DeadLetter {
        let bytes =
            |range: &Range<u32>| self.kept_bytes[range.start as usize..range.end as usize].to_vec();
        let kept = row.kept.map(|number| &self.kept[number as usize]);
        DeadLetter {
            partition: row.partition,
            offset: row.offset,
            time_ms: kept.and_then(|kept| kept.time_ms),
            key: kept.and_then(|kept| kept.key.as_ref().map(bytes)),
            payload: kept.map(|kept| bytes(&kept.payload)),
            reject,
        }
    }
}

/// Why a record with an id that is stored already is rejected.
pub fn repeated_id() -> Reject {
    Reject::new("", "duplicate: a record with this id is stored already")
}

fn prefix(key: &[u8]) -> u128 {
    let mut first = [0u8; 16];
    let length = key.len().min(16);
    first[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(offset: i64, payload: &[u8]) -> Raw<'_> {
        Raw { partition: 0, offset, time_ms: Some(1), key: None, payload: Some(payload) }
    }

    fn batch(keys: &[&str]) -> Batch {
        let mut batch = Batch::new(1);
        for (offset, key) in keys.iter().enumerate() {
            let claim = Claim { partition: 0, next_offset: 0, epoch: 1 };
            batch.advance(&claim, offset as i64);
            batch.push(&raw(offset as i64, key.as_bytes()), true, |out| {
                let start = out.len();
                out.extend_from_slice(key.as_bytes());
                out.push(offset as u8);
                Ok(start..start + key.len())
            });
        }
        batch
    }

    fn contents(batch: &Batch) -> Vec<Vec<u8>> {
        batch.encoded(0..batch.row_count()).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn of_repeated_keys_the_first_or_the_last_is_kept() {
        let keys = ["b", "a", "b"];
        let mut first = batch(&keys);
        first.sort(Some(OnDuplicate::Skip));
        assert_eq!(contents(&first), [b"a\x01".to_vec(), b"b\x00".to_vec()]);
        assert_eq!(first.repeated, 1);
        let mut last = batch(&keys);
        last.sort(Some(OnDuplicate::Update));
        assert_eq!(contents(&last), [b"a\x01".to_vec(), b"b\x02".to_vec()]);
    }

    #[test]
    fn a_rejected_repeat_is_a_dead_letter_with_its_payload() {
        let mut batch = batch(&["b", "a", "b"]);
        batch.sort(Some(OnDuplicate::Reject));
        assert_eq!(batch.row_count(), 2);
        assert_eq!(batch.dead.len(), 1);
        assert_eq!(batch.dead[0].offset, 2);
        assert_eq!(batch.dead[0].payload.as_deref(), Some(b"b".as_slice()));
    }

    #[test]
    fn without_a_unique_key_repeats_are_rows() {
        let mut batch = batch(&["b", "a", "b"]);
        batch.sort(None);
        assert_eq!(batch.row_count(), 3);
    }

    #[test]
    fn keys_alike_in_their_first_sixteen_bytes_are_told_apart() {
        let mut batch = batch(&["0123456789abcdefB", "0123456789abcdefA", "0123456789abcdef"]);
        batch.sort(Some(OnDuplicate::Skip));
        assert_eq!(batch.row_count(), 3);
    }

    #[test]
    fn rows_refused_by_the_server_become_dead_letters() {
        let mut batch = batch(&["c", "a", "b"]);
        batch.sort(None);
        batch.reject_rows(vec![(0, Reject::new("x", "no")), (2, Reject::new("x", "no"))]);
        assert_eq!(contents(&batch), [b"b\x02".to_vec()]);
        let letters: Vec<i64> = batch.dead.iter().map(|letter| letter.offset).collect();
        assert_eq!(letters, [1, 0]);
    }

    #[test]
    fn an_advance_runs_from_the_claim_to_after_the_last_record() {
        let mut batch = Batch::new(1);
        let claim = |partition, next_offset| Claim { partition, next_offset, epoch: 4 };
        batch.advance(&claim(5, 100), 103);
        batch.advance(&claim(2, 0), 0);
        batch.advance(&claim(5, 100), 110);
        let advance = |partition, from, to| Advance { partition, from, to, epoch: 4 };
        assert_eq!(batch.advances, [advance(2, 0, 1), advance(5, 100, 111)]);
    }

    proptest! {
        #[test]
        fn sorting_keeps_each_key_once_and_counts_the_rest(
            keys in prop::collection::vec("[ab]{0,20}", 0..60),
        ) {
            let borrowed: Vec<&str> = keys.iter().map(String::as_str).collect();
            let mut sorted = batch(&borrowed);
            sorted.sort(Some(OnDuplicate::Skip));
            let mut distinct: Vec<&str> = borrowed.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(sorted.row_count(), distinct.len());
            prop_assert_eq!(sorted.repeated as usize, keys.len() - distinct.len());
        }
    }
}
