//! The figures of the stages from Kafka to Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::commits::{Commits, Words};
use super::text::Exposition;
use super::{Figures, RejectReason};
use crate::engine::record::Moments;
use crate::engine::relay::Totals;

const WORDS: Words = Words {
    commit: "From the wish to commit a transaction to its end, with all tries.",
    event_name: "orderctl_event_to_commit_seconds",
    event: "From a record's timestamp to the commit of what was made of it.",
    last: "When a transaction was committed last, in seconds since 1970 UTC.",
    lag: "Records of the partition whose results are not committed yet.",
};

/// The figures of a run of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Relaying {
    stage: &'static str,
    group: String,
    totals: Totals,
    retries: u64,
    commits: Commits,
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
            group: group.to_owned(),
            totals: Totals::default(),
            retries: 0,
            commits: Commits::new(topic),
        }
    }

    /// Counts a transaction: the totals with it, and how long its commit took.
    pub fn count(&mut self, totals: &Totals, relayed: Relayed, took: Duration) {
        self.totals.clone_from(totals);
        self.commits.count_rejects(relayed.rejects);
        self.commits.count(SystemTime::now(), took, relayed.bytes, relayed.times.runs());
    }

    /// Counts a transaction that came to nothing and is done again.
    pub fn count_retry(&mut self) {
        self.retries += 1;
    }

    /// Counts an assignment of partitions by the group.
    pub fn count_rebalance(&mut self) {
        self.commits.count_rebalance();
    }

    /// Takes the lag of each partition assigned; of others nothing is shown.
    pub fn set_lag(&mut self, lag: BTreeMap<i32, u64>) {
        self.commits.lag = lag;
    }

    /// Which stage it is.
    pub(super) fn stage(&self) -> &'static str {
        self.stage
    }

    pub(super) fn figures(&self) -> Figures {
        let mut fields = BTreeMap::from([
            ("read", self.totals.read.into()),
            ("published", self.totals.published.into()),
            ("rejected", self.totals.rejected.into()),
            ("commits", self.totals.commits.into()),
            ("retries", self.retries.into()),
        ]);
        fields.extend(self.commits.fields());
        Figures { records: self.totals.read, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let facts =
            [("stage", self.stage), ("topic", self.commits.topic()), ("group", &*self.group)];
        out.info("orderctl_relay_info", "What is processed, and as which group.", &facts);
        out.counter(
            "orderctl_records_read_total",
            "Records whose results are committed.",
            self.totals.read,
        );
        out.counter(
            "orderctl_records_published_total",
            "Records made of them, without dead letters.",
            self.totals.published,
        );
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
        self.commits.render(out, WORDS);
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
