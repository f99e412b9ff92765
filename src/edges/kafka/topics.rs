//! Creating topics and waiting until they can be written to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::runtime::Runtime;

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::stop::Stop;

/// How long the cluster may take to create a topic and give its partitions
/// leaders.
const LIMIT: Duration = Duration::from_secs(20);
/// How long one look at the topics may take.
const METADATA_LIMIT: Duration = Duration::from_secs(2);
/// How many topics are created at once.
const TOPICS_A_REQUEST: usize = 500;

/// How a topic is to be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// How many partitions; none for the cluster's default.
    pub partitions: Option<u32>,
    /// How many replicas of each; none for the cluster's default.
    pub replication_factor: Option<u16>,
}

/// Whether topics are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readied {
    /// They are, or nobody will need them.
    Yes,
    /// The cluster is away, or the user asked to stop: ask again.
    NotYet(String),
}

/// Creates a topic (its name a legal one) and waits until each of its partitions
/// has a leader. A topic that someone else created meanwhile is fine.
///
/// # Errors
/// When the cluster refuses or takes longer than 20 s, with the cure; a stop is
/// an error too, the caller asks `stop` which it was.
pub fn create(
    settings: &KafkaSettings,
    name: &str,
    shape: Shape,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<()> {
    match Topics::new(settings, console, stop)?.create(&[name], shape)? {
        Readied::Yes => Ok(()),
        Readied::NotYet(why) => bail!("cannot create topic {name}: {why}"),
    }
}

/// A client that creates topics, as many as are wanted at once.
pub struct Topics {
    admin: AdminClient<ClientLog>,
    log: ClientLog,
    runtime: Runtime,
    stop: Stop,
}

impl Topics {
    /// Makes the client; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(settings: &KafkaSettings, console: &Console, stop: &Stop) -> anyhow::Result<Topics> {
        let mut config = client_config(settings);
        config.set("allow.auto.create.topics", "false");
        let log = ClientLog::new(console);
        let admin = AdminClient::from_config_and_context(&config, log.clone())
            .map_err(|error| anyhow::anyhow!("cannot ask for topics: {}", describe(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Topics { admin, log, runtime, stop: stop.clone() })
    }

    /// The topics that this login may see.
    ///
    /// # Errors
    /// Why the cluster does not answer within 2 s.
    pub fn names(&self) -> Result<BTreeSet<String>, String> {
        let metadata = self.admin.inner().fetch_metadata(None, METADATA_LIMIT);
        let metadata = metadata.map_err(|error| self.explained(&error))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// Creates topics and waits until each of their partitions has a leader.
    /// Topics that someone else created meanwhile are fine.
    ///
    /// # Errors
    /// When the cluster refuses, with the cure.
    pub fn create(&self, names: &[&str], shape: Shape) -> anyhow::Result<Readied> {
        for some in names.chunks(TOPICS_A_REQUEST) {
            let asked = self.runtime.block_on(async {
                tokio::select! {
                    () = self.stop.wait() => Ok(stopped()),
                    asked = self.ask(some, shape) => asked,
                }
            })?;
            if asked != Readied::Yes {
                return Ok(asked);
            }
        }
        Ok(self.await_leaders(names))
    }

    async fn ask(&self, names: &[&str], shape: Shape) -> anyhow::Result<Readied> {
        let partitions = shape.partitions.map_or(Ok(-1), i32::try_from)?;
        let replicas = shape.replication_factor.map_or(-1, i32::from);
        let topic = |name| NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        let new: Vec<_> = names.iter().copied().map(topic).collect();
        let options =
            AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
        let answers = match self.admin.create_topics(&new, &options).await {
            Ok(answers) => answers,
            Err(error) => return Ok(Readied::NotYet(self.explained(&error))),
        };
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) if is_passing(code) => {
                    return Ok(Readied::NotYet(format!("cannot create topic {name}: {code}")));
                }
                Err((name, code)) => bail!("cannot create topic {name}: {}", refusal(code)),
            }
        }
        Ok(Readied::Yes)
    }

    fn await_leaders(&self, names: &[&str]) -> Readied {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let answer = match names {
                [one] => self.admin.inner().fetch_metadata(Some(one), METADATA_LIMIT),
                _ => self.admin.inner().fetch_metadata(None, METADATA_LIMIT),
            };
            if answer.is_ok_and(|metadata| names.iter().all(|name| has_leaders(&metadata, name))) {
                return Readied::Yes;
            }
            if self.stop.wait_for(Duration::from_millis(50)) {
                return stopped();
            }
        }
        Readied::NotYet(format!(
            "a new topic has partitions without a leader after {} s: look at the brokers' logs",
            LIMIT.as_secs()
        ))
    }

    /// In the words of the connection that failed, if one did.
    fn explained(&self, error: &KafkaError) -> String {
        self.log.failure().map_or_else(|| describe(error), |failure| failure.text)
    }
}

fn stopped() -> Readied {
    Readied::NotYet("stopped meanwhile".into())
}

fn has_leaders(metadata: &Metadata, name: &str) -> bool {
    let topics = metadata.topics().iter().filter(|topic| topic.name() == name);
    let leaders: Vec<i32> =
        topics.flat_map(|topic| topic.partitions()).map(|partition| partition.leader()).collect();
    !leaders.is_empty() && leaders.iter().all(|leader| *leader >= 0)
}

/// Whether the cluster is only busy or on its way to another controller.
pub(super) fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::RequestTimedOut
            | Code::NotController
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NetworkException
            | Code::ThrottlingQuotaExceeded
    )
}

/// Whether records of a topic may be removed because a later one has the same
/// key (`cleanup.policy`); none when this login may not see it.
///
/// # Errors
/// When the cluster does not answer within 20 s; a stop is an error too, the
/// caller asks `stop` which it was.
pub fn is_compacted(
    settings: &KafkaSettings,
    topic: &str,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<Option<bool>> {
    let admin: AdminClient<ClientLog> =
        AdminClient::from_config_and_context(&client_config(settings), ClientLog::new(console))
            .map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let options = AdminOptions::new().request_timeout(Some(LIMIT));
    let topic = ResourceSpecifier::Topic(topic);
    let answers = runtime.block_on(async {
        tokio::select! {
            () = stop.wait() => bail!("stopped while the topic was asked about"),
            answers = admin.describe_configs([&topic], &options) => answers
                .map_err(|error| anyhow::anyhow!("cannot ask for the topic: {}", describe(&error))),
        }
    })?;
    let policy = answers.iter().flatten().find_map(|answer| answer.get("cleanup.policy"));
    let policy = policy.and_then(|entry| entry.value.as_deref());
    Ok(policy.map(|policy| policy.split(',').any(|one| one.trim() == "compact")))
}

fn refusal(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "this login may not; create it beforehand with one that may, or grant CREATE".into()
        }
        RDKafkaErrorCode::InvalidReplicationFactor => {
            "the cluster has fewer brokers than that; lower --replication-factor".into()
        }
        RDKafkaErrorCode::InvalidPartitions => {
            "the cluster does not want so many partitions; correct --partitions".into()
        }
        RDKafkaErrorCode::PolicyViolation => {
            "the cluster's policy forbids it; change --partitions or --replication-factor".into()
        }
        other => format!("the cluster refuses: {other}"),
    }
}
