//! `db-setup`: the table and the ledger.

use std::fmt;

use serde::Serialize;

use crate::cli::Context;
use crate::edges::postgres::create::IdType;
use crate::edges::postgres::setup::{self, Ready, Wanted};
use crate::edges::postgres::{Identifier, Target, runtime};
use crate::error::Outcome;
use crate::events::Kind;

/// Arguments of `db-setup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl db-setup
  orderctl db-setup --kind movie-ticket --table-name movie_ticket
  orderctl db-setup --table-name orders --schema sales --id-type uuid

A table that is there already is left as it is; it must be able to take the kind.")]
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
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = if self.table_created { "created" } else { "there already" };
        let ledger = if self.ledger_changed { "created" } else { "there already" };
        writeln!(f, "table   {}.{} ({}): {table}", self.schema, self.table, self.kind)?;
        writeln!(f, "columns {}", self.columns.join(", "))?;
        write!(f, "ledger  schema {}: {ledger}", self.ledger_schema)
    }
}

/// Creates what is missing; changes nothing that is there.
///
/// # Errors
/// When the database cannot be reached or refuses, or a table of that name
/// cannot take the kind.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let table = match &args.table_name {
        Some(table) => table.clone(),
        None => args.kind.default_table().parse().map_err(anyhow::Error::msg)?,
    };
    let wanted =
        Wanted { schema: args.schema.clone(), table, kind: args.kind, id_type: args.id_type };
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
