//! The figures of `consume`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::Exposition;
use super::{Cause, Figures, Histogram, RejectReason};
use crate::engine::run::Totals;

/// Seconds; from a batch that is small to a database that is away.
pub(super) const COMMIT_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds; from at once to a backlog of a day.
pub(super) const EVENT_BOUNDS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0,
];

/// The figures of a run of `consume`.
#[derive(Debug, Clone, PartialEq)]
pub struct Consuming {
    topic: String,
    group: String,
    table: String,
    totals: Totals,
    bytes: u64,
    rejects: [u64; RejectReason::ALL.len()],
    retries: [u64; Cause::ALL.len()],
    rebalances: u64,
    commit_seconds: Histogram,
    event_to_row_seconds: Histogram,
    last_commit: Option<SystemTime>,
    /// Records that are not in the database yet, for each partition assigned.
    lag: BTreeMap<i32, u64>,
}

/// A batch that is in the table, as far as it is counted.
#[derive(Debug)]
pub struct Written<'b> {
    /// The totals, this batch included.
    pub totals: Totals,
    /// Payloads of its records, in bytes.
    pub bytes: u64,
    /// Why records of it are dead letters.
    pub rejects: Vec<RejectReason>,
    /// The records' timestamps in milliseconds since 1970 UTC, each with the
    /// number of records that have it.
    pub times: &'b [(i64, u64)],
    /// From the writer's taking it up to the answer to its COMMIT.
    pub took: Duration,
    /// When that answer was there.
    pub at: SystemTime,
}

impl Consuming {
    /// With nothing done yet.
    pub fn new(topic: &str, group: &str, table: &str) -> Consuming {
        Consuming {
            topic: topic.to_owned(),
            group: group.to_owned(),
            table: table.to_owned(),
            totals: Totals::default(),
            bytes: 0,
            rejects: Default::default(),
            retries: Default::default(),
            rebalances: 0,
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            event_to_row_seconds: Histogram::new(EVENT_BOUNDS),
            last_commit: None,
            lag: BTreeMap::new(),
        }
    }

    /// Counts a batch that is in the table.
    pub fn count(&mut self, written: Written<'_>) {
        self.totals = written.totals;
        self.bytes += written.bytes;
        for reason in written.rejects {
            self.rejects[reason as usize] += 1;
        }
        self.commit_seconds.observe(written.took.as_secs_f64(), 1);
        self.last_commit = Some(written.at);
        let at_ms = written.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        for (time_ms, records) in written.times {
            let seconds = at_ms.saturating_sub(*time_ms) as f64 / 1000.0;
            self.event_to_row_seconds.observe(seconds, *records);
        }
    }

    /// Counts a try that will be repeated.
    pub fn count_retry(&mut self, cause: Cause) {
        self.retries[cause as usize] += 1;
    }

    /// Counts an assignment of partitions by the group.
    pub fn count_rebalance(&mut self) {
        self.rebalances += 1;
    }

    /// Takes the lag of each partition assigned; of others nothing is shown.
    pub fn set_lag(&mut self, lag: BTreeMap<i32, u64>) {
        self.lag = lag;
    }

    pub(super) fn figures(&self) -> Figures {
        let fields = BTreeMap::from([
            ("read", self.totals.read.into()),
            ("bytes", self.bytes.into()),
            ("stored", self.totals.stored.into()),
            ("duplicates", self.totals.duplicates.into()),
            ("rejected", self.totals.rejected.into()),
            ("batches", self.totals.batches.into()),
            ("rebalances", self.rebalances.into()),
            ("retries", self.retries.iter().sum::<u64>().into()),
            ("partitions", self.lag.len().into()),
            ("lag", self.lag.values().sum::<u64>().into()),
        ]);
        Figures { records: self.totals.read, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let facts = [
            ("topic", self.topic.as_str()),
            ("group", self.group.as_str()),
            ("table", self.table.as_str()),
        ];
        out.info("orderctl_consume_info", "What is stored, and where.", &facts);
        self.render_counts(out);
        self.render_classes(out);
        out.histogram(
            "orderctl_commit_duration_seconds",
            "From taking up a batch to the answer to its COMMIT, with all tries.",
            &self.commit_seconds,
        );
        out.histogram(
            "orderctl_event_to_row_seconds",
            "From a record's timestamp to the commit of its batch.",
            &self.event_to_row_seconds,
        );
        if let Some(at) = self.last_commit {
            let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            out.gauge(
                "orderctl_last_commit_timestamp_seconds",
                "When a batch was committed last, in seconds since 1970 UTC.",
                seconds,
            );
        }
        out.gauge(
            "orderctl_partitions_assigned",
            "Partitions that this worker reads.",
            self.lag.len(),
        );
        let name = "orderctl_partition_lag_records";
        out.family(name, "gauge", "Records of the partition that are not in the database yet.");
        for (partition, lag) in &self.lag {
            let partition = partition.to_string();
            out.sample(name, &[("topic", &self.topic), ("partition", &partition)], lag);
        }
    }

    fn render_counts(&self, out: &mut Exposition) {
        out.counter(
            "orderctl_records_read_total",
            "Records whose effect is committed: stored, duplicate or rejected.",
            self.totals.read,
        );
        out.counter("orderctl_read_bytes_total", "Payloads of these records.", self.bytes);
        out.counter("orderctl_rows_stored_total", "Rows inserted or updated.", self.totals.stored);
        out.counter(
            "orderctl_duplicates_skipped_total",
            "Records whose id was there already: skipped, or updated as --on-duplicate says.",
            self.totals.duplicates,
        );
        out.counter("orderctl_batches_total", "Transactions committed.", self.totals.batches);
        out.counter(
            "orderctl_rebalances_total",
            "Times that the group assigned partitions to this worker anew.",
            self.rebalances,
        );
    }

    fn render_classes(&self, out: &mut Exposition) {
        let name = "orderctl_records_rejected_total";
        out.family(name, "counter", "Records that are dead letters, by class of reason.");
        for reason in RejectReason::ALL {
            out.sample(name, &[("reason", reason.name())], self.rejects[reason as usize]);
        }
        let name = "orderctl_retries_total";
        out.family(name, "counter", "Tries that failed and will be repeated, by cause.");
        for cause in Cause::ALL {
            out.sample(name, &[("cause", cause.name())], self.retries[cause as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Consuming {
        let mut consuming = Consuming::new("t", "g", "public.orders");
        let totals = Totals { read: 10, stored: 7, duplicates: 1, rejected: 2, batches: 1 };
        consuming.count(Written {
            totals,
            bytes: 1_000,
            rejects: vec![RejectReason::Missing, RejectReason::NotJson],
            times: &[(1_000, 4), (1_900, 5), (5_000, 1)],
            took: Duration::from_millis(20),
            at: UNIX_EPOCH + Duration::from_secs(2),
        });
        consuming.count_retry(Cause::Connection);
        consuming.count_rebalance();
        consuming.set_lag(BTreeMap::from([(0, 5), (3, 0)]));
        consuming
    }

    #[test]
    fn what_was_counted_is_rendered() {
        let mut out = Exposition::default();
        counted().render(&mut out);
        let text = out.into_text();
        for line in [
            r#"orderctl_consume_info{topic="t",group="g",table="public.orders"} 1"#,
            "orderctl_records_read_total 10",
            "orderctl_read_bytes_total 1000",
            "orderctl_rows_stored_total 7",
            "orderctl_duplicates_skipped_total 1",
            "orderctl_batches_total 1",
            "orderctl_rebalances_total 1",
            r#"orderctl_records_rejected_total{reason="missing"} 1"#,
            r#"orderctl_records_rejected_total{reason="invalid"} 0"#,
            r#"orderctl_retries_total{cause="connection"} 1"#,
            r#"orderctl_retries_total{cause="broker"} 0"#,
            r#"orderctl_commit_duration_seconds_bucket{le="0.01"} 0"#,
            r#"orderctl_commit_duration_seconds_bucket{le="0.025"} 1"#,
            // A timestamp after the commit is a clock that is ahead: at once.
            r#"orderctl_event_to_row_seconds_bucket{le="0.05"} 1"#,
            r#"orderctl_event_to_row_seconds_bucket{le="0.1"} 6"#,
            r#"orderctl_event_to_row_seconds_bucket{le="1"} 10"#,
            "orderctl_event_to_row_seconds_count 10",
            "orderctl_last_commit_timestamp_seconds 2",
            "orderctl_partitions_assigned 2",
            r#"orderctl_partition_lag_records{topic="t",partition="0"} 5"#,
            r#"orderctl_partition_lag_records{topic="t",partition="3"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn figures_are_sums() {
        let figures = counted().figures();
        assert_eq!(figures.records, 10);
        assert_eq!((&figures.fields["lag"], &figures.fields["retries"]), (&5.into(), &1.into()));
    }
}
