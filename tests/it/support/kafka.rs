//! Topics and raw records on the shared stack or any other, through its plaintext
//! listener.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, DeliveryResult, Producer as _, ProducerContext,
    ThreadedProducer,
};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::{PATIENCE, eventually, stack};

/// A broker to be looked into.
#[derive(Debug, Clone, Copy)]
pub struct Kafka {
    /// Its plaintext listener.
    pub address: SocketAddr,
}

/// The shared stack's broker.
pub fn kafka() -> Kafka {
    Kafka { address: stack().kafka_plaintext }
}

/// A record to be produced as it is: any bytes, or null, as key and payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw<'a> {
    /// The partition; the partitioner's choice when none.
    pub partition: Option<i32>,
    /// The key; null when none.
    pub key: Option<&'a [u8]>,
    /// The payload; null (a tombstone) when none.
    pub payload: Option<&'a [u8]>,
}

/// The broker may take its time, and the client waits for it.
fn patient() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Notes which records were given up: a flush does not tell.
#[derive(Debug, Default)]
struct Deliveries {
    failures: Mutex<Vec<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failures.lock().expect("no panic while it is held").push(error.to_string());
        }
    }
}

impl Kafka {
    fn config(self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address.to_string());
        config
    }

    fn client(self) -> BaseConsumer {
        self.config().create().expect("a client")
    }

    /// Whether a broker answers that has joined its cluster.
    pub fn is_up(self) -> bool {
        let asked = self.client().fetch_metadata(None, Duration::from_secs(1));
        asked.is_ok_and(|cluster| !cluster.brokers().is_empty())
    }

    /// Creates a topic with settings such as `("max.message.bytes", "10485760")`.
    pub fn create_topic(self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let options = patient();
        let created = block_on(admin.create_topics([&new], &options));
        let results = created.expect("an answer from the broker");
        assert!(results.iter().all(Result::is_ok), "create {topic}: {results:?}");
        // The controller knows it before the broker does.
        eventually("the broker knows the topic", || self.partitions(topic) == partitions as usize);
    }

    /// Adds partitions to a topic, so that it has this many.
    pub fn extend_topic(self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let options = patient();
        let more = NewPartitions::new(topic, partitions);
        let results = block_on(admin.create_partitions([&more], &options)).expect("an answer");
        assert!(results.iter().all(Result::is_ok), "extend {topic}: {results:?}");
    }

    /// Deletes a topic.
    pub fn delete_topic(self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let options = patient();
        let deleted = block_on(admin.delete_topics(&[topic], &options));
        let results = deleted.expect("an answer from the broker");
        assert!(results.iter().all(Result::is_ok), "delete {topic}: {results:?}");
    }

    /// Produces records in order and waits for every acknowledgement.
    pub fn produce<'a>(self, topic: &str, records: impl IntoIterator<Item = Raw<'a>>) {
        let producer: ThreadedProducer<Deliveries> = self
            .config()
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .create_with_context(Deliveries::default())
            .expect("a producer");
        for raw in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic);
            (record.partition, record.key, record.payload) = (raw.partition, raw.key, raw.payload);
            while let Err((error, back)) = producer.send(record) {
                let code = error.rdkafka_error_code();
                assert_eq!(code, Some(RDKafkaErrorCode::QueueFull), "{topic}: {error}");
                producer.flush(PATIENCE).expect("acknowledgements");
                record = back;
            }
        }
        producer.flush(PATIENCE).expect("acknowledgements");
        let failures = producer.context().failures.lock().expect("no panic while it is held");
        assert!(failures.is_empty(), "{topic}: not acknowledged: {failures:?}");
    }

    /// Produces one record to partition 0 with a timestamp of the test's own.
    pub fn produce_at(self, topic: &str, time_ms: i64, payload: &[u8]) {
        let producer: ThreadedProducer<DefaultProducerContext> =
            self.config().create().expect("a producer");
        let record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(payload);
        assert!(producer.send(record.timestamp(time_ms)).is_ok(), "{topic}: the queue has room");
        producer.flush(PATIENCE).expect("acknowledgements");
    }

    /// Produces events to partition 0 in one transaction, which then commits or
    /// aborts.
    pub fn produce_transaction(self, topic: &str, events: &[serde_json::Value], commits: bool) {
        let producer: ThreadedProducer<DefaultProducerContext> = self
            .config()
            .set("transactional.id", format!("{topic}-writer"))
            .create()
            .expect("a producer");
        producer.init_transactions(PATIENCE).expect("a transactional producer");
        producer.begin_transaction().expect("a transaction");
        for event in events {
            let payload = event.to_string();
            let record = BaseRecord::<(), str>::to(topic).partition(0).payload(&payload);
            assert!(producer.send(record).is_ok(), "{topic}: the queue has room");
        }
        producer.flush(PATIENCE).expect("acknowledgements");
        let ended = match commits {
            true => producer.commit_transaction(PATIENCE),
            false => producer.abort_transaction(PATIENCE),
        };
        ended.expect("the end of the transaction");
        self.await_markers(topic);
    }

    /// Waits until no transaction is open in a topic. The markers of one that has
    /// ended come after the answer to its end, and hide its records until then.
    pub fn await_markers(self, topic: &str) {
        let is_open = |partition| self.watermarks(topic, partition).1 < self.end(topic, partition);
        let partitions = i32::try_from(self.partitions(topic)).expect("few partitions");
        eventually("transactions have ended", || !(0..partitions).any(is_open));
    }

    /// Removes a topic's records before an offset of partition 0, as retention
    /// does.
    pub fn remove_before(self, topic: &str, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
        let options = patient();
        let removed = block_on(admin.delete_records(&list, &options)).expect("an answer");
        assert!(removed.elements().iter().all(|one| one.error().is_ok()), "{removed:?}");
        assert_eq!(self.watermarks(topic, 0).0, offset);
    }

    /// The first and the next offset of a partition.
    pub fn watermarks(self, topic: &str, partition: i32) -> (i64, i64) {
        self.watermarks_for("read_committed", topic, partition)
    }

    /// The next offset of a partition for who reads aborted and open records too.
    pub fn end(self, topic: &str, partition: i32) -> i64 {
        self.watermarks_for("read_uncommitted", topic, partition).1
    }

    fn watermarks_for(self, isolation: &str, topic: &str, partition: i32) -> (i64, i64) {
        let client: BaseConsumer =
            self.config().set("isolation.level", isolation).create().expect("a client");
        let mut known = None;
        // A partition that was just created has no leader yet.
        eventually("watermarks are told", || {
            known = client.fetch_watermarks(topic, partition, PATIENCE).ok();
            known.is_some()
        });
        known.expect("told")
    }

    /// The position of partition 0 that a group has told Kafka.
    pub fn told_position(self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer =
            self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let known = consumer.committed_offsets(list, PATIENCE).expect("an answer");
        known.elements()[0].offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// The sum of the positions that a group has committed in all partitions; -1
    /// from a broker that has just come back and does not know yet.
    pub fn told_sum(self, group: &str, topic: &str) -> i64 {
        // Without waiting for positions of transactions that are pending.
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", group)
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            list.add_partition(topic, partition as i32);
        }
        let Ok(known) = consumer.committed_offsets(list, PATIENCE) else { return -1 };
        let offsets = known.elements().into_iter().filter_map(|one| one.offset().to_raw());
        offsets.filter(|offset| *offset > 0).sum()
    }

    /// Whether a transaction is open in partition 0 of a topic: its end for who
    /// reads committed records is before its end.
    pub fn has_open_transaction(self, topic: &str) -> bool {
        // In this order: what is committed meanwhile is not taken for open.
        let all = self.end(topic, 0);
        self.watermarks(topic, 0).1 < all
    }

    /// Number of partitions of a topic; 0 when it does not exist.
    pub fn partitions(self, topic: &str) -> usize {
        let metadata = self.client().fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none());
        found.map(|topic| topic.partitions().len()).sum()
    }

    /// The topics whose names begin so, in order.
    pub fn topics_like(self, prefix: &str) -> Vec<String> {
        let metadata = self.client().fetch_metadata(None, PATIENCE).expect("metadata");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// All committed records of a topic, partition by partition, in order.
    pub fn read_all(self, topic: &str) -> Vec<OwnedMessage> {
        self.read_as(topic, "read_committed")
    }

    /// The same, with those of transactions that are open or were aborted.
    pub fn read_uncommitted(self, topic: &str) -> Vec<OwnedMessage> {
        self.read_as(topic, "read_uncommitted")
    }

    fn read_as(self, topic: &str, isolation: &str) -> Vec<OwnedMessage> {
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", format!("{topic}_reader"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            .create()
            .expect("a consumer");
        let mut all = Vec::new();
        for partition in 0..i32::try_from(self.partitions(topic)).expect("few partitions") {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
            consumer.assign(&list).expect("an assignment");
            loop {
                match consumer.poll(PATIENCE).expect("a record or the end") {
                    Ok(message) => all.push(message.detach()),
                    Err(KafkaError::PartitionEOF(_)) => break,
                    Err(error) => panic!("read {topic}: {error}"),
                }
            }
        }
        all
    }
}

fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    // On a thread of its own, so that asynchronous tests can call it too.
    std::thread::scope(|scope| scope.spawn(move || runtime.block_on(future)).join())
        .expect("the call's thread")
}
