//! `db-setup`: the table and the ledger.

use std::fmt;

use serde::Serialize;

use crate::cli::Context;
use crate::console::plural;
use crate::edges::postgres::create::IdType;
use crate::edges::postgres::seating::Seating;
use crate::edges::postgres::setup::{self, Ready, Wanted};
use crate::edges::postgres::{Identifier, Target, runtime};
use crate::error::{Outcome, Usage};
use crate::events::Kind;

/// Arguments of `db-setup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl db-setup
  orderctl db-setup --kind movie-ticket --table-name movie_ticket
  orderctl db-setup --kind movie-ticket --with-seating
  orderctl db-setup --table-name orders --schema sales --id-type uuid

A table that is there already is left as it is; it must be able to take the kind.
With seating, the tables seating and transactions are filled with each ticket,
whoever stores it, and a ticket for a seat that is sold already is refused.")]
pub struct Args {
    /// Table to create [default: orders, movie_ticket or users, by the kind]
    #[arg(long, visible_alias = "table", value_name = "TABLE")]
    pub table_name: Option<Identifier>,

    /// Kind of the events the table holds
    #[arg(long, value_enum, default_value_t)]
    pub kind: Kind,

    /// Schema of the table, created when missing [default: the search path's first]
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<Identifier>,

    /// Type of the id column of a table that is created
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    pub id_type: IdType,

    /// Create tables seating and transactions beside it, and sell each seat once
    #[arg(long)]
    pub with_seating: bool,
}

/// What db-setup found or made.
#[derive(Debug, Serialize)]
struct Summary {
    schema: String,
    table: String,
    kind: &'static str,
    table_created: bool,
    ledger_schema: String,
    ledger_changed: bool,
    columns: Vec<String>,
    fields_left_out: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seating: Option<Seating>,
}

impl Summary {
    fn of(ready: &Ready) -> Summary {
        let target = &ready.target;
        Summary {
            schema: target.schema.to_string(),
            table: target.table.to_string(),
            kind: target.kind.name(),
            table_created: ready.table_created,
            ledger_schema: ready.ledger.schema.to_string(),
            ledger_changed: ready.ledger_changed,
            columns: target.columns.iter().map(|column| column.name.to_string()).collect(),
            fields_left_out: target.left_out.clone(),
            seating: ready.seating.clone(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = if self.table_created { "created" } else { "there already" };
        let ledger = if self.ledger_changed { "created" } else { "there already" };
        writeln!(f, "table   {}.{} ({}): {table}", self.schema, self.table, self.kind)?;
        writeln!(f, "columns {}", self.columns.join(", "))?;
        write!(f, "ledger  schema {}: {ledger}", self.ledger_schema)?;
        let Some(seating) = &self.seating else { return Ok(()) };
        let state = match (seating.created, seating.tickets) {
            (false, _) => "there already".to_owned(),
            (true, 0) => "created".to_owned(),
            (true, tickets) => format!("created, with the seats of {}", plural(tickets, "ticket")),
        };
        write!(f, "\nseating {0}.seating and {0}.transactions: {state}", self.schema)
    }
}

/// Creates what is missing; changes nothing that is there.
///
/// # Errors
/// When the database cannot be reached or refuses, or a table of that name
/// cannot take the kind.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.with_seating && args.kind != Kind::MovieTicket {
        return Err(Usage("only tickets have seats: add --kind movie-ticket".into()).into());
    }
    let table = match &args.table_name {
        Some(table) => table.clone(),
        None => args.kind.default_table().parse().map_err(anyhow::Error::msg)?,
    };
    let wanted = Wanted {
        schema: args.schema.clone(),
        table,
        kind: args.kind,
        id_type: args.id_type,
        with_seating: args.with_seating,
    };
    let settings = context.postgres()?;
    let ready = runtime()?.block_on(async {
        tokio::select! {
            ready = setup::set_up(&settings, &wanted) => ready.map(Some),
            () = context.stop.wait() => Ok(None),
        }
    })?;
    let Some(ready) = ready else { return Ok(Outcome::Interrupted) };
    context.console.result(&Summary::of(&ready))?;
    if !ready.target.unique_key {
        context.console.note(no_unique_key(&ready.target));
    }
    Ok(Outcome::Done)
}

/// What to say of a table whose id column is not unique.
pub fn no_unique_key(target: &Target) -> String {
    format!(
        "note: {} has no unique index on {}, so a duplicate id cannot be told and is stored",
        target.table,
        target.key().name
    )
}
