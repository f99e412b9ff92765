//! The figures of the stages from Kafka to Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::consuming::{COMMIT_BOUNDS, EVENT_BOUNDS};
use super::text::Exposition;
use super::{Figures, Histogram, RejectReason};
use crate::engine::record::Moments;
use crate::engine::relay::Totals;

/// The figures of a run of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Relaying {
    stage: &'static str,
    topic: String,
    group: String,
    totals: Totals,
    bytes: u64,
    rejects: [u64; RejectReason::ALL.len()],
    retries: u64,
    rebalances: u64,
    commit_seconds: Histogram,
    event_to_commit_seconds: Histogram,
    last_commit: Option<SystemTime>,
    /// Records whose results are not committed yet, for each partition assigned.
    lag: BTreeMap<i32, u64>,
}

/// A transaction that is committed, as far as it is counted beside the totals.
#[derive(Debug, Default)]
pub struct Relayed {
    /// Payloads of its records, in bytes.
    pub bytes: u64,
    /// Why records of it are dead letters.
    pub rejects: Vec<RejectReason>,
    /// The records' timestamps.
    pub times: Moments,
}

impl Relaying {
    /// With nothing done yet.
    pub fn new(stage: &'static str, topic: &str, group: &str) -> Relaying {
        Relaying {
            stage,
            topic: topic.to_owned(),
            group: group.to_owned(),
            totals: Totals::default(),
            bytes: 0,
            rejects: Default::default(),
            retries: 0,
            rebalances: 0,
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            event_to_commit_seconds: Histogram::new(EVENT_BOUNDS),
            last_commit: None,
            lag: BTreeMap::new(),
        }
    }

    /// Counts a transaction: the totals with it, and how long its commit took.
    pub fn count(&mut self, totals: &Totals, relayed: Relayed, took: Duration) {
        let at = SystemTime::now();
        self.totals.clone_from(totals);
        self.bytes += relayed.bytes;
        for reason in relayed.rejects {
            self.rejects[reason as usize] += 1;
        }
        self.commit_seconds.observe(took.as_secs_f64(), 1);
        self.last_commit = Some(at);
        let at_ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        for (time_ms, records) in relayed.times.runs() {
            let seconds = at_ms.saturating_sub(*time_ms) as f64 / 1000.0;
            self.event_to_commit_seconds.observe(seconds, *records);
        }
    }

    /// Counts a transaction that came to nothing and is done again.
    pub fn count_retry(&mut self) {
        self.retries += 1;
    }

    /// Counts an assignment of partitions by the group.
    pub fn count_rebalance(&mut self) {
        self.rebalances += 1;
    }

    /// Takes the lag of each partition assigned; of others nothing is shown.
    pub fn set_lag(&mut self, lag: BTreeMap<i32, u64>) {
        self.lag = lag;
    }

    /// Which stage it is.
    pub(super) fn stage(&self) -> &'static str {
        self.stage
    }

    pub(super) fn figures(&self) -> Figures {
        let fields = BTreeMap::from([
            ("read", self.totals.read.into()),
            ("bytes", self.bytes.into()),
            ("published", self.totals.published.into()),
            ("rejected", self.totals.rejected.into()),
            ("commits", self.totals.commits.into()),
            ("rebalances", self.rebalances.into()),
            ("retries", self.retries.into()),
            ("partitions", self.lag.len().into()),
            ("lag", self.lag.values().sum::<u64>().into()),
        ]);
        Figures { records: self.totals.read, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let facts = [("stage", self.stage), ("topic", &*self.topic), ("group", &*self.group)];
        out.info("orderctl_relay_info", "What is processed, and as which group.", &facts);
        self.render_counts(out);
        out.histogram(
            "orderctl_commit_duration_seconds",
            "From the wish to commit a transaction to its end, with all tries.",
            &self.commit_seconds,
        );
        out.histogram(
            "orderctl_event_to_commit_seconds",
            "From a record's timestamp to the commit of what was made of it.",
            &self.event_to_commit_seconds,
        );
        if let Some(at) = self.last_commit {
            let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            out.gauge(
                "orderctl_last_commit_timestamp_seconds",
                "When a transaction was committed last, in seconds since 1970 UTC.",
                seconds,
            );
        }
        out.gauge(
            "orderctl_partitions_assigned",
            "Partitions that this worker reads.",
            self.lag.len(),
        );
        let name = "orderctl_partition_lag_records";
        out.family(name, "gauge", "Records of the partition whose results are not committed yet.");
        for (partition, lag) in &self.lag {
            let partition = partition.to_string();
            out.sample(name, &[("topic", &self.topic), ("partition", &partition)], lag);
        }
    }

    fn render_counts(&self, out: &mut Exposition) {
        out.counter(
            "orderctl_records_read_total",
            "Records whose results are committed.",
            self.totals.read,
        );
        out.counter("orderctl_read_bytes_total", "Payloads of these records.", self.bytes);
        out.counter(
            "orderctl_records_published_total",
            "Records made of them, without dead letters.",
            self.totals.published,
        );
        let name = "orderctl_records_rejected_total";
        out.family(name, "counter", "Records that are dead letters, by class of reason.");
        for reason in RejectReason::ALL {
            out.sample(name, &[("reason", reason.name())], self.rejects[reason as usize]);
        }
        let name = "orderctl_step_counts_total";
        out.family(name, "counter", "What the stage counts of its own.");
        for (what, number) in &self.totals.counts {
            out.sample(name, &[("what", what)], number);
        }
        out.counter("orderctl_transactions_total", "Transactions committed.", self.totals.commits);
        out.counter(
            "orderctl_transactions_retried_total",
            "Transactions that came to nothing and were done again.",
            self.retries,
        );
        out.counter(
            "orderctl_rebalances_total",
            "Times that the group assigned partitions to this worker anew.",
            self.rebalances,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_and_summed() {
        let mut relaying = Relaying::new("confirm", "t", "g");
        let mut totals = Totals { read: 10, published: 16, rejected: 2, ..Totals::default() };
        totals.commits = 1;
        totals.counts.insert("approved", 8);
        let mut times = Moments::default();
        times.note(Some(0));
        let rejects = vec![RejectReason::Missing, RejectReason::NotJson];
        let relayed = Relayed { bytes: 1_000, rejects, times };
        relaying.count(&totals, relayed, Duration::from_millis(20));
        relaying.count_retry();
        relaying.count_rebalance();
        relaying.set_lag(BTreeMap::from([(0, 5), (3, 0)]));
        let mut out = Exposition::default();
        relaying.render(&mut out);
        let text = out.into_text();
        for line in [
            r#"orderctl_relay_info{stage="confirm",topic="t",group="g"} 1"#,
            "orderctl_records_read_total 10",
            "orderctl_read_bytes_total 1000",
            "orderctl_records_published_total 16",
            r#"orderctl_records_rejected_total{reason="missing"} 1"#,
            r#"orderctl_step_counts_total{what="approved"} 8"#,
            "orderctl_transactions_total 1",
            "orderctl_transactions_retried_total 1",
            "orderctl_rebalances_total 1",
            r#"orderctl_commit_duration_seconds_bucket{le="0.025"} 1"#,
            r#"orderctl_event_to_commit_seconds_bucket{le="86400"} 0"#,
            "orderctl_event_to_commit_seconds_count 1",
            "orderctl_partitions_assigned 2",
            r#"orderctl_partition_lag_records{topic="t",partition="0"} 5"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let figures = relaying.figures();
        assert_eq!((figures.records, &figures.fields["lag"]), (10, &5.into()));
    }
}
