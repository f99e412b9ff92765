//! Deleting a topic or a group, and waiting until it is gone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{ClientLog, client_config, describe};
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::stop::Stop;

/// How long the cluster may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Deletes a topic and waits until nobody is told of it any more; false when
/// there was none.
///
/// # Errors
/// When the cluster refuses or takes longer than 20 s, with the cure; a stop is
/// an error too, the caller asks `stop` which it was.
pub fn delete_topic(
    settings: &KafkaSettings,
    name: &str,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<bool> {
    let admin = admin(settings, console)?;
    let answers = asked(stop, admin.delete_topics(&[name], &options()))?;
    let was_there = judge(answers, Code::UnknownTopicOrPartition)?;
    if was_there {
        await_gone(admin.inner(), name, stop)?;
    }
    Ok(was_there)
}

/// Deletes a consumer group; false when there was none.
///
/// # Errors
/// As [`delete_topic`]; also when the group has members.
pub fn delete_group(
    settings: &KafkaSettings,
    name: &str,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<bool> {
    let admin = admin(settings, console)?;
    let answers = asked(stop, admin.delete_groups(&[name], &options()))?;
    judge(answers, Code::GroupIdNotFound)
}

fn admin(settings: &KafkaSettings, console: &Console) -> anyhow::Result<AdminClient<ClientLog>> {
    let mut config = client_config(settings);
    config.set("allow.auto.create.topics", "false");
    AdminClient::from_config_and_context(&config, ClientLog::new(console))
        .map_err(|error| anyhow::anyhow!("{}", describe(&error)))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
}

type Answers = Vec<Result<String, (String, Code)>>;

fn asked(
    stop: &Stop,
    question: impl Future<Output = rdkafka::error::KafkaResult<Answers>>,
) -> anyhow::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        tokio::select! {
            () = stop.wait() => bail!("stopped while the cluster was asked"),
            answers = question => answers.map_err(|error| anyhow::anyhow!("{}", describe(&error))),
        }
    })
}

/// Whether it was there, by the answer about one name.
fn judge(answers: Answers, absent: Code) -> anyhow::Result<bool> {
    match answers.into_iter().next().context("the cluster does not answer")? {
        Ok(_) => Ok(true),
        Err((_, code)) if code == absent => Ok(false),
        Err((_, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)) => {
            bail!("this login has no right to; let someone who has delete it, or grant DELETE")
        }
        Err((_, Code::NonEmptyGroup)) => bail!("it has members: stop its consumers first"),
        Err((_, code)) => bail!("the cluster refuses: {code}"),
    }
}

fn await_gone(client: &Client<ClientLog>, topic: &str, stop: &Stop) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let answer = client.fetch_metadata(Some(topic), Duration::from_secs(2));
        let is_gone = answer.is_ok_and(|metadata| {
            metadata.topics().iter().all(|topic| topic.partitions().is_empty())
        });
        if is_gone {
            return Ok(());
        }
        if stop.wait_for(Duration::from_millis(50)) {
            bail!("stopped while the topic was being deleted");
        }
    }
    bail!("it is still there after {} s: look at the brokers' logs", LIMIT.as_secs())
}
