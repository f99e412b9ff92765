//! `status`: what is in the cluster, and who is behind.

mod cities;
mod look;
mod report;
mod watch;

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use super::route_cities::city;
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::duration;
use crate::edges::kafka::client;
use crate::error::Outcome;

/// How long the cluster may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `status`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl status                                everything, once
  orderctl status topics groups --watch          again and again, every 2 s
  orderctl status --watch 500ms -o json          a line of JSON each time
  orderctl status topics --topic-name product_orders   each partition of it
  orderctl status groups --group orderctl-orders       each partition and its member
  orderctl status city-topics                    which city has which topic

`records` is the high minus the low watermark: an upper bound, for compaction leaves
holes and transactions leave markers. `lag` is the high watermark minus what the group
has committed, and all of a partition that it has committed nothing of; for a group of
`consume` the ledger's positions are the truth, and Kafka's follow them. `size` is what
the leaders hold on disk (`bytes` in JSON), where brokers tell: this login must be
allowed to describe the cluster. Cities are those that the last 100 offsets of each
partition name, at most 20 of a topic: where there may be more, `… perhaps others`
stands behind them (`sampled` in JSON).
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// What to show [default: all]
    #[arg(value_enum, value_name = "SECTION")]
    sections: Vec<Section>,

    /// Only this topic, with its partitions; may be given again
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic_name: Vec<String>,

    /// Only this consumer group, with its partitions; may be given again
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// Also the topics that Kafka keeps for itself
    #[arg(long)]
    all: bool,

    /// What the names of the cities' topics begin with
    #[arg(long, value_name = "PREFIX", default_value = city::PREFIX, value_parser = city::parse_prefix)]
    prefix: String,

    /// Look again and again, this often [default: 2s]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<Watch>,
}

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// Id, controller, brokers
    Cluster,
    /// Partitions, replicas, how many records, sizes
    Topics,
    /// State, members, lag
    Groups,
    /// Which city has which topic
    CityTopics,
}

/// What stands behind `--watch`: how often, or already the name of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Every(Duration),
    Section(Section),
}

/// How often to look unless said.
const INTERVAL: Duration = Duration::from_secs(2);

impl FromStr for Watch {
    type Err = String;

    fn from_str(text: &str) -> Result<Watch, String> {
        match <Section as clap::ValueEnum>::from_str(text, false) {
            Ok(section) => Ok(Watch::Section(section)),
            Err(_) => duration::parse(text).map(Watch::Every),
        }
    }
}

impl Args {
    fn shows(&self, section: Section) -> bool {
        let behind_watch = match self.watch {
            Some(Watch::Section(section)) => Some(section),
            _ => None,
        };
        let mut named = self.sections.iter().copied().chain(behind_watch).peekable();
        named.peek().is_none() || named.any(|one| one == section)
    }

    fn interval(&self) -> Option<Duration> {
        self.watch.map(|watch| match watch {
            Watch::Every(interval) => interval,
            Watch::Section(_) => INTERVAL,
        })
    }

    fn wants_topic(&self, name: &str) -> bool {
        match self.topic_name.as_slice() {
            [] => self.all || !name.starts_with("__"),
            named => named.iter().any(|one| one == name),
        }
    }

    fn wants_group(&self, name: &str) -> bool {
        self.group.is_empty() || self.group.iter().any(|one| one == name)
    }
}

/// Looks once, or until it is stopped.
///
/// # Errors
/// When the cluster cannot be reached or refuses, or what was named is not there.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let settings = context.kafka()?;
    // Says what is wrong with the connection, if anything is.
    let answered = client::probe(&settings, &context.console, &context.stop, KAFKA_TIMEOUT);
    let done = answered.and_then(|_| {
        let mut looker = look::Looker::new(args, &settings, context)?;
        match args.interval() {
            Some(interval) => watch::run(&mut looker, interval, context),
            None => {
                let status = looker.look()?;
                missing(args, &status)?;
                context.console.result(&status)?;
                Ok(Outcome::Done)
            }
        }
    });
    match done {
        Err(_) if context.stop.requested() => Ok(Outcome::Interrupted),
        done => done,
    }
}

/// Fails when something that was named is not there.
fn missing(args: &Args, status: &report::Status) -> anyhow::Result<()> {
    let has_topic = |name: &&String| {
        status.topics.as_ref().is_none_or(|found| found.iter().any(|one| one.topic == **name))
    };
    if let Some(name) = args.topic_name.iter().find(|name| !has_topic(name)) {
        bail!(
            "there is no topic {name} that this login may see: `orderctl status topics --all` \
             shows those that there are"
        );
    }
    let has_group = |name: &&String| {
        status.groups.as_ref().is_none_or(|found| found.iter().any(|one| one.group == **name))
    };
    if let Some(name) = args.group.iter().find(|name| !has_group(name)) {
        bail!(
            "there is no consumer group {name} that this login may see: `orderctl status groups` \
             shows those that there are"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum as _};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Args {
        Line::try_parse_from([&["status"], words].concat()).unwrap().args
    }

    #[test]
    fn all_sections_are_shown_unless_some_are_named() {
        let all = |args: Args| -> Vec<bool> {
            Section::value_variants().iter().map(|section| args.shows(*section)).collect()
        };
        assert_eq!(all(parse(&[])), [true; 4]);
        assert_eq!(all(parse(&["topics", "city-topics"])), [false, true, false, true]);
        assert_eq!(all(parse(&["--watch", "groups"])), [false, false, true, false]);
    }

    #[test]
    fn watch_takes_an_interval_or_none() {
        assert_eq!(parse(&[]).interval(), None);
        assert_eq!(parse(&["--watch"]).interval(), Some(INTERVAL));
        assert_eq!(parse(&["--watch", "500ms"]).interval(), Some(Duration::from_millis(500)));
        assert_eq!(parse(&["--watch", "topics"]).interval(), Some(INTERVAL));
        assert!(Line::try_parse_from(["status", "--watch", "5"]).is_err());
    }

    #[test]
    fn kafkas_own_topics_are_hidden_unless_asked_for() {
        assert!(!parse(&[]).wants_topic("__consumer_offsets"));
        assert!(parse(&["--all"]).wants_topic("__consumer_offsets"));
        let named = parse(&["--topic-name", "__consumer_offsets"]);
        assert!(named.wants_topic("__consumer_offsets") && !named.wants_topic("orders"));
    }
}
