//! What the stages from Kafka to Kafka share: arguments, wiring and summary.

pub mod dead_letter;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::{KafkaSettings, duration};
use crate::console::Console;
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::engine::relay::{self, Options, Parts, Progress, Step, Totals};
use crate::engine::run::Ending;
use crate::error::Outcome;

/// How long a broker may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes published in one transaction.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Arguments that every stage has.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Consumer group [default: orderctl- and the name of the command]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Name of this worker among those of its group, to be the same after a
    /// restart; it is part of the transactional id [default: host and process]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,

    /// Commit this often while records come
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "100ms")]
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

/// One stage: where it reads, and what it makes of a record.
pub struct Stage<'s> {
    /// The verb.
    pub name: &'static str,
    /// The topic read.
    pub from: &'s str,
    /// Makes records of one record.
    pub step: Step<'s>,
    /// Makes sure that a topic is there that is published to for the first time.
    pub prepare_topic: &'s mut dyn FnMut(&str) -> anyhow::Result<()>,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read       {}", self.read)?;
        writeln!(f, "published  {}", self.published)?;
        writeln!(f, "rejected   {}", self.rejected)?;
        let rate = self.read as f64 / self.seconds.max(0.001);
        let Summary { commits, aborts, seconds, .. } = self;
        write!(f, "{commits} transactions, {aborts} done again, in {seconds:.1} s, {rate:.0}/s")
    }
}

/// Runs a stage until its end.
///
/// # Errors
/// When Kafka cannot be reached at the start, the topic is not there, or anything
/// that no wait will cure happens later.
pub fn run(stage: Stage<'_>, args: &Args, context: &Context) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let settings = context.kafka()?;
    let group = args.group.clone().unwrap_or_else(|| format!("orderctl-{}", stage.name));
    let consumer = join(&settings, &group, stage.from, context)?;
    let letters = args.dead_letter_topic.clone();
    let letters = letters.unwrap_or_else(|| dead_letter::default_topic(stage.from));
    let instance = args.instance.clone().unwrap_or_else(worker_name);
    context.console.note(format!("{}: reading {} as group {group}", stage.name, stage.from));
    let line = context.console.live_line();
    let mut display = Display { name: stage.name, console: &context.console, line };
    let (totals, ending) = relay::run(
        Parts {
            consumer,
            settings,
            transactional_id: format!("{group}-{}-{instance}", stage.name),
            console: context.console.clone(),
            stop: context.stop.clone(),
            step: stage.step,
            reject: &mut |raw, reject, outgoing| {
                dead_letter::push(outgoing, &letters, stage.name, stage.from, raw, reject);
            },
            prepare_topic: stage.prepare_topic,
            progress: &mut |progress| display.show(progress),
        },
        Options {
            records_max: u64::from(args.batch_records),
            bytes_max: BATCH_BYTES_MAX,
            age_max: args.commit_interval,
            until_end: args.until_end,
            idle_exit: args.idle_exit,
        },
    )?;
    display.line.finish_and_clear();
    Ok(Summary {
        topic: stage.from.to_owned(),
        group,
        read: totals.read,
        published: totals.published,
        rejected: totals.rejected,
        commits: totals.commits,
        aborts: totals.aborts,
        seconds: started.elapsed().as_secs_f64(),
        interrupted: ending == Ending::Stopped,
    })
}

fn join(
    settings: &KafkaSettings,
    group: &str,
    from: &str,
    context: &Context,
) -> anyhow::Result<Consumer> {
    client::probe(settings, &context.console, &context.stop, KAFKA_TIMEOUT)?;
    let config = client::client_config_over(&DEFAULTS, settings);
    let consumer = Joining::new(config, group, &context.console, false)?.on(from);
    consumer.partition_count(KAFKA_TIMEOUT)?.ok_or_else(|| {
        anyhow!(
            "there is no topic {from}: publish to it with `orderctl produce --topic-name {from} \
             --create-topic`, or name another with --from"
        )
    })?;
    Ok(consumer)
}

/// Host and process: two workers never have the same.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// The live line on a terminal, and notes about what is away.
struct Display<'c> {
    name: &'static str,
    console: &'c Console,
    line: ProgressBar,
}

impl Display<'_> {
    fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Totals(totals) => self.show_totals(totals),
            Progress::Waiting(why) => {
                self.line.suspend(|| self.console.note(format!("waiting: {why}")));
            }
            Progress::Resumed => self.line.suspend(|| self.console.note("back again")),
        }
    }

    fn show_totals(&mut self, totals: &Totals) {
        self.line.set_message(format!(
            "{}: read {}, published {}, rejected {}, transactions {}",
            self.name, totals.read, totals.published, totals.rejected, totals.commits
        ));
    }
}
