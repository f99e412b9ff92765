//! `notify retry`: mails to be sent again.

use std::fmt;

use serde::Serialize;

use super::asking::ask;
use crate::cli::Context;
use crate::console::plural;
use crate::edges::postgres::failure::describe;
use crate::edges::postgres::mail::overview::Chosen;
use crate::error::{Outcome, Usage};
use crate::stages::agreement::{self, Answer};

/// Arguments of `notify retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl notify retry --failed                      after the cure
  orderctl notify retry --failed --to a@example.com
  orderctl notify retry --unknown 01977f6e-0001 --yes  this order's, perhaps twice then

They are sent by `orderctl notify` with the same group, with the same Message-ID
as before. A mail whose fate is unknown may have arrived already.")]
pub struct Args {
    /// Only mails of these orders [default: of all]
    #[arg(value_name = "ORDER_ID")]
    order_ids: Vec<String>,

    /// Mails that failed
    #[arg(long)]
    failed: bool,

    /// Mails whose fate is unknown
    #[arg(long)]
    unknown: bool,

    /// Only mails to this address
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,

    /// Only mails of this consumer group [default: of all]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    mails: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be sent again", plural(self.mails, "mail"))
    }
}

/// Has mails sent again.
///
/// # Errors
/// When nothing says which, nobody can be asked, or the database refuses.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let states = [(args.failed, "failed"), (args.unknown, "unknown")];
    let states: Vec<_> = states.into_iter().filter(|(is_meant, _)| *is_meant).collect();
    if states.is_empty() {
        let text = "say which: --failed, --unknown, or both; `orderctl notify status` shows them";
        return Err(Usage(text.to_owned()).into());
    }
    let chosen = Chosen {
        group: args.group.clone(),
        states: states.into_iter().map(|(_, name)| name).collect(),
        order_ids: args.order_ids.clone(),
        recipient: args.to.clone(),
    };
    let said = |error| anyhow::anyhow!("the ledger refuses: {}", describe(&error));
    let count =
        ask(context, async |client, ledger| chosen.count(client, ledger).await.map_err(said))?;
    let Some(count) = count else { return Ok(Outcome::Interrupted) };
    let mails = plural(count, "mail");
    let (question, would) =
        (format!("send {mails} again?"), format!("{mails} would be sent again"));
    let answer = match count > 0 && !args.yes {
        true => agreement::ask(&question, &would, context)?,
        false => Answer::Yes,
    };
    if let Some(outcome) = answer.outcome() {
        context.console.note("nothing was changed");
        return Ok(outcome);
    }
    let mails = match count {
        0 => Some(0),
        _ => ask(context, async |client, ledger| {
            chosen.send_again(client, ledger).await.map_err(said)
        })?,
    };
    let Some(mails) = mails else { return Ok(Outcome::Interrupted) };
    context.console.result(&Summary { mails })?;
    Ok(Outcome::Done)
}
