//! `dlq redrive`: letters published again, or stored after all.

mod fate;
mod foreign;
mod own;
mod redriver;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;
use serde::Serialize;

use super::{Desk, Name, Where, numbers};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::console::plural;
use crate::edges::postgres::OnDuplicate;
use crate::edges::postgres::letters::{self, Chosen, State};
use crate::error::{Outcome, Usage};

/// Most letters in one transaction.
const PORTION_LETTERS_MAX: usize = 500;
/// Most bytes of keys and payloads in one transaction.
const PORTION_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How many numbers of letters a dry run names for each topic or table.
const NAMED_MAX: usize = 20;

/// Arguments of `dlq redrive`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl dlq redrive 17 18                      two letters, to their topics
  orderctl dlq redrive --reason priority --dry-run
  orderctl dlq redrive --all --limit 10           a few first
  orderctl dlq redrive --all --to table           after the table was altered
  orderctl dlq redrive --all --topic orders.DLT   letters of Connect or Spring

To the topic: key and payload are published to the partition they came from, in
transactions, with headers orderctl-redrive and orderctl-origin-*. Run it again
after a kill, or beside another: nothing is moved twice. The login needs WRITE
and DESCRIBE on transactional ids with the prefix orderctl-dlq-.
To the table: payloads are parsed anew and stored in one transaction with the
letters' marks; what is refused again stays open with its new reason.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some letters were refused again,
130 interrupted.")]
pub struct Args {
    /// Numbers of letters, or PARTITION:OFFSET with --topic
    #[arg(value_name = "ID")]
    names: Vec<Name>,

    /// All open letters
    #[arg(long)]
    all: bool,

    /// Most letters moved, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Only say what would be moved
    #[arg(long)]
    dry_run: bool,

    /// Where they go
    #[arg(long, value_enum, default_value_t, value_name = "WHERE")]
    to: To,

    /// What to do with a letter whose id the table has already
    #[arg(long, value_enum, default_value_t, value_name = "CHOICE")]
    on_duplicate: OnDuplicate,

    /// What to do when an earlier run was killed and retention or compaction may have removed
    /// what would tell
    #[arg(long, value_enum, default_value_t, value_name = "CHOICE")]
    if_unknown: IfUnknown,

    /// Read this dead-letter topic of Kafka Connect or Spring instead of the ledger
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic: Option<String>,

    #[command(flatten)]
    which: Where,
}

/// Where letters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum To {
    /// The topic they came from
    #[default]
    Topic,
    /// The table they were on their way to
    Table,
}

/// What becomes of a letter of which nobody can tell any more whether it was
/// published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum IfUnknown {
    /// Leave it, and say so
    #[default]
    Leave,
    /// Publish it again
    Again,
    /// Take it as published
    Done,
}

impl Args {
    fn check(&self) -> Result<(), Usage> {
        let said = |text: &str| Err(Usage(text.into()));
        let finds_all = match self.topic {
            Some(_) => self.which.finds_all_of_a_topic(),
            None => self.which.is_empty(),
        };
        if self.names.is_empty() && !self.all && finds_all {
            return said(
                "say which letters to redrive: by number, by a filter such as --reason priority, \
                 or --all",
            );
        }
        if self.topic.is_some() && self.to == To::Table {
            return said("letters of --topic can only go back to a topic: leave --to table out");
        }
        if self.on_duplicate != OnDuplicate::Skip && self.to == To::Topic {
            return said("--on-duplicate is for --to table: a topic takes every record");
        }
        Ok(())
    }
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
struct Summary {
    dry_run: bool,
    interrupted: bool,
    /// Letters that were chosen and not done with before.
    chosen: u64,
    /// Letters that were chosen and done with before, or meanwhile by another run.
    done_before: u64,
    /// Letters published by this run.
    published: u64,
    /// Chosen letters that an earlier run had published, as was found out now.
    found_published: u64,
    /// Letters whose id is in the table now.
    stored: u64,
    /// Of those, letters whose id was there already.
    duplicates: u64,
    /// Letters that the table, or the cluster, refuses.
    refused: u64,
    /// Chosen letters of which nobody can tell whether they were published.
    unknown: u64,
    /// Letters left to another run, or because this one ended early.
    left: u64,
    /// Letters that were not chosen and that an earlier run had published.
    others_found_published: u64,
    /// Letters that were not chosen and of which nobody can tell.
    others_unknown: u64,
    /// What a dry run would move, and where.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    moves: BTreeMap<String, Move>,
}

/// Letters with the same destination.
#[derive(Debug, Default, Serialize)]
struct Move {
    count: u64,
    /// The first of them.
    letters: Vec<String>,
}

impl Summary {
    fn would_move(&mut self, to: String, letter: String) {
        let moved = self.moves.entry(to).or_default();
        moved.count += 1;
        if moved.letters.len() < NAMED_MAX {
            moved.letters.push(letter);
        }
    }

    fn settle_accounts(&mut self) {
        let accounted =
            self.published + self.found_published + self.stored + self.refused + self.unknown;
        self.left = self.chosen.saturating_sub(accounted);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            write!(f, "would move {}", plural(self.chosen, "dead letter"))?;
            for (to, moved) in &self.moves {
                let more = if moved.count as usize > moved.letters.len() { ", …" } else { "" };
                let letters = moved.letters.join(", ");
                write!(f, "\n  {} to {to}: {letters}{more}", moved.count)?;
            }
            return Ok(());
        }
        let counts = [
            (self.chosen, "chosen"),
            (self.done_before, "done with before"),
            (self.published, "published"),
            (self.found_published, "published by an earlier run"),
            (self.stored, "stored"),
            (self.duplicates, "of them there already"),
            (self.refused, "refused again"),
            (self.unknown, "unknown whether published"),
            (self.left, "left"),
            (self.others_found_published, "others published by an earlier run"),
            (self.others_unknown, "others unknown whether published"),
        ];
        let told = |(at, (count, _)): &(usize, &(u64, &str))| *at == 0 || *count > 0;
        let counts: Vec<String> = (counts.iter().enumerate().filter(told))
            .map(|(_, (count, what))| format!("{count} {what}"))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

/// Moves letters.
///
/// # Errors
/// When no letters are named, one is not there, or database or cluster refuse;
/// what was moved by then is marked, or is found out by the next run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    args.check()?;
    let mut summary = Summary { dry_run: args.dry_run, ..Summary::default() };
    let moved = match &args.topic {
        Some(topic) => foreign::redrive(args, topic, context, &mut summary),
        None => redrive(args, context, &mut summary),
    };
    if !summary.dry_run {
        summary.settle_accounts();
    }
    match moved {
        Ok(()) => {}
        Err(error) if context.stop.requested() && summary.chosen > 0 => {
            context.console.note(format!("interrupted: {error:#}; run it again to finish"));
            summary.interrupted = true;
        }
        Err(error) => {
            if summary.published + summary.stored + summary.found_published > 0 {
                context.console.note(format!("before it failed: {summary}"));
            }
            return Err(error);
        }
    }
    context.console.result(&summary)?;
    if summary.unknown > 0 {
        bail!(
            "an earlier run was killed, and what would tell whether it published {} is gone \
             from the topic, or may be: see whether the effect is there, then decide with \
             --if-unknown again or --if-unknown done",
            plural(summary.unknown, "letter")
        );
    }
    if summary.left > 0 && !summary.interrupted {
        bail!(
            "left {}: another redrive took what is left, or one that did not finish (to another \
             cluster, or before --to table); run it again when that has ended",
            plural(summary.left, "letter")
        );
    }
    Ok(match (summary.interrupted, summary.refused) {
        (true, _) => Outcome::Interrupted,
        (false, 0) => Outcome::Done,
        (false, _) => Outcome::Rejected,
    })
}

/// Letters of the ledger.
fn redrive(args: &Args, context: &Context, summary: &mut Summary) -> anyhow::Result<()> {
    let ids = numbers(&args.names)?;
    let desk = Desk::open(context, &args.which)?;
    let mut filter = args.which.filter();
    filter.states = State::UNFINISHED.to_vec();
    if !ids.is_empty() {
        desk.find_all(&ids)?;
        filter.ids = Some(ids);
        filter.states = State::ALL.to_vec();
    }
    let mut chosen = desk.ask(letters::choose(&desk.client, &desk.ledger, &filter))?;
    let found = chosen.len();
    chosen.retain(|letter| State::UNFINISHED.contains(&letter.state));
    summary.done_before = (found - chosen.len()) as u64;
    chosen.truncate(args.limit.map_or(usize::MAX, |limit| limit as usize));
    summary.chosen = chosen.len() as u64;
    if args.dry_run {
        for letter in chosen {
            let to = match args.to {
                To::Topic => format!("topic {}", letter.topic),
                To::Table => format!("table {}.{}", letter.table.0, letter.table.1),
            };
            summary.would_move(to, letter.id.to_string());
        }
        return Ok(());
    }
    match args.to {
        To::Topic => own::to_topics(args, &desk, chosen, summary),
        To::Table => table::to_tables(args, &desk, chosen, summary),
    }
}

/// Letters grouped by what they have in common, in order.
fn grouped<K: Ord>(
    letters: Vec<Chosen>,
    common: impl Fn(&Chosen) -> K,
) -> BTreeMap<K, Vec<Chosen>> {
    let mut groups: BTreeMap<K, Vec<Chosen>> = BTreeMap::new();
    for letter in letters {
        groups.entry(common(&letter)).or_default().push(letter);
    }
    groups
}

/// The numbers of letters in portions that fit into one transaction.
fn portions(letters: &[Chosen]) -> Vec<Vec<i64>> {
    let mut portions: Vec<Vec<i64>> = Vec::new();
    let mut bytes = 0;
    for letter in letters {
        match portions.last_mut() {
            Some(last)
                if last.len() < PORTION_LETTERS_MAX
                    && bytes + letter.bytes <= PORTION_BYTES_MAX =>
            {
                last.push(letter.id);
            }
            _ => {
                portions.push(vec![letter.id]);
                bytes = 0;
            }
        }
        bytes += letter.bytes;
    }
    portions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(id: i64, bytes: u64) -> Chosen {
        let table = ("s".into(), "t".into());
        Chosen { id, topic: "t".into(), table, bytes, state: State::Open }
    }

    proptest! {
        #[test]
        fn portions_hold_every_letter_once_within_their_bounds(
            sizes in prop::collection::vec(0..12_000_000_u64, 0..1500),
        ) {
            let letters: Vec<Chosen> =
                sizes.iter().enumerate().map(|(id, bytes)| chosen(id as i64, *bytes)).collect();
            let portions = portions(&letters);
            for portion in &portions {
                let bytes: u64 = portion.iter().map(|id| sizes[*id as usize]).sum();
                prop_assert!(portion.len() <= PORTION_LETTERS_MAX);
                prop_assert!(bytes <= PORTION_BYTES_MAX || portion.len() == 1);
            }
            let ids: Vec<i64> = portions.concat();
            prop_assert_eq!(ids, (0..sizes.len() as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_not_accounted_for_is_left() {
        let mut summary = Summary { chosen: 10, published: 4, refused: 1, ..Summary::default() };
        summary.settle_accounts();
        assert_eq!(summary.left, 5);
        assert_eq!(summary.to_string(), "10 chosen, 4 published, 1 refused again, 5 left");
    }
}
