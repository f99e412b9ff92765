//! Queues records with a producer by the handle of their topic.
//!
//! The safe wrapper names the topic of each record, which librdkafka looks for among
//! all it knows, one after the other: with a hundred topics that takes longer than
//! all else that is done to queue a record. Headers are made at their full size at
//! once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings as c;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::{Owned, failure};
use crate::engine::relay::{Outgoing, Output};

/// A producer's topics, by their names.
pub(super) struct Topics<C: ProducerContext<DeliveryOpaque = ()> + 'static> {
    // Before the producer, which must live longer.
    handles: RefCell<HashMap<Box<str>, Handle>>,
    producer: Arc<BaseProducer<C>>,
}

struct Handle(Owned<c::rd_kafka_topic_t>);

// SAFETY: librdkafka's handles may be used, and freed, by any thread.
#[allow(unsafe_code)]
unsafe impl Send for Handle {}

impl<C: ProducerContext<DeliveryOpaque = ()>> Topics<C> {
    /// With none known yet.
    pub(super) fn new(producer: Arc<BaseProducer<C>>) -> Topics<C> {
        Topics { handles: RefCell::default(), producer }
    }

    /// Queues a copy of one record; the same key goes to the same partition.
    ///
    /// # Errors
    /// When the queue is full, or the record can never be sent.
    pub(super) fn enqueue(
        &self,
        outgoing: &Outgoing,
        record: &Output<'_>,
    ) -> Result<(), KafkaError> {
        let mut handles = self.handles.borrow_mut();
        let handle = match handles.get(record.topic) {
            Some(handle) => handle,
            None => {
                let handle = Handle::new(&self.producer, record.topic)?;
                handles.entry(record.topic.into()).or_insert(handle)
            }
        };
        self.produce(handle, record, headers(outgoing, record))
    }

    #[allow(unsafe_code)]
    fn produce(
        &self,
        topic: &Handle,
        record: &Output<'_>,
        headers: Option<NonNull<c::rd_kafka_headers_t>>,
    ) -> Result<(), KafkaError> {
        use c::rd_kafka_vtype_t as Part;
        let (key, key_size) = parts(record.key);
        let (payload, payload_size) = parts(record.payload);
        // SAFETY: each part is followed by the arguments that librdkafka documents for
        // it; the topic is this producer's; key and payload are copied before the call
        // returns; the headers are librdkafka's when it succeeds, else ours to free. No
        // opaque is sent, and the context takes none.
        unsafe {
            let queued = c::rd_kafka_producev(
                self.producer.client().native_ptr(),
                Part::RD_KAFKA_VTYPE_RKT,
                topic.0.as_ptr(),
                Part::RD_KAFKA_VTYPE_MSGFLAGS,
                c::RD_KAFKA_MSG_F_COPY as c_int,
                Part::RD_KAFKA_VTYPE_KEY,
                key,
                key_size,
                Part::RD_KAFKA_VTYPE_VALUE,
                payload,
                payload_size,
                Part::RD_KAFKA_VTYPE_HEADERS,
                headers.map_or(ptr::null_mut(), NonNull::as_ptr),
                Part::RD_KAFKA_VTYPE_END,
            );
            match failure(queued) {
                None => Ok(()),
                Some(error) => {
                    if let Some(headers) = headers {
                        c::rd_kafka_headers_destroy(headers.as_ptr());
                    }
                    Err(KafkaError::MessageProduction(error))
                }
            }
        }
    }
}

impl Handle {
    #[allow(unsafe_code)]
    fn new<C: ProducerContext>(
        producer: &BaseProducer<C>,
        topic: &str,
    ) -> Result<Handle, KafkaError> {
        let name = CString::new(topic)?;
        // SAFETY: the name is copied; the handle is freed before the producer. Without a
        // configuration only the name can be wrong.
        let handle = unsafe {
            let (native, as_all) = (producer.client().native_ptr(), ptr::null_mut());
            let handle = c::rd_kafka_topic_new(native, name.as_ptr(), as_all);
            Owned::new(handle, c::rd_kafka_topic_destroy)
                .map_err(|_| KafkaError::MessageProduction(RDKafkaErrorCode::InvalidArgument))?
        };
        Ok(Handle(handle))
    }
}

/// What a record's key or payload is to librdkafka: null differs from empty.
fn parts(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}

/// A copy of a record's headers; none when it has none.
#[allow(unsafe_code)]
fn headers(outgoing: &Outgoing, record: &Output<'_>) -> Option<NonNull<c::rd_kafka_headers_t>> {
    let count = outgoing.headers_max(record);
    if count == 0 {
        return None;
    }
    // SAFETY: names and values are copied, with their lengths; a list is never null.
    unsafe {
        let list = NonNull::new(c::rd_kafka_headers_new(count))?;
        for (name, value) in outgoing.headers(record) {
            let (value, value_size) = parts(value);
            c::rd_kafka_header_add(
                list.as_ptr(),
                name.as_ptr().cast(),
                name.len() as isize,
                value,
                value_size as isize,
            );
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::{Header, Headers as _, Message as _};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    fn topics(config: &ClientConfig) -> Topics<DefaultProducerContext> {
        Topics::new(Arc::new(config.create().unwrap()))
    }

    /// A record as one reads it: key, payload, headers.
    type Read = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn read(config: &ClientConfig, topic: &str, count: usize) -> Vec<Read> {
        let consumer: BaseConsumer = config.clone().set("group.id", "g").create().unwrap();
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&place).unwrap();
        let polled = || consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
        let copied = |one: Header<'_, &[u8]>| (one.key.into(), one.value.map(<[u8]>::to_vec));
        (0..count)
            .map(|_| {
                let one = polled();
                let (key, payload) = (one.key().map(Vec::from), one.payload().map(Vec::from));
                let headers = one.headers().map(|all| all.iter().map(copied).collect());
                (key, payload, headers.unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn null_and_empty_keys_payloads_and_headers_stay_what_they_are() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let mut outgoing = Outgoing::default();
        outgoing.push("t", None, None, &[("full", b"v"), ("empty", b"")]);
        outgoing.push("t", Some(b""), Some(b""), &[]);
        outgoing.push("t", Some(b"k"), Some(b"payload"), &[("null", b"own")]);
        outgoing.inherit(vec![("null".into(), None)]);
        let topics = topics(&config);
        for record in outgoing.records() {
            topics.enqueue(&outgoing, &record).unwrap();
        }
        topics.producer.flush(Duration::from_secs(20)).unwrap();
        let some = |text: &str| Some(text.as_bytes().to_vec());
        let null = ("null".to_owned(), None);
        let expected = [
            (
                None,
                None,
                vec![("full".into(), some("v")), ("empty".into(), some("")), null.clone()],
            ),
            (some(""), some(""), vec![null]),
            (some("k"), some("payload"), vec![("null".into(), some("own"))]),
        ];
        assert_eq!(read(&config, "t", 3), expected);
    }

    #[test]
    fn what_cannot_be_queued_is_told_and_a_topic_without_a_legal_name_too() {
        let cluster = MockCluster::new(1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let topics = topics(config.set("queue.buffering.max.messages", "1"));
        let refused = |topic: &str| {
            let mut outgoing = Outgoing::default();
            outgoing.push(topic, None, Some(b"x"), &[("h", b"v")]);
            let record = outgoing.records().next().unwrap();
            topics.enqueue(&outgoing, &record).err().and_then(|error| error.rdkafka_error_code())
        };
        assert_eq!(refused(&"n".repeat(513)), Some(RDKafkaErrorCode::InvalidArgument));
        assert_eq!(refused("t"), None);
        assert_eq!(refused("t"), Some(RDKafkaErrorCode::QueueFull));
    }
}
