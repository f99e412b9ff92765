//! What every verb counts that reads records as a group and commits what comes of
//! them: `consume` and the stages from Kafka to Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::text::Exposition;
use super::{Histogram, RejectReason};

/// Seconds; from a batch that is small to a server that is away.
const COMMIT_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds; from at once to a backlog of a day.
const EVENT_BOUNDS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0,
];

/// The figures of commits, and of what is not committed yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Commits {
    topic: String,
    bytes: u64,
    rejects: [u64; RejectReason::ALL.len()],
    rebalances: u64,
    commit_seconds: Histogram,
    event_seconds: Histogram,
    last: Option<SystemTime>,
    /// Records that are not committed yet, for each partition assigned.
    pub(super) lag: BTreeMap<i32, u64>,
}

/// How a verb says these figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// What a commit lasts from and to.
    pub commit: &'static str,
    /// The name of the histogram from a record's timestamp to its commit.
    pub event_name: &'static str,
    /// Its explanation.
    pub event: &'static str,
    /// What was committed last.
    pub last: &'static str,
    /// What a partition's lag is.
    pub lag: &'static str,
}

impl Commits {
    /// With nothing done yet.
    pub(super) fn new(topic: &str) -> Commits {
        Commits {
            topic: topic.to_owned(),
            bytes: 0,
            rejects: Default::default(),
            rebalances: 0,
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            event_seconds: Histogram::new(EVENT_BOUNDS),
            last: None,
            lag: BTreeMap::new(),
        }
    }

    /// What is read.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Counts a commit: when its answer was there and how long that took; the
    /// payloads of its records in bytes; their timestamps in milliseconds since 1970
    /// UTC, each with the number of records that have it.
    pub(super) fn count(
        &mut self,
        at: SystemTime,
        took: Duration,
        bytes: u64,
        times: &[(i64, u64)],
    ) {
        self.bytes += bytes;
        self.commit_seconds.observe(took.as_secs_f64(), 1);
        self.last = Some(at);
        let at_ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        for (time_ms, records) in times {
            let seconds = at_ms.saturating_sub(*time_ms) as f64 / 1000.0;
            self.event_seconds.observe(seconds, *records);
        }
    }

    /// Counts records that are dead letters.
    pub(super) fn count_rejects(&mut self, reasons: Vec<RejectReason>) {
        for reason in reasons {
            self.rejects[reason as usize] += 1;
        }
    }

    /// Counts an assignment of partitions by the group.
    pub(super) fn count_rebalance(&mut self) {
        self.rebalances += 1;
    }

    /// The sums, by name.
    pub(super) fn fields(&self) -> [(&'static str, Value); 4] {
        [
            ("bytes", self.bytes.into()),
            ("rebalances", self.rebalances.into()),
            ("partitions", self.lag.len().into()),
            ("lag", self.lag.values().sum::<u64>().into()),
        ]
    }

    pub(super) fn render(&self, out: &mut Exposition, words: Words) {
        out.counter("orderctl_read_bytes_total", "Payloads of the records read.", self.bytes);
        let name = "orderctl_records_rejected_total";
        out.family(name, "counter", "Records that are dead letters, by class of reason.");
        for reason in RejectReason::ALL {
            out.sample(name, &[("reason", reason.name())], self.rejects[reason as usize]);
        }
        out.counter(
            "orderctl_rebalances_total",
            "Times that the group assigned partitions to this worker anew.",
            self.rebalances,
        );
        out.histogram("orderctl_commit_duration_seconds", words.commit, &self.commit_seconds);
        out.histogram(words.event_name, words.event, &self.event_seconds);
        if let Some(at) = self.last {
            let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            out.gauge("orderctl_last_commit_timestamp_seconds", words.last, seconds);
        }
        out.gauge(
            "orderctl_partitions_assigned",
            "Partitions that this worker reads.",
            self.lag.len(),
        );
        let name = "orderctl_partition_lag_records";
        out.family(name, "gauge", words.lag);
        for (partition, lag) in &self.lag {
            let partition = partition.to_string();
            out.sample(name, &[("topic", &self.topic), ("partition", &partition)], lag);
        }
    }
}
