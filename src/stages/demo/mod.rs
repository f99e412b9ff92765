//! `demo`: the main job in one command, on an in-process broker and a throw-away
//! PostgreSQL.
//!
//! The verbs run as processes of their own, the same ones that a user types, so
//! that what is shown is what is there.

mod children;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;

use crate::cli::Context;
use crate::config::{Connections, Environment, PostgresSettings};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::create::IdType;
use crate::edges::postgres::progress::{contents, cut_connections, records_done, sample};
use crate::edges::postgres::setup::{self, Ready, Wanted};
use crate::edges::postgres::{Client, application_name, runtime};
use crate::error::Outcome;
use crate::events::Kind;
use crate::stack::broker::{Broker, EVENTS_MAX};
use crate::stack::postgres::ThrowAway;
use children::{Consumed, Family, Published};
use report::Report;

const TOPIC: &str = "product_orders";
const TABLE: &str = "orders";
const GROUP: &str = "orderctl-orders";
/// How long the whole demonstration may take before something is wrong.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SAMPLE_ROWS: u32 = 5;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl demo
  orderctl demo --num 50000
  orderctl demo --keep        leave the database running until Ctrl-C, to look into it

Needs nothing installed: the broker lives in this process, PostgreSQL is downloaded
once, runs from a temporary folder and is removed at the end.")]
pub struct Args {
    /// How many orders to send, without the planted duplicates
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    num: u64,

    /// Leave the database running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Shows orders going through Kafka into PostgreSQL, each exactly once.
///
/// # Errors
/// When a part cannot be started or does not come to its end, or when something
/// is missing or doubled.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let console = &context.console;
    let broker = Broker::start(TOPIC)?;
    console.note(format_args!("kafka: in-process broker on {}", broker.address()));
    let database = ThrowAway::start(console, &context.stop)?;
    console.note("postgres: ready, over TLS, with a certificate authority of its own");
    let shown = show(args, context, &broker, &database);
    if context.stop.requested() {
        return Ok(Outcome::Interrupted);
    }
    let report = shown?;
    console.result(&report)?;
    if args.keep {
        keep(context, &database)?;
    }
    if !report.is_exact() {
        bail!("something is missing or doubled: see the counts above");
    }
    Ok(Outcome::Done)
}

fn show(
    args: &Args,
    context: &Context,
    broker: &Broker,
    database: &ThrowAway,
) -> anyhow::Result<Report> {
    let family = Family::new(&broker.address(), database)?;
    let connections = Connections {
        postgres_uri: Some(database.uri()),
        cert_path: Some(database.cert_path().to_owned()),
        ..Connections::default()
    };
    let settings =
        PostgresSettings::resolve_in(&connections, &Environment::default(), family.folder())?;
    let runtime = runtime()?;
    let ready = runtime.block_on(set_up(&settings))?;
    let consumer = family.consume()?;
    let producer = family.produce(args.num)?;
    context.console.note(format_args!(
        "producing {} orders, 1 % of them twice and 0.5 % malformed, and consuming them meanwhile",
        args.num
    ));
    let bar = context.console.bar(args.num, "records");
    let mut watch = Watch { context, bar, ready: &ready, cut: 0, first_seen: None };
    let (published, took) = runtime.block_on(async {
        let client = connect(&settings, "orderctl demo").await?;
        let published = watch.until_published(&client, producer).await?;
        watch.until_stored(&client, &published).await?;
        anyhow::Ok((published, watch.first_seen.map(|seen| seen.elapsed()).unwrap_or_default()))
    })?;
    let consumed = consumer.stop()?;
    watch.bar.finish_and_clear();
    let cut = watch.cut;
    runtime.block_on(async {
        let client = connect(&settings, "orderctl demo").await?;
        report(&client, &ready, published, consumed, cut, took).await
    })
}

async fn set_up(settings: &PostgresSettings) -> anyhow::Result<Ready> {
    let table = TABLE.parse().map_err(anyhow::Error::msg)?;
    let wanted = Wanted {
        schema: None,
        table,
        kind: Kind::Order,
        id_type: IdType::Text,
        with_seating: false,
    };
    setup::set_up(settings, &wanted).await
}

/// Looks on while the children work, and breaks something once.
struct Watch<'d> {
    context: &'d Context,
    bar: ProgressBar,
    ready: &'d Ready,
    /// Connections cut.
    cut: u64,
    /// When the first records were done.
    first_seen: Option<Instant>,
}

impl Watch<'_> {
    async fn until_published(
        &mut self,
        client: &Client,
        mut producer: children::Child,
    ) -> anyhow::Result<Published> {
        let deadline = Instant::now() + LIMIT;
        while producer.is_running()? {
            self.look(client, deadline).await?;
        }
        producer.published()
    }

    async fn until_stored(&mut self, client: &Client, published: &Published) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        self.bar.set_length(published.sent);
        while self.look(client, deadline).await? < published.sent {}
        Ok(())
    }

    /// How many records are done; the first time that there are any, cuts the
    /// consumer's connections to the database.
    async fn look(&mut self, client: &Client, deadline: Instant) -> anyhow::Result<u64> {
        if self.context.stop.requested() {
            bail!("stopped");
        }
        if Instant::now() > deadline {
            bail!("the orders did not all arrive within {} s", LIMIT.as_secs());
        }
        let done = records_done(client, &self.ready.ledger, GROUP).await?;
        self.bar.set_position(done);
        if done > 0 && self.cut == 0 {
            self.first_seen = Some(Instant::now());
            self.cut = cut_connections(client, &application_name(GROUP)).await?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(done)
    }
}

async fn report(
    client: &Client,
    ready: &Ready,
    published: Published,
    consumed: Consumed,
    cut: u64,
    took: Duration,
) -> anyhow::Result<Report> {
    let found = contents(client, &ready.ledger, &ready.target).await?;
    let columns = ["order_id", "name", "city", "product_name", "quantity", "order_date"];
    let rows = sample(client, &ready.target.quoted(), &columns, SAMPLE_ROWS).await?;
    let columns = ["partition", "\"offset\"", "field", "reason"];
    let dead = sample(client, &ready.ledger.table("dead_letter"), &columns, SAMPLE_ROWS).await?;
    Ok(Report::new(published, consumed, found, cut, took, rows, dead))
}

/// Says how to look into the database and waits for Ctrl-C.
fn keep(context: &Context, database: &ThrowAway) -> anyhow::Result<()> {
    let file = tempfile::Builder::new().prefix("orderctl-demo-").suffix(".uri").tempfile()?;
    std::fs::write(file.path(), database.uri().expose()).context("cannot write the URI's file")?;
    context.console.note(format_args!(
        "the database runs until Ctrl-C; look into it with\n  \
         PGSSLMODE=verify-ca PGSSLROOTCERT={} psql \"$(sed 's/?.*//' {})\"",
        database.ca().display(),
        file.path().display()
    ));
    while !context.stop.wait_for(Duration::from_secs(3600)) {}
    Ok(())
}
