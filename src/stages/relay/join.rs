//! Before a stage begins: its properties, and the topic that it reads.

use anyhow::{anyhow, bail};

use super::{Shape, Stage, topics};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::client::{self, ANSWER_LIMIT};
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::kafka::topics::{Readied, Topics};
use crate::edges::kafka::transaction_settings::OWN;
use crate::error::Usage;
use crate::events::Kind;
use crate::stages::consume::selection::{self, ask_kafka};

/// What exactly once rests on besides the producer's own properties.
const HELD: &[(&str, &str)] =
    &[("isolation.level", "read_committed"), ("request.required.acks", "all")];

/// Records of a partition that are fetched ahead: half of what a sink at three times
/// the speed needs, as a stage keeps what it publishes in memory beside them.
const PREFETCHED: (&str, &str) = ("queued.min.messages", "10000");

/// Refuses properties that exactly once rests on, unless they say what holds here
/// anyway.
///
/// # Errors
/// A [`Usage`] error that names the property.
pub(super) fn refuse_own_properties(kafka: &KafkaSettings) -> anyhow::Result<()> {
    selection::refuse_own_properties(kafka)?;
    if kafka.properties.iter().any(|(name, _)| name == "transactional.id") {
        let fault = "transactional.id is made of the group and the worker's name: leave it out, \
                     and name the worker with --instance";
        return Err(Usage(fault.to_owned()).into());
    }
    selection::refuse_other_values(kafka, HELD)?;
    selection::refuse_other_values(kafka, OWN)
}

/// The group's member on the topic, not yet subscribed, and how topics are made
/// for it.
///
/// # Errors
/// What keeps us from the topic, with the cure; a stop is one too, the caller
/// asks `stop` which it was.
pub(super) fn join(
    stage: &Stage<'_>,
    settings: &KafkaSettings,
    group: &str,
    topics: &Topics,
    context: &Context,
) -> anyhow::Result<(Consumer, Shape)> {
    let Stage { from, kind, shape, follows, .. } = *stage;
    let cluster = client::probe(settings, &context.console, &context.stop, ANSWER_LIMIT)?;
    if let Some(first) = follows
        && cluster.partitions(from).is_none()
    {
        let partitions = shape.partitions.or(cluster.partitions(first));
        let partitions = Some(partitions.ok_or_else(|| no_topic(first, kind))?);
        match topics.create(&[from], Shape { partitions, ..shape })? {
            Readied::Yes => context.console.note(topics::created(&[from])),
            Readied::NotYet(why) => bail!("cannot create topic {from}: {why}"),
        }
    }
    let defaults = [&DEFAULTS[..], &[PREFETCHED]].concat();
    let mut config = client::client_config_over(&defaults, settings);
    // What was aborted is not to be processed.
    config.set("isolation.level", "read_committed");
    let wants_ends = context.is_watched || context.console.shows_progress();
    let consumer = Joining::new(config, group, &context.console, wants_ends)?.on(from);
    let partitions = ask_kafka(&context.stop, |limit| consumer.partition_count(limit))?;
    let partitions = partitions.ok_or_else(|| no_topic(from, kind))?;
    let alike = if stage.is_alike { Some(u32::try_from(partitions)?) } else { None };
    Ok((consumer, Shape { partitions: shape.partitions.or(alike), ..shape }))
}

fn no_topic(topic: &str, kind: Kind) -> anyhow::Error {
    let kind = match kind {
        Kind::Order => String::new(),
        other => format!("--kind {} ", other.name()),
    };
    anyhow!(
        "there is no topic {topic}: publish to it with `orderctl produce {kind}--topic-name {topic} \
         --create-topic`, or name another with --from"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exactly_once_rests_on_is_not_the_users_to_change() {
        let refused = |name: &str, value: &str| {
            let mut settings = KafkaSettings::plaintext("127.0.0.1:1");
            settings.set(name, value);
            refuse_own_properties(&settings).err().map(|error| error.to_string())
        };
        for (name, value) in [
            ("auto.offset.reset", "latest"),
            ("isolation.level", "read_uncommitted"),
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("transactional.id", "mine"),
            ("group.id", "mine"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ] {
            assert!(refused(name, value).is_some_and(|why| why.contains(name)), "{name}");
        }
        for (name, value) in [
            ("acks", "-1"),
            ("request.required.acks", "all"),
            ("enable.idempotence", "true"),
            ("isolation.level", "read_committed"),
            ("linger.ms", "1"),
        ] {
            assert_eq!(refused(name, value), None, "{name}");
        }
    }
}
