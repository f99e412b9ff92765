//! `enrich`: users get a time, then a major and a hobby, exactly once.

mod both;
mod step;
mod tags;

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::relay::{self, Shape, Stage, Summary};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::error::{Outcome, Usage};
use crate::events::Kind;
use tags::Tags;

/// Arguments of `enrich`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl enrich                              both steps, for ever; Ctrl-C ends it well
  orderctl enrich --until-end                  what is there now, then exit
  orderctl enrich --step timestamp             the steps as two processes, each as often
  orderctl enrich --step tags                  as you like
  orderctl enrich --tags tags.json --seed 7    {\"majors\": [\"Law\"], \"hobbies\": [\"Chess\"]}
  orderctl consume --kind user --topic-name enriched_users_info_randomtopics --table users

Each step is a consumer group of its own, GROUP-timestamp and GROUP-tags, whether it
runs alone or both run in one process: change from one to the other at any time, also
while they run; nothing is lost or doubled. Missing topics are created, but for the
one that users come from. Readers should read with isolation.level=read_committed.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected,
130 interrupted. Rejected records are in the topic read and _dead_letters.")]
pub struct Args {
    /// Run one step only [default: both]
    #[arg(long, value_enum)]
    step: Option<Step>,

    /// Topic that users come from
    #[arg(long, visible_alias = "topic-name", value_name = "TOPIC", default_value = "users_info", value_parser = parse_topic_name)]
    from: String,

    /// Topic for users with a time; the second step reads it
    #[arg(long, value_name = "TOPIC", default_value = "enriched_users_info_timestamp", value_parser = parse_topic_name)]
    via: String,

    /// Topic for users with a time, a major and a hobby
    #[arg(long, value_name = "TOPIC", default_value = "enriched_users_info_randomtopics", value_parser = parse_topic_name)]
    to: String,

    /// File of the tags to choose from: {"majors": […], "hobbies": […]} [default: lists
    /// that are built in]
    #[arg(long, value_name = "FILE")]
    tags: Option<PathBuf>,

    /// The same seed gives the same user the same tags
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,

    /// Partitions of the topics to create [default: as many as --from has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: Option<u32>,

    /// Replicas of the topics to create [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    replication_factor: Option<u16>,

    #[command(flatten)]
    relay: relay::Args,
}

/// The steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Add the time, `enriched_at`
    Timestamp,
    /// Add the tags, `major` and `hobby`
    Tags,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Timestamp => "enrich-timestamp",
            Step::Tags => "enrich-tags",
        }
    }

    /// The group of this step among those of one name. It must not depend on
    /// whether the step runs alone.
    fn group(self, name: Option<&str>) -> String {
        let name = name.unwrap_or("orderctl-enrich");
        match self {
            Step::Timestamp => format!("{name}-timestamp"),
            Step::Tags => format!("{name}-tags"),
        }
    }

    /// The arguments with the group of this step.
    fn relay(self, args: &relay::Args) -> relay::Args {
        relay::Args { group: Some(self.group(args.group.as_deref())), ..args.clone() }
    }
}

impl Args {
    fn check(&self) -> Result<(), Usage> {
        let Args { from, via, to, .. } = self;
        if from == via || via == to || from == to {
            return Err(Usage(
                "--from, --via and --to must be three topics, or users go round for ever".into(),
            ));
        }
        if self.step == Some(Step::Timestamp) && self.tags.is_some() {
            return Err(Usage("--tags is for the step tags; leave it out".into()));
        }
        // Of both before either begins; the other's topics too.
        for read in [from, via] {
            self.relay.dead_letters(read, &[from, via, to])?;
        }
        Ok(())
    }
}

/// What came of the steps that ran.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Summary>,
}

impl Report {
    fn outcome(&self) -> Outcome {
        let outcomes: Vec<Outcome> =
            self.timestamp.iter().chain(&self.tags).map(Summary::outcome).collect();
        let worst = [Outcome::Interrupted, Outcome::Rejected];
        worst.into_iter().find(|one| outcomes.contains(one)).unwrap_or(Outcome::Done)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("timestamp", &self.timestamp), ("tags", &self.tags)];
        let ran = named.into_iter().filter_map(|(name, summary)| Some((name, summary.as_ref()?)));
        for (index, (name, summary)) in ran.enumerate() {
            if index > 0 {
                writeln!(f, "\n")?;
            }
            write!(f, "{name}: {}\n{summary}", summary.topic)?;
        }
        Ok(())
    }
}

/// Enriches users until the end asked for, or for ever.
///
/// # Errors
/// As [`relay::run`], and when the tags cannot be read or a topic cannot be
/// created.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    args.check()?;
    let tags = Tags::read(args.tags.as_deref())?;
    let shape = Shape { partitions: args.partitions, replication_factor: args.replication_factor };
    let timestamp = |relay: &relay::Args, context: &Context| {
        let mut make = |raw: &Raw<'_>, outgoing: &mut Outgoing| {
            step::timestamp(raw, Timestamp::now(), &args.via, outgoing)
        };
        let stage = Stage {
            kind: Kind::User,
            outputs: &[&args.via],
            shape,
            is_alike: true,
            ..Stage::new(Step::Timestamp.name(), &args.from, &mut make)
        };
        relay::run(stage, &Step::Timestamp.relay(relay), context)
    };
    let tags = |relay: &relay::Args, context: &Context| {
        let mut make = |raw: &Raw<'_>, outgoing: &mut Outgoing| {
            step::tags(raw, &tags, args.seed, &args.to, outgoing)
        };
        let stage = Stage {
            kind: Kind::User,
            outputs: &[&args.to],
            shape,
            is_alike: true,
            follows: Some(&args.from),
            ..Stage::new(Step::Tags.name(), &args.via, &mut make)
        };
        relay::run(stage, &Step::Tags.relay(relay), context)
    };
    let (timestamp, tags) = match args.step {
        Some(Step::Timestamp) => (Some(timestamp(&args.relay, context)?), None),
        Some(Step::Tags) => (None, Some(tags(&args.relay, context)?)),
        None => {
            let (timestamp, tags) = both::run(&timestamp, &tags, &args.relay, context)?;
            (Some(timestamp), tags)
        }
    };
    let report = Report { timestamp, tags };
    context.console.result(&report)?;
    Ok(report.outcome())
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

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("enrich").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_topics_are_those_of_the_five_systems_unless_named() {
        let args = parse("").unwrap();
        assert_eq!(
            (args.from.as_str(), args.via.as_str(), args.to.as_str()),
            ("users_info", "enriched_users_info_timestamp", "enriched_users_info_randomtopics")
        );
        assert_eq!(parse("--step tags").unwrap().step, Some(Step::Tags));
        assert!(parse("--step both").unwrap_err().contains("timestamp"));
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        for line in ["--via users_info", "--to users_info", "--via a --to a"] {
            let refusal = parse(line).unwrap().check().expect_err(line);
            assert!(refusal.0.contains("three topics"), "{line}");
        }
        assert!(parse("--step timestamp --tags f").unwrap().check().is_err());
        assert!(parse("--step tags --tags f --seed 7").unwrap().check().is_ok());
    }

    #[test]
    fn a_step_has_the_same_group_alone_and_beside_the_other() {
        assert_eq!(Step::Timestamp.group(None), "orderctl-enrich-timestamp");
        assert_eq!(Step::Tags.group(None), "orderctl-enrich-tags");
        assert_eq!(Step::Tags.group(Some("g")), "g-tags");
        // The groups of a stage unless named, by its name.
        for step in [Step::Timestamp, Step::Tags] {
            assert_eq!(step.group(None), format!("orderctl-{}", step.name()));
        }
    }
}
