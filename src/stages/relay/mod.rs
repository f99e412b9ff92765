//! What the stages from Kafka to Kafka share: arguments, wiring and summary.

pub mod dead_letter;
mod instance;
mod join;
mod summary;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::config::args::{parse_group, parse_topic_name};
use crate::config::duration;
use crate::console::{Console, plural};
use crate::edges::kafka::topics::Topics;
use crate::engine::metrics::Relaying;
use crate::engine::record::Raw;
use crate::engine::relay::{self, Options, Parts, Progress, Step, Totals};
use crate::engine::run::Ending;
use crate::error::Usage;
use crate::events::{Kind, Reject, card};
use crate::log::Level;

pub use crate::edges::kafka::topics::Shape;
use instance::Instance;
pub use summary::Summary;

/// Bytes published in one transaction.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest time between two commits.
const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Arguments that every stage has.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Consumer group [default: orderctl- and the name of the command]
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub group: Option<String>,

    /// Name of this worker among those of its group, to be the same after a
    /// restart; it is part of the transactional id [default: host and a number]
    #[arg(long, env = "ORDERCTL_INSTANCE", value_name = "NAME", value_parser = instance::parse)]
    pub instance: Option<String>,

    /// Commit this often while records come
    #[arg(long, value_name = "DURATION", value_parser = parse_interval, default_value = "100ms")]
    pub commit_interval: Duration,

    /// Most records in one transaction
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
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
    /// The dead-letter topic of this topic, where these are published to.
    ///
    /// # Errors
    /// A [`Usage`] error when it is one of them, or its name is too long.
    pub fn dead_letters(&self, from: &str, outputs: &[&str]) -> Result<String, Usage> {
        let named = self.dead_letter_topic.clone();
        let letters = named.unwrap_or_else(|| dead_letter::default_topic(from));
        let wrong = |why: String| Err(Usage(why));
        if letters == from {
            return wrong(
                "dead letters cannot go to the topic that is read: name another with \
                 --dead-letter-topic"
                    .into(),
            );
        }
        if outputs.contains(&letters.as_str()) {
            return wrong(format!(
                "dead letters cannot go to {letters}, which is for what is no dead letter: name \
                 another with --dead-letter-topic"
            ));
        }
        if parse_topic_name(&letters).is_err() {
            return wrong(format!(
                "no topic can have the name {letters}: name one for dead letters with \
                 --dead-letter-topic"
            ));
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
    /// What events the topic has, for who looks for it in vain.
    pub kind: Kind,
    /// Topics that are made sure of before the first record is read.
    pub outputs: &'s [&'s str],
    /// How topics are made that are published to and not there, dead letters'
    /// included.
    pub shape: Shape,
    /// Whether they have as many partitions as the topic read, unless `shape` says
    /// how many.
    pub is_alike: bool,
    /// The topic that a stage before makes the one read of. Where it is not there
    /// yet, it is created with as many partitions as that one.
    pub follows: Option<&'s str>,
    /// Called before topics are created, with those that are there and those to
    /// be created, of which it may take some away.
    pub admit: Option<Admit<'s>>,
    /// Whether card data is taken out of all that is published beside what the
    /// step makes: dead letters with their keys and reasons, and headers.
    pub is_cleaned: bool,
}

/// See [`Stage::admit`].
pub type Admit<'s> = &'s mut dyn FnMut(&BTreeSet<String>, &mut BTreeSet<String>);

impl<'s> Stage<'s> {
    /// A stage that creates topics as the cluster's defaults say.
    pub fn new(name: &'static str, from: &'s str, step: Step<'s>) -> Stage<'s> {
        Stage {
            name,
            from,
            step,
            kind: Kind::Order,
            outputs: &[],
            shape: Shape::default(),
            is_alike: false,
            follows: None,
            admit: None,
            is_cleaned: false,
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
    let letters = args.dead_letters(stage.from, stage.outputs)?;
    let group = args.group.clone().unwrap_or_else(|| format!("orderctl-{}", stage.name));
    let mut summary = Summary::new(stage.from, &group);
    let settings = context.kafka()?;
    join::refuse_own_properties(&settings)?;
    let topics = Topics::new(&settings, &context.console, &context.stop)?;
    let (consumer, shape) = match join::join(&stage, &settings, &group, &topics, context) {
        Err(_) if context.stop.requested() => return Ok(summary.ended(started, true)),
        joined => joined?,
    };
    let Stage { name, from, step, outputs, mut admit, is_cleaned, .. } = stage;
    let instance = Instance::find(args.instance.as_deref(), &format!("{group}-{name}"))?;
    announce(name, from, &group, &instance, context);
    let display = Display::new(name, &context.console);
    let mut prepare =
        |wanted: &BTreeSet<String>| topics::prepare(wanted, &topics, shape, &mut admit, &display);
    if !outputs.is_empty() {
        // What is not there then is waited for when it is needed.
        prepare(&outputs.iter().map(|topic| (*topic).to_owned()).collect())?;
    }
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
                let mut push = |raw: &Raw<'_>, reject: &Reject| {
                    dead_letter::push(outgoing, &letters, name, from, raw, reject);
                };
                if is_cleaned { dead_letter::cleaned(raw, reject, push) } else { push(raw, reject) }
            },
            inherit: &|raw, headers| {
                if is_cleaned {
                    card::clean_headers(raw.payload, headers);
                }
            },
            prepare: &mut prepare,
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::parse_from(std::iter::once("stage").chain(line.split_whitespace())).args
    }

    #[test]
    fn a_transaction_is_a_tenth_of_a_second_or_fifty_thousand_records_unless_said() {
        let Options { records_max, bytes_max, age_max, .. } = args("").options();
        assert_eq!((records_max, bytes_max), (50_000, 16 << 20));
        assert_eq!(age_max, Duration::from_millis(100));
    }

    #[test]
    fn dead_letters_have_a_topic_that_nothing_else_goes_to_or_comes_from() {
        let letters = |line: &str, from: &str| args(line).dead_letters(from, &["out"]);
        assert_eq!(letters("", "in").unwrap(), "in_dead_letters");
        assert_eq!(letters("--dead-letter-topic d", "in").unwrap(), "d");
        let long = "t".repeat(240);
        let both = ["--dead-letter-topic in", "--dead-letter-topic out"].map(|line| (line, "in"));
        for (line, from) in both.into_iter().chain([("", &*long)]) {
            let why = letters(line, from).unwrap_err().0;
            assert!(why.contains("with --dead-letter-topic"), "{why}");
        }
        assert!(letters("--dead-letter-topic d", &long).is_ok());
    }
}
