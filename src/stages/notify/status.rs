//! `notify status`: what became of the mails.

use std::fmt;

use serde::Serialize;

use super::asking::ask;
use crate::cli::Context;
use crate::console::{columns, one_line};
use crate::edges::postgres::failure::describe;
use crate::edges::postgres::mail::overview::{Count, Trouble, counts, troubles};
use crate::error::Outcome;

/// Arguments of `notify status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl notify status
  orderctl notify status --group orderctl-notify -o json

sending: to be sent, or being sent; sent: a mail server has taken it; failed: it
will not be sent; unknown: nobody can say whether it was taken.")]
pub struct Args {
    /// Only mails of this consumer group [default: all]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    counts: Vec<Count>,
    last_errors: Vec<Trouble>,
}

/// Shows the counts and the last errors.
///
/// # Errors
/// When the database cannot be reached, has no ledger or refuses.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let group = args.group.as_deref();
    let status = ask(context, async |client, ledger| {
        let read = async {
            let counts = counts(client, ledger, group).await?;
            Ok(Status { counts, last_errors: troubles(client, ledger, group).await? })
        };
        read.await.map_err(|error| anyhow::anyhow!("cannot read the ledger: {}", describe(&error)))
    })?;
    let Some(status) = status else { return Ok(Outcome::Interrupted) };
    context.console.result(&status)?;
    Ok(Outcome::Done)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.is_empty() {
            return f.write_str("no mail was ever to be sent");
        }
        let mut rows =
            vec![["GROUP", "KIND", "STATE", "MAILS", "OLDEST"].map(str::to_owned).to_vec()];
        rows.extend(self.counts.iter().map(|one| {
            let Count { group, kind, state, mails, oldest } = one.clone();
            vec![group, kind, state, mails.to_string(), oldest]
        }));
        f.write_str(&columns(&rows))?;
        if !self.last_errors.is_empty() {
            f.write_str("\n\nlast errors")?;
        }
        for one in &self.last_errors {
            let Trouble { order_id, kind, recipient, state, attempts, last_error, at } = one;
            let line =
                format!("{at} {state} after {attempts}: {kind} of {order_id} to {recipient}");
            write!(f, "\n{}\n  {}", one_line(&line), one_line(last_error))?;
        }
        Ok(())
    }
}
