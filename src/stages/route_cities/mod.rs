//! `route-cities`: each order to the topic of its city, exactly once.

pub mod city;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::relay::{self, Shape, Stage};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::console::Console;
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::error::{Outcome, Usage};
use crate::events::{Event, Kind, Reject, card};

/// What orders are counted by that go to the shared topic.
const OVERFLOWED: &str = "overflowed";
/// How many cities' topics are known by heart.
const KNOWN_MAX: usize = 10_000;
/// The header that the city's name travels in, as the order has it.
pub const CITY_HEADER: &str = "city";

/// Arguments of `route-cities`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl route-cities                              for ever; Ctrl-C ends it well
  orderctl route-cities --until-end                  what is there now, then exit
  orderctl route-cities --prefix town. --partitions 3 --max-topics 200

A city's topic is created when it is missing. Its name is made of the city's:
Berlin goes to city-berlin, Zürich to city-zurich--, followed by a hash; the
header `city` has the name as the order has it. Readers should read with
isolation.level=read_committed.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected,
130 interrupted. Rejected records are in the topic product_orders_dead_letters.")]
pub struct Args {
    /// Topic to read orders from
    #[arg(long, visible_alias = "topic-name", value_name = "TOPIC", default_value = "product_orders", value_parser = parse_topic_name)]
    pub from: String,

    /// What the names of the cities' topics begin with
    #[arg(long, value_name = "PREFIX", default_value = city::PREFIX, value_parser = city::parse_prefix)]
    pub prefix: String,

    /// Partitions of each city's topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub partitions: u32,

    /// Replicas of each city's topic [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub replication_factor: Option<u16>,

    /// Most cities with a topic of their own; the others share one
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_topics: u32,

    #[command(flatten)]
    relay: relay::Args,
}

/// Routes orders until the end asked for, or for ever.
///
/// # Errors
/// As [`relay::run`], and when a city's topic cannot be created.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.from.starts_with(&args.prefix) {
        let why = format!(
            "a city could have the topic {} that is read: choose another --prefix",
            args.from
        );
        return Err(Usage(why).into());
    }
    if let Some(letters) = &args.relay.dead_letter_topic
        && city::is_topic(&args.prefix, letters)
    {
        let why =
            format!("a city could have the topic {letters}: name another with --dead-letter-topic");
        return Err(Usage(why).into());
    }
    let routes = RefCell::new(Routes::new(&args.prefix, args.max_topics));
    let mut step = |raw: &Raw<'_>, outgoing: &mut Outgoing| routes.borrow_mut().step(raw, outgoing);
    let mut admit = |existing: &BTreeSet<String>, missing: &mut BTreeSet<String>| {
        routes.borrow_mut().admit(existing, missing, &context.console);
    };
    let stage = Stage {
        shape: Shape {
            partitions: Some(args.partitions),
            replication_factor: args.replication_factor,
        },
        admit: Some(&mut admit),
        is_cleaned: true,
        ..Stage::new("route-cities", &args.from, &mut step)
    };
    let summary = relay::run(stage, &args.relay, context)?;
    context.console.result(&summary)?;
    Ok(summary.outcome())
}

/// Which cities have a topic of their own.
struct Routes<'a> {
    prefix: &'a str,
    topics_max: usize,
    overflow: String,
    /// The own topics of cities that were seen since it was last asked which are
    /// there; none for those that share one.
    known: HashMap<String, Option<String>>,
    /// Topics of cities that are there, or are wanted.
    own: HashSet<String>,
    /// Whether the cluster was asked which are there.
    is_asked: bool,
    is_overflowing: bool,
    /// Whether that was said.
    is_said: bool,
}

impl<'a> Routes<'a> {
    fn new(prefix: &'a str, topics_max: u32) -> Routes<'a> {
        Routes {
            prefix,
            topics_max: topics_max as usize,
            overflow: city::overflow_topic(prefix),
            known: HashMap::new(),
            own: HashSet::new(),
            is_asked: false,
            is_overflowing: false,
            is_said: false,
        }
    }

    fn step(&mut self, raw: &Raw<'_>, outgoing: &mut Outgoing) -> Result<(), Reject> {
        let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
        let Event::Order(order) = Kind::Order.parse(payload)? else {
            return Err(Reject::new("", "not an order"));
        };
        let city = order.city();
        let headers = [(CITY_HEADER, city.as_bytes())];
        let (key, payload) = (order.id().as_bytes(), card::clean(payload));
        if let Some(topic) = self.own_topic(city) {
            outgoing.push(topic, Some(key), Some(&payload), &headers);
        } else {
            outgoing.count(OVERFLOWED);
            outgoing.push(&self.overflow, Some(key), Some(&payload), &headers);
        }
        Ok(())
    }

    /// The topic of this city alone, if it has one or may have one.
    fn own_topic(&mut self, city: &str) -> Option<&str> {
        if !self.known.contains_key(city) {
            self.learn(city);
        }
        self.known.get(city)?.as_deref()
    }

    /// Finds out whether this city has or may have a topic of its own.
    fn learn(&mut self, city: &str) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let topic = city::topic(self.prefix, city);
        let is_full = self.is_asked && self.own.len() >= self.topics_max;
        let is_own = self.own.contains(&topic) || !is_full;
        self.is_overflowing |= !is_own;
        if is_own {
            self.own.insert(topic.clone());
        }
        self.known.insert(city.to_owned(), is_own.then_some(topic));
    }

    /// Takes in which topics are there, and lets as many be created as are
    /// allowed; the other cities share one.
    fn admit(
        &mut self,
        existing: &BTreeSet<String>,
        missing: &mut BTreeSet<String>,
        console: &Console,
    ) {
        let (prefix, overflow) = (self.prefix, &self.overflow);
        let is_citys = |topic: &String| city::is_topic(prefix, topic) && topic != overflow;
        self.own = existing.iter().filter(|topic| is_citys(topic)).cloned().collect();
        self.is_asked = true;
        self.known.clear();
        let mut room = self.topics_max.saturating_sub(self.own.len());
        missing.retain(|topic| {
            let is_admitted = !is_citys(topic) || room > 0;
            room -= usize::from(is_admitted && is_citys(topic));
            self.is_overflowing |= !is_admitted;
            is_admitted
        });
        self.own.extend(missing.iter().filter(|topic| is_citys(topic)).cloned());
        if self.is_overflowing && !std::mem::replace(&mut self.is_said, true) {
            console.warn(format_args!(
                "{} cities have a topic of their own, which is --max-topics: the orders of all \
                 others go to {overflow}",
                self.own.len()
            ));
        }
    }
}
