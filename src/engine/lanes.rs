//! Lanes: each writer with the batch being filled for it. A partition keeps its
//! lane for as long as it is assigned, so that two connections never hold
//! batches of the same partition.

use std::collections::BTreeMap;

use tokio::sync::mpsc::error::TrySendError;

use super::batch::Batch;
use super::checkpoint::Claim;
use super::record::Raw;
use crate::edges::postgres::encode;
use crate::edges::postgres::target::Target;
use crate::edges::postgres::writer::Writer;
use crate::events::Reject;

/// A writer and what is on its way to it.
#[derive(Debug)]
pub struct Lane {
    writer: Writer,
    /// The batch being filled.
    pub filling: Batch,
    /// Batches that were written and wait to be used again.
    spare: Vec<Batch>,
    /// Batches handed over and not yet reported on.
    pub in_flight: usize,
    /// Records of this assignment in those and in the one being filled.
    pub pending: u64,
}

impl Lane {
    /// A lane with nothing in it.
    pub fn new(writer: Writer) -> Lane {
        let (filling, spare) = (Batch::new(0), Vec::new());
        Lane { writer, filling, spare, in_flight: 0, pending: 0 }
    }

    /// Forgets what belongs to an assignment that is over. Batches in flight go
    /// on; the ledger decides whether they still count.
    pub fn begin(&mut self, generation: u64) {
        self.filling.reset(generation);
        self.pending = 0;
    }

    /// Takes a batch back that the writer is through with.
    pub fn take_back(&mut self, batch: Batch) {
        self.in_flight -= 1;
        self.spare.push(batch);
    }

    /// Gives the batch to the writer; false when the writer has enough already.
    ///
    /// A writer that has ended reported why, so its batches are let go.
    pub fn try_send(&mut self) -> bool {
        let generation = self.filling.generation;
        match self.writer.inbox.try_send(std::mem::take(&mut self.filling)) {
            Ok(()) => {
                self.filling = self.spare.pop().unwrap_or_default();
                self.filling.reset(generation);
                self.in_flight += 1;
                true
            }
            Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) => {
                self.filling = batch;
                false
            }
        }
    }
}

/// A partition that is being read.
#[derive(Debug)]
pub struct Partition {
    /// Where it goes on after the last record read.
    pub claim: Claim,
    /// Whose batches its records go to.
    pub lane: usize,
    /// Where it ended when it was claimed.
    pub end: i64,
    /// Whether it was read to its end since.
    pub at_end: bool,
    /// The position in the database.
    pub stored: i64,
    /// Where it was read to its end last: behind that position there were only
    /// markers of transactions, if anything.
    pub ended_at: Option<i64>,
}

impl Partition {
    /// Whether it was read to where it ended when it was claimed.
    pub fn is_read(&self) -> bool {
        self.at_end || self.claim.next_offset >= self.end
    }

    /// Records that are not in the database yet; `end` is where the partition
    /// ends now, as far as is known, and `fetches` whether it is being read.
    pub fn lag(&self, end: i64, fetches: bool) -> u64 {
        let (read, stored) = (self.claim.next_offset, self.stored);
        let end = match self.ended_at {
            // Whatever comes is read at once and moves the position.
            Some(ended_at) if ended_at == read && fetches => read,
            _ => end.max(self.end),
        };
        u64::try_from(end - stored).unwrap_or(0)
    }
}

/// Why a record without a payload is rejected.
pub fn tombstone() -> Reject {
    Reject::new("", "no payload (a tombstone)")
}

/// Appends a record to its lane's batch, as a row or as a dead letter, and says
/// which lane; none for a record of a partition that is no longer ours.
pub fn take(
    partitions: &mut BTreeMap<i32, Partition>,
    lanes: &mut [Lane],
    target: &Target,
    keep_payload: bool,
    raw: &Raw<'_>,
) -> Option<usize> {
    let partition = partitions.get_mut(&raw.partition)?;
    if raw.offset < partition.claim.next_offset {
        return None;
    }
    let lane = &mut lanes[partition.lane];
    lane.filling.advance(&partition.claim, raw.offset);
    partition.claim.next_offset = raw.offset + 1;
    lane.pending += 1;
    lane.filling.push(raw, keep_payload, |rows| {
        let Some(payload) = raw.payload else {
            return Err(tombstone());
        };
        encode::row(&target.kind.parse(payload)?, target, rows)
    });
    Some(partition.lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_from_the_position_in_the_database() {
        let claim = Claim { partition: 0, next_offset: 70, epoch: 1 };
        let mut partition =
            Partition { claim, lane: 0, end: 90, at_end: false, stored: 50, ended_at: None };
        assert_eq!(partition.lag(100, true), 50);
        // No news of the end yet: it is where it was when it was claimed.
        assert_eq!(partition.lag(0, true), 40);
        // Behind the last record there is a marker, which is never read.
        partition.ended_at = Some(70);
        assert_eq!(partition.lag(71, true), 20);
        partition.stored = 70;
        assert_eq!(partition.lag(71, true), 0);
        // While nothing is fetched, there may be records.
        assert_eq!(partition.lag(100, false), 30);
    }
}
