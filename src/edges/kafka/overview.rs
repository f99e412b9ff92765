//! The cluster as a whole: its brokers, its topics, and how much is in them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::bindings as c;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataBroker, MetadataPartition, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::{Questions, list, text};
use super::client::{ClientLog, client_config, describe};
use super::groups::{self, Group};
use super::offsets::{self, Moment, Place};
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::stop::Stop;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the cluster may take to say which topics it has.
const LIMIT: Duration = Duration::from_secs(20);
/// The longest wait for that, so that a stop is noticed.
const SLICE: Duration = Duration::from_secs(2);

/// A client that asks about everything and belongs to no group.
pub struct Overview {
    inner: BaseConsumer<ClientLog>,
    stop: Stop,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: i32,
    /// Where it says it is.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// `broker.rack`, where it has one.
    pub rack: Option<String>,
}

/// The cluster itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// What tells it from others.
    pub id: Option<String>,
    /// The broker that is its controller, or answers for it.
    pub controller: Option<i32>,
    /// By number.
    pub brokers: Vec<Broker>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; none while there is none.
    pub leader: Option<i32>,
    /// How many brokers are to have it.
    pub replicas: usize,
    /// How many of them have it in full.
    pub in_sync: usize,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// By number.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Its partitions that have a leader, and so can be asked about.
    pub fn led(&self) -> impl Iterator<Item = Place> {
        let led = self.partitions.iter().filter(|partition| partition.leader.is_some());
        led.map(|partition| (self.name.clone(), partition.id))
    }

    /// Whether it is one that Kafka keeps for itself.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with("__")
    }
}

impl Overview {
    /// Makes a client; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        settings: &KafkaSettings,
        console: &Console,
        stop: &Stop,
    ) -> anyhow::Result<Overview> {
        let mut config = client_config(settings);
        config.set("allow.auto.create.topics", "false");
        // All records, also those of transactions that are still open.
        config.set("isolation.level", "read_uncommitted");
        let inner = BaseConsumer::from_config_and_context(&config, ClientLog::new(console))
            .map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
        Ok(Overview { inner, stop: stop.clone() })
    }

    /// What keeps us from the cluster and will not pass by itself, if anything.
    pub fn final_failure(&self) -> Option<String> {
        let failure = self.inner.context().failure();
        failure.filter(|failure| failure.is_final).map(|failure| failure.text)
    }

    /// Id, controller and brokers.
    ///
    /// # Errors
    /// When no answer comes in 10 s, or a stop is requested.
    pub fn cluster(&self) -> anyhow::Result<Cluster> {
        match self.described()? {
            Some(cluster) => Ok(cluster),
            None => self.plain_cluster(),
        }
    }

    /// What brokers tell in the answer to DescribeCluster; none where they do not
    /// know that question.
    #[allow(unsafe_code)]
    fn described(&self) -> anyhow::Result<Option<Cluster>> {
        let client = self.inner.client();
        let sort = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let questions = Questions::new(client, sort, TIMEOUT)?;
        // SAFETY: the client outlives the question; what is taken out of the event
        // is copied before the event is freed.
        unsafe {
            let (options, queue) = (questions.options(), questions.queue());
            c::rd_kafka_DescribeCluster(client.native_ptr(), options, queue);
            let event = match questions.answer(Some(&self.stop))? {
                Ok(event) => event,
                Err(RDKafkaErrorCode::UnsupportedFeature) => return Ok(None),
                Err(other) => bail!("cannot ask for the cluster: {other}"),
            };
            let result = c::rd_kafka_event_DescribeCluster_result(event.as_ptr());
            let mut count = 0;
            let nodes = c::rd_kafka_DescribeCluster_result_nodes(result, &mut count);
            let broker = |node: &*const c::rd_kafka_Node_t| Broker {
                id: c::rd_kafka_Node_id(*node),
                host: text(c::rd_kafka_Node_host(*node)).unwrap_or_default(),
                port: c::rd_kafka_Node_port(*node),
                rack: text(c::rd_kafka_Node_rack(*node)),
            };
            let mut brokers: Vec<Broker> = list(nodes, count).iter().map(broker).collect();
            brokers.sort_by_key(|broker| broker.id);
            let controller = c::rd_kafka_DescribeCluster_result_controller(result);
            let controller = (!controller.is_null()).then(|| c::rd_kafka_Node_id(controller));
            let id = text(c::rd_kafka_DescribeCluster_result_cluster_id(result));
            Ok(Some(Cluster { id, controller, brokers }))
        }
    }

    fn plain_cluster(&self) -> anyhow::Result<Cluster> {
        let brokers = brokers(&self.metadata()?);
        let id = self.inner.client().fetch_cluster_id(TIMEOUT);
        Ok(Cluster { id, controller: None, brokers })
    }

    fn metadata(&self) -> anyhow::Result<Metadata> {
        let since = Instant::now();
        loop {
            let answer = self.inner.fetch_metadata(None, SLICE);
            // Serves the callbacks that came in meanwhile.
            while self.inner.poll(Duration::ZERO).is_some() {}
            let error = match answer {
                Ok(metadata) => {
                    self.inner.context().forget();
                    return Ok(metadata);
                }
                Err(error) => error,
            };
            if self.stop.requested() {
                bail!("stopped before an answer came");
            }
            if let Some(failure) = self.inner.context().failure() {
                bail!("{}", failure.text);
            }
            if since.elapsed() > LIMIT {
                bail!("cannot ask for the topics: {}", describe(&error));
            }
        }
    }

    /// The topics that this login may see, by name, without the ends of their
    /// partitions; and the brokers that have them, without their racks.
    ///
    /// # Errors
    /// When the cluster cannot be reached, or does not answer for 20 s, or a stop
    /// is requested.
    pub fn topics_and_brokers(&self) -> anyhow::Result<(Vec<Topic>, Vec<Broker>)> {
        let metadata = self.metadata()?;
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let mut topics: Vec<Topic> = found.map(topic).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((topics, brokers(&metadata)))
    }

    /// The low and the high watermark of partitions that there are and that have a
    /// leader; others are left out.
    ///
    /// # Errors
    /// When the cluster does not answer for 20 s, or a stop is requested.
    pub fn ends(&self, places: &[Place]) -> anyhow::Result<BTreeMap<Place, (i64, i64)>> {
        let first = offsets::ask(&self.inner, places, Moment::First, &self.stop)?;
        let end = offsets::ask(&self.inner, places, Moment::End, &self.stop)?;
        let both = |(place, end): (Place, i64)| {
            let first = *first.get(&place)?;
            Some((place, (first, end.max(first))))
        };
        Ok(end.into_iter().filter_map(both).collect())
    }

    /// The consumer groups that this login may see and `is_wanted` wants, by name,
    /// with members and committed offsets.
    ///
    /// # Errors
    /// When no answer comes in time, or a stop is requested.
    pub fn groups(&self, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<Group>> {
        groups::all(self.inner.client(), TIMEOUT, &self.stop, is_wanted)
    }
}

/// By number.
fn brokers(metadata: &Metadata) -> Vec<Broker> {
    let broker = |broker: &MetadataBroker| Broker {
        id: broker.id(),
        host: broker.host().to_owned(),
        port: u16::try_from(broker.port()).unwrap_or_default(),
        rack: None,
    };
    let mut brokers: Vec<Broker> = metadata.brokers().iter().map(broker).collect();
    brokers.sort_by_key(|broker| broker.id);
    brokers
}

fn topic(found: &MetadataTopic) -> Topic {
    let partition = |found: &MetadataPartition| Partition {
        id: found.id(),
        leader: Some(found.leader()).filter(|leader| *leader >= 0),
        replicas: found.replicas().len(),
        in_sync: found.isr().len(),
    };
    let mut partitions: Vec<Partition> = found.partitions().iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.id);
    Topic { name: found.name().to_owned(), partitions }
}
