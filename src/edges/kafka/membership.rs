//! What publishing in transactions needs of the group member that read: the
//! group's positions, and the member's place, by which zombies are fenced.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Consumer;
use super::topic_id;
use crate::engine::checkpoint::TopicId;

/// How long the client may take to drop what it has fetched; it asks nobody.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

/// In the place of an offset: the first record that there is.
const FIRST: i64 = -2;

/// A member's id and generation, by which the cluster fences it once the group
/// has gone on without it.
pub struct Place(pub(super) Arc<ConsumerGroupMetadata>);

impl Consumer {
    /// Where the group goes on in these partitions, each with its number: at its
    /// committed positions, or below 0 for the first record of a partition that it
    /// never committed; fit for [`Consumer::assign`] and [`Consumer::seek`].
    ///
    /// # Errors
    /// When the broker does not answer in time, as while a transaction on the
    /// positions is pending.
    pub fn committed(&self, numbers: &[i32], limit: Duration) -> anyhow::Result<Vec<(i32, i64)>> {
        let asked = self.list(numbers.iter().map(|number| (*number, 0)))?;
        let known = self
            .inner
            .committed_offsets(asked, limit)
            .context("cannot ask for the group's positions")?;
        let position = |one: &TopicPartitionListElem<'_>| {
            // A position that could not be told must not be taken for none.
            one.error().context("cannot ask for the group's positions")?;
            Ok(match one.offset() {
                Offset::Offset(offset) => (one.partition(), offset),
                _ => (one.partition(), FIRST),
            })
        };
        known.elements().iter().map(position).collect()
    }

    /// Where these partitions end, in their order.
    ///
    /// # Errors
    /// When the broker does not answer in time.
    pub fn ask_ends(&self, numbers: &[i32], limit: Duration) -> anyhow::Result<Vec<i64>> {
        let logs = self.questions().watermarks(&self.inner, numbers, limit);
        let logs = logs.context("cannot ask for the ends of partitions")?;
        Ok(logs.into_iter().map(|(_, end)| end).collect())
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Which topic has the name now; none when the brokers are too old to tell.
    ///
    /// # Errors
    /// When no broker answers in time, or there is no such topic.
    pub fn ask_topic_id(&self, limit: Duration) -> anyhow::Result<Option<TopicId>> {
        topic_id::ask(self.inner.client(), &self.topic, limit)
    }

    /// The member's place in its group as of now: to be asked for when partitions
    /// are assigned, and kept until they are taken away. None when the place is
    /// lost already; then rejoin.
    ///
    /// Not to be asked for at each commit: a client that lost its place tells an
    /// empty one, for which Kafka's coordinator commits whatever comes (it takes
    /// it for a producer older than KIP-447).
    pub fn place(&self) -> Option<Place> {
        let place = self.inner.group_metadata()?;
        // After it: the client's own thread answers both in order.
        (!self.inner.assignment_lost()).then(|| Place(Arc::new(place)))
    }

    /// Makes these the group's positions, and waits no longer than `limit` until
    /// that is so; the client itself would wait for a minute.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer in time; then it may be so yet.
    pub fn commit_positions(
        &self,
        positions: Vec<(i32, i64)>,
        limit: Duration,
    ) -> anyhow::Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let list = self.positions(&positions)?;
        let (inner, (done, waiting)) = (Arc::clone(&self.inner), mpsc::channel());
        let commit = move || done.send(inner.commit(&list, CommitMode::Sync));
        std::thread::Builder::new().name("positions".into()).spawn(commit)?;
        let answer = waiting.recv_timeout(limit).context("no answer in time")?;
        answer.context("cannot note the group's positions")
    }

    /// Reads partitions on from these positions; what was fetched before is
    /// dropped.
    ///
    /// Not by another assignment: to assign partitions again that are assigned can
    /// end the process (librdkafka's issue 5573).
    ///
    /// # Errors
    /// When a partition is not read, or the client is too busy: rejoin then.
    pub fn seek(&self, positions: impl Iterator<Item = (i32, i64)>) -> anyhow::Result<()> {
        let sought = self.inner.seek_partitions(self.list(positions)?, SEEK_TIMEOUT)?;
        for one in sought.elements() {
            one.error().with_context(|| format!("partition {}", one.partition()))?;
        }
        Ok(())
    }

    /// Positions as librdkafka has them.
    pub(super) fn positions(&self, positions: &[(i32, i64)]) -> anyhow::Result<TopicPartitionList> {
        self.list(positions.iter().copied())
    }
}
