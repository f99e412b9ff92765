//! `trace`: everywhere that one order, ticket or user is.
//!
//! Kafka has no index of keys. So the partition that the id belongs to as a key is
//! read first, from the time on that the id has in it, if it has one; only when it
//! is in none of these is all the rest scanned, newest records first and bounded.
//! The database knows the rest by itself: rows by their key, dead letters, mails.

mod database;
mod plan;
mod record;
mod report;
mod topics;

use std::time::Duration;

use anyhow::bail;
use uuid::Uuid;

use self::report::Trace;
use self::topics::Search;
use super::route_cities::city;
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::duration;
use crate::edges::postgres::Identifier;
use crate::error::{Outcome, Unnamed, Usage};

/// How long the cluster may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `trace`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl trace 01a1fe7a-467f-7c24-b459-bbe9e05177b3
  orderctl trace 90123 --since 24h                  nothing older in Kafka
  orderctl trace 90123 --topics my_orders,my_orders_dead_letters --table my_orders
  orderctl trace 90123 --scan-max 50000000 --all-partitions

Looks into the topics of all stages that there are, the topic of the order's city,
the tables that the ledger knows, its dead letters and its mails. In each topic the
partition that the id belongs to as a key is read first, from the time on that a
UUIDv7 has in it; what is not found so is sought in all partitions, also of topics
that events come from when none of these has it so. What was not looked at is said. A row has a time where the server has track_commit_timestamp on.
Exit codes: 0 found, 1 found nowhere or failed, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// The id of an order, a ticket or a user
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: String,

    /// Look into these topics instead of those of the stages
    #[arg(long, visible_alias = "topic-name", value_name = "TOPICS", value_delimiter = ',', value_parser = parse_topic_name)]
    topics: Vec<String>,

    /// Look into this table, and the dead letters on their way to it, instead of all
    /// that the ledger knows
    #[arg(long, visible_alias = "table-name", value_name = "TABLE")]
    table: Option<Identifier>,

    /// Look into tables of this schema, and the dead letters on their way to them
    #[arg(long, value_name = "SCHEMA")]
    schema: Option<Identifier>,

    /// No records of Kafka that are older than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,

    /// Most records of one topic that are read, twice: by key, and in the rest
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1..))]
    scan_max: i64,

    /// Read the other partitions too when it is found where its key belongs
    #[arg(long)]
    all_partitions: bool,

    /// What the names of the cities' topics begin with [default: city-, and with
    /// --topics no topics of cities]
    #[arg(long, value_name = "PREFIX", value_parser = city::parse_prefix)]
    prefix: Option<String>,
}

impl Args {
    /// What the names of the cities' topics begin with.
    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(city::PREFIX)
    }

    fn wants_cities(&self) -> bool {
        self.topics.is_empty() || self.prefix.is_some()
    }
}

/// An id as events have it.
fn parse_id(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("give the id of an order, a ticket or a user".into()),
        id if id.contains('\0') => Err("an id has no NUL in it".into()),
        id => Ok(id.to_owned()),
    }
}

/// What is sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The id.
    id: String,
    /// The time in it, in milliseconds since 1970 UTC, when it is a UUIDv7.
    time_ms: Option<i64>,
}

impl Sought {
    fn new(id: &str) -> Sought {
        let uuid = Uuid::parse_str(id).ok().filter(|uuid| uuid.get_version_num() == 7);
        // RFC 9562: the first 48 bits are milliseconds since 1970.
        let time_ms = uuid.map(|uuid| (uuid.as_u128() >> 80) as i64);
        Sought { id: id.to_owned(), time_ms }
    }
}

/// Looks everywhere and shows what was found.
///
/// # Errors
/// When neither Kafka nor the database can be looked into, or the id is nowhere.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    match look(args, context) {
        Err(_) if context.stop.requested() => Ok(Outcome::Interrupted),
        Err(error) => Err(error),
        Ok(trace) => {
            context.console.result(&trace)?;
            if !trace.found {
                bail!("{} is nowhere that was looked", trace.id);
            }
            Ok(Outcome::Done)
        }
    }
}

fn look(args: &Args, context: &Context) -> anyhow::Result<Trace> {
    let sought = Sought::new(&args.id);
    let mut not_looked = Vec::new();
    let database = context.postgres().and_then(|settings| {
        let found = database::look(args, &sought, &settings, context)?;
        context.console.detail(format!("the database has it in {}", database::count(&found)));
        Ok(found)
    });
    let known = database.as_ref().map(|found| (found.cities.clone(), found.topics.clone()));
    let (cities, sources) = known.unwrap_or_default();
    let kafka = context.kafka().and_then(|settings| {
        let mut search = Search::begin(args, &sought, &settings, context)?;
        search.chain(sources)?;
        search.cities(cities)?;
        Ok(search.end())
    });
    if context.stop.requested() {
        bail!("stopped before all was looked at");
    }
    let (kafka, database) = match (kafka, database) {
        // Only one of them may be missing.
        (Err(kafka), Err(database)) if kafka.is::<Unnamed>() => return Err(database),
        (Err(kafka), Err(_)) => return Err(kafka),
        // A name that was typed is right or wrong, whatever else was found.
        (_, Err(error)) if error.is::<Usage>() => return Err(error),
        (kafka, database) => (
            kafka.unwrap_or_else(|error| absent("Kafka", &error, context, &mut not_looked)),
            database
                .unwrap_or_else(|error| absent("the database", &error, context, &mut not_looked)),
        ),
    };
    let places = kafka.places.into_iter().chain(database.places).collect();
    let mut trace = Trace::new(&sought.id, sought.time_ms, places);
    trace.looked = kafka.looked;
    trace.looked_in_database = database.looked;
    trace.not_looked = kafka.not_looked;
    trace.not_looked.extend(database.not_looked.into_iter().chain(not_looked));
    Ok(trace)
}

/// Nothing, for a service that was not looked into: said where it was to be.
fn absent<T: Default>(
    service: &str,
    error: &anyhow::Error,
    context: &Context,
    not_looked: &mut Vec<String>,
) -> T {
    if !error.is::<Unnamed>() {
        context.console.warn(format!("{service} was not looked into: {error:#}"));
    }
    not_looked.push(format!("{service}: {error:#}"));
    T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_of_version_7_has_its_time_in_it_and_other_ids_have_none() {
        let sought = Sought::new("01a1fe7a-467f-7c24-b459-bbe9e05177b3");
        assert_eq!(sought.time_ms, Some(0x01a1_fe7a_467f));
        for other in ["90123", "", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "not-a-uuid"] {
            assert_eq!(Sought::new(other).time_ms, None, "{other}");
        }
    }

    #[test]
    fn an_id_is_some_text() {
        assert_eq!(parse_id(" 90123 ").as_deref(), Ok("90123"));
        for wrong in ["", " ", "a\0b"] {
            assert!(parse_id(wrong).is_err(), "{wrong:?}");
        }
    }
}
