//! What publishing in transactions needs of the group member that read: the
//! group's positions, and the member's place, by which zombies are fenced.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Consumer;

/// Where a group goes on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record.
    pub next_offset: i64,
    /// The high watermark.
    pub end: i64,
}

impl Consumer {
    /// Where the group goes on in these partitions: at its committed positions, or
    /// at the first record of a partition that it never committed.
    ///
    /// # Errors
    /// When the broker does not answer in time, as while a transaction on the
    /// positions is pending.
    pub fn committed(&self, partitions: &[i32], limit: Duration) -> anyhow::Result<Vec<Committed>> {
        let asked = self.list(partitions.iter().map(|partition| (*partition, 0)))?;
        let known = self
            .inner
            .committed_offsets(asked, limit)
            .context("cannot ask for the group's positions")?;
        let mut committed = Vec::with_capacity(partitions.len());
        for one in known.elements() {
            let (first, end) = self
                .inner
                .fetch_watermarks(&self.topic, one.partition(), limit)
                .context("cannot ask for the watermarks")?;
            let next_offset = match one.offset() {
                Offset::Offset(offset) => offset,
                _ => first,
            };
            committed.push(Committed { partition: one.partition(), next_offset, end });
        }
        Ok(committed)
    }

    /// The member's place in its group, by which the cluster fences zombies; none
    /// when it is in no group.
    pub(super) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.inner.group_metadata()
    }

    /// Positions as librdkafka has them.
    pub(super) fn positions(&self, positions: &[(i32, i64)]) -> anyhow::Result<TopicPartitionList> {
        self.list(positions.iter().copied())
    }
}
