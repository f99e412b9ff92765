//! Questions about a consumer's topic from another thread than the one that polls.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::callbacks::Callbacks;
use super::topic_id;
use crate::engine::checkpoint::{Log, Logs};

/// How many partitions' watermarks are asked for at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Asks about the topic through a consumer's connections.
pub struct Questions {
    inner: Weak<BaseConsumer<Callbacks>>,
    topic: String,
}

impl Questions {
    /// Through this consumer, which it does not keep.
    pub(super) fn new(consumer: &Arc<BaseConsumer<Callbacks>>, topic: &str) -> Questions {
        Questions { inner: Arc::downgrade(consumer), topic: topic.to_owned() }
    }

    /// What Kafka has of these partitions; none when the consumer is closed.
    ///
    /// # Errors
    /// When the broker does not answer in time, there is no such partition, or
    /// the topic was created again while it was being asked about.
    pub fn logs(&self, partitions: &[i32], timeout: Duration) -> anyhow::Result<Option<Logs>> {
        let Some(consumer) = self.inner.upgrade() else { return Ok(None) };
        let ask_id = || topic_id::ask(consumer.client(), &self.topic, timeout);
        let before = ask_id()?;
        let watermarks = self.watermarks(&consumer, partitions, timeout)?;
        let topic_id = ask_id()?;
        anyhow::ensure!(topic_id == before, "topic {} was just created again", self.topic);
        let logs = watermarks.into_iter().map(|(first, end)| Log { first, end });
        let partitions = partitions.iter().copied().zip(logs).collect();
        Ok(Some(Logs { topic_id, partitions }))
    }

    /// Asks for the ends of partitions and leaves them with the consumer, unless it
    /// is closed.
    ///
    /// # Errors
    /// When the broker does not answer in time.
    pub(super) fn learn_ends(&self, partitions: &[i32], timeout: Duration) -> anyhow::Result<()> {
        let Some(consumer) = self.inner.upgrade() else { return Ok(()) };
        let watermarks = self.watermarks(&consumer, partitions, timeout)?;
        let ends = watermarks.into_iter().map(|(_, end)| end);
        consumer.context().learn_ends(partitions.iter().copied().zip(ends));
        Ok(())
    }

    /// The offset of each partition's first record and the one after its last.
    /// Asks for some at the same time.
    pub(super) fn watermarks(
        &self,
        consumer: &BaseConsumer<Callbacks>,
        partitions: &[i32],
        timeout: Duration,
    ) -> anyhow::Result<Vec<(i64, i64)>> {
        let ask = |partition: i32| {
            consumer
                .fetch_watermarks(&self.topic, partition, timeout)
                .with_context(|| format!("cannot ask for the offsets of partition {partition}"))
        };
        let mut watermarks = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(ASKED_AT_ONCE) {
            let answers: Vec<_> = std::thread::scope(|scope| {
                let asked: Vec<_> =
                    some.iter().map(|partition| scope.spawn(|| ask(*partition))).collect();
                asked.into_iter().map(|answer| answer.join()).collect()
            });
            for answer in answers {
                watermarks.push(answer.map_err(|_| anyhow::anyhow!("a question panicked"))??);
            }
        }
        Ok(watermarks)
    }
}
