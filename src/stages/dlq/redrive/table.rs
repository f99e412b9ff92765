//! Letters of the ledger, into the tables they were on their way to.

use super::super::Desk;
use super::{Args, Summary, grouped, portions};
use crate::console::plural;
use crate::edges::postgres::letters::{Chosen, State};
use crate::edges::postgres::{OnDuplicate, restore};
use crate::error::Usage;

/// Stores letters, table by table.
pub fn to_tables(
    args: &Args,
    desk: &Desk<'_>,
    mut chosen: Vec<Chosen>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let all = chosen.len();
    chosen.retain(|letter| letter.state == State::Open);
    if chosen.len() < all {
        desk.context.console.note(format!(
            "note: left {}, taken by a redrive to the topic that did not finish: run `orderctl \
             dlq redrive` for what is left first",
            plural((all - chosen.len()) as u64, "letter")
        ));
    }
    let bar = desk.context.console.bar(chosen.len() as u64, "letters");
    let (client, ledger) = (&desk.client, &desk.ledger);
    for (table, letters) in grouped(chosen, |letter| letter.table.clone()) {
        let target = desk.ask(restore::target(client, ledger, &table))?;
        if !target.unique_key && args.on_duplicate != OnDuplicate::Skip {
            return Err(Usage(format!(
                "only a unique index on {} of table {} can tell duplicates: create one, or leave \
                 --on-duplicate out",
                target.key().name,
                target.table
            ))
            .into());
        }
        for portion in portions(&letters) {
            let storing = restore::restore(client, ledger, &target, args.on_duplicate, &portion);
            let restored = desk.ask(storing)?;
            summary.stored += restored.stored;
            summary.duplicates += restored.duplicates;
            summary.refused += restored.rejected;
            summary.chosen -= restored.done_before;
            summary.done_before += restored.done_before;
            bar.inc(portion.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
