//! A record as it came from Kafka, and as it is kept when it can never be stored.

use crate::events::Reject;

/// A record that can never be stored, as it will be in the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970 UTC, when it has one.
    pub time_ms: Option<i64>,
    /// Its key, when it has one.
    pub key: Option<Vec<u8>>,
    /// Its payload; none for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Why it was rejected.
    pub reject: Reject,
}

/// A record as it came, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// Where it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970 UTC, when it has one.
    pub time_ms: Option<i64>,
    /// Its key, when it has one.
    pub key: Option<&'a [u8]>,
    /// Its payload; none for a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl Raw<'_> {
    /// The record as a dead letter.
    pub fn dead(&self, reject: Reject) -> DeadLetter {
        DeadLetter {
            partition: self.partition,
            offset: self.offset,
            time_ms: self.time_ms,
            key: self.key.map(<[u8]>::to_vec),
            payload: self.payload.map(<[u8]>::to_vec),
            reject,
        }
    }
}

/// Timestamps of records, kept once where neighbours have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moments(Vec<(i64, u64)>);

impl Moments {
    /// Adds a record's timestamp, in milliseconds since 1970 UTC, if it has one.
    #[inline]
    pub fn note(&mut self, time_ms: Option<i64>) {
        let Some(time_ms) = time_ms else { return };
        match self.0.last_mut() {
            Some((last, records)) if *last == time_ms => *records += 1,
            _ => self.0.push((time_ms, 1)),
        }
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Each timestamp with the number of records in a row that have it.
    pub fn runs(&self) -> &[(i64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_kept_once_with_their_number() {
        let mut times = Moments::default();
        [Some(5), Some(5), None, Some(4), Some(5)].into_iter().for_each(|time| times.note(time));
        assert_eq!(times.runs(), [(5, 2), (4, 1), (5, 1)]);
        times.clear();
        assert!(times.runs().is_empty());
    }
}
