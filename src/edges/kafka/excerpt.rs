//! Reading a bounded part of a topic, without a place in any group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::client::{ClientLog, client_config_over, describe};
use super::consumer::{DEFAULTS, Happening, OWN_PROPERTIES, happening};
use super::topic_id;
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::engine::checkpoint::TopicId;
use crate::engine::record::Raw;
use crate::error::Usage;
use crate::stop::Stop;

/// How long nothing may come before reading is given up.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a stop is looked for.
const SLICE: Duration = Duration::from_millis(100);
/// The longest wait for one answer, so that a stop is noticed.
const ASK_SLICE: Duration = Duration::from_secs(4);
/// For librdkafka only: partitions are assigned here, and no group is joined.
const GROUP: &str = "orderctl-dlq";

/// Which records a reader sees, and where it takes the end of a partition to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Committed records, up to the first transaction that is still open.
    Committed,
    /// All records.
    Uncommitted,
}

/// Offsets of one partition: `from` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset that is read.
    pub from: i64,
    /// The first offset that is not read any more.
    pub end: i64,
}

/// A reader of parts of one topic.
pub struct Excerpt {
    inner: BaseConsumer<ClientLog>,
    topic: String,
}

/// A record with its headers, borrowed from the client's memory.
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

    /// Its headers in order: name, and value unless that is null.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let headers = self.0.headers();
        headers.map_or_else(Vec::new, |all| all.iter().map(|one| (one.key, one.value)).collect())
    }
}

impl Excerpt {
    /// Makes a reader; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        settings: &KafkaSettings,
        topic: &str,
        isolation: Isolation,
        console: &Console,
    ) -> anyhow::Result<Excerpt> {
        let mut config = client_config_over(&DEFAULTS, settings);
        for (name, value) in OWN_PROPERTIES {
            config.set(name, value);
        }
        if config.get("group.id").is_none() {
            config.set("group.id", GROUP);
        }
        // What is done with a record may take its time.
        config.set("max.poll.interval.ms", "86400000");
        config.set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
        let inner = BaseConsumer::from_config_and_context(&config, ClientLog::new(console))
            .map_err(|error| Usage(describe(&error)))?;
        Ok(Excerpt { inner, topic: topic.to_owned() })
    }

    /// What tells this cluster from others; empty when it has no id.
    pub fn cluster_id(&self) -> String {
        self.inner.client().fetch_cluster_id(ASK_SLICE).unwrap_or_default()
    }

    /// What tells the topic from one made anew under its name; none for brokers
    /// that give topics no ids.
    ///
    /// # Errors
    /// When the broker does not answer in 4 s, or there is no such topic.
    pub fn topic_id(&self) -> anyhow::Result<Option<TopicId>> {
        topic_id::ask(self.inner.client(), &self.topic, ASK_SLICE)
    }

    /// Each partition from its first record to its end, by number.
    ///
    /// # Errors
    /// When the broker does not answer for 30 s, or the topic may not be read; a
    /// stop is an error too, the caller asks `stop` which it was.
    pub fn spans(&self, partitions: usize, stop: &Stop) -> anyhow::Result<Vec<Span>> {
        let span = |partition: i32| {
            let (from, end) = self
                .watermarks(partition, stop)
                .with_context(|| format!("cannot ask for the ends of topic {}", self.topic))?;
            Ok(Span { partition, from, end })
        };
        (0..i32::try_from(partitions)?).map(span).collect()
    }

    fn watermarks(&self, partition: i32, stop: &Stop) -> anyhow::Result<(i64, i64)> {
        let since = Instant::now();
        loop {
            let error = match self.inner.fetch_watermarks(&self.topic, partition, ASK_SLICE) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) => error,
            };
            if stop.requested() {
                bail!("stopped before an answer came");
            }
            let may_pass = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
            if !may_pass || since.elapsed() > LIMIT {
                bail!("{}", describe(&error));
            }
        }
    }

    /// Reads spans and gives each record to `take`, those of one partition in
    /// order, until all are read or it breaks off. Spans must lie within what
    /// the topic has; an empty one is fine.
    ///
    /// # Errors
    /// When the broker does not answer for 30 s or refuses, or `take` fails; a
    /// stop is an error too, the caller asks `stop` which it was.
    pub fn read(
        &self,
        spans: &[Span],
        stop: &Stop,
        mut take: impl FnMut(&Record<'_>) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let mut left: BTreeMap<i32, i64> = (spans.iter().filter(|span| span.from < span.end))
            .map(|span| (span.partition, span.end))
            .collect();
        self.assign(spans)?;
        let mut heard = Instant::now();
        let mut away = None;
        while !left.is_empty() {
            if stop.requested() {
                bail!("stopped while topic {} was being read", self.topic);
            }
            match self.inner.poll(SLICE) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(end) = left.get(&partition).copied() else { continue };
                    if offset < end && take(&Record(message))?.is_break() {
                        return Ok(());
                    }
                    heard = Instant::now();
                    if offset + 1 >= end {
                        left.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    left.remove(&partition);
                }
                Some(Err(error)) => away = self.away(error)?.or(away),
                None => {}
            }
            if heard.elapsed() > LIMIT {
                let why = away.unwrap_or_else(|| "no broker sends anything".into());
                bail!("cannot read topic {} to its end: {why}", self.topic);
            }
        }
        Ok(())
    }

    fn assign(&self, spans: &[Span]) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for span in spans.iter().filter(|span| span.from < span.end) {
            list.add_partition_offset(&self.topic, span.partition, Offset::Offset(span.from))?;
        }
        self.inner.assign(&list).context("cannot assign partitions")
    }

    /// What is away, when waiting may help.
    fn away(&self, error: KafkaError) -> anyhow::Result<Option<String>> {
        match happening(error) {
            Happening::Failed(error) => Err(error),
            Happening::PositionLost => bail!(
                "records of topic {} were removed while it was being read: try again",
                self.topic
            ),
            Happening::Away(why) => {
                Ok(Some(self.inner.context().failure().map_or(why, |failure| failure.text)))
            }
            _ => Ok(None),
        }
    }
}
