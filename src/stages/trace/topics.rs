//! Kafka's side: which topics are looked into, and how far.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use indicatif::ProgressBar;

use super::plan::{self, Bounds, Plan, Time};
use super::record;
use super::report::{Looked, Place};
use super::{Args, Sought};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::console::{plural, rfc3339};
use crate::edges::kafka::client::{self, Cluster};
use crate::edges::kafka::excerpt::{Isolation, Reader};
use crate::edges::kafka::offsets::{Moment, Place as Partition};
use crate::stages::route_cities::city;

/// A record may be stamped by a clock that is behind the one that made the id.
const CLOCKS_APART_MS: i64 = 10 * 60 * 1000;

/// What was found, and where it was looked.
#[derive(Debug, Default)]
pub struct Found {
    pub places: Vec<Place>,
    pub looked: Vec<Looked>,
    /// What was not looked at, and why.
    pub not_looked: Vec<String>,
    /// The cities that its records name.
    pub cities: BTreeSet<String>,
}

/// Looks into topics for one id.
pub struct Search<'a> {
    args: &'a Args,
    sought: &'a Sought,
    context: &'a Context,
    reader: Reader,
    /// How many partitions each topic has.
    counts: BTreeMap<String, usize>,
    /// Whether it was anywhere where its key belongs.
    is_by_key: bool,
    found: Found,
}

impl<'a> Search<'a> {
    /// Connects and sees which topics there are.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub fn begin(
        args: &'a Args,
        sought: &'a Sought,
        settings: &KafkaSettings,
        context: &'a Context,
    ) -> anyhow::Result<Search<'a>> {
        let Context { console, stop, .. } = context;
        let Cluster { topics, .. } = client::probe(settings, console, stop, super::KAFKA_TIMEOUT)?;
        let reader = Reader::new(settings, Isolation::Committed, console)?;
        let counts = topics.into_iter().collect();
        Ok(Search {
            args,
            sought,
            context,
            reader,
            counts,
            is_by_key: false,
            found: Found::default(),
        })
    }

    /// Looks into the topics named, or those of the chain and `sources`: first where
    /// the id's key belongs, and everywhere when it is in none of these.
    ///
    /// # Errors
    /// When a topic cannot be read, or a stop is requested.
    pub fn chain(&mut self, sources: Vec<String>) -> anyhow::Result<()> {
        let wanted = match self.args.topics.as_slice() {
            [] => {
                let mut topics = record::default_topics();
                let others =
                    sources.into_iter().filter(|one| !record::default_topics().contains(one));
                topics.extend(others.collect::<BTreeSet<String>>());
                topics
            }
            named => named.to_vec(),
        };
        let (there, absent): (Vec<String>, Vec<String>) =
            wanted.into_iter().partition(|topic| self.counts.contains_key(topic));
        if !self.args.topics.is_empty() && !absent.is_empty() {
            self.found.not_looked.push(format!("{}: no such topic", absent.join(", ")));
        }
        self.look(&there)
    }

    /// Looks into the topics of these cities, and the one that cities share.
    ///
    /// # Errors
    /// As [`Search::chain`].
    pub fn cities(&mut self, stored: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let prefix = self.args.prefix();
        let mut cities = std::mem::take(&mut self.found.cities);
        cities.extend(stored);
        let own = cities.iter().map(|name| city::topic(prefix, name));
        let mut topics: BTreeSet<String> = own.collect();
        if !topics.is_empty() {
            topics.insert(city::overflow_topic(prefix));
        }
        topics.retain(|topic| self.counts.contains_key(topic));
        let topics: Vec<String> = topics.into_iter().collect();
        match self.args.wants_cities() {
            true => self.look(&topics),
            false => Ok(()),
        }
    }

    /// What came of it.
    pub fn end(self) -> Found {
        self.found
    }

    fn look(&mut self, topics: &[String]) -> anyhow::Result<()> {
        let bounds = self.bounds(topics)?;
        let most = self.args.scan_max;
        let (id, time) = (&self.sought.id, self.time());
        let keyed: Vec<Plan> =
            bounds.iter().map(|(_, bounds)| plan::by_key(bounds, id, time, most)).collect();
        let before = self.found.places.len();
        self.read(&bounds, &keyed, true)?;
        let topic_of = |place: &Place| place.topic.clone();
        let having: BTreeSet<String> =
            self.found.places[before..].iter().filter_map(topic_of).collect();
        self.is_by_key |= !having.is_empty();
        let sought = self.sought_elsewhere(topics, &having);
        let left: Vec<&str> = (bounds.iter())
            .filter(|(topic, bounds)| bounds.len() > 1 && !sought.contains(topic.as_str()))
            .map(|(topic, _)| topic.as_str())
            .collect();
        if !left.is_empty() {
            self.found.not_looked.push(format!(
                "the other partitions of {}: it is where its key belongs (--all-partitions \
                 looks there too)",
                left.join(", ")
            ));
        }
        let (bounds, keyed): (Vec<_>, Vec<Plan>) = (bounds.into_iter().zip(keyed))
            .filter(|((topic, _), _)| sought.contains(topic.as_str()))
            .unzip();
        if bounds.is_empty() {
            return Ok(());
        }
        let time = self.time();
        let rest = bounds.iter().zip(&keyed);
        let rest: Vec<Plan> =
            rest.map(|((_, bounds), keyed)| plan::the_rest(bounds, keyed, time, most)).collect();
        self.read(&bounds, &rest, false)
    }

    /// The topics whose other partitions are read too, `having` being those that
    /// have it where its key belongs: all when it is nowhere so, and those that
    /// events come from when none of these has it. Who fills them may place keys
    /// otherwise; what our stages publish from there is where its key belongs.
    fn sought_elsewhere<'t>(
        &self,
        topics: &'t [String],
        having: &BTreeSet<String>,
    ) -> BTreeSet<&'t str> {
        let is_origin = |topic: &str| record::stage_of(topic, self.args.prefix()).is_origin();
        let is_lost = !having.iter().any(|topic| is_origin(topic));
        let is_all = self.args.all_partitions || !self.is_by_key;
        let topics = topics.iter().map(String::as_str);
        topics.filter(|topic| is_all || (is_lost && is_origin(topic))).collect()
    }

    fn time(&self) -> Time {
        match (self.args.since, self.sought.time_ms) {
            (Some(_), _) => Time::OfUser,
            (None, Some(_)) => Time::OfId,
            (None, None) => Time::Unknown,
        }
    }

    /// When reading begins, in milliseconds since 1970 UTC, if not at the beginning.
    fn since_ms(&self) -> Option<i64> {
        let ago = |since: std::time::Duration| {
            let now = jiff::Timestamp::now().as_millisecond();
            now.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        };
        self.args.since.map(ago).or(self.sought.time_ms.map(|time| time - CLOCKS_APART_MS))
    }

    fn bounds(&self, topics: &[String]) -> anyhow::Result<Vec<(String, Vec<Bounds>)>> {
        let stop = &self.context.stop;
        let partitions = |topic: &String| -> Vec<Partition> {
            let count = self.counts.get(topic).and_then(|count| i32::try_from(*count).ok());
            (0..count.unwrap_or(0)).map(|one| (topic.clone(), one)).collect()
        };
        let places: Vec<Partition> = topics.iter().flat_map(partitions).collect();
        let low = self.reader.offsets(&places, Moment::First, stop)?;
        let high = self.reader.offsets(&places, Moment::End, stop)?;
        let since = match self.since_ms() {
            Some(time) => Some(self.reader.offsets(&places, Moment::Since(time), stop)?),
            None => None,
        };
        let bounds = |place: Partition| {
            let (low, high) = (low.get(&place).copied(), high.get(&place).copied());
            // A partition without a leader is as good as empty.
            let (low, high) = low.zip(high).unwrap_or((0, 0));
            let since = since.as_ref();
            let since = since.map(|since| since.get(&place).map_or(high, |at| *at.min(&high)));
            Bounds { partition: place.1, low, high: high.max(low), since }
        };
        let of =
            |topic: &String| (topic.clone(), partitions(topic).into_iter().map(bounds).collect());
        Ok(topics.iter().map(of).collect())
    }

    /// Reads what is planned, topic after topic: only then is the end of each known
    /// for certain.
    fn read(
        &mut self,
        bounds: &[(String, Vec<Bounds>)],
        plans: &[Plan],
        by_key: bool,
    ) -> anyhow::Result<()> {
        let length = plans.iter().map(Plan::records).sum();
        let progress = self.context.console.bar(length, "records");
        for ((topic, bounds), plan) in bounds.iter().zip(plans) {
            let records_read = self.read_topic(topic, plan, &progress)?;
            if by_key || plan.records() > 0 {
                self.note(topic, bounds.len(), plan, by_key, records_read);
            }
        }
        progress.finish_and_clear();
        self.context.console.detail(format!("{} read", plural(progress.position(), "record")));
        Ok(())
    }

    /// Notes where it was looked; what is read of a topic in the second place adds
    /// to what was read of it in the first.
    fn note(&mut self, topic: &str, count: usize, plan: &Plan, by_key: bool, records_read: u64) {
        let is_bounded = by_key || self.args.since.is_some();
        let since = self.since_ms().filter(|_| is_bounded).and_then(rfc3339);
        let looked = &mut self.found.looked;
        let before = looked.iter().position(|one| one.topic == topic);
        let before = before.map_or(0, |at| looked.remove(at).records_read);
        looked.push(Looked {
            topic: topic.to_owned(),
            partitions: plan.spans.iter().map(|span| span.partition).collect(),
            partition_count: count,
            by_key,
            since,
            records_read: before + records_read,
            not_looked_at: plan.left_out,
        });
    }

    fn read_topic(
        &mut self,
        topic: &str,
        plan: &Plan,
        progress: &ProgressBar,
    ) -> anyhow::Result<u64> {
        let Search { sought, found, args, context, reader, .. } = self;
        let mut read = 0;
        reader.read(&[(topic, plan.spans.as_slice())], &context.stop, |record| {
            read += 1;
            progress.inc(1);
            let raw = record.raw();
            if record::is_of(&sought.id, raw.key, raw.payload) {
                found.cities.extend(raw.payload.and_then(record::city));
                found.places.push(record::place(record, args.prefix()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(read)
    }
}
