//! Dead letters in the order of partition and offset, outside of memory, and
//! passed over beside the records they are of.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::spill::{no_room, temporary};
use crate::edges::postgres::effects::Letter;

/// Offset, time and a byte of flags.
const ENTRY_BYTES: usize = 17;
/// How many are written or read at a time.
const ENTRIES_AT_ONCE: usize = 1024;
const HAS_TIME: u8 = 1;
const IS_STORED: u8 = 2;
const IS_BEFORE_MOVE: u8 = 4;

/// All dead letters of a group and topic.
#[derive(Debug)]
pub struct Letters {
    file: File,
    /// Where the letters of each partition are, counted in letters.
    ranges: BTreeMap<i32, Range<u64>>,
    last: Vec<u8>,
    written: u64,
    count: u64,
}

/// The letters of one partition, read from the first to the last.
#[derive(Debug, Default)]
pub struct Cursor {
    partition: i32,
    left: Range<u64>,
    ahead: VecDeque<Letter>,
}

impl Letters {
    /// None yet.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn new() -> anyhow::Result<Letters> {
        let file = temporary()?;
        Ok(Letters { file, ranges: BTreeMap::new(), last: Vec::new(), written: 0, count: 0 })
    }

    /// Adds a letter, whose partition is the last one's or a later one, and
    /// whose offset is not before the last one's there.
    ///
    /// # Errors
    /// When the file cannot grow.
    pub fn push(&mut self, letter: Letter) -> anyhow::Result<()> {
        self.last.extend_from_slice(&encoded(&letter));
        self.ranges.entry(letter.partition).or_insert(self.count..self.count).end += 1;
        self.count += 1;
        if self.last.len() >= ENTRIES_AT_ONCE * ENTRY_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is still in memory; to be called after the last letter.
    ///
    /// # Errors
    /// When the file cannot grow.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.file.write_all_at(&self.last, self.written).map_err(no_room)?;
        self.written += self.last.len() as u64;
        self.last.clear();
        Ok(())
    }

    /// The partitions that have letters.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.ranges.keys().copied()
    }

    /// The letters of a partition, before the first.
    pub fn of(&self, partition: i32) -> Cursor {
        let left = self.ranges.get(&partition).cloned().unwrap_or_default();
        Cursor { partition, left, ahead: VecDeque::new() }
    }
}

impl Cursor {
    /// The next letter if it is of an offset up to `offset`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_up_to(&mut self, letters: &Letters, offset: i64) -> anyhow::Result<Option<Letter>> {
        if self.ahead.is_empty() && !self.left.is_empty() {
            self.read_ahead(letters)?;
        }
        Ok(self.ahead.pop_front_if(|letter| letter.offset <= offset))
    }

    fn read_ahead(&mut self, letters: &Letters) -> anyhow::Result<()> {
        let count = (self.left.end - self.left.start).min(ENTRIES_AT_ONCE as u64);
        let mut bytes = vec![0; count as usize * ENTRY_BYTES];
        letters.file.read_exact_at(&mut bytes, self.left.start * ENTRY_BYTES as u64)?;
        self.left.start += count;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        self.ahead.extend(entries.iter().map(|entry| decoded(self.partition, entry)));
        Ok(())
    }
}

fn encoded(letter: &Letter) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&letter.offset.to_le_bytes());
    entry[8..16].copy_from_slice(&letter.time_ms.unwrap_or_default().to_le_bytes());
    entry[16] = u8::from(letter.time_ms.is_some()) * HAS_TIME;
    entry[16] |= u8::from(letter.is_stored) * IS_STORED;
    entry[16] |= u8::from(letter.is_before_move) * IS_BEFORE_MOVE;
    entry
}

fn decoded(partition: i32, entry: &[u8; ENTRY_BYTES]) -> Letter {
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    Letter {
        partition,
        offset: number(0),
        time_ms: (entry[16] & HAS_TIME != 0).then(|| number(8)),
        is_stored: entry[16] & IS_STORED != 0,
        is_before_move: entry[16] & IS_BEFORE_MOVE != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter(partition: i32, offset: i64) -> Letter {
        Letter { partition, offset, time_ms: None, is_stored: false, is_before_move: false }
    }

    #[test]
    fn a_cursor_stops_where_the_record_is() {
        let mut letters = Letters::new().unwrap();
        for (partition, offset) in [(0, 3), (0, 5), (2, 1)] {
            letters.push(letter(partition, offset)).unwrap();
        }
        letters.flush().unwrap();
        let mut cursor = letters.of(0);
        assert_eq!(cursor.next_up_to(&letters, 2).unwrap(), None);
        assert_eq!(cursor.next_up_to(&letters, 3).unwrap(), Some(letter(0, 3)));
        assert_eq!(cursor.next_up_to(&letters, 3).unwrap(), None);
        assert_eq!(cursor.next_up_to(&letters, 9).unwrap(), Some(letter(0, 5)));
        assert_eq!(cursor.next_up_to(&letters, 9).unwrap(), None);
        assert_eq!(letters.of(1).next_up_to(&letters, i64::MAX).unwrap(), None);
        assert_eq!(letters.of(2).next_up_to(&letters, 1).unwrap(), Some(letter(2, 1)));
    }

    proptest! {
        // Each case is large.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn letters_come_back_as_they_were(
            mut wanted in proptest::collection::vec(
                (0..4i32, any::<i64>(), any::<Option<i64>>(), any::<[bool; 2]>()), 0..3000)
        ) {
            wanted.sort_unstable();
            let mut letters = Letters::new().unwrap();
            let of = |(partition, offset, time_ms, [is_stored, is_before_move]): (_, _, _, [_; 2])|
                Letter { partition, offset, time_ms, is_stored, is_before_move };
            for one in &wanted {
                letters.push(of(*one)).unwrap();
            }
            letters.flush().unwrap();
            let mut found = Vec::new();
            for partition in letters.partitions().collect::<Vec<_>>() {
                let mut cursor = letters.of(partition);
                while let Some(letter) = cursor.next_up_to(&letters, i64::MAX).unwrap() {
                    found.push(letter);
                }
            }
            prop_assert_eq!(found, wanted.into_iter().map(of).collect::<Vec<_>>());
        }
    }
}
