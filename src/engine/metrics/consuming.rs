//! The figures of `consume`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::commits::{Commits, Words};
use super::text::Exposition;
use super::{Cause, Figures, RejectReason};
use crate::engine::run::Totals;

const WORDS: Words = Words {
    commit: "From taking up a batch to the answer to its COMMIT, with all tries.",
    event_name: "orderctl_event_to_row_seconds",
    event: "From a record's timestamp to the commit of its batch.",
    last: "When a batch was committed last, in seconds since 1970 UTC.",
    lag: "Records of the partition that are not in the database yet.",
};

/// The figures of a run of `consume`.
#[derive(Debug, Clone, PartialEq)]
pub struct Consuming {
    group: String,
    table: String,
    totals: Totals,
    retries: [u64; Cause::ALL.len()],
    commits: Commits,
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
            group: group.to_owned(),
            table: table.to_owned(),
            totals: Totals::default(),
            retries: Default::default(),
            commits: Commits::new(topic),
        }
    }

    /// Counts a batch that is in the table.
    pub fn count(&mut self, written: Written<'_>) {
        self.totals = written.totals;
        self.commits.count_rejects(written.rejects);
        self.commits.count(written.at, written.took, written.bytes, written.times);
    }

    /// Counts a try that will be repeated.
    pub fn count_retry(&mut self, cause: Cause) {
        self.retries[cause as usize] += 1;
    }

    /// Counts an assignment of partitions by the group.
    pub fn count_rebalance(&mut self) {
        self.commits.count_rebalance();
    }

    /// Takes the lag of each partition assigned; of others nothing is shown.
    pub fn set_lag(&mut self, lag: BTreeMap<i32, u64>) {
        self.commits.lag = lag;
    }

    pub(super) fn figures(&self) -> Figures {
        let mut fields = BTreeMap::from([
            ("read", self.totals.read.into()),
            ("stored", self.totals.stored.into()),
            ("duplicates", self.totals.duplicates.into()),
            ("rejected", self.totals.rejected.into()),
            ("batches", self.totals.batches.into()),
            ("retries", self.retries.iter().sum::<u64>().into()),
        ]);
        fields.extend(self.commits.fields());
        Figures { records: self.totals.read, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let facts = [
            ("topic", self.commits.topic()),
            ("group", self.group.as_str()),
            ("table", self.table.as_str()),
        ];
        out.info("orderctl_consume_info", "What is stored, and where.", &facts);
        out.counter(
            "orderctl_records_read_total",
            "Records whose effect is committed: stored, duplicate or rejected.",
            self.totals.read,
        );
        out.counter("orderctl_rows_stored_total", "Rows inserted or updated.", self.totals.stored);
        out.counter(
            "orderctl_duplicates_skipped_total",
            "Records whose id was there already: skipped, or updated as --on-duplicate says.",
            self.totals.duplicates,
        );
        out.counter("orderctl_batches_total", "Transactions committed.", self.totals.batches);
        let name = "orderctl_retries_total";
        out.family(name, "counter", "Tries that failed and will be repeated, by cause.");
        for cause in Cause::ALL {
            out.sample(name, &[("cause", cause.name())], self.retries[cause as usize]);
        }
        self.commits.render(out, WORDS);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
