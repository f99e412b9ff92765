//! `produce`: events from a source into a topic, every one acknowledged.

mod handover;
mod inject;
mod named;
mod publish;
mod report;
mod rows;
mod source;
mod url;
mod watch;

use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail};
use indicatif::ProgressBar;
use serde_json::json;

use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::config::args::{Unquoted, parse_rate, parse_topic_name};
use crate::config::duration;
use crate::console::plural;
use crate::edges::http::fetch::Fetcher;
use crate::edges::kafka::client::probe;
use crate::edges::kafka::producer::Producer;
use crate::edges::kafka::topics;
use crate::error::{Outcome, Usage};
use crate::events::Kind;
use crate::events::fake::{Generator, IdStyle};
use crate::log::Level;
use handover::Handover;
use inject::{Faulty, Injection};
use named::Named;
use publish::{Run, Sink};
use report::{Manifest, ManifestFile, Report, Tally};
use source::{Reading, Source};
use watch::Watch;

/// How many events are generated unless told otherwise.
const NUM_GENERATED: u64 = 100;
/// When the first event of a run with --seed happens: 2025-01-01, whatever the
/// day, so that the bytes stay the same.
const SEEDED_BASE_MICROS: i64 = 1_735_689_600_000_000;
/// How long the cluster may take to answer at the start.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  orderctl produce --num 1000 --create-topic --partitions 6
  orderctl produce --kind movie-ticket --topic-name movie_app --interval 2s
  orderctl produce --seed 7 --num 100000 --inject dup=2%,malformed=1% --manifest m.json
  orderctl produce --source orders.jsonl
  orderctl produce --source \"postgres:select * from orders where priority = 'high'\"
  orderctl produce --kind user --source \"https://HOST/api/?results=5\" --interval 1m
  orderctl produce --num 5 --dry-run

A URL gives users as the public random-user services do, or events of the kind as a
JSON array or lines. It is fetched once, or with --interval once every interval until
--num events are published, for ever without --num. While the service is away, busy or
limits the rate, it is asked again later.

Exit codes: 0 all acknowledged, 1 failed, 2 wrong usage, 3 some records of the source
were not valid and not sent, 130 interrupted (what was queued has been sent).";

/// Arguments of `produce`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many events at most [default: 100 generated ones; all of any other source]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    num: Option<u64>,

    /// Kind of the events
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,

    /// Topic to publish to [default: product_orders, movie_app or users_info, by the kind]
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic_name: Option<String>,

    /// Time from one event to the next, or from one fetch of a URL to the next: 250ms, 2s, 1m
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "rate")]
    interval: Option<Duration>,

    /// How many events a second [default: as fast as the cluster takes them]
    #[arg(long, value_name = "N", value_parser = parse_rate, allow_negative_numbers = true)]
    rate: Option<Duration>,

    /// Generate the same bytes as every run with this number
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// fake, a file of JSON lines, - for standard input, a URL, or postgres:QUERY
    #[arg(long, value_name = "SOURCE", default_value = "fake", value_parser = Unquoted(Named::parse))]
    source: Named,

    /// CA certificates to trust when --source is an https:// URL, beside the system's
    #[arg(long, value_name = "FILE")]
    source_ca: Option<PathBuf>,

    /// Publish what the source has even where it is no valid event
    #[arg(long)]
    raw: bool,

    /// Kind of the generated ids
    #[arg(long, value_enum, default_value_t, value_name = "STYLE")]
    id_style: IdStyle,

    /// Plant known faults among generated events: dup=1%,malformed=0.5%,late=2%
    #[arg(long, value_name = "FAULTS", value_parser = Injection::parse)]
    inject: Option<Injection>,

    /// Give generated orders a payment with a test card, of which confirm declines some
    #[arg(long)]
    payments: bool,

    /// Write down what must come of the generated events
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Print the payloads to standard output and publish nothing
    #[arg(long)]
    dry_run: bool,

    /// Create the topic if it is missing
    #[arg(long, conflicts_with = "dry_run")]
    create_topic: bool,

    /// Partitions of the topic to create [default: the cluster's]
    #[arg(long, value_name = "N", requires = "create_topic",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: Option<u32>,

    /// Replicas of each partition of the topic to create [default: the cluster's]
    #[arg(long, value_name = "N", requires = "create_topic",
          value_parser = clap::value_parser!(u16).range(1..=100))]
    replication_factor: Option<u16>,
}

impl Args {
    fn topic(&self) -> &str {
        self.topic_name.as_deref().unwrap_or(self.kind.default_topic())
    }

    /// The time from one event to the next; an interval between fetches is none.
    fn pace(&self) -> Option<Duration> {
        let interval = self.interval.filter(|_| !matches!(self.source, Named::Url(_)));
        interval.or(self.rate)
    }

    /// Refuses flags that do not go together in ways that clap cannot tell.
    fn check(&self) -> Result<(), Usage> {
        let generated = self.source == Named::Fake;
        let for_generated = [
            (self.seed.is_some(), "--seed"),
            (self.inject.is_some(), "--inject"),
            (self.manifest.is_some(), "--manifest"),
            (self.payments, "--payments"),
        ];
        if let Some((_, flag)) = for_generated.iter().find(|(given, _)| *given && !generated) {
            return Err(Usage(format!(
                "{flag} is for generated events; use it with --source fake"
            )));
        }
        if self.raw && generated {
            return Err(Usage(
                "--raw is for --source FILE, -, URL or postgres:QUERY; generated events are valid, \
                 unless --inject malformed=1%"
                    .into(),
            ));
        }
        if self.payments && self.kind != Kind::Order {
            return Err(Usage("only orders are paid for; leave --payments out".into()));
        }
        let has_tls = matches!(&self.source, Named::Url(address) if address.has_tls());
        if self.source_ca.is_some() && !has_tls {
            return Err(Usage("--source-ca is for --source https://…; leave it out".into()));
        }
        let late = self.inject.is_some_and(|injection| !injection.late.is_none());
        if late && self.kind == Kind::MovieTicket {
            return Err(Usage("a movie ticket has no moment to be late; leave late= out".into()));
        }
        Ok(())
    }
}

/// Publishes events and waits for every acknowledgement.
///
/// # Errors
/// When the arguments contradict each other, the cluster cannot be reached or
/// has no such topic, the source cannot be read, or not all was acknowledged.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    args.check()?;
    let seed = (args.source == Named::Fake).then(|| args.seed.unwrap_or_else(rand::random));
    let manifest = args.manifest.as_deref().map(ManifestFile::prepare).transpose()?;
    let opened =
        open_source(args, context, seed).and_then(|source| Ok((source, open_sink(args, context)?)));
    let (mut source, sink) = match opened {
        // What was being waited for is of no interest any more.
        Err(_) if context.stop.requested() => return Ok(Outcome::Interrupted),
        opened => opened?,
    };
    let linger = match &sink {
        Sink::Topic(producer) => producer.linger(),
        Sink::Stdout(_) => Duration::ZERO,
    };
    let mut run = Run {
        sink,
        pace: args.pace(),
        stop: &context.stop,
        tally: Tally::default(),
        watch: Watch::new(
            args.topic(),
            &context.console,
            &context.metrics,
            progress(args, context),
        ),
        handover: Handover::new(linger, Instant::now()),
    };
    announce(args, context, seed);
    let started = Instant::now();
    let published = run.publish(&mut source);
    run.finish()?;
    run.watch.bar.finish_and_clear();
    let Run { sink, tally, .. } = run;
    let Sink::Topic(producer) = sink else {
        context
            .console
            .note(format_args!("{} printed, nothing published", plural(tally.sent, "payload")));
        published?;
        return conclude(args, seed, &tally, manifest, context);
    };
    let acknowledged = producer.acknowledged();
    let elapsed = started.elapsed();
    let report = Report::new(args.topic(), args.kind, seed, &tally, acknowledged, elapsed);
    if tally.sent > 0 || published.is_ok() {
        context.console.result(&report)?;
    }
    published?;
    if acknowledged < tally.sent {
        let text = not_acknowledged(&producer, &tally, acknowledged);
        if producer.first_failure().is_some() || !context.stop.requested() {
            bail!("{text}");
        }
        context.console.note(text);
        return Ok(Outcome::Interrupted);
    }
    conclude(args, seed, &tally, manifest, context)
}

/// Notes in the log file what is published.
fn announce(args: &Args, context: &Context, seed: Option<u64>) {
    let settings = json!({
        "topic": args.topic(),
        "kind": args.kind.name(),
        "seed": seed,
        "num": args.num,
        "interval_seconds": args.interval.or(args.rate).map(|time| time.as_secs_f64()),
    });
    context.console.event(Level::Debug, format_args!("publishing to {}", args.topic()), &settings);
}

fn open_source(args: &Args, context: &Context, seed: Option<u64>) -> anyhow::Result<Source> {
    let reading = Reading { kind: args.kind, raw: args.raw, num: args.num.unwrap_or(u64::MAX) };
    match (&args.source, seed) {
        (Named::Fake, seed) => {
            let base_micros = args.seed.map_or_else(now_micros, |_| SEEDED_BASE_MICROS);
            let seed = seed.unwrap_or_default();
            let generator = Generator::new(args.kind, seed, base_micros, args.id_style)
                .with_payments(args.payments);
            let num = args.num.unwrap_or(NUM_GENERATED);
            let faulty = Faulty::new(generator, args.inject.unwrap_or_default(), num);
            Ok(Source::Generated(Box::new(faulty)))
        }
        (Named::Stdin, _) => source::open_lines(None, reading),
        (Named::File(path), _) => source::open_lines(Some(path), reading),
        (Named::Postgres(query), _) => {
            source::open_query(context.postgres()?, query.clone(), reading)
        }
        (Named::Url(address), _) => {
            let fetcher = Fetcher::new(address.clone(), args.source_ca.as_deref())?;
            source::open_url(fetcher, args.interval, context.stop.clone(), reading)
        }
    }
}

fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(SEEDED_BASE_MICROS)
}

fn open_sink(args: &Args, context: &Context) -> anyhow::Result<Sink> {
    if args.dry_run {
        return Ok(Sink::Stdout(BufWriter::with_capacity(1 << 16, io::stdout().lock())));
    }
    let settings = context.kafka()?;
    // First, because an idempotent producer needs half a second to get its id.
    let producer = Producer::new(&settings, args.topic(), &context.console)?;
    find_topic(args, &settings, context)?;
    Ok(Sink::Topic(Box::new(producer)))
}

/// Makes sure that the topic is there before anything is sent.
fn find_topic(args: &Args, settings: &KafkaSettings, context: &Context) -> anyhow::Result<()> {
    let name = args.topic();
    let cluster = probe(settings, &context.console, &context.stop, PROBE_LIMIT)?;
    let found = cluster.topics.iter().find(|(topic, _)| topic == name);
    if let Some((_, partitions)) = found {
        if args.partitions.is_some_and(|wanted| wanted as usize != *partitions) {
            context.console.note(format_args!(
                "topic {name} is there with {partitions} partitions and stays as it is"
            ));
        }
        return Ok(());
    }
    if !args.create_topic {
        return Err(anyhow!(
            "there is no topic {name}, or this login may not see it: add --create-topic \
             --partitions N, or create it with kafka-topics --create --topic {name}"
        ));
    }
    let shape =
        topics::Shape { partitions: args.partitions, replication_factor: args.replication_factor };
    topics::create(settings, name, shape, &context.console, &context.stop)?;
    context.console.note(format_args!("created topic {name}"));
    Ok(())
}

fn progress(args: &Args, context: &Context) -> ProgressBar {
    let length = match args.source {
        Named::Fake => Some(args.num.unwrap_or(NUM_GENERATED)),
        _ => args.num,
    };
    match length {
        _ if args.dry_run => ProgressBar::hidden(),
        Some(length) => context.console.bar(length, "events"),
        None => context.console.counter("events"),
    }
}

fn not_acknowledged(producer: &Producer, tally: &Tally, acknowledged: u64) -> String {
    let reason = producer.first_failure().or_else(|| producer.away());
    format!(
        "{} of {} events were not acknowledged{}",
        tally.sent - acknowledged,
        tally.sent,
        reason.map(|reason| format!(": {reason}")).unwrap_or_default()
    )
}

/// Everything sent has arrived: what is left is to say so.
fn conclude(
    args: &Args,
    seed: Option<u64>,
    tally: &Tally,
    manifest: Option<ManifestFile<'_>>,
    context: &Context,
) -> anyhow::Result<Outcome> {
    if let (Some(manifest), Some(seed)) = (manifest, seed) {
        manifest.write(&Manifest::new(seed, args.kind, args.topic(), tally))?;
    }
    Ok(match (context.stop.requested(), tally.rejected) {
        (true, _) => Outcome::Interrupted,
        (false, 0) => Outcome::Done,
        (false, _) => Outcome::Rejected,
    })
}

#[cfg(test)]
mod tests;
