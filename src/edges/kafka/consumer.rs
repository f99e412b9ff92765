//! A member of a consumer group whose callbacks come out of [`Consumer::poll`]
//! as values.
//!
//! Rebalances are not acted on inside librdkafka's callback: the loop sees
//! [`Happening::Assigned`], asks the ledger where to go on, and only then assigns,
//! polling all the while. That keeps the group membership however long the
//! database is away. Offsets enter by that one assign; there is no seek.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::callbacks::{self, Callbacks};
use super::client::describe;
use super::questions::Questions;
use super::topic_id;
use crate::console::Console;
use crate::engine::checkpoint::TopicId;
use crate::engine::record::Raw;
use crate::engine::relay::Inherited;
use crate::error::Usage;

/// What belongs to the way we consume and is not the user's to change.
pub const OWN_PROPERTIES: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// Our defaults where librdkafka's own cost speed or memory; `-X` overrides.
pub const DEFAULTS: [(&str, &str); 8] = [
    // A partition whose queue is full is asked again after this long; the
    // default of a second halves the speed.
    ("fetch.queue.backoff.ms", "10"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
    // Bytes of one partition in an answer, compressed: a full answer is several
    // times as large in memory.
    ("fetch.message.max.bytes", "524288"),
    ("session.timeout.ms", "10000"),
    // Members learn of a rebalance with their next heartbeat: the default of 3 s
    // is how long it takes at least.
    ("heartbeat.interval.ms", "1000"),
    // How long it takes until partitions that were added are read: nothing else
    // tells a member of them. A question this often costs a broker nothing.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("isolation.level", "read_committed"),
];

/// How long a question for the ends of partitions may take.
const ENDS_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of a group that connects already while its topic is being found out.
pub struct Joining {
    inner: BaseConsumer<Callbacks>,
}

/// A group member on one topic.
pub struct Consumer {
    pub(super) inner: Arc<BaseConsumer<Callbacks>>,
    pub(super) topic: String,
}

/// What poll came back with.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record.
    Record(Record<'a>),
    /// Something else, or nothing within the time given.
    Other(Happening),
}

/// What can happen beside records.
#[derive(Debug)]
pub enum Happening {
    /// Nothing is waiting.
    Nothing,
    /// A partition was read to its end, for now.
    End(i32),
    /// These partitions are this member's now; call [`Consumer::assign`].
    Assigned(Vec<i32>),
    /// All partitions are taken away; call [`Consumer::unassign`].
    Revoked,
    /// Something is away; librdkafka goes on trying.
    Away(String),
    /// A position is not in Kafka any more; [`Consumer::take_refused`] says in which
    /// partition, now or a moment later.
    PositionLost,
    /// Something no wait will cure.
    Failed(anyhow::Error),
}

/// A record, borrowed from the client's memory.
#[derive(Debug)]
pub struct Record<'a>(BorrowedMessage<'a>);

impl Record<'_> {
    /// Its parts.
    pub fn raw(&self) -> Raw<'_> {
        Raw {
            partition: self.0.partition(),
            offset: self.0.offset(),
            time_ms: self.0.timestamp().to_millis(),
            key: self.0.key(),
            payload: self.0.payload(),
        }
    }

    /// Its headers in order, copied.
    pub fn headers(&self) -> Inherited {
        let Some(headers) = self.0.headers() else { return Inherited::new() };
        let copied = |one: Header<'_, &[u8]>| (one.key.to_owned(), one.value.map(<[u8]>::to_vec));
        headers.iter().map(copied).collect()
    }
}

impl Joining {
    /// A client of a group, not yet subscribed; with `wants_ends`, statistics keep
    /// [`Consumer::ends`] fresh.
    ///
    /// # Errors
    /// When librdkafka refuses a property; the text names it.
    pub fn new(
        mut config: ClientConfig,
        group: &str,
        console: &Console,
        wants_ends: bool,
    ) -> anyhow::Result<Joining> {
        config.set("group.id", group);
        for (name, value) in OWN_PROPERTIES {
            config.set(name, value);
        }
        if wants_ends {
            config.set("statistics.interval.ms", "1000");
        }
        let wanted = config.get("debug").map(str::to_owned);
        let logged = [wanted.as_deref().unwrap_or(""), topic_id::LOGGED_BY, callbacks::LOGGED_BY];
        config.set("debug", logged.join(","));
        let inner = config
            .create_with_context(Callbacks::new(console, wanted.is_some()))
            .map_err(|error| Usage(describe(&error)))?;
        Ok(Joining { inner })
    }

    /// The consumer of a topic; it is in the group once it has subscribed.
    pub fn on(self, topic: &str) -> Consumer {
        Consumer { inner: Arc::new(self.inner), topic: topic.to_owned() }
    }
}

impl Consumer {
    /// Joins the group.
    ///
    /// # Errors
    /// When the client is closing already.
    pub fn subscribe(&self) -> anyhow::Result<()> {
        self.inner.subscribe(&[&self.topic]).context("cannot subscribe")
    }

    /// Leaves the group and joins it again, so that all is assigned anew.
    ///
    /// # Errors
    /// When the client is closing already.
    pub fn rejoin(&self) -> anyhow::Result<()> {
        self.inner.unsubscribe();
        self.subscribe()
    }

    /// Waits at most this long for the next thing to happen.
    pub fn poll(&self, timeout: Duration) -> Polled<'_> {
        match self.inner.poll(timeout) {
            Some(Ok(message)) => Polled::Record(Record(message)),
            Some(Err(error)) => Polled::Other(self.explained(happening(error))),
            // A rebalance is no event of its own: poll comes back with nothing.
            None => Polled::Other(self.next_rebalance().unwrap_or(Happening::Nothing)),
        }
    }

    /// What is away, in the words of the connection that failed.
    fn explained(&self, happening: Happening) -> Happening {
        match (happening, self.inner.context().log.failure()) {
            (Happening::Away(_), Some(failure)) => Happening::Away(failure.text),
            (Happening::Failed(error), _) => {
                Happening::Failed(error.context(format!("reading topic {}", self.topic)))
            }
            (happening, _) => happening,
        }
    }

    fn next_rebalance(&self) -> Option<Happening> {
        let rebalances = &self.inner.context().rebalances;
        rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Starts to read partitions, each from the offset given.
    ///
    /// # Errors
    /// When the client does not know the partitions.
    pub fn assign(&self, positions: impl Iterator<Item = (i32, i64)>) -> anyhow::Result<()> {
        // They may be of a topic that was deleted since.
        self.inner.context().ends.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.inner.assign(&self.list(positions)?).context("cannot assign partitions")
    }

    /// Gives all partitions back.
    ///
    /// # Errors
    /// When the client is closing already.
    pub fn unassign(&self) -> anyhow::Result<()> {
        self.inner.unassign().context("cannot give partitions back")
    }

    /// Stops fetching these partitions; polling goes on without their records.
    ///
    /// # Errors
    /// When they are not assigned.
    pub fn pause(&self, partitions: impl Iterator<Item = i32>) -> anyhow::Result<()> {
        let list = self.list(partitions.map(|partition| (partition, 0)))?;
        self.inner.pause(&list).context("cannot pause partitions")
    }

    /// Fetches these partitions again.
    ///
    /// # Errors
    /// When they are not assigned.
    pub fn resume(&self, partitions: impl Iterator<Item = i32>) -> anyhow::Result<()> {
        let list = self.list(partitions.map(|partition| (partition, 0)))?;
        self.inner.resume(&list).context("cannot resume partitions")
    }

    /// Tells the group where this member stands, for people and their tools: the
    /// positions that count are the ledger's. Failing is of no consequence.
    pub fn show_positions(&self, positions: impl Iterator<Item = (i32, i64)>) {
        if let Ok(list) = self.list(positions)
            && list.count() > 0
        {
            let _ = self.inner.commit(&list, CommitMode::Async);
        }
    }

    /// After the last offset of each partition, as the last statistics or
    /// [`Consumer::ask_for_ends`] had it.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        self.inner.context().ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the ends of partitions in the background, for when nothing is
    /// fetched that would tell them; [`Consumer::ends`] has the answer some time
    /// later, unless the broker is away.
    pub fn ask_for_ends(&self, partitions: Vec<i32>) {
        let questions = self.questions();
        // What comes of it is of no consequence but for the figures shown.
        let _ = std::thread::Builder::new()
            .name("ends".into())
            .spawn(move || questions.learn_ends(&partitions, ENDS_TIMEOUT));
    }

    /// Whether [`Consumer::take_refused`] has something to tell.
    pub fn has_refused(&self) -> bool {
        let refused = &self.inner.context().refused;
        !refused.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The partitions whose position Kafka did not have any more, each told once.
    pub fn take_refused(&self) -> BTreeSet<i32> {
        let refused = &self.inner.context().refused;
        std::mem::take(&mut *refused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The topic that records polled from now on come from; none when that is not
    /// known yet, or the brokers are too old to give topics ids.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.inner.context().topic_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the topic's partitions; none when there is no such topic.
    ///
    /// # Errors
    /// When no broker answers in time, or the topic may not be read.
    pub fn partition_count(&self, timeout: Duration) -> anyhow::Result<Option<usize>> {
        let metadata = self
            .inner
            .fetch_metadata(Some(&self.topic), timeout)
            .context("cannot ask the broker for the topic")?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        match topic.map(|topic| (topic.error().map(RDKafkaErrorCode::from), topic)) {
            Some((None, topic)) if !topic.partitions().is_empty() => {
                Ok(Some(topic.partitions().len()))
            }
            Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => anyhow::bail!(
                "this client may not read topic {}: give its principal the rights \
                 DESCRIBE and READ on it",
                self.topic
            ),
            _ => Ok(None),
        }
    }

    /// A handle for questions from another thread; it does not keep the client.
    pub fn questions(&self) -> Questions {
        Questions::new(&self.inner, &self.topic)
    }

    /// Leaves the group, but waits no longer than `limit` for it: closing a
    /// client has no deadline of its own.
    pub fn close(self, limit: Duration) {
        self.inner.context().closing.store(true, Ordering::Relaxed);
        let (left, waiting) = mpsc::channel();
        let closer = std::thread::Builder::new().name("closer".into()).spawn(move || {
            let _ = self.inner.unassign();
            if self.inner.close_queue().is_ok() {
                while !self.inner.closed() {
                    let _ = self.inner.poll(Duration::from_millis(10));
                }
            }
            // The group is left; the rest only frees memory and takes its time.
            let _ = left.send(());
            drop(self.inner);
        });
        if closer.is_ok() {
            let _ = waiting.recv_timeout(limit);
        }
    }

    pub(super) fn list(
        &self,
        positions: impl Iterator<Item = (i32, i64)>,
    ) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            list.add_partition_offset(&self.topic, partition, Offset::from_raw(offset))?;
        }
        Ok(list)
    }
}

pub(super) fn happening(error: KafkaError) -> Happening {
    use RDKafkaErrorCode as Code;
    let code = match &error {
        KafkaError::PartitionEOF(partition) => return Happening::End(*partition),
        KafkaError::MessageConsumption(code)
        | KafkaError::MessageConsumptionFatal(code)
        | KafkaError::Global(code) => *code,
        _ => return Happening::Failed(anyhow::Error::new(error)),
    };
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Happening::PositionLost,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Happening::Failed(anyhow::anyhow!(
                "it is not there any more ({code}): was it deleted? create it again, or name \
                 another"
            ))
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Happening::Failed(anyhow::anyhow!(
            "Kafka refuses this client ({code}): give its principal the right READ on the \
             topic and on the group"
        )),
        Code::SaslAuthenticationFailed | Code::Authentication => {
            Happening::Failed(anyhow::anyhow!(
                "Kafka refuses this client's login ({code}): check the SASL user and password"
            ))
        }
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
            Happening::Failed(anyhow::Error::new(error))
        }
        _ => Happening::Away(format!("Kafka: {code}")),
    }
}
