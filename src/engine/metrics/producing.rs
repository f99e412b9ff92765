//! The figures of `produce`.

use std::collections::BTreeMap;

use super::Figures;
use super::text::Exposition;

/// The figures of a run of `produce`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producing {
    /// The topic.
    pub topic: String,
    /// Records handed to the client.
    pub sent: u64,
    /// Their payloads, in bytes.
    pub bytes: u64,
    /// Records that the cluster has acknowledged.
    pub acknowledged: u64,
    /// Records that the cluster has refused.
    pub failed: u64,
    /// Records of the source that were not sent because they are not valid.
    pub rejected: u64,
    /// Records queued or on their way.
    pub in_flight: u64,
}

impl Producing {
    pub(super) fn figures(&self) -> Figures {
        let fields = BTreeMap::from([
            ("sent", self.sent.into()),
            ("bytes", self.bytes.into()),
            ("acknowledged", self.acknowledged.into()),
            ("failed", self.failed.into()),
            ("rejected", self.rejected.into()),
            ("in_flight", self.in_flight.into()),
        ]);
        Figures { records: self.acknowledged, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        out.info("orderctl_produce_info", "What is published.", &[("topic", &self.topic)]);
        out.counter(
            "orderctl_records_sent_total",
            "Records handed to the Kafka client.",
            self.sent,
        );
        out.counter("orderctl_sent_bytes_total", "Payloads of these records.", self.bytes);
        out.counter(
            "orderctl_records_acknowledged_total",
            "Records that the cluster has acknowledged.",
            self.acknowledged,
        );
        out.counter(
            "orderctl_records_failed_total",
            "Records that the cluster has refused.",
            self.failed,
        );
        out.counter(
            "orderctl_source_records_rejected_total",
            "Records of the source that were not sent because they are not valid.",
            self.rejected,
        );
        out.gauge(
            "orderctl_records_in_flight",
            "Records queued or on their way to the cluster.",
            self.in_flight,
        );
    }
}
