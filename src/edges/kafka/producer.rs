//! Publishing to one topic: queued here, sent in the background, counted when
//! the cluster has acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;

/// Our defaults, each under all its names: what the user set under any of them
/// stays.
const DEFAULTS: &[(&[&str], &str)] = &[
    (&["compression.type", "compression.codec"], "lz4"),
    (&["linger.ms", "queue.buffering.max.ms"], "50"),
    (&["acks", "request.required.acks"], "all"),
    (&["enable.idempotence"], "true"),
    // Java's clients put the same key into the same partition.
    (&["partitioner"], "murmur2_random"),
    // A cluster that is away is waited for without a limit.
    (&["message.timeout.ms", "delivery.timeout.ms"], "0"),
    // A producer creates missing topics otherwise, where the cluster allows it.
    (&["allow.auto.create.topics"], "false"),
];

/// A producer for one topic. All its work is done on the thread that calls it
/// (and librdkafka's own): call [`Producer::poll`] now and then, or nothing is
/// counted.
pub struct Producer {
    inner: BaseProducer<Deliveries>,
    topic: String,
    linger: Duration,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queued {
    /// It will be sent.
    Yes,
    /// There is no room: poll and try again.
    Full,
    /// It is larger than `message.max.bytes` and can never be sent.
    TooLarge,
}

impl Producer {
    /// Makes a producer; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        settings: &KafkaSettings,
        topic: &str,
        console: &Console,
    ) -> anyhow::Result<Producer> {
        let config = producer_config(settings);
        let inner = BaseProducer::from_config_and_context(&config, Deliveries::new(console))
            .map_err(|error| anyhow::anyhow!("cannot make a producer: {}", describe(&error)))?;
        Ok(Producer { inner, topic: topic.to_owned(), linger: linger(&config) })
    }

    /// How long records wait for others to fill their batch.
    pub fn linger(&self) -> Duration {
        self.linger
    }

    /// Queues a copy of one record; the same key goes to the same partition.
    ///
    /// # Errors
    /// When the producer can never send again.
    pub fn send(&self, key: Option<&[u8]>, payload: &[u8]) -> anyhow::Result<Queued> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(payload);
        record.key = key;
        match self.inner.send(record) {
            Ok(()) => {
                self.context().queued.fetch_add(1, Ordering::Relaxed);
                Ok(Queued::Yes)
            }
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Ok(Queued::Full),
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Ok(Queued::TooLarge),
                _ => Err(anyhow::anyhow!("cannot publish any more: {}", self.explain(&error))),
            },
        }
    }

    /// Serves what has come back from the cluster, for so long; returns at once
    /// with zero.
    pub fn poll(&self, limit: Duration) {
        self.inner.poll(limit);
    }

    /// As [`Producer::poll`], without waiting for more records to fill a batch.
    pub fn flush(&self, limit: Duration) {
        // That it takes longer is no error here: the caller asks what is pending.
        let _ = self.inner.flush(limit);
    }

    /// How many records are queued or on their way.
    pub fn pending(&self) -> u64 {
        // librdkafka's own count has its log lines in it, of which `debug` makes
        // one at each look.
        let (queued, settled) = self.counts();
        queued.saturating_sub(settled)
    }

    /// How many records were ever queued, and how many of those were acknowledged,
    /// refused or given up.
    pub fn counts(&self) -> (u64, u64) {
        let context = self.context();
        // In this order: what is settled was queued before.
        let settled = context.settled.load(Ordering::Relaxed);
        (context.queued.load(Ordering::Relaxed), settled)
    }

    /// How many records the cluster has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.context().acknowledged.load(Ordering::Relaxed)
    }

    /// How many records the cluster has refused.
    pub fn failed(&self) -> u64 {
        self.context().failed.load(Ordering::Relaxed)
    }

    /// Whether the cluster refuses every record, so that there is no use in
    /// sending more.
    pub fn is_refused(&self) -> bool {
        self.context().is_refused.load(Ordering::Relaxed)
    }

    /// Why a record was refused by the cluster, the first time one was.
    pub fn first_failure(&self) -> Option<String> {
        self.context().first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why no broker can be reached, while none can: what went wrong last.
    pub fn away(&self) -> Option<String> {
        if !self.context().away.load(Ordering::Relaxed) {
            return None;
        }
        let failure = self.context().log.failure();
        Some(failure.map_or_else(|| "no broker can be reached".into(), |failure| failure.text))
    }

    /// Gives up what is still queued, and what is on its way, which may have
    /// arrived all the same.
    pub fn abandon(&self) {
        self.inner.purge(PurgeConfig::default().queue().inflight());
        self.inner.poll(Duration::ZERO);
    }

    fn context(&self) -> &Deliveries {
        self.inner.context()
    }

    fn explain(&self, error: &KafkaError) -> String {
        match self.inner.client().fatal_error() {
            Some((_, reason)) => reason,
            None => explain(error),
        }
    }
}

/// Why a record cannot be published, with the cure where there is one.
fn explain(error: &KafkaError) -> String {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => {
            "this login may not write to the topic; grant it WRITE".into()
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
            "the topic is not there any more".into()
        }
        _ => describe(error),
    }
}

fn producer_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = client_config(settings);
    for (names, value) in DEFAULTS {
        if names.iter().all(|name| config.get(name).is_none()) {
            config.set(names[0], *value);
        }
    }
    config
}

/// Of its two names in a configuration, the one that is there: see [`DEFAULTS`].
fn linger(config: &ClientConfig) -> Duration {
    let named = ["linger.ms", "queue.buffering.max.ms"].iter().find_map(|name| config.get(name));
    let ms = named.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

/// Counts delivery reports, and knows whether the cluster is there.
struct Deliveries {
    log: ClientLog,
    queued: AtomicU64,
    /// Acknowledged, refused or given up.
    settled: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    is_refused: AtomicBool,
    away: AtomicBool,
}

impl Deliveries {
    fn new(console: &Console) -> Deliveries {
        Deliveries {
            log: ClientLog::new(console),
            queued: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: Mutex::new(None),
            is_refused: AtomicBool::new(false),
            away: AtomicBool::new(false),
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.observe(facility, line);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.remember(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.away.store(true, Ordering::Relaxed);
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        self.settled.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if self.away.load(Ordering::Relaxed) {
                    self.away.store(false, Ordering::Relaxed);
                    self.log.forget();
                }
            }
            Err((error, _)) => self.refused(error),
        }
    }
}

impl Deliveries {
    fn refused(&self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            // Given up by ourselves.
            Some(Code::PurgeQueue | Code::PurgeInflight) => return,
            Some(
                Code::TopicAuthorizationFailed | Code::UnknownTopic | Code::UnknownTopicOrPartition,
            ) => self.is_refused.store(true, Ordering::Relaxed),
            _ => {}
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| explain(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_under_any_name_stays() {
        let mut settings = KafkaSettings::plaintext("127.0.0.1:1");
        settings.set("compression.codec", "zstd");
        settings.set("linger.ms", "5");
        let config = producer_config(&settings);
        assert_eq!(config.get("compression.type"), None);
        assert_eq!(config.get("compression.codec"), Some("zstd"));
        assert_eq!(config.get("linger.ms"), Some("5"));
        assert_eq!(config.get("acks"), Some("all"));
    }

    #[test]
    fn the_linger_is_known_under_both_its_names() {
        let linger_of = |name: &str, text: &str| {
            let mut settings = KafkaSettings::plaintext("127.0.0.1:1");
            settings.set(name, text);
            linger(&producer_config(&settings))
        };
        assert_eq!(linger_of("client.id", "c"), Duration::from_millis(50));
        assert_eq!(linger_of("linger.ms", "0.5"), Duration::from_micros(500));
        assert_eq!(linger_of("queue.buffering.max.ms", "7"), Duration::from_millis(7));
    }
}
