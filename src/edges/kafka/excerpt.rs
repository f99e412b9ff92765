//! Reading bounded parts of topics, without a place in any group.

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
use super::offsets::{self, Moment, Place};
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

/// A reader of parts of topics.
pub struct Reader {
    inner: BaseConsumer<ClientLog>,
}

/// A reader of parts of one topic.
pub struct Excerpt {
    reader: Reader,
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

    /// The topic that it is in.
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// Its headers in order: name, and value unless that is null.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let headers = self.0.headers();
        headers.map_or_else(Vec::new, |all| all.iter().map(|one| (one.key, one.value)).collect())
    }
}

/// What is still to be read: where each partition's span ends, by topic.
type Left = BTreeMap<String, BTreeMap<i32, i64>>;

impl Reader {
    /// Makes a reader; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        settings: &KafkaSettings,
        isolation: Isolation,
        console: &Console,
    ) -> anyhow::Result<Reader> {
        let mut config = client_config_over(&DEFAULTS, settings);
        for (name, value) in OWN_PROPERTIES {
            config.set(name, value);
        }
        if config.get("group.id").is_none() {
            config.set("group.id", GROUP);
        }
        // What is done with a record may take its time.
        config.set("max.poll.interval.ms", "86400000");
        // The end of a partition is told with an answer that has nothing in it,
        // which a broker keeps back for so long.
        config.set("fetch.wait.max.ms", "20");
        config.set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
        let inner = BaseConsumer::from_config_and_context(&config, ClientLog::new(console))
            .map_err(|error| Usage(describe(&error)))?;
        Ok(Reader { inner })
    }

    /// The offset of a moment in each of these partitions; those that have none, or
    /// that nobody can be asked about at the moment, are left out.
    ///
    /// # Errors
    /// When the cluster does not answer for 20 s, or refuses; a stop is an error
    /// too, the caller asks `stop` which it was.
    pub fn offsets(
        &self,
        places: &[Place],
        moment: Moment,
        stop: &Stop,
    ) -> anyhow::Result<BTreeMap<Place, i64>> {
        offsets::ask(&self.inner, places, moment, stop)
    }

    /// Reads spans of topics, all at the same time, and gives each record to
    /// `take`, those of one partition in order, until all are read or it breaks
    /// off. Spans must lie within what the topics have; an empty one is fine.
    ///
    /// The client tells the end of a partition without its topic: of several
    /// topics, one that is being written to may cut another short. One topic is
    /// always read to its end.
    ///
    /// # Errors
    /// When the broker does not answer for 30 s or refuses, or `take` fails; a
    /// stop is an error too, the caller asks `stop` which it was.
    pub fn read(
        &self,
        topics: &[(&str, &[Span])],
        stop: &Stop,
        mut take: impl FnMut(&Record<'_>) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let (mut left, mut ends_to_come) = self.assign(topics)?;
        let mut heard = Instant::now();
        let mut away = None;
        while !left.is_empty() {
            if stop.requested() {
                bail!("stopped while {} was being read", named(&left));
            }
            match self.inner.poll(SLICE) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let open = left.get(message.topic()).and_then(|ends| ends.get(&partition));
                    let Some(end) = open.copied() else { continue };
                    heard = Instant::now();
                    if offset + 1 >= end {
                        finish(&mut left, message.topic(), partition);
                    }
                    if offset < end && take(&Record(message))?.is_break() {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    let to_come = ends_to_come.entry(partition).or_default();
                    *to_come = to_come.saturating_sub(1);
                    if *to_come == 0 {
                        let topics: Vec<String> = left.keys().cloned().collect();
                        topics.iter().for_each(|topic| finish(&mut left, topic, partition));
                    }
                }
                Some(Err(error)) => away = self.away(error, &left)?.or(away),
                None => {}
            }
            if heard.elapsed() > LIMIT {
                let why = away.unwrap_or_else(|| "no broker sends anything".into());
                bail!("cannot read {} to its end: {why}", named(&left));
            }
        }
        Ok(())
    }

    /// Begins to read; what is left, and how many partitions have each number.
    fn assign(&self, topics: &[(&str, &[Span])]) -> anyhow::Result<(Left, BTreeMap<i32, usize>)> {
        let mut list = TopicPartitionList::new();
        let mut left = Left::new();
        let mut numbers: BTreeMap<i32, usize> = BTreeMap::new();
        for (topic, spans) in topics {
            for span in spans.iter().filter(|span| span.from < span.end) {
                list.add_partition_offset(topic, span.partition, Offset::Offset(span.from))?;
                left.entry((*topic).to_owned()).or_default().insert(span.partition, span.end);
                *numbers.entry(span.partition).or_default() += 1;
            }
        }
        self.inner.assign(&list).context("cannot assign partitions")?;
        Ok((left, numbers))
    }

    /// What is away, when waiting may help.
    fn away(&self, error: KafkaError, left: &Left) -> anyhow::Result<Option<String>> {
        match happening(error) {
            Happening::Failed(error) => Err(error),
            Happening::PositionLost => {
                bail!("records of {} were removed while it was being read: try again", named(left))
            }
            Happening::Away(why) => {
                Ok(Some(self.inner.context().failure().map_or(why, |failure| failure.text)))
            }
            _ => Ok(None),
        }
    }
}

fn finish(left: &mut Left, topic: &str, partition: i32) {
    if let Some(ends) = left.get_mut(topic) {
        ends.remove(&partition);
        if ends.is_empty() {
            left.remove(topic);
        }
    }
}

/// For messages: the topic, or the first of several.
fn named(left: &Left) -> String {
    match left.keys().next() {
        Some(topic) if left.len() == 1 => format!("topic {topic}"),
        Some(topic) => format!("topic {topic} and {} more", left.len() - 1),
        None => "the topic".into(),
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
        let reader = Reader::new(settings, isolation, console)?;
        Ok(Excerpt { reader, topic: topic.to_owned() })
    }

    /// What tells this cluster from others; empty when it has no id.
    pub fn cluster_id(&self) -> String {
        self.reader.inner.client().fetch_cluster_id(ASK_SLICE).unwrap_or_default()
    }

    /// What tells the topic from one made anew under its name; none for brokers
    /// that give topics no ids.
    ///
    /// # Errors
    /// When the broker does not answer in 4 s, or there is no such topic.
    pub fn topic_id(&self) -> anyhow::Result<Option<TopicId>> {
        topic_id::ask(self.reader.inner.client(), &self.topic, ASK_SLICE)
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
            let error = match self.reader.inner.fetch_watermarks(&self.topic, partition, ASK_SLICE)
            {
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

    /// Reads spans and gives each record to `take`, as [`Reader::read`].
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read(
        &self,
        spans: &[Span],
        stop: &Stop,
        take: impl FnMut(&Record<'_>) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        self.reader.read(&[(&self.topic, spans)], stop, take)
    }
}
