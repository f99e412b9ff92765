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
