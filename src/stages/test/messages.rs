//! The topic's side: tickets published, and what is in the topic.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Names;
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::client::{client_config_over, probe};
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::kafka::producer::{Producer, Queued};
use crate::edges::kafka::range::{self, Span};
use crate::edges::kafka::topics;
use crate::engine::checkpoint::Log;
use crate::engine::record::Raw;
use crate::events::Kind;
use crate::events::fake::{Generator, IdStyle};
use crate::stages::consume::selection::{ask_kafka, find_topic};

/// How long the cluster may take to answer.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How long the cluster may take to acknowledge a few messages.
const ACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(60);
/// How often a stop is looked for meanwhile.
const SLICE: Duration = Duration::from_millis(100);
/// How long leaving the cluster may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A ticket to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its id, which is the message's key.
    pub id: String,
    /// Its JSON.
    pub payload: Vec<u8>,
}

/// Tickets whose ids nobody has used before.
pub fn tickets(count: u64) -> Vec<Ticket> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_micros = i64::try_from(now.as_micros()).unwrap_or(0);
    let generator = Generator::new(Kind::MovieTicket, rand::random(), now_micros, IdStyle::V7);
    let ticket = |index| {
        let (mut key, mut payload) = (Vec::new(), Vec::new());
        generator.write(index, &mut key, &mut payload);
        Ticket { id: String::from_utf8_lossy(&key).into_owned(), payload }
    };
    (0..count).map(ticket).collect()
}

/// The same ticket for somebody else.
///
/// # Errors
/// When the ticket is no JSON object.
pub fn resold(ticket: &Ticket, name: &str) -> anyhow::Result<Ticket> {
    let mut event: Value = serde_json::from_slice(&ticket.payload)?;
    let holder = event.get_mut("name").context("a ticket has a name")?;
    *holder = name.into();
    Ok(Ticket { id: ticket.id.clone(), payload: serde_json::to_vec(&event)? })
}

/// The name on a ticket.
///
/// # Errors
/// When the ticket is no JSON object with a name.
pub fn name_on(ticket: &Ticket) -> anyhow::Result<String> {
    let event: Value = serde_json::from_slice(&ticket.payload)?;
    Ok(event["name"].as_str().context("a ticket has a name")?.to_owned())
}

/// Creates the topic when it is missing; whether it did.
///
/// # Errors
/// When the cluster cannot be reached or refuses, with the cure.
pub fn ensure_topic(
    kafka: &KafkaSettings,
    names: &Names,
    context: &Context,
) -> anyhow::Result<bool> {
    if has_topic(kafka, names, context)? {
        return Ok(false);
    }
    let shape = topics::Shape::default();
    topics::create(kafka, &names.topic, shape, &context.console, &context.stop)?;
    Ok(true)
}

/// Whether the topic is there.
///
/// # Errors
/// When the cluster cannot be reached, with the cure.
pub fn has_topic(kafka: &KafkaSettings, names: &Names, context: &Context) -> anyhow::Result<bool> {
    let cluster = probe(kafka, &context.console, &context.stop, PROBE_LIMIT)?;
    Ok(cluster.topics.iter().any(|(topic, _)| *topic == names.topic))
}

/// Publishes tickets in their order and waits until all are acknowledged.
///
/// # Errors
/// When one is not, and why.
pub fn publish(
    kafka: &KafkaSettings,
    names: &Names,
    tickets: &[Ticket],
    context: &Context,
) -> anyhow::Result<()> {
    let producer = Producer::new(kafka, &names.topic, &context.console)?;
    for Ticket { id, payload } in tickets {
        match producer.send(Some(id.as_bytes()), payload)? {
            Queued::Yes => {}
            // A few tickets fit into any queue and any message.
            other => bail!("a ticket was not taken: {other:?}; look at -X and --kafka-config"),
        }
    }
    let since = Instant::now();
    while producer.pending() > 0 && !context.stop.requested() {
        producer.flush(SLICE);
        if since.elapsed() > ACKNOWLEDGED_LIMIT || producer.is_refused() {
            break;
        }
    }
    let (sent, acknowledged) = (tickets.len() as u64, producer.acknowledged());
    if acknowledged < sent {
        let why = producer.first_failure().or_else(|| producer.away());
        producer.abandon();
        bail!(
            "{} of {sent} messages were not acknowledged: {}",
            sent - acknowledged,
            why.unwrap_or_else(|| "no answer in time; `orderctl doctor` looks for the cause".into())
        );
    }
    Ok(())
}

/// What was found in the topic.
#[derive(Debug, Default)]
pub struct Contents {
    /// Messages read.
    pub messages: u64,
    /// Those that are no tickets.
    pub invalid: u64,
    /// The first few of these, with place and reason.
    pub examples: Vec<String>,
}

/// How many invalid messages are named.
const EXAMPLES_MAX: usize = 3;

impl Contents {
    fn take(&mut self, raw: &Raw<'_>) {
        self.messages += 1;
        let Err(reject) = Kind::MovieTicket.parse(raw.payload.unwrap_or_default()) else { return };
        self.invalid += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples
                .push(format!("partition {} offset {}: {reject}", raw.partition, raw.offset));
        }
    }
}

/// Reads all that is in the topic now.
///
/// # Errors
/// When it cannot be read; a stop is an error too, the caller asks which it was.
pub fn contents(
    kafka: &KafkaSettings,
    names: &Names,
    context: &Context,
) -> anyhow::Result<Contents> {
    let config = client_config_over(&DEFAULTS, kafka);
    // It joins no group, but brokers want a name that the login may use.
    let joining = Joining::new(config, &names.group, &context.console, false)?;
    let consumer = joining.on(&names.topic);
    let contents = contents_through(&consumer, kafka, names, context);
    consumer.close(CLOSE_LIMIT);
    contents
}

fn contents_through(
    consumer: &Consumer,
    kafka: &KafkaSettings,
    names: &Names,
    context: &Context,
) -> anyhow::Result<Contents> {
    let partitions = find_topic(kafka, consumer, &names.topic, context)?;
    let numbers: Vec<i32> = (0..i32::try_from(partitions)?).collect();
    let questions = consumer.questions();
    let logs = ask_kafka(&context.stop, |limit| questions.logs(&numbers, limit))?;
    let logs = logs.context("the client was closed")?;
    let whole =
        |(number, Log { first, end }): (i32, Log)| (number, Span { first, position: end, end });
    let spans = logs.partitions.into_iter().map(whole).collect();
    let mut found = Contents::default();
    let read = range::read(
        consumer,
        &spans,
        &context.stop,
        |why| context.console.note(format_args!("waiting: {why}")),
        |raw| {
            found.take(raw);
            Ok(())
        },
    )?;
    read.context("stopped while the topic was being read")?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_valid_and_a_resold_one_differs_in_its_name_only() {
        let made = tickets(3);
        for ticket in &made {
            let event = Kind::MovieTicket.parse(&ticket.payload).unwrap();
            assert_eq!(event.id(), ticket.id);
        }
        assert_ne!(made[0].id, tickets(1)[0].id);
        let second = resold(&made[0], "Somebody Else").unwrap();
        assert_eq!(second.id, made[0].id);
        assert_eq!(name_on(&second).unwrap(), "Somebody Else");
        assert_ne!(name_on(&made[0]).unwrap(), "Somebody Else");
        assert!(Kind::MovieTicket.parse(&second.payload).is_ok());
    }

    #[test]
    fn invalid_messages_are_counted_and_the_first_ones_named() {
        let mut contents = Contents::default();
        let good = &tickets(1)[0];
        let raw = |offset, payload| Raw { partition: 2, offset, time_ms: None, key: None, payload };
        contents.take(&raw(0, Some(good.payload.as_slice())));
        for offset in 1..=5 {
            contents.take(&raw(offset, Some(b"{}".as_slice())));
        }
        contents.take(&raw(6, None));
        assert_eq!((contents.messages, contents.invalid), (7, 6));
        assert_eq!(contents.examples.len(), EXAMPLES_MAX);
        assert!(contents.examples[0].starts_with("partition 2 offset 1: "), "{contents:?}");
    }
}
