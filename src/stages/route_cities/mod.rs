//! `route-cities`: each order to the topic of its city, exactly once.

pub mod city;

use std::collections::BTreeSet;
use std::time::Duration;

use super::relay::{self, Stage};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::config::args::parse_topic_name;
use crate::edges::kafka::topics::{self, Wanted};
use crate::edges::kafka::{client, client::Cluster};
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::error::Outcome;
use crate::events::{Event, Kind, Reject};

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
    #[arg(long, value_name = "PREFIX", default_value = "city-", value_parser = city::parse_prefix)]
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
    let settings = context.kafka()?;
    let limit = Duration::from_secs(20);
    let cluster = client::probe(&settings, &context.console, &context.stop, limit)?;
    let mut routes = Routes::new(args, &cluster);
    let mut step = |raw: &Raw<'_>, outgoing: &mut Outgoing| routes.step(raw, outgoing);
    let mut prepare = |topic: &str| create(topic, args, &settings, context);
    let stage = Stage {
        name: "route-cities",
        from: &args.from,
        step: &mut step,
        prepare_topic: &mut prepare,
    };
    let summary = relay::run(stage, &args.relay, context)?;
    if routes.overflowed > 0 {
        context.console.note(format!(
            "{} orders went to {}: {} cities have a topic of their own, which is --max-topics",
            routes.overflowed,
            city::overflow_topic(&args.prefix),
            args.max_topics
        ));
    }
    context.console.result(&summary)?;
    Ok(summary.outcome())
}

/// Which cities have a topic of their own.
struct Routes<'a> {
    prefix: &'a str,
    topics_max: usize,
    own: BTreeSet<String>,
    overflowed: u64,
}

impl<'a> Routes<'a> {
    fn new(args: &'a Args, cluster: &Cluster) -> Routes<'a> {
        let topics = cluster.topics.iter().map(|(name, _)| name.clone());
        let own = topics
            .filter(|name| name.starts_with(&args.prefix))
            .filter(|name| *name != city::overflow_topic(&args.prefix))
            .collect();
        Routes { prefix: &args.prefix, topics_max: args.max_topics as usize, own, overflowed: 0 }
    }

    fn step(&mut self, raw: &Raw<'_>, outgoing: &mut Outgoing) -> Result<(), Reject> {
        let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
        let Event::Order(order) = Kind::Order.parse(payload)? else {
            return Err(Reject::new("", "not an order"));
        };
        let city = order.city();
        let topic = self.topic(city);
        let headers = vec![(CITY_HEADER.to_owned(), city.as_bytes().to_vec())];
        outgoing.push(&topic, Some(order.id().as_bytes()), payload, headers);
        Ok(())
    }

    fn topic(&mut self, city: &str) -> String {
        let topic = city::topic(self.prefix, city);
        if self.own.contains(&topic) {
            return topic;
        }
        if self.own.len() < self.topics_max {
            self.own.insert(topic.clone());
            return topic;
        }
        self.overflowed += 1;
        city::overflow_topic(self.prefix)
    }
}

fn create(
    topic: &str,
    args: &Args,
    settings: &KafkaSettings,
    context: &Context,
) -> anyhow::Result<()> {
    let wanted = Wanted {
        name: topic,
        partitions: Some(args.partitions),
        replication_factor: args.replication_factor,
    };
    topics::create(settings, &wanted, &context.console, &context.stop)
}
