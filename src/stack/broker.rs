//! The in-process broker of the demo: librdkafka's own mock cluster.
//!
//! It keeps a bounded log and silently drops what is older, and its transactions
//! do nothing. So it serves to show the main job within [`EVENTS_MAX`], never as
//! a proof.

use anyhow::Context as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// Partitions of its topic.
pub const PARTITIONS: i32 = 12;

/// The most events it is asked to keep: a partition holds 100,000 messages or
/// 5 MiB, and an order takes some 400 bytes; spread over [`PARTITIONS`], half of
/// the bytes stay free for an uneven spread.
pub const EVENTS_MAX: u64 = 75_000;

/// A broker that lives as long as this value.
pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    /// Starts it on free ports of the loopback address, with one topic.
    ///
    /// # Errors
    /// When the system gives no more sockets or threads.
    pub fn start(topic: &str) -> anyhow::Result<Broker> {
        let cluster = MockCluster::new(1).context("cannot start the in-process broker")?;
        cluster
            .create_topic(topic, PARTITIONS, 1)
            .context("cannot create the in-process broker's topic")?;
        Ok(Broker { cluster })
    }

    /// Its address, for `--bootstrap-server`.
    pub fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
