//! What the stages from Kafka to Kafka share: arguments, wiring and summary.

pub mod dead_letter;
mod instance;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::{KafkaSettings, duration};
use crate::console::{Console, plural};
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::kafka::topics::Topics;
use crate::engine::metrics::Relaying;
use crate::engine::record::Raw;
use crate::engine::relay::{self, Options, Parts, Progress, Readied, Step, Totals};
use crate::engine::run::Ending;
use crate::error::{Outcome, Usage};
use crate::log::Level;

pub use crate::edges::kafka::topics::Shape;
use instance::Instance;

/// How long a broker may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes published in one transaction.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest time between two commits.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How many new topics are named.
const NAMES_SHOWN: usize = 5;

/// Arguments that every stage has.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Consumer group [default: orderctl- and the name of the command]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Name of this worker among those of its group, to be the same after a
    /// restart; it is part of the transactional id [default: host and a number]
    #[arg(long, env = "ORDERCTL_INSTANCE", value_name = "NAME", value_parser = instance::parse)]
    pub instance: Option<String>,

    /// Commit this often while records come
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, default_value = "100ms")]
    pub commit_interval: Duration,

    /// Most records in one transaction
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_records: u32,

    /// Topic for records that can never be processed [default: the topic read
    /// and _dead_letters]
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    pub dead_letter_topic: Option<String>,

    /// Exit when everything that is in the topic now is processed
    #[arg(long)]
    pub until_end: bool,

    /// Exit when no record came for so long, as in 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle_exit: Option<Duration>,
}

impl Args {
    /// The dead-letter topic of this topic.
    fn dead_letters(&self, from: &str) -> anyhow::Result<String> {
        let letters = self.dead_letter_topic.clone();
        let letters = letters.unwrap_or_else(|| dead_letter::default_topic(from));
        if letters == from {
            let why = "dead letters cannot go to the topic that is read: name another with \
                       --dead-letter-topic";
            return Err(Usage(why.into()).into());
        }
        Ok(letters)
    }

    fn options(&self) -> Options {
        Options {
            records_max: u64::from(self.batch_records),
            bytes_max: BATCH_BYTES_MAX,
            age_max: self.commit_interval,
            until_end: self.until_end,
            idle_exit: self.idle_exit,
        }
    }
}

/// A transaction that stays open for longer than `transaction.timeout.ms` is
/// given up by the cluster.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    match interval <= INTERVAL_MAX {
        true => Ok(interval),
        false => Err(format!("at most {} s", INTERVAL_MAX.as_secs())),
    }
}

/// One stage: where it reads, and what it makes of a record.
pub struct Stage<'s> {
    /// The verb.
    pub name: &'static str,
    /// The topic read.
    pub from: &'s str,
    /// Makes records of one record.
    pub step: Step<'s>,
    /// How topics are made that are published to and not there, dead letters'
    /// included.
    pub shape: Shape,
    /// Called before topics are created, with those that are there and those to
    /// be created, of which it may take some away.
    pub admit: Option<Admit<'s>>,
    /// A dead letter's payload, where that must not be the record's own bytes;
    /// none from the function for the own ones.
    pub clean: Option<Clean<'s>>,
}

/// See [`Stage::admit`].
pub type Admit<'s> = &'s mut dyn FnMut(&BTreeSet<String>, &mut BTreeSet<String>);

/// See [`Stage::clean`].
pub type Clean<'s> = &'s dyn Fn(&[u8]) -> Option<Vec<u8>>;

impl<'s> Stage<'s> {
    /// A stage that creates topics as the cluster's defaults say.
    pub fn new(name: &'static str, from: &'s str, step: Step<'s>) -> Stage<'s> {
        Stage { name, from, step, shape: Shape::default(), admit: None, clean: None }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The topic read.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Records read.
    pub read: u64,
    /// Records published, without dead letters.
    pub published: u64,
    /// Records that are in the dead-letter topic now.
    pub rejected: u64,
    /// What the stage counts by names of its own.
    pub counts: BTreeMap<&'static str, u64>,
    /// Transactions.
    pub commits: u64,
    /// Transactions that came to nothing and were done again.
    pub aborts: u64,
    /// Seconds from the start of the verb.
    pub seconds: f64,
    /// Whether the stop signal ended it.
    pub interrupted: bool,
}

impl Summary {
    /// How the verb ends.
    pub fn outcome(&self) -> Outcome {
        match (self.interrupted, self.rejected) {
            (true, _) => Outcome::Interrupted,
            (false, 0) => Outcome::Done,
            (false, _) => Outcome::Rejected,
        }
    }
}

impl Summary {
    fn new(topic: &str, group: &str) -> Summary {
        Summary { topic: topic.to_owned(), group: group.to_owned(), ..Summary::default() }
    }

    fn take(&mut self, totals: Totals) {
        let Totals { read, published, rejected, commits, aborts, counts } = totals;
        (self.read, self.published, self.rejected) = (read, published, rejected);
        (self.commits, self.aborts, self.counts) = (commits, aborts, counts);
    }

    fn ended(self, started: Instant, interrupted: bool) -> Summary {
        Summary { seconds: started.elapsed().as_secs_f64(), interrupted, ..self }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.counts.iter().map(|(name, number)| (*name, number));
        let rows =
            [("read", &self.read), ("published", &self.published), ("rejected", &self.rejected)];
        let rows: Vec<(&str, &u64)> = rows.into_iter().chain(own).collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, number) in rows {
            writeln!(f, "{name:width$}  {number}")?;
        }
        let rate = self.read as f64 / self.seconds.max(0.001);
        let Summary { commits, aborts, seconds, .. } = self;
        write!(f, "{} in {seconds:.1} s, {rate:.0}/s", plural(*commits, "transaction"))?;
        match aborts {
            0 => Ok(()),
            _ => write!(f, "; {} done again", plural(*aborts, "other")),
        }
    }
}

/// Runs a stage until its end.
///
/// # Errors
/// When Kafka cannot be reached at the start, the topic is not there, or anything
/// that no wait will cure happens later.
pub fn run(stage: Stage<'_>, args: &Args, context: &Context) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let Stage { name, from, step, shape, mut admit, clean } = stage;
    let letters = args.dead_letters(from)?;
    let group = args.group.clone().unwrap_or_else(|| format!("orderctl-{name}"));
    let mut summary = Summary::new(from, &group);
    let settings = context.kafka()?;
    let consumer = match join(&settings, &group, from, context) {
        Err(_) if context.stop.requested() => return Ok(summary.ended(started, true)),
        joined => joined?,
    };
    let instance = Instance::find(args.instance.as_deref(), &format!("{group}-{name}"))?;
    announce(name, from, &group, &instance, context);
    let topics = Topics::new(&settings, &context.console, &context.stop)?;
    let display = Display::new(name, &context.console);
    let (totals, ending) = relay::run(
        Parts {
            consumer,
            settings,
            transactional_id: instance.transactional_id.clone(),
            console: context.console.clone(),
            stop: context.stop.clone(),
            metrics: Arc::clone(&context.metrics),
            step,
            reject: &mut |raw, reject, outgoing| {
                let cleaned =
                    raw.payload.and_then(|payload| clean.and_then(|clean| clean(payload)));
                let payload = cleaned.as_deref().or(raw.payload);
                let raw = Raw { payload, ..*raw };
                dead_letter::push(outgoing, &letters, name, from, &raw, reject);
            },
            prepare: &mut |wanted| prepare(wanted, &topics, shape, &mut admit, &display),
            progress: &mut |progress| display.show(progress),
        },
        args.options(),
    )?;
    display.line.finish_and_clear();
    summary.take(totals);
    Ok(summary.ended(started, ending == Ending::Stopped))
}

/// Says what is processed, and begins to show its figures.
fn announce(name: &'static str, from: &str, group: &str, instance: &Instance, context: &Context) {
    let fields = json!({
        "stage": name,
        "topic": from,
        "group": group,
        "transactional_id": instance.transactional_id,
    });
    let text = format!("{name}: reading {from} as group {group}");
    context.console.event(Level::Info, text, &fields);
    context.metrics.begin_relaying(Relaying::new(name, from, group));
}

/// Makes sure that topics are there.
fn prepare(
    wanted: &BTreeSet<String>,
    topics: &Topics,
    shape: Shape,
    admit: &mut Option<Admit<'_>>,
    display: &Display<'_>,
) -> anyhow::Result<Readied> {
    let existing = match topics.names() {
        Ok(existing) => existing,
        Err(why) => return Ok(Readied::NotYet(why)),
    };
    let mut missing: BTreeSet<String> = wanted.difference(&existing).cloned().collect();
    if let Some(admit) = admit {
        display.line.suspend(|| admit(&existing, &mut missing));
    }
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(Readied::Yes);
    }
    let readied = topics.create(&missing, shape)?;
    if readied == Readied::Yes {
        let shown = missing.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = match missing.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(" and {}", plural(more as u64, "other")),
        };
        display.say(Level::Info, &format!("created {shown}{more}"), &json!({ "topics": missing }));
    }
    Ok(readied)
}

fn join(
    settings: &KafkaSettings,
    group: &str,
    from: &str,
    context: &Context,
) -> anyhow::Result<Consumer> {
    client::probe(settings, &context.console, &context.stop, KAFKA_TIMEOUT)?;
    let mut config = client::client_config_over(&DEFAULTS, settings);
    // What was aborted is not to be processed; and partitions come and go as a
    // whole here.
    config.set("isolation.level", "read_committed");
    config.set("partition.assignment.strategy", "range,roundrobin");
    let wants_ends = context.is_watched || context.console.shows_progress();
    let consumer = Joining::new(config, group, &context.console, wants_ends)?.on(from);
    consumer.partition_count(KAFKA_TIMEOUT)?.ok_or_else(|| {
        anyhow!(
            "there is no topic {from}: publish to it with `orderctl produce --topic-name {from} \
             --create-topic`, or name another with --from"
        )
    })?;
    Ok(consumer)
}

/// The live line on a terminal, and notes about what is away.
struct Display<'c> {
    name: &'static str,
    console: &'c Console,
    line: ProgressBar,
}

impl<'c> Display<'c> {
    fn new(name: &'static str, console: &'c Console) -> Display<'c> {
        Display { name, console, line: console.live_line() }
    }

    fn show(&self, progress: Progress<'_>) {
        match progress {
            Progress::Totals(totals, lag) => self.show_totals(totals, lag),
            Progress::Assigned(partitions) => {
                let fields = json!({ "partitions": partitions });
                let text = format!("{} assigned", plural(partitions.len() as u64, "partition"));
                self.say(Level::Debug, &text, &fields);
            }
            Progress::Waiting(why) => {
                self.say(Level::Info, &format!("waiting: {why}"), &Value::Null);
            }
            Progress::Resumed => self.say(Level::Info, "back again", &Value::Null),
        }
    }

    fn say(&self, level: Level, text: &str, fields: &Value) {
        self.line.suspend(|| self.console.event(level, text, fields));
    }

    fn show_totals(&self, totals: &Totals, lag: u64) {
        self.line.set_message(format!(
            "{}: read {}, lag {lag}, published {}, rejected {}, transactions {}",
            self.name, totals.read, totals.published, totals.rejected, totals.commits
        ));
    }
}
