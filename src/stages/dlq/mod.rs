//! `dlq`: what was rejected, why, and again after the cure.

mod foreign;
mod list;
mod purge;
mod redrive;
mod show;
mod text;

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use tokio::runtime::Runtime;

use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::{KafkaSettings, duration};
use crate::edges::kafka::client;
use crate::edges::kafka::excerpt::{Excerpt, Isolation, Span};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::letters::{self, Filter};
use crate::edges::postgres::{Client, Identifier, Ledger, runtime};
use crate::error::{Outcome, Usage};
use crate::events::moment;

/// How long the cluster may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `dlq`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl dlq list                               open letters, counted by reason
  orderctl dlq show 17                            all about one, with its payload
  orderctl dlq redrive --reason priority --dry-run
  orderctl dlq redrive --all                      publish again to the source topics
  orderctl dlq redrive --all --to table           store with what the table takes now
  orderctl dlq purge --state redriven --yes
  orderctl dlq list --topic orders.DLT            a topic of Kafka Connect or Spring

Letters are rows of orderctl.dead_letter. A redrive that is run twice, or killed
at any moment and run again, moves nothing twice.
--topic reads a dead-letter topic that others write, instead of the ledger;
--topic-name narrows letters to those of records that came from that topic.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Count letters by reason, and show some
    List(list::Args),
    /// Show all about one letter, its payload safely printed
    Show(show::Args),
    /// Publish letters again, or store them after all
    Redrive(redrive::Args),
    /// Remove the contents of letters that are done with
    Purge(purge::Args),
}

/// Lists, shows, redrives or purges dead letters.
///
/// # Errors
/// When the database, or the cluster where it is needed, cannot be reached or
/// refuses, or a letter that was named is not there.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let done = match &args.action {
        Action::List(args) => list::run(args, context),
        Action::Show(args) => show::run(args, context),
        Action::Redrive(args) => redrive::run(args, context),
        Action::Purge(args) => purge::run(args, context),
    };
    match done {
        Err(error) if context.stop.requested() => {
            context.console.note(format!("interrupted: {error:#}"));
            Ok(Outcome::Interrupted)
        }
        done => done,
    }
}

/// Which letters are meant.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which letters")]
struct Where {
    /// Of records on their way to this table
    #[arg(long, visible_alias = "table-name", value_name = "TABLE")]
    table: Option<Identifier>,

    /// Of tables in this schema
    #[arg(long, value_name = "SCHEMA")]
    schema: Option<Identifier>,

    /// Rejected by this consumer group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Of records that came from this topic
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic_name: Option<String>,

    /// With this field at fault, or with this text in the reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Rejected since a moment (RFC 3339, or a date), or so long ago, as in 2h
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<i64>,

    /// Rejected before a moment, or so long ago
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<i64>,
}

impl Where {
    fn filter(&self) -> Filter {
        Filter {
            schema: self.schema.as_ref().map(Identifier::to_string),
            table: self.table.as_ref().map(Identifier::to_string),
            group: self.group.clone(),
            topic: self.topic_name.clone(),
            reason: self.reason.clone(),
            since_ms: self.since,
            until_ms: self.until,
            ..Filter::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.table.is_none() && self.schema.is_none() && self.finds_all_of_a_topic()
    }

    /// Whether it finds every letter of a topic that others write: they are on
    /// their way to no table.
    fn finds_all_of_a_topic(&self) -> bool {
        let texts = [&self.group, &self.topic_name, &self.reason];
        texts.iter().all(|text| text.is_none()) && self.since.is_none() && self.until.is_none()
    }
}

/// Milliseconds since 1970 of a moment, or of so long before now.
fn parse_when(text: &str) -> Result<i64, String> {
    if let Ok(back) = duration::parse(text) {
        let now = jiff::Timestamp::now().as_millisecond();
        return Ok(now.saturating_sub(i64::try_from(back.as_millis()).unwrap_or(i64::MAX)));
    }
    moment::parse_micros(text.as_bytes()).map(|micros| micros.div_euclid(1000)).map_err(|fault| {
        format!("{fault}; write 2026-06-09T14:30:00Z, 2026-06-09, or how long ago: 30m, 2h")
    })
}

/// How a letter is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// By its number in the ledger.
    Number(i64),
    /// By partition and offset in a dead-letter topic that others write.
    Place(i32, i64),
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let read = match text.split_once(':') {
            Some((partition, offset)) => {
                partition.parse().ok().zip(offset.parse().ok()).map(|(p, o)| Name::Place(p, o))
            }
            None => text.parse().ok().map(Name::Number),
        };
        read.filter(|name| match name {
            Name::Number(number) => *number > 0,
            Name::Place(partition, offset) => *partition >= 0 && *offset >= 0,
        })
        .ok_or_else(|| {
            "write a letter's number as `orderctl dlq list` shows it, as in 17, or with --topic its \
             partition and offset, as in 0:42"
                .into()
        })
    }
}

/// The numbers of letters of the ledger.
fn numbers(names: &[Name]) -> anyhow::Result<Vec<i64>> {
    let number = |name: &Name| match name {
        Name::Number(number) => Ok(*number),
        Name::Place(partition, offset) => Err(Usage(format!(
            "{partition}:{offset} names a record of a dead-letter topic: add --topic TOPIC, or \
             give the letter's number"
        ))
        .into()),
    };
    names.iter().map(number).collect()
}

/// The places of letters of a topic that others write.
fn places(names: &[Name]) -> anyhow::Result<Vec<(i32, i64)>> {
    let place = |name: &Name| match name {
        Name::Place(partition, offset) => Ok((*partition, *offset)),
        Name::Number(number) => Err(Usage(format!(
            "letters of --topic are named by partition and offset, as in 0:{number}"
        ))
        .into()),
    };
    names.iter().map(place).collect()
}

/// The ledger, and a connection to ask it.
struct Desk<'c> {
    context: &'c Context,
    runtime: Runtime,
    client: Client,
    ledger: Ledger,
}

impl Desk<'_> {
    /// Connects and finds the ledger that serves the table or schema named.
    fn open<'c>(context: &'c Context, which: &Where) -> anyhow::Result<Desk<'c>> {
        let settings = context.postgres()?;
        let runtime = runtime()?;
        let opening = async {
            let client = connect(&settings, "orderctl dlq").await?;
            let ledger =
                letters::open(&client, which.schema.as_ref(), which.table.as_ref()).await?;
            Ok((client, ledger))
        };
        let (client, ledger) = ask(&runtime, context, opening)?;
        Ok(Desk { context, runtime, client, ledger })
    }

    /// Awaits an answer of the database, or a stop.
    fn ask<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        ask(&self.runtime, self.context, work)
    }

    /// Fails unless each of these letters is there.
    fn find_all(&self, ids: &[i64]) -> anyhow::Result<()> {
        let filter = Filter {
            ids: Some(ids.to_vec()),
            states: letters::State::ALL.to_vec(),
            ..Filter::default()
        };
        let found = self.ask(letters::choose(&self.client, &self.ledger, &filter))?;
        let is_missing = |id: &&i64| !found.iter().any(|letter| letter.id == **id);
        let missing: Vec<String> = ids.iter().filter(is_missing).map(i64::to_string).collect();
        match missing.as_slice() {
            [] => Ok(()),
            missing => bail!(
                "there is no dead letter {}; `orderctl dlq list --state all` shows their numbers",
                missing.join(", ")
            ),
        }
    }
}

fn ask<T>(
    runtime: &Runtime,
    context: &Context,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    runtime.block_on(async {
        tokio::select! {
            answer = work => answer,
            () = context.stop.wait() => bail!("stopped before the database answered"),
        }
    })
}

/// A topic as it is now, for reading committed records.
struct TopicNow {
    excerpt: Excerpt,
    spans: Vec<Span>,
}

/// Finds a topic and where its committed records end.
fn look_at(kafka: &KafkaSettings, topic: &str, context: &Context) -> anyhow::Result<TopicNow> {
    let partitions = partition_count(kafka, topic, context)?;
    let excerpt = Excerpt::new(kafka, topic, Isolation::Committed, &context.console)?;
    let spans = excerpt.spans(partitions, &context.stop)?;
    Ok(TopicNow { excerpt, spans })
}

fn partition_count(kafka: &KafkaSettings, topic: &str, context: &Context) -> anyhow::Result<usize> {
    let cluster = client::probe(kafka, &context.console, &context.stop, KAFKA_TIMEOUT)?;
    match cluster.topics.iter().find(|(name, _)| name == topic) {
        Some((_, partitions)) if *partitions > 0 => Ok(*partitions),
        _ => bail!(
            "there is no topic {topic} that this login may see: check its name and the right \
             DESCRIBE, or create it again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_named_by_number_or_place() {
        assert_eq!("17".parse(), Ok(Name::Number(17)));
        assert_eq!("0:42".parse(), Ok(Name::Place(0, 42)));
        for wrong in ["", "0", "-1", "a", "1:", ":1", "-1:2", "1:2:3", "99999999999999999999"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        assert!(numbers(&[Name::Place(0, 1)]).unwrap_err().is::<Usage>());
        assert!(places(&[Name::Number(1)]).unwrap_err().is::<Usage>());
    }

    #[test]
    fn a_moment_is_absolute_or_so_long_ago() {
        assert_eq!(parse_when("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(parse_when("1970-01-02"), Ok(86_400_000));
        let hour_ago = jiff::Timestamp::now().as_millisecond() - 3_600_000;
        assert!((parse_when("1h").unwrap() - hour_ago).abs() < 60_000);
        for wrong in ["", "yesterday", "2h ago", "2026-13-01"] {
            assert!(parse_when(wrong).is_err(), "{wrong}");
        }
    }
}
