//! Creating a topic and waiting until it can be written to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::stop::Stop;

/// How long the cluster may take to create a topic and give its partitions
/// leaders.
const LIMIT: Duration = Duration::from_secs(20);

/// A topic that is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name, a legal one.
    pub name: &'a str,
    /// How many partitions; none for the cluster's default.
    pub partitions: Option<u32>,
    /// How many replicas of each; none for the cluster's default.
    pub replication_factor: Option<u16>,
}

/// Creates a topic and waits until each of its partitions has a leader. A topic
/// that someone else created meanwhile is fine.
///
/// # Errors
/// When the cluster refuses or takes longer than 20 s, with the cure; a stop is
/// an error too, the caller asks `stop` which it was.
pub fn create(
    settings: &KafkaSettings,
    wanted: &Wanted<'_>,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut config = client_config(settings);
    config.set("allow.auto.create.topics", "false");
    let admin = AdminClient::from_config_and_context(&config, ClientLog::new(console))
        .map_err(|error| anyhow::anyhow!("cannot ask for topics: {}", describe(&error)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime
        .block_on(async {
            tokio::select! {
                () = stop.wait() => bail!("stopped while the topic was being created"),
                asked = ask(&admin, wanted) => asked,
            }
        })
        .with_context(|| format!("cannot create topic {}", wanted.name))?;
    await_leaders(admin.inner(), wanted.name, stop)
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

async fn ask(admin: &AdminClient<ClientLog>, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let partitions = wanted.partitions.map_or(Ok(-1), i32::try_from)?;
    let replicas = wanted.replication_factor.map_or(-1, i32::from);
    let topic = NewTopic::new(wanted.name, partitions, TopicReplication::Fixed(replicas));
    let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
    let answers = admin
        .create_topics([&topic], &options)
        .await
        .map_err(|error| anyhow::anyhow!("{}", describe(&error)))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => bail!("{}", refusal(code)),
        }
    }
    Ok(())
}

fn refusal(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "this login has no right to; let someone who has create it, or grant CREATE".into()
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

fn await_leaders(client: &Client<ClientLog>, topic: &str, stop: &Stop) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let answer = client.fetch_metadata(Some(topic), Duration::from_secs(2));
        let is_ready = answer.is_ok_and(|metadata| {
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            let leaders: Vec<i32> = partitions.map(|partition| partition.leader()).collect();
            !leaders.is_empty() && leaders.iter().all(|leader| *leader >= 0)
        });
        if is_ready {
            return Ok(());
        }
        if stop.wait_for(Duration::from_millis(50)) {
            bail!("stopped while the topic was being created");
        }
    }
    bail!(
        "topic {topic} has partitions without a leader after {} s: look at the brokers' logs",
        LIMIT.as_secs()
    )
}
