//! What a login may do with a topic and a group, found out without leaving a
//! trace: nothing is written, and no group is joined.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;

/// How long all the questions about one topic may take.
const LIMIT: Duration = Duration::from_millis(4500);

/// What the cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// There is none of this name, or none that we may see.
    Missing,
    /// We may not even ask for it.
    Hidden,
    /// It is there.
    There(Facts),
}

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Number of its partitions.
    pub partitions: usize,
    /// How many of them have no leader now.
    pub leaderless: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Replicas in step, of the partition that has the fewest.
    pub in_sync: usize,
    /// `min.insync.replicas`, where we may know it.
    pub min_in_sync: Option<usize>,
    /// Whether records may be fetched.
    pub read: Answer,
    /// Whether the group's positions may be asked for.
    pub group: Answer,
    /// The time of the newest record of the first partition, in milliseconds
    /// since 1970.
    pub newest_ms: Option<i64>,
}

/// What a cluster says to being asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Allowed,
    /// The login has no right to.
    Denied,
    /// Neither; what came instead.
    Unclear(String),
}

/// Asks for a topic: its shape, and whether it may be read for a group.
/// Takes 4.5 s at most.
///
/// # Errors
/// When the cluster does not answer.
pub fn topic(
    settings: &KafkaSettings,
    name: &str,
    group: &str,
    console: &Console,
) -> anyhow::Result<Topic> {
    let deadline = Instant::now() + LIMIT;
    let mut config = client_config(settings);
    config.set("group.id", group).set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("allow.auto.create.topics", "false");
    let client = BaseConsumer::from_config_and_context(&config, ClientLog::new(console))
        .map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
    let metadata = client
        .fetch_metadata(Some(name), left(deadline))
        .map_err(|error| anyhow::anyhow!("no answer about topic {name}: {}", describe(&error)))?;
    let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(Topic::Missing);
    };
    if let Some(code) = found.error() {
        return Ok(match Code::from(code) {
            Code::TopicAuthorizationFailed => Topic::Hidden,
            _ => Topic::Missing,
        });
    }
    let mut facts = shape(found);
    let read = may_read(&client, name, deadline, &mut facts);
    facts.read = read;
    if facts.group == Answer::Allowed {
        facts.group = may_ask_positions(&client, name, deadline);
    }
    facts.min_in_sync = min_in_sync(settings, name, console, deadline);
    Ok(Topic::There(facts))
}

fn left(deadline: Instant) -> Duration {
    // librdkafka takes 0 for "do not wait at all".
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn shape(topic: &MetadataTopic) -> Facts {
    let fewest = |count: fn(&rdkafka::metadata::MetadataPartition) -> usize| {
        topic.partitions().iter().map(count).min().unwrap_or(0)
    };
    Facts {
        partitions: topic.partitions().len(),
        leaderless: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
        replicas: fewest(|partition| partition.replicas().len()),
        in_sync: fewest(|partition| partition.isr().len()),
        min_in_sync: None,
        read: Answer::Allowed,
        group: Answer::Allowed,
        newest_ms: None,
    }
}

/// Fetches the last record of the first partition, or hears that there is none.
/// That the group is denied is heard on the way.
fn may_read(
    client: &BaseConsumer<ClientLog>,
    topic: &str,
    deadline: Instant,
    facts: &mut Facts,
) -> Answer {
    let mut last = TopicPartitionList::new();
    let assigned = last
        .add_partition_offset(topic, 0, Offset::OffsetTail(1))
        .and_then(|()| client.assign(&last));
    if let Err(error) = assigned {
        return Answer::Unclear(describe(&error));
    }
    while Instant::now() < deadline {
        match client.poll(left(deadline)) {
            Some(Ok(record)) => {
                facts.newest_ms = record.timestamp().to_millis();
                return Answer::Allowed;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Answer::Allowed,
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(Code::TopicAuthorizationFailed) => return Answer::Denied,
                Some(Code::GroupAuthorizationFailed) => facts.group = Answer::Denied,
                // Passing troubles, told to the log.
                Some(Code::BrokerTransportFailure | Code::AllBrokersDown) => {}
                _ => return Answer::Unclear(describe(&error)),
            },
            None => {}
        }
    }
    Answer::Unclear("no answer in time".into())
}

fn may_ask_positions(client: &BaseConsumer<ClientLog>, topic: &str, deadline: Instant) -> Answer {
    let mut first = TopicPartitionList::new();
    first.add_partition(topic, 0);
    match client.committed_offsets(first, left(deadline)) {
        Ok(_) => Answer::Allowed,
        Err(error) => match error.rdkafka_error_code() {
            Some(Code::GroupAuthorizationFailed) => Answer::Denied,
            _ => Answer::Unclear(describe(&error)),
        },
    }
}

/// `min.insync.replicas` of a topic; none when we may not know it.
fn min_in_sync(
    settings: &KafkaSettings,
    topic: &str,
    console: &Console,
    deadline: Instant,
) -> Option<usize> {
    let admin =
        AdminClient::from_config_and_context(&client_config(settings), ClientLog::new(console));
    let admin = admin.ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    let options = AdminOptions::new().request_timeout(Some(left(deadline)));
    let resource = ResourceSpecifier::Topic(topic);
    let answers = runtime.block_on(admin.describe_configs([&resource], &options)).ok()?;
    let settings = answers.into_iter().next()?.ok()?;
    settings.get("min.insync.replicas")?.value.as_ref()?.parse().ok()
}

/// A producer that keeps the broker's answer.
#[derive(Clone)]
struct Probe {
    log: ClientLog,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl ClientContext for Probe {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        self.log.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.remember(&error, reason);
    }
}

impl ProducerContext for Probe {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let answer = match result {
            Ok(_) => Answer::Allowed,
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(Code::InvalidRequiredAcks) => Answer::Allowed,
                Some(Code::TopicAuthorizationFailed) => Answer::Denied,
                _ => Answer::Unclear(describe(error)),
            },
        };
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// Whether records may be published, without publishing any: a request for a
/// number of acknowledgements that Kafka knows no more (KAFKA-1555) is looked at
/// for the right to write first, and then refused as a whole. Takes 4.5 s at
/// most.
pub fn may_write(settings: &KafkaSettings, topic: &str, console: &Console) -> Answer {
    let mut config = client_config(settings);
    config.set("enable.idempotence", "false").set("acks", "2").set("retries", "0");
    for name in ["transactional.id", "request.required.acks", "message.send.max.retries"] {
        config.remove(name);
    }
    config.set("message.timeout.ms", LIMIT.as_millis().to_string());
    let probe = Probe { log: ClientLog::new(console), answer: Arc::default() };
    let producer = BaseProducer::from_config_and_context(&config, probe.clone());
    let producer: BaseProducer<Probe> = match producer {
        Ok(producer) => producer,
        Err(error) => return Answer::Unclear(describe(&error)),
    };
    if let Err((error, _)) = producer.send(BaseRecord::<(), ()>::to(topic).partition(0)) {
        return Answer::Unclear(describe(&error));
    }
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        producer.poll(Duration::from_millis(50));
        if let Some(answer) = probe.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return answer;
        }
    }
    Answer::Unclear("no answer in time".into())
}
