//! Publishing records in transactions: all of a portion, or none of it.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::client::{client_config_over, describe};
use super::deliveries::Deliveries;
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::error::Usage;
use crate::stop::Stop;

/// How long one step may take before the cluster counts as away.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a stop is looked for.
const SLICE: Duration = Duration::from_secs(1);
/// How often a portion is tried that librdkafka itself drops.
const TRIES: u32 = 3;
/// Our defaults, which the user's properties override.
const DEFAULTS: [(&str, &str); 4] = [
    ("compression.type", "lz4"),
    // Java's clients put the same key into the same partition.
    ("partitioner", "murmur2_random"),
    // Whether a record is too large is for the topic to say.
    ("message.max.bytes", "67108864"),
    ("allow.auto.create.topics", "false"),
];

/// A record to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The partition it goes to; by its key when none.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload; none for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What came of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// All records are in the topic.
    Committed,
    /// The cluster refuses a record, and none is in the topic: why.
    Aborted(String),
}

/// A transactional producer for one topic.
pub struct Publisher {
    inner: BaseProducer<Deliveries>,
    topic: String,
}

impl Publisher {
    /// Connects. Earlier producers of the same `transactional_id` can commit no
    /// more from here on, and what they had committed is visible or about to be.
    ///
    /// # Errors
    /// When the cluster does not answer within 30 s or refuses transactions; a
    /// stop is an error too, the caller asks `stop` which it was.
    pub fn new(
        settings: &KafkaSettings,
        topic: &str,
        transactional_id: &str,
        console: &Console,
        stop: &Stop,
    ) -> anyhow::Result<Publisher> {
        let mut config = client_config_over(&DEFAULTS, settings);
        config.set("transactional.id", transactional_id);
        let inner = BaseProducer::from_config_and_context(&config, Deliveries::new(console))
            .map_err(|error| Usage(describe(&error)))?;
        let publisher = Publisher { inner, topic: topic.to_owned() };
        publisher
            .persist(stop, || publisher.inner.init_transactions(SLICE))
            .map_err(|error| anyhow!("{}", publisher.explain(&error, transactional_id)))?;
        Ok(publisher)
    }

    /// Publishes records in one transaction.
    ///
    /// # Errors
    /// When the transaction could not be ended, or another producer took over:
    /// the records are in the topic all or none, and it must be looked there; no
    /// more can be published.
    pub fn publish(&self, records: &[Outgoing], stop: &Stop) -> anyhow::Result<Published> {
        let mut tries_left = TRIES;
        loop {
            let Some(error) = self.try_publish(records, stop)? else {
                return Ok(Published::Committed);
            };
            tries_left -= 1;
            match error.rdkafka_error_code() {
                // librdkafka empties its queues behind an abort, and may reach
                // into the transaction after it.
                Some(Code::PurgeQueue | Code::PurgeInflight) if tries_left > 0 => {}
                _ if is_about_the_record(&error) => {
                    return Ok(Published::Aborted(describe(&error)));
                }
                _ => bail!("{}; nothing of this portion was published", self.broken(&error)),
            }
        }
    }

    /// One transaction; none when it is committed, else why it was aborted.
    fn try_publish(&self, records: &[Outgoing], stop: &Stop) -> anyhow::Result<Option<KafkaError>> {
        self.inner.context().take_failure();
        self.inner.begin_transaction().map_err(|error| self.broken(&error))?;
        let refused = self.send_all(records, stop)?;
        let Some(error) = refused.or_else(|| self.inner.context().take_failure()) else {
            return self
                .persist(stop, || self.inner.commit_transaction(SLICE))
                .map(|()| None)
                .map_err(|error| self.broken(&error));
        };
        self.persist(stop, || self.inner.abort_transaction(SLICE))
            .map_err(|error| self.broken(&error))?;
        Ok(Some(error))
    }

    /// Sends every record and waits for the acknowledgements; the first refusal.
    fn send_all(&self, records: &[Outgoing], stop: &Stop) -> anyhow::Result<Option<KafkaError>> {
        for record in records {
            while let Err((error, _)) = self.inner.send(self.base(record)) {
                if error.rdkafka_error_code() != Some(Code::QueueFull) {
                    return Ok(Some(error));
                }
                self.inner.poll(Duration::from_millis(10));
                if stop.requested() {
                    bail!("stopped in the middle of a transaction");
                }
            }
        }
        let since = Instant::now();
        while self.inner.in_flight_count() > 0 && since.elapsed() < LIMIT {
            // The time limit only cuts the wait into slices.
            let _ = self.inner.flush(Duration::from_millis(100));
            if stop.requested() {
                bail!("stopped in the middle of a transaction");
            }
        }
        match self.inner.in_flight_count() {
            0 => Ok(None),
            _ => bail!("{}", self.away("no acknowledgement")),
        }
    }

    fn base<'r>(&'r self, record: &'r Outgoing) -> BaseRecord<'r, [u8], [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut base = BaseRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        (base.partition, base.key, base.payload) =
            (record.partition, record.key.as_deref(), record.payload.as_deref());
        base
    }

    /// Tries a step of the transaction for as long as that is of use.
    fn persist(
        &self,
        stop: &Stop,
        mut step: impl FnMut() -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        let since = Instant::now();
        loop {
            let error = match step() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.inner.poll(Duration::ZERO);
            let is_retriable =
                matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            let is_hopeless = self.inner.context().log.failure().is_some_and(|last| last.is_final);
            if !is_retriable || is_hopeless || stop.requested() || since.elapsed() > LIMIT {
                return Err(error);
            }
        }
    }

    fn broken(&self, error: &KafkaError) -> anyhow::Error {
        anyhow!("cannot publish to topic {}: {}", self.topic, self.explain(error, "orderctl-dlq-…"))
    }

    fn explain(&self, error: &KafkaError, transactional_id: &str) -> String {
        let topic = &self.topic;
        match error.rdkafka_error_code() {
            Some(Code::TransactionalIdAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                format!(
                    "this login may not use transactions: grant it WRITE and DESCRIBE on the \
                     transactional id {transactional_id} (or on the prefix orderctl-dlq-)"
                )
            }
            Some(Code::TopicAuthorizationFailed) => {
                format!("this login may not write to topic {topic}; grant it WRITE")
            }
            Some(
                Code::Fenced
                | Code::ProducerFenced
                | Code::InvalidProducerEpoch
                | Code::InvalidProducerIdMapping,
            ) => format!(
                "another `orderctl dlq redrive` to topic {topic} took over; run it again when \
                 that has ended, nothing is moved twice"
            ),
            Some(Code::OperationTimedOut | Code::MessageTimedOut | Code::RequestTimedOut) => {
                self.away(&describe(error))
            }
            _ => match self.inner.client().fatal_error() {
                Some((_, reason)) => reason,
                None => describe(error),
            },
        }
    }

    fn away(&self, otherwise: &str) -> String {
        let failure = self.inner.context().log.failure();
        let why = failure.map_or_else(|| otherwise.to_owned(), |failure| failure.text);
        format!("the cluster is away ({why}); run it again, nothing is moved twice")
    }
}

/// Whether another record might be taken where this one was not.
fn is_about_the_record(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::InvalidRecord
                | Code::PolicyViolation
        )
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::client::ClientContext;
    use rdkafka::mocking::{MockCluster, MockCoordinator};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    fn publisher(cluster: &MockCluster<'_, impl ClientContext>) -> anyhow::Result<Publisher> {
        let settings = KafkaSettings::plaintext(&cluster.bootstrap_servers());
        let log = crate::log::Log::PLAIN;
        let console = Console { output: Default::default(), quiet: true, verbosity: 0, log };
        Publisher::new(&settings, "t", "orderctl-dlq-x-t", &console, &Stop::manual())
    }

    fn cluster() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        cluster.coordinator(MockCoordinator::Transaction("orderctl-dlq-x-t".into()), 1).unwrap();
        cluster
    }

    #[test]
    fn a_login_without_the_right_to_transactions_is_told_which_right() {
        let cluster = cluster();
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal; 5]);
        let text = publisher(&cluster).err().unwrap().to_string();
        assert!(text.contains("WRITE and DESCRIBE") && text.contains("orderctl-dlq-x-t"), "{text}");
    }

    #[test]
    fn a_record_that_the_cluster_refuses_aborts_the_transaction_and_the_next_one_commits() {
        let cluster = cluster();
        let publisher = publisher(&cluster).unwrap();
        let record = Outgoing { payload: Some(b"x".to_vec()), ..Outgoing::default() };
        let records = [record];
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        let published = publisher.publish(&records, &Stop::manual()).unwrap();
        assert!(matches!(published, Published::Aborted(_)), "{published:?}");
        let published = publisher.publish(&records, &Stop::manual()).unwrap();
        assert_eq!(published, Published::Committed);
    }
}
