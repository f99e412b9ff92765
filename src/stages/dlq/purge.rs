//! `dlq purge`: removes the contents of letters that are done with.

use std::fmt;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::{Desk, Name, Where, numbers};
use crate::cli::Context;
use crate::console::plural;
use crate::edges::postgres::letters::{self, State};
use crate::error::{Outcome, Usage};
use crate::stages::agreement::{self, Answer};

/// Arguments of `dlq purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl dlq purge --all                        what was redriven or stored
  orderctl dlq purge --until 720h --yes
  orderctl dlq purge 17 18 --open                 give two letters up

Key, payload, field and reason are removed; a row without them stays, so that
`orderctl verify` can still account for the record. Letters that a redrive took
and did not finish are never purged: run it again first.")]
pub struct Args {
    /// Numbers of letters
    #[arg(value_name = "ID")]
    names: Vec<Name>,

    /// All letters that are done with
    #[arg(long)]
    all: bool,

    /// Open letters too: what they hold is lost
    #[arg(long)]
    open: bool,

    /// In this state only; open needs --open too
    #[arg(long, value_name = "STATE", value_parser = purgeable())]
    state: Option<State>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    which: Where,
}

/// The states of letters that can be purged; open ones only when told so.
const PURGEABLE: [State; 3] = [State::Open, State::Redriven, State::Stored];

/// Takes the name of one of them.
fn purgeable() -> impl TypedValueParser<Value = State> {
    let values = PURGEABLE.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values).try_map(|name| name.parse::<State>())
}

#[derive(Debug, Serialize)]
struct Purged {
    purged: u64,
    /// Letters that were chosen and are open, so that they were left.
    left_open: u64,
    /// Letters that were chosen and are in the middle of a redrive.
    left_redriving: u64,
}

impl fmt::Display for Purged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "purged {}", plural(self.purged, "dead letter"))?;
        if self.left_open > 0 {
            write!(f, "; left {} that are open (--open purges them too)", self.left_open)?;
        }
        if self.left_redriving > 0 {
            write!(
                f,
                "; left {} that a redrive took (`orderctl dlq redrive` finishes it)",
                self.left_redriving
            )?;
        }
        Ok(())
    }
}

/// Removes what letters hold.
///
/// # Errors
/// When no letters are named, nobody agrees, a letter is not there, or the
/// database refuses.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.names.is_empty() && !args.all && args.state.is_none() && args.which.is_empty() {
        return Err(Usage(
            "say which letters to purge: by number, by a filter such as --until 720h, or --all"
                .into(),
        )
        .into());
    }
    if args.state == Some(State::Open) && !args.open {
        return Err(Usage("open letters are lost when they are purged: add --open".into()).into());
    }
    let desk = Desk::open(context, &args.which)?;
    let mut filter = args.which.filter();
    if !args.names.is_empty() {
        let ids = numbers(&args.names)?;
        desk.find_all(&ids)?;
        filter.ids = Some(ids);
    }
    filter.states = vec![State::Open, State::Redriving, State::Redriven, State::Stored];
    let chosen = desk.ask(letters::choose(&desk.client, &desk.ledger, &filter))?;
    filter.states = states(args);
    let count = |state: State| chosen.iter().filter(|one| one.state == state).count() as u64;
    let purged: u64 = filter.states.iter().map(|state| count(*state)).sum();
    // Who names a state does not want to hear of the others.
    let left = |state| if args.state.is_some() { 0 } else { count(state) };
    let left_open = if args.open { 0 } else { left(State::Open) };
    let mut done = Purged { purged, left_open, left_redriving: left(State::Redriving) };
    if purged > 0 {
        let letters = plural(purged, "dead letter");
        let (question, would) = (format!("purge {letters}?"), format!("{letters} would be purged"));
        let answer = match args.yes {
            true => Answer::Yes,
            false => agreement::ask(&question, &would, context)?,
        };
        if let Some(outcome) = answer.outcome() {
            context.console.note("nothing was purged");
            return Ok(outcome);
        }
        let id_max = chosen.iter().map(|letter| letter.id).max().unwrap_or(0);
        done.purged = desk.ask(letters::purge(&desk.client, &desk.ledger, &filter, id_max))?;
    }
    context.console.result(&done)?;
    Ok(Outcome::Done)
}

fn states(args: &Args) -> Vec<State> {
    match args.state {
        Some(state) => vec![state],
        None if args.open => PURGEABLE.to_vec(),
        None => vec![State::Redriven, State::Stored],
    }
}
