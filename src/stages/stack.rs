//! `stack`: a real local Kafka, PostgreSQL and mail server.

use std::path::PathBuf;

use anyhow::bail;

use crate::cli::Context;
use crate::error::Outcome;
use crate::stack::ports::PortFlags;
use crate::stack::{self, Interrupted, UpOptions};

/// Arguments of `stack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eval \"$(orderctl stack up)\"     start, and point every other verb to it
  orderctl stack status           what runs where, and its logs
  orderctl stack down             stop, keep the data
  orderctl stack down --clean     stop and remove everything
  orderctl stack up --dir /tmp/b  a second stack beside the first

Needs Java 17 or newer, and Maven on first use. Downloads are kept in
$XDG_CACHE_HOME/orderctl or ~/.cache/orderctl (PostgreSQL's in
/var/cache/orderctl for root). KAFKA_HEAP_OPTS sets the broker's heap
(default -Xmx512m). The mail server keeps mails in memory until it is stopped;
`stack status` shows where its mailboxes are:
  curl http://ADDRESS/api/user/alice@example.com/messages")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start what does not run, wait until it answers, print the variables to set
    Up(UpArgs),
    /// Stop just what was started from the folder
    Down(DownArgs),
    /// Show what runs; exit 1 unless all does
    Status(Place),
}

/// Which stack.
#[derive(Debug, clap::Args)]
struct Place {
    /// Folder of the stack
    #[arg(long, value_name = "DIR", default_value = ".orderctl")]
    dir: PathBuf,
}

/// Arguments of `stack up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eval \"$(orderctl stack up)\"
  orderctl stack up --postgres-port 5432 --kafka-port 9093
  orderctl stack up --clean -o json

Beside creds.json (mutual TLS) the folder gets creds-sasl.json and
creds-plaintext.json for Kafka's other listeners. All have PostgreSQL and the
mail server too. Ports, passwords and
certificates stay the same until --clean.")]
struct UpArgs {
    #[command(flatten)]
    place: Place,

    /// Stop and remove what is there first, data included
    #[arg(long)]
    clean: bool,

    #[command(flatten)]
    ports: PortFlags,
}

/// Arguments of `stack down`.
#[derive(Debug, clap::Args)]
struct DownArgs {
    #[command(flatten)]
    place: Place,

    /// Remove the data, certificates and credentials too
    #[arg(long)]
    clean: bool,
}

/// Brings the stack up or down, or shows it.
///
/// # Errors
/// As [`stack::up`], [`stack::down`] and [`stack::status()`]; `status` also when
/// a service does not run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let done = match &args.action {
        Action::Up(args) => up(args, context),
        Action::Down(args) => down(args, context),
        Action::Status(place) => status(place, context),
    };
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.is::<Interrupted>() => Ok(Outcome::Interrupted),
        Err(error) => Err(error),
    }
}

fn up(args: &UpArgs, context: &Context) -> anyhow::Result<()> {
    let options =
        UpOptions { dir: args.place.dir.clone(), clean: args.clean, ports: args.ports.clone() };
    context.console.result(&stack::up(&options, &context.console, &context.stop)?)
}

fn down(args: &DownArgs, context: &Context) -> anyhow::Result<()> {
    let down = stack::down(&args.place.dir, args.clean, &context.console, &context.stop)?;
    context.console.result(&down)
}

fn status(place: &Place, context: &Context) -> anyhow::Result<()> {
    let status = stack::status(&place.dir)?;
    context.console.result(&status)?;
    let stopped: Vec<String> = status.stopped().iter().map(ToString::to_string).collect();
    if !stopped.is_empty() {
        bail!("not running: {}; start with orderctl stack up", stopped.join(", "));
    }
    Ok(())
}
