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
}

impl Partition {
    /// Whether it was read to where it ended when it was claimed.
    pub fn is_read(&self) -> bool {
        self.at_end || self.claim.next_offset >= self.end
    }
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
            return Err(Reject::new("", "no payload (a tombstone)"));
        };
        encode::row(&target.kind.parse(payload)?, target, rows)
    });
    Some(partition.lane)
}
