//! Letters of a topic that others write, back to the topics their headers name.
//! The ledger knows each by its place from the first redrive on, so that they
//! too are moved once.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use anyhow::bail;

use super::super::foreign::{self, Origin};
use super::super::{Desk, TopicNow, look_at, places};
use super::redriver::Redriver;
use super::{Args, PORTION_BYTES_MAX, PORTION_LETTERS_MAX, Summary};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::excerpt::Record;
use crate::edges::kafka::republish::Outgoing;
use crate::edges::postgres::letters::State;
use crate::edges::postgres::redrive::{self, Place, Source};
use crate::error::Usage;

/// A letter as it was read.
struct Read {
    place: Place,
    topic: Option<String>,
    record: Outgoing,
}

impl Read {
    fn bytes(&self) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        (length(&self.record.key) + length(&self.record.payload)) as u64
    }
}

/// Moves the letters that were chosen.
pub fn redrive(
    args: &Args,
    topic: &str,
    context: &Context,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let named = places(&args.names)?;
    let named = (!named.is_empty()).then_some(named.as_slice());
    let kafka = context.kafka()?;
    let desk = Desk::open(context, &args.which)?;
    let now = look_at(&kafka, topic, context)?;
    match named {
        Some(named) => find_all(args, topic, &now, named, context)?,
        None => refuse_copies(args, topic, &now, context)?,
    }
    let mut mover = Mover {
        args,
        topic,
        cluster: now.excerpt.cluster_id(),
        desk: &desk,
        kafka,
        redrivers: BTreeMap::new(),
    };
    let (mut portion, mut bytes) = (Vec::new(), 0);
    let (filter, stop) = (args.which.filter(), &context.stop);
    foreign::read(&now.excerpt, &now.spans, &filter, named, stop, |record, origin| {
        let letter = letter(record, origin);
        bytes += letter.bytes();
        portion.push(letter);
        if portion.len() >= PORTION_LETTERS_MAX || bytes >= PORTION_BYTES_MAX {
            mover.take(std::mem::take(&mut portion), summary)?;
            bytes = 0;
        }
        Ok(match args.limit.is_some_and(|limit| summary.chosen >= limit) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    mover.take(portion, summary)
}

/// Fails unless each letter that was named is there.
fn find_all(
    args: &Args,
    topic: &str,
    now: &TopicNow,
    named: &[(i32, i64)],
    context: &Context,
) -> anyhow::Result<()> {
    let mut missing = named.to_vec();
    let (filter, stop) = (args.which.filter(), &context.stop);
    foreign::read(&now.excerpt, &now.spans, &filter, Some(named), stop, |record, _| {
        let raw = record.raw();
        missing.retain(|place| *place != (raw.partition, raw.offset));
        Ok(ControlFlow::Continue(()))
    })?;
    let missing: Vec<String> =
        missing.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => bail!(
            "topic {topic} has no dead letter {}; `orderctl dlq list --topic {topic}` shows those \
             it has",
            missing.join(", ")
        ),
    }
}

/// Fails when a record would go back once for each of several groups that gave it up,
/// as two stages that read one topic may.
fn refuse_copies(
    args: &Args,
    topic: &str,
    now: &TopicNow,
    context: &Context,
) -> anyhow::Result<()> {
    if args.which.group.is_some() {
        return Ok(());
    }
    let mut names = Vec::new();
    let mut number = |name: String| {
        names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        })
    };
    let mut groups: HashMap<(usize, i32, i64), usize> = HashMap::new();
    let mut both = None;
    let (filter, stop) = (args.which.filter(), &context.stop);
    foreign::read(&now.excerpt, &now.spans, &filter, None, stop, |_, origin| {
        let Origin { topic, partition, offset, group, .. } = origin;
        let place = topic.map(&mut number).zip(partition).zip(offset);
        if let Some((((topic, partition), offset), group)) = place.zip(group.map(&mut number)) {
            let first = *groups.entry((topic, partition, offset)).or_insert(group);
            both = (first != group).then_some([first, group]);
        }
        Ok(if both.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    match both {
        None => Ok(()),
        Some(both) => Err(Usage(format!(
            "{} gave up the same records in topic {topic}, which would go back once for each: choose \
             one with --group",
            both.map(|group| names[group].as_str()).join(" and ")
        ))
        .into()),
    }
}

/// The record as it was before it failed: without the headers that tell of it.
fn letter(record: &Record<'_>, origin: Origin) -> Read {
    let raw = record.raw();
    let headers = (record.headers().into_iter())
        .filter(|(name, _)| !foreign::is_about_failure(name))
        .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    Read {
        place: Place {
            partition: raw.partition,
            offset: raw.offset,
            time_ms: raw.time_ms.unwrap_or(-1),
        },
        topic: origin.topic,
        record: Outgoing {
            partition: origin.partition.filter(|partition| *partition >= 0),
            key: raw.key.map(<[u8]>::to_vec),
            payload: raw.payload.map(<[u8]>::to_vec),
            headers,
        },
    }
}

/// What portions are moved with.
struct Mover<'m> {
    args: &'m Args,
    topic: &'m str,
    cluster: String,
    desk: &'m Desk<'m>,
    kafka: KafkaSettings,
    /// A run for each topic that letters go back to.
    redrivers: BTreeMap<String, Redriver<'m>>,
}

impl Mover<'_> {
    /// Moves a portion, or says where it would go.
    fn take(&mut self, portion: Vec<Read>, summary: &mut Summary) -> anyhow::Result<()> {
        let Desk { client, ledger, .. } = self.desk;
        let places: Vec<Place> = portion.iter().map(|letter| letter.place).collect();
        if !self.args.dry_run {
            let (cluster, topic) = (&self.cluster, self.topic);
            self.desk.ask(redrive::register(client, ledger, cluster, topic, &places))?;
        }
        let looking = redrive::look_up(client, ledger, &self.cluster, self.topic, &places);
        let known = self.desk.ask(looking)?;
        let mut by_topic: BTreeMap<String, BTreeMap<i64, Outgoing>> = BTreeMap::new();
        for (letter, known) in portion.into_iter().zip(known) {
            let (id, state) = known.unwrap_or((0, State::Open));
            let name = format!("{}:{}", letter.place.partition, letter.place.offset);
            if state == State::Redriven {
                summary.done_before += 1;
                continue;
            }
            if self.args.limit.is_some_and(|limit| summary.chosen >= limit) {
                break;
            }
            summary.chosen += 1;
            match letter.topic {
                None => {
                    summary.refused += 1;
                    self.desk.context.console.detail(format!(
                        "letter {name} is left: no header of Connect or Spring names its topic"
                    ));
                }
                Some(topic) if self.args.dry_run => {
                    summary.would_move(format!("topic {topic}"), name);
                }
                Some(topic) => {
                    by_topic.entry(topic).or_default().insert(id, letter.record);
                }
            }
        }
        for (topic, records) in by_topic {
            self.publish(topic, &records, summary)?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        topic: String,
        records: &BTreeMap<i64, Outgoing>,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        if !self.redrivers.contains_key(&topic) {
            let (source, if_unknown) = (Source::Foreign, self.args.if_unknown);
            let redriver =
                Redriver::begin(self.desk, &self.kafka, &topic, source, if_unknown, summary)?;
            self.redrivers.insert(topic.clone(), redriver);
        }
        let ids: Vec<i64> = records.keys().copied().collect();
        let load = |ids: &[i64]| {
            let record = |id: &i64| records.get(id).map(|record| (*id, record.clone()));
            Ok(ids.iter().filter_map(record).collect())
        };
        self.redrivers[&topic].publish(&ids, &load, summary)
    }
}
