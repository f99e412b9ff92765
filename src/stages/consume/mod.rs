//! `consume`: a topic into a table, exactly once, for ever or until an end.

mod prepare;
pub mod selection;
mod summary;

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::config::duration;
use crate::console::{Console, plural};
use crate::edges::postgres::OnDuplicate;
use crate::edges::postgres::claimer::OnDataLoss;
use crate::edges::postgres::ledger::Owner;
use crate::engine::batch::Bounds;
use crate::engine::metrics::Consuming;
use crate::engine::run::{self, Ending, Options, Progress, Totals};
use crate::error::Outcome;
use crate::log::Level;
use crate::stages::db_setup;

use prepare::Prepared;
use selection::Selection;
pub use summary::Summary;

/// The longest that a record waits for its batch to fill.
const LINGER: Duration = Duration::from_millis(250);
/// Bytes of a batch.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Arguments of `consume`.
#[derive(Debug, Clone, clap::Args)]
#[command(mut_arg("table", |table| {
    table.help("Table to store into [default: orders, movie_ticket or users, by the kind]")
}))]
#[command(after_help = "\
Examples:
  orderctl consume --table orders                    for ever; Ctrl-C ends it well
  orderctl consume --table orders --until-end        what is there now, then exit
  orderctl consume --table movie_ticket --max-messages 100 --idle-exit 30s
  orderctl consume --table orders --on-duplicate update --writers 4

Start it as often as you like with the same group: the workers share the
partitions. Where each goes on is kept in the database, with the rows.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected,
130 interrupted. Rejected records are in the table orderctl.dead_letter.")]
pub struct Args {
    /// Which table, topic and group are meant.
    #[command(flatten)]
    pub selection: Selection,

    /// What to do with a record whose id is stored already
    #[arg(long, value_enum, default_value_t, value_name = "CHOICE")]
    pub on_duplicate: OnDuplicate,

    /// What to do when Kafka no longer has the position to go on from
    #[arg(long, value_enum, default_value_t, value_name = "CHOICE")]
    pub on_data_loss: OnDataLoss,

    /// Exit when everything that is in the topic now is stored or a dead letter
    #[arg(long)]
    pub until_end: bool,

    /// Exit after so many records
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_messages: Option<u64>,

    /// Exit when no record came for so long, as in 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle_exit: Option<Duration>,

    /// Database connections that write side by side
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub writers: u16,

    /// Most records in one transaction
    #[arg(long, value_name = "N", default_value_t = 20_000, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_rows: u32,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            bounds: Bounds { rows_max: self.batch_rows as usize, bytes_max: BATCH_BYTES_MAX },
            linger: LINGER,
            until_end: self.until_end,
            records_max: self.max_messages,
            idle_exit: self.idle_exit,
        }
    }
}

/// Stores records until the end asked for, or for ever.
///
/// # Errors
/// When Kafka or the database cannot be reached at the start, or anything that
/// no wait will cure happens later.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let summary = consume(args, context)?;
    context.console.result(&summary)?;
    Ok(match (summary.interrupted, summary.rejected) {
        (true, _) => Outcome::Interrupted,
        (false, 0) => Outcome::Done,
        (false, _) => Outcome::Rejected,
    })
}

/// As [`run()`], with the summary as the result.
///
/// # Errors
/// As [`run()`].
pub fn consume(args: &Args, context: &Context) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let Some(prepared) = prepare::prepare(args, context)? else {
        return Ok(Summary::interrupted_early());
    };
    announce(args, &prepared, context);
    let plan = prepared.plan;
    if !plan.target.unique_key {
        context.console.note(db_setup::no_unique_key(&plan.target));
    }
    let mut display = Display::new(&context.console);
    let (totals, ending) =
        run::run(prepared.parts, args.options(), &mut |progress| display.show(progress))?;
    display.line.finish_and_clear();
    Ok(Summary::new(&plan, totals, ending == Ending::Stopped, started.elapsed()))
}

/// Says what is consumed, and begins to show its figures.
fn announce(args: &Args, prepared: &Prepared, context: &Context) {
    let plan = &prepared.plan;
    let Owner { group, topic, .. } = &plan.owner;
    let table = format!("{}.{}", plan.target.schema, plan.target.table);
    let settings = json!({
        "topic": topic,
        "group": group,
        "table": table,
        "kind": plan.target.kind.name(),
        "brokers": prepared.brokers,
        "database": prepared.database,
        "writers": args.writers,
        "batch_rows": args.batch_rows,
        "until_end": args.until_end,
        "max_messages": args.max_messages,
        "idle_exit_seconds": args.idle_exit.map(|limit| limit.as_secs_f64()),
    });
    let text = format!("consuming {topic} into {} as group {group}", plan.target.quoted());
    context.console.event(Level::Info, text, &settings);
    context.metrics.begin_consuming(Consuming::new(topic, group, &table));
}

/// The live line on a terminal, and notes about what is away.
struct Display<'c> {
    console: &'c Console,
    line: ProgressBar,
    stored_before: u64,
    since: Instant,
}

impl Display<'_> {
    fn new(console: &Console) -> Display<'_> {
        let line = console.live_line();
        Display { console, line, stored_before: 0, since: Instant::now() }
    }

    fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Totals(totals, lag) => self.show_totals(totals, lag),
            Progress::Assigned(partitions) => {
                let fields = json!({ "partitions": partitions });
                let text = format!("{} assigned", plural(partitions.len() as u64, "partition"));
                self.say(Level::Debug, &text, &fields);
            }
            Progress::Waiting(why, cause) => {
                let fields = json!({ "cause": cause.name() });
                self.say(Level::Info, &format!("waiting: {why}"), &fields);
            }
            Progress::Resumed => self.say(Level::Info, "back again", &Value::Null),
        }
    }

    fn say(&self, level: Level, text: &str, fields: &Value) {
        self.line.suspend(|| self.console.event(level, text, fields));
    }

    fn show_totals(&mut self, totals: &Totals, lag: u64) {
        let seconds = self.since.elapsed().as_secs_f64();
        let rate = (totals.stored - self.stored_before) as f64 / seconds.max(0.001);
        self.stored_before = totals.stored;
        self.since = Instant::now();
        self.line.set_message(format!(
            "{rate:.0} rows/s, lag {lag}, stored {}, duplicates {}, rejected {}",
            totals.stored, totals.duplicates, totals.rejected
        ));
    }
}
