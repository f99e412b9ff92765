//! `dlq show`: all about one letter.

use std::fmt;
use std::io::Write as _;
use std::ops::ControlFlow;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{Desk, Name, Where, foreign, look_at, numbers, places, text};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::console::{columns, escaped, rfc3339};
use crate::edges::postgres::letters::{self, Filter, Letter, State};
use crate::error::Outcome;

/// Arguments of `dlq show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl dlq show 17
  orderctl dlq show 17 --raw > payload.json
  orderctl dlq show 0:42 --topic orders.DLT")]
pub struct Args {
    /// The letter's number, or PARTITION:OFFSET with --topic
    #[arg(value_name = "ID")]
    name: Name,

    /// Write the payload's bytes as they are, and nothing else
    #[arg(long)]
    raw: bool,

    /// Read this dead-letter topic of Kafka Connect or Spring instead of the ledger
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic: Option<String>,

    #[command(flatten)]
    which: Where,
}

/// A letter with its payload.
#[derive(Debug, Serialize)]
struct Shown {
    /// What is known of it, in the order it is shown.
    #[serde(flatten)]
    facts: serde_json::Map<String, serde_json::Value>,
    /// Headers, for a letter of a topic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
    /// The payload when it is UTF-8.
    payload: Option<String>,
    /// The payload in hexadecimal digits when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    #[serde(skip)]
    bytes: Option<Vec<u8>>,
    #[serde(skip)]
    names: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: Option<String>,
}

impl Shown {
    fn new(facts: Vec<(&'static str, serde_json::Value)>, bytes: Option<Vec<u8>>) -> Shown {
        let text = bytes.clone().map(String::from_utf8);
        let (payload, payload_hex) = match text {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(other)) => (None, Some(text::hex(other.as_bytes()))),
        };
        let names = facts.iter().map(|(name, _)| *name).collect();
        let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Shown { facts, headers: Vec::new(), payload, payload_hex, bytes, names }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for name in &self.names {
            let value = match &self.facts[*name] {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(text) => text::short(text, usize::MAX),
                other => other.to_string(),
            };
            rows.push(vec![name.replace('_', " "), value]);
        }
        for header in &self.headers {
            let value = header.value.as_deref().unwrap_or("-");
            rows.push(vec![format!("header {}", escaped(&header.name)), escaped(value)]);
        }
        write!(f, "{}\n\n", columns(&rows))?;
        match (&self.bytes, self.facts.get("state").and_then(|state| state.as_str())) {
            (Some(bytes), _) => f.write_str(&text::payload(bytes)),
            (None, Some(state)) if state == State::Purged.name() => {
                f.write_str("(the contents were purged)")
            }
            (None, _) => f.write_str("(no payload: a tombstone)"),
        }
    }
}

/// Shows a letter, or writes its payload.
///
/// # Errors
/// When there is no such letter, or it cannot be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let shown = match &args.topic {
        Some(topic) => of_topic(args, topic, context)?,
        None => of_ledger(args, context)?,
    };
    if !args.raw {
        context.console.result(&shown)?;
        return Ok(Outcome::Done);
    }
    let Some(bytes) = &shown.bytes else { bail!("this letter has no payload to write") };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write the payload")?;
    Ok(Outcome::Done)
}

fn of_ledger(args: &Args, context: &Context) -> anyhow::Result<Shown> {
    let ids = numbers(&[args.name])?;
    let desk = Desk::open(context, &args.which)?;
    let found = desk.ask(letters::load(&desk.client, &desk.ledger, &ids))?;
    let Some((letter, payload)) = found.into_iter().next() else {
        bail!(
            "there is no dead letter {}; `orderctl dlq list --state all` shows their numbers",
            ids[0]
        );
    };
    Ok(Shown::new(facts(letter), payload))
}

fn facts(letter: Letter) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("id", letter.id.into()),
        ("state", letter.state.name().into()),
        ("state_at", letter.state_at.into()),
        ("rejected_at", letter.rejected_at.into()),
        ("field", letter.field.into()),
        ("reason", letter.reason.into()),
        ("topic", letter.topic.into()),
        ("partition", letter.partition.into()),
        ("offset", letter.offset.into()),
        ("record_time", letter.record_time.into()),
        ("group", letter.group.into()),
        ("table", format!("{}.{}", letter.schema, letter.table).into()),
        ("key", letter.key.as_deref().map(text::key).into()),
        ("payload_bytes", letter.payload_bytes.into()),
    ]
}

fn of_topic(args: &Args, topic: &str, context: &Context) -> anyhow::Result<Shown> {
    let wanted = places(&[args.name])?;
    let kafka = context.kafka()?;
    let now = look_at(&kafka, topic, context)?;
    let mut found = None;
    let (filter, stop) = (Filter::default(), &context.stop);
    foreign::read(&now.excerpt, &now.spans, &filter, Some(&wanted), stop, |record, origin| {
        let raw = record.raw();
        let facts = vec![
            ("id", format!("{}:{}", raw.partition, raw.offset).into()),
            ("time", raw.time_ms.and_then(rfc3339).into()),
            ("field", origin.field.into()),
            ("reason", origin.reason.into()),
            ("exception", origin.class.into()),
            ("topic", origin.topic.into()),
            ("partition", origin.partition.into()),
            ("offset", origin.offset.into()),
            ("group", origin.group.into()),
            ("key", raw.key.map(text::key).into()),
            ("payload_bytes", raw.payload.map(<[u8]>::len).into()),
        ];
        let mut shown = Shown::new(facts, raw.payload.map(<[u8]>::to_vec));
        shown.headers = (record.headers().into_iter())
            .map(|(name, value)| Header { name: name.into(), value: value.map(text::key) })
            .collect();
        found = Some(shown);
        Ok(ControlFlow::Break(()))
    })?;
    let (partition, offset) = wanted[0];
    found.with_context(|| {
        format!(
            "topic {topic} has no record at offset {offset} of partition {partition} (any more); \
             `orderctl dlq list --topic {topic}` shows those it has"
        )
    })
}
