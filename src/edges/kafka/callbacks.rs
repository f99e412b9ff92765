//! What librdkafka calls back with, collected for the one thread that polls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use super::client::ClientLog;
use super::consumer::Happening;
use super::topic_id;
use crate::console::Console;
use crate::engine::checkpoint::TopicId;

/// What librdkafka must log for [`Callbacks::refused`], of the property `debug`.
pub(super) const LOGGED_BY: &str = "topic";

/// Collects what librdkafka calls back with.
#[derive(Debug)]
pub(super) struct Callbacks {
    /// What went wrong last, and the log.
    pub log: ClientLog,
    /// Rebalances in the order they came.
    pub rebalances: Mutex<VecDeque<Happening>>,
    /// After the last recorded offset of each partition, as far as is known.
    pub ends: Mutex<BTreeMap<i32, i64>>,
    /// Partitions in which the broker refused to read on.
    pub refused: Mutex<BTreeSet<i32>>,
    /// The topic that records come from now; none before the first assignment.
    pub topic_id: Mutex<Option<TopicId>>,
    /// Whether the user wants to see librdkafka's debug lines.
    shows_debug: bool,
    /// Set when nobody polls any more.
    pub closing: AtomicBool,
}

impl Callbacks {
    /// With nothing collected yet.
    pub fn new(console: &Console, shows_debug: bool) -> Callbacks {
        Callbacks {
            log: ClientLog::new(console),
            rebalances: Mutex::default(),
            ends: Mutex::default(),
            refused: Mutex::default(),
            topic_id: Mutex::default(),
            shows_debug,
            closing: AtomicBool::new(false),
        }
    }

    /// Takes in where partitions end; the statistics of one that is not fetched
    /// have an older end than was asked for.
    pub fn learn_ends(&self, ends: impl IntoIterator<Item = (i32, i64)>) {
        let mut known = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, end) in ends {
            let known = known.entry(partition).or_insert(end);
            *known = end.max(*known);
        }
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(id) = topic_id::changed_to(facility, line) {
            *self.topic_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        }
        if let Some(partition) = refused_partition(facility, line) {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        }
        if self.shows_debug || !matches!(level, RDKafkaLogLevel::Debug) {
            self.log.observe(facility, line);
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(ends) = ends_in_statistics(statistics) {
            self.learn_ends(ends);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.remember(&error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let event = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let numbers = partitions.elements().iter().map(|one| one.partition()).collect();
                Happening::Assigned(numbers)
            }
            _ => Happening::Revoked,
        };
        if self.closing.load(Ordering::Relaxed) {
            // Nobody polls any more, and the client waits for this answer.
            let _ = consumer.unassign();
            return;
        }
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

/// The partition whose position the broker does not have, if a line of
/// librdkafka's log says so. The error that poll comes back with names none.
fn refused_partition(facility: &str, line: &str) -> Option<i32> {
    let (before, _) = line.split_once("]: offset reset (at ").filter(|_| facility == "OFFSET")?;
    before.rsplit_once('[')?.1.parse().ok()
}

fn ends_in_statistics(statistics: &[u8]) -> Option<BTreeMap<i32, i64>> {
    let statistics: serde_json::Value = serde_json::from_slice(statistics).ok()?;
    let mut ends = BTreeMap::new();
    for topic in statistics.get("topics")?.as_object()?.values() {
        for (number, partition) in topic.get("partitions")?.as_object()? {
            let end = partition.get("hi_offset").and_then(serde_json::Value::as_i64);
            if let (Ok(number), Some(end)) = (number.parse::<i32>(), end)
                && number >= 0
                && end >= 0
            {
                ends.insert(number, end);
            }
        }
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::config::ClientConfig;

    use super::super::consumer::{Joining, Polled};
    use super::*;
    use crate::console::OutputFormat;
    use crate::log::Log;

    #[test]
    fn ends_are_read_from_the_statistics_and_internal_partitions_left_out() {
        let statistics = br#"{"topics":{"t":{"partitions":{
            "0":{"hi_offset":12},"1":{"hi_offset":-1001},"-1":{"hi_offset":5}}}}}"#;
        assert_eq!(ends_in_statistics(statistics), Some(BTreeMap::from([(0, 12)])));
    }

    #[test]
    fn a_partition_that_was_refused_is_read_from_the_log_and_other_lines_are_not() {
        let line = "[thrd:main]: orders [3]: offset reset (at offset 100 (leader epoch 0), broker \
                    1) to offset INVALID (leader epoch -1): fetch failed";
        assert_eq!(refused_partition("OFFSET", line), Some(3));
        assert_eq!(refused_partition("FETCH", line), None);
        assert_eq!(refused_partition("OFFSET", "[thrd:main]: orders [3]: offset query"), None);
    }

    #[test]
    fn a_position_that_is_not_there_is_told_with_its_partition() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 3, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        // As `client_config` does.
        config.set_log_level(RDKafkaLogLevel::Debug);
        let output = OutputFormat::Table;
        let console = Console { output, quiet: true, verbosity: 0, log: Log::PLAIN };
        let consumer = Joining::new(config, "g", &console, false).unwrap().on("orders");
        consumer.assign([(0, 0), (2, 1000)].into_iter()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let (mut was_lost, mut refused) = (false, BTreeSet::new());
        while !was_lost || refused.is_empty() {
            assert!(Instant::now() < deadline, "{was_lost} {refused:?}");
            let polled = consumer.poll(Duration::from_millis(50));
            was_lost |= matches!(polled, Polled::Other(Happening::PositionLost));
            refused.append(&mut consumer.take_refused());
        }
        assert_eq!(refused, BTreeSet::from([2]));
    }
}
