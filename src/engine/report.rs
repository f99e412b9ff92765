//! What the writers and the claimer tell the loop.

use std::time::Duration;

use super::batch::Batch;
use super::checkpoint::{Claim, TopicId};
use super::metrics::Cause;

/// Something that happened on the database's side.
#[derive(Debug)]
pub enum Report {
    /// Partitions were taken over.
    Claimed(Claimed),
    /// A writer is through with a batch.
    Batch {
        /// The writer's number.
        lane: usize,
        /// The batch, to be used again.
        batch: Box<Batch>,
        /// What became of it.
        fate: Fate,
    },
    /// Something is away that will come back; tries go on.
    Waiting {
        /// What is away, without secrets.
        why: String,
        /// Which kind of trouble it is.
        cause: Cause,
    },
    /// Something that no wait will cure.
    Failed(anyhow::Error),
}

/// What became of a batch.
#[derive(Debug)]
pub enum Fate {
    /// It is in the table.
    Stored(Stored),
    /// It was dropped because its partitions have another owner.
    Fenced,
    /// It was dropped because rows of it must become dead letters and their
    /// payloads were not kept.
    PayloadsMissing,
}

/// Partitions taken over for an assignment.
#[derive(Debug)]
pub struct Claimed {
    /// The assignment.
    pub generation: u64,
    /// The topic that the positions are of; none when the brokers give no ids.
    pub topic_id: Option<TopicId>,
    /// Where each partition goes on, and the offset its log ended at when it was
    /// claimed.
    pub partitions: Vec<(Claim, i64)>,
}

/// A batch that is in the table.
#[derive(Debug)]
pub struct Stored {
    /// Rows inserted or updated.
    pub rows: u64,
    /// Records whose id was there already.
    pub duplicates: u64,
    /// Records that are dead letters now.
    pub rejected: u64,
    /// From the writer's taking the batch up to the answer to its COMMIT.
    pub took: Duration,
}
