//! `verify`: Kafka against the table against the dead letters.
//!
//! Positions, dead letters and the table's ids are read in one repeatable-read
//! transaction, so it may run while workers do. Then each partition of the topic
//! is read, as `consume` reads it, from its first record to the ledger's position
//! in that transaction. Every record read must have one effect:
//!
//! - a dead letter of its offset and time: `rejected`;
//! - else its id must be in the table. With a unique key it is there once, however
//!   many records carry it: the first is `stored`, later ones are `duplicates`.
//!   Without one, each record has a row;
//! - else it is `missing`, also when it could never have been a row.
//!
//! Rows and letters beyond that are `duplicated`; those of no record are `extra`.
//! `behind` is what the group has still before it, which is no fault.
//!
//! Not everything can be judged. Offsets before the low watermark, and those that
//! compaction may have emptied, are `unknown`: whatever became of those records.
//! While there are such, or another group or topic has a position for the same
//! table, a row without a record may come from there: it is `unknown` too and not
//! `extra`. So it is, with the dead letters from before, when a position was moved
//! with `--on-data-loss`, since they may be of a topic that is gone; and records
//! before the offset it was moved to are `unknown` where they have no effect, as
//! nobody may have read them.
//!
//! When a dead letter was removed by hand and another record of its id is the row,
//! the record is still `missing` if the table, as it is now, does not take it. A
//! record that only the server refused, by a constraint or a trigger, cannot be
//! told from a duplicate then.
//!
//! Ids are compared as the key column holds them ([`crate::edges::postgres::key`]).
//! They go by hash into buckets in temporary files, from the topic and from the
//! table, and bucket is compared with bucket, so memory depends on the number of
//! partitions and not on that of records.

mod compare;
mod findings;
mod letters;
mod manifest;
mod records;
mod report;
mod snapshot;
mod spill;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::kafka::range::{self, Span};
use crate::edges::kafka::{client, topics};
use crate::edges::postgres::{key::KeyForm, runtime};
use crate::engine::checkpoint::Log;
use crate::error::Outcome;
use crate::stages::consume::selection::{Selection, ask_kafka, find_topic, refuse_own_properties};
use crate::stop::Stop;
use compare::Rules;
use findings::{Counts, Findings};
use manifest::Manifest;
use records::Records;
use report::Partition;
pub use report::Report;
use snapshot::Snapshot;
use spill::BUCKETS;

/// How long leaving the cluster may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Progress is shown once in so many records.
const RECORDS_A_STEP: u64 = 1024;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("group", |group| {
    group.help("Consumer group whose work is looked at [default: orderctl-TABLE]")
}))]
#[command(after_help = "\
Examples:
  orderctl verify --table orders                      while workers run, too
  orderctl verify --table orders --manifest m.json    what produce --inject promised
  orderctl verify --table orders -o json --show 1000
  TMPDIR=/big orderctl verify                         about 100 bytes a record go there

Every record before the group's position must be a row, a duplicate or a dead
letter, and every row and dead letter must have its record.
Exit codes: 0 nothing missing, duplicated or extra, 1 something is, or it could
not be found out, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// Which table, topic and group are meant.
    #[command(flatten)]
    pub selection: Selection,

    /// Also check what `produce --manifest FILE` promised
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,

    /// How many ids or offsets to name of what is missing, duplicated and extra, each
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: u32,
}

/// Compares the topic with the table and the dead letters.
///
/// # Errors
/// When something is missing, duplicated or extra (the report says what), or when
/// Kafka or the database cannot be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let Some(report) = verify(args, context)? else {
        context.console.note("interrupted before everything was compared");
        return Ok(Outcome::Interrupted);
    };
    context.console.result(&report)?;
    match report.verdict() {
        None => Ok(Outcome::Done),
        Some(verdict) => bail!("{verdict}"),
    }
}

/// As [`run()`], with the report as the result, whatever it says; none when a
/// stop was requested.
///
/// # Errors
/// When Kafka or the database cannot be read.
pub fn verify(args: &Args, context: &Context) -> anyhow::Result<Option<Report>> {
    let started = Instant::now();
    let manifest = args.manifest.as_deref().map(Manifest::read).transpose()?;
    let kafka = context.kafka()?;
    refuse_own_properties(&kafka)?;
    let postgres = context.postgres()?;
    // First, so that it connects while the database is read.
    let config = client::client_config_over(&DEFAULTS, &kafka);
    let joining = Joining::new(config, &args.selection.group()?, &context.console, false)?;
    let reading = snapshot::take(&args.selection, &postgres, manifest.as_ref(), &context.console);
    let snapshot = runtime()?.block_on(async {
        tokio::select! {
            snapshot = reading => snapshot.map(Some),
            () = context.stop.wait() => Ok(None),
        }
    })?;
    let Some(snapshot) = snapshot else { return Ok(None) };
    let consumer = joining.on(&snapshot.plan.owner.topic);
    let compared = compare_topic(args, context, &kafka, &consumer, &snapshot);
    consumer.close(CLOSE_LIMIT);
    let compared = match compared {
        Err(_) if context.stop.requested() => None,
        compared => compared?,
    };
    Ok(compared.map(|compared| compared.report(snapshot, manifest.as_ref(), started.elapsed())))
}

/// What came of the comparison.
struct Compared {
    spans: BTreeMap<i32, Span>,
    counts: BTreeMap<i32, Counts>,
    table: compare::TableCounts,
    findings: Findings,
    notes: Vec<String>,
}

/// Reads the topic and compares; none when a stop was requested.
fn compare_topic(
    args: &Args,
    context: &Context,
    kafka: &KafkaSettings,
    consumer: &Consumer,
    snapshot: &Snapshot,
) -> anyhow::Result<Option<Compared>> {
    let topic = &snapshot.plan.owner.topic;
    let partitions = find_topic(kafka, consumer, topic, context)?;
    let spans = spans(consumer, partitions, snapshot, &context.stop)?;
    let policy = topics::is_compacted(kafka, topic, &context.console, &context.stop)?;
    let mut findings = Findings::new(args.show as usize);
    let target = &snapshot.plan.target;
    // A topic whose policy we may not see is taken for a compacted one: a gap in
    // its offsets proves nothing then.
    let is_compacted = policy.unwrap_or(true);
    let moved = snapshot.moved();
    let records = Records::new(target, &snapshot.letters, &spans, &moved, is_compacted)?;
    let read = read_topic(context, consumer, &spans, records, &mut findings)?;
    let Some((mut counts, ids)) = read else { return Ok(None) };
    let is_unjudged = counts.values().any(|counts| counts.unknown > 0);
    let rules = Rules {
        unique: target.unique_key,
        foreign_rows: is_unjudged || !snapshot.others.is_empty() || !moved.is_empty(),
        form: KeyForm::of(target.key()),
    };
    let mut table = snapshot.table_counts(&rules, &mut findings);
    let bar = context.console.bar(BUCKETS as u64, "parts compared");
    for bucket in 0..BUCKETS {
        if context.stop.requested() {
            return Ok(None);
        }
        let sides = (&ids, &snapshot.ids);
        compare::compare(bucket, sides, &rules, &mut counts, &mut table, &mut findings)
            .context("cannot read a temporary file")?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut notes = snapshot.notes();
    if policy.is_none() && is_unjudged {
        notes.push(format!(
            "this login may not see whether topic {topic} is compacted, so gaps in its offsets \
             count as unknown: grant it DESCRIBE_CONFIGS on the topic"
        ));
    }
    Ok(Some(Compared { spans, counts, table, findings, notes }))
}

/// What is to be read of each partition of the topic.
fn spans(
    consumer: &Consumer,
    partitions: usize,
    snapshot: &Snapshot,
    stop: &Stop,
) -> anyhow::Result<BTreeMap<i32, Span>> {
    let numbers: Vec<i32> = (0..i32::try_from(partitions)?).collect();
    let questions = consumer.questions();
    let logs = ask_kafka(stop, |limit| questions.logs(&numbers, limit))?;
    let logs = logs.context("the client was closed")?;
    snapshot.refuse_other_topic(logs.topic_id.as_ref())?;
    let position_of = |number: i32| snapshot.positions.get(&number).map(|one| one.next_offset);
    let mut spans: BTreeMap<i32, Span> = BTreeMap::new();
    for (number, Log { first, end }) in logs.partitions {
        let position = position_of(number).unwrap_or(first);
        spans.insert(number, Span { first, position, end });
    }
    // Partitions that only the database knows have nothing that could be read.
    let named = snapshot.positions.keys().copied().chain(snapshot.letters.partitions());
    for number in named {
        let position = position_of(number).unwrap_or(0);
        spans.entry(number).or_insert(Span { first: 0, position, end: 0 });
    }
    Ok(spans)
}

type Read = (BTreeMap<i32, Counts>, spill::Spill<{ records::PLACE_BYTES }>);

fn read_topic(
    context: &Context,
    consumer: &Consumer,
    spans: &BTreeMap<i32, Span>,
    mut records: Records<'_>,
    findings: &mut Findings,
) -> anyhow::Result<Option<Read>> {
    let offsets = |span: &Span| u64::try_from(span.position.min(span.end) - span.first);
    let bar = context.console.bar(spans.values().flat_map(offsets).sum(), "records");
    let mut count = 0u64;
    let next = range::read(
        consumer,
        spans,
        &context.stop,
        |why| bar.suspend(|| context.console.note(format_args!("waiting: {why}"))),
        |raw| {
            count += 1;
            if count.is_multiple_of(RECORDS_A_STEP) {
                bar.inc(RECORDS_A_STEP);
            }
            records.take(raw, findings)
        },
    )?;
    bar.finish_and_clear();
    let Some(next) = next else { return Ok(None) };
    records.finish(&next, findings).map(Some)
}

impl Compared {
    fn report(self, snapshot: Snapshot, manifest: Option<&Manifest>, took: Duration) -> Report {
        let Compared { spans, counts, table, findings, notes } = self;
        let plan = &snapshot.plan;
        let mut totals = Counts { extra: table.extra, unknown: table.unknown, ..Counts::default() };
        counts.values().for_each(|counts| totals += *counts);
        let partition = |(number, span): (&i32, &Span)| Partition {
            partition: *number,
            first: span.first,
            position: snapshot.positions.get(number).map(|one| one.next_offset),
            end: span.end,
            counts: counts.get(number).copied().unwrap_or_default(),
        };
        let partitions: Vec<Partition> = spans.iter().map(partition).collect();
        let (findings, findings_left_out) = findings.into_sorted();
        let seconds = took.as_secs_f64();
        let mut report = Report {
            topic: plan.owner.topic.clone(),
            table: format!("{}.{}", plan.target.schema, plan.target.table),
            group: plan.owner.group.clone(),
            ok: false,
            problems: partitions.iter().filter_map(beyond_end).collect(),
            partitions,
            rows: table,
            findings,
            findings_left_out,
            deviations: manifest.map(|one| one.deviations(&totals, plan.target.unique_key)),
            totals,
            notes,
            seconds,
            records_per_second: totals.read as f64 / seconds.max(0.001),
        };
        report.notes.extend(report.partitions.iter().filter_map(lost_unread));
        report.ok = report.verdict().is_none();
        report
    }
}

fn beyond_end(partition: &Partition) -> Option<String> {
    let position = partition.position.filter(|position| *position > partition.end)?;
    Some(format!(
        "partition {}: the ledger's position {position} is beyond the topic's end {}: the topic \
         was truncated, or deleted and created again",
        partition.partition, partition.end
    ))
}

fn lost_unread(partition: &Partition) -> Option<String> {
    let position = partition.position.filter(|position| *position < partition.first)?;
    Some(format!(
        "partition {}: what was in offsets {position} to {} is gone from Kafka and was not stored \
         before",
        partition.partition,
        partition.first - 1
    ))
}
