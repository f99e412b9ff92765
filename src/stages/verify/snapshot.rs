//! The database's side, as of one moment.

use std::collections::BTreeMap;

use anyhow::bail;

use super::compare::{Rules, TableCounts, row_alone};
use super::findings::{Fault, Findings};
use super::letters::Letters;
use super::manifest::Manifest;
use super::spill::Spill;
use crate::config::PostgresSettings;
use crate::console::Console;
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::effects::{self, Position};
use crate::edges::postgres::key::KeyForm;
use crate::edges::postgres::ledger::Owner;
use crate::engine::checkpoint::TopicId;
use crate::stages::consume::selection::{Plan, Selection};

/// Rows are counted on the screen once in so many.
const ROWS_A_STEP: u64 = 1024;

/// What the group's work has left in the database.
#[derive(Debug)]
pub struct Snapshot {
    /// Table, ledger, group and topic.
    pub plan: Plan,
    /// The ledger's position of each partition.
    pub positions: BTreeMap<i32, Position>,
    /// The dead letters.
    pub letters: Letters,
    /// Who else stores into the table.
    pub others: Vec<String>,
    /// The ids of the table's rows.
    pub ids: Spill<0>,
    rows: u64,
    rows_without_id: u64,
}

/// Reads everything in one transaction.
///
/// # Errors
/// When the database cannot be read, or the group has stored nothing of the topic
/// yet, with the cure.
pub async fn take(
    selection: &Selection,
    postgres: &PostgresSettings,
    manifest: Option<&Manifest>,
    console: &Console,
) -> anyhow::Result<Snapshot> {
    let client = connect(postgres, "orderctl verify").await?;
    let plan = selection.resolve(&client, String::new()).await?;
    effects::begin(&client).await?;
    let Plan { owner, target, found, ledger } = &plan;
    if let Some(manifest) = manifest {
        manifest.check(&owner.topic, target.kind.name())?;
    }
    let positions = effects::positions(&client, ledger, owner).await?;
    if positions.is_empty() {
        bail!(
            "group {} has stored nothing of topic {} yet: run `orderctl consume`, or name the \
             group with --group and the topic with --topic-name",
            owner.group,
            owner.topic
        );
    }
    let others = effects::others(&client, ledger, owner, found).await?;
    let mut letters = Letters::new()?;
    effects::letters(&client, ledger, owner, |letter| letters.push(letter)).await?;
    letters.flush()?;
    let (mut ids, form) = (Spill::new()?, KeyForm::of(target.key()));
    let (mut rows, mut rows_without_id) = (0, 0);
    let counter = console.counter("rows read");
    effects::ids(&client, target, |id| {
        rows += 1;
        if rows % ROWS_A_STEP == 0 {
            counter.set_position(rows);
        }
        match id {
            Some(id) => ids.push(&form.canonical(id), [])?,
            None => rows_without_id += 1,
        }
        Ok(())
    })
    .await?;
    counter.finish_and_clear();
    Ok(Snapshot { plan, positions, letters, others, ids, rows, rows_without_id })
}

impl Snapshot {
    /// The table's counts before ids are compared: rows without an id have no
    /// record for certain, or may be another group's.
    pub fn table_counts(&self, rules: &Rules, findings: &mut Findings) -> TableCounts {
        let alone = self.rows_without_id;
        if rules.foreign_rows {
            return TableCounts { rows: self.rows, extra: 0, unknown: alone };
        }
        for _ in 0..alone {
            findings.add(Fault::Extra, || row_alone(None));
        }
        TableCounts { rows: self.rows, extra: alone, unknown: 0 }
    }

    /// Refuses a topic that was created again since: positions in the old one say
    /// nothing about the records of this one.
    ///
    /// # Errors
    /// When it was, with the choices.
    pub fn refuse_other_topic(&self, there: Option<&TopicId>) -> anyhow::Result<()> {
        let Some(there) = there else { return Ok(()) };
        let stored_of = |position: &Position| position.topic_id.clone();
        let other = self.positions.values().filter_map(stored_of).find(|id| id != there);
        let Some(old) = other else { return Ok(()) };
        let Owner { group, topic, .. } = &self.plan.owner;
        bail!(
            "topic {topic} was deleted and created again: what group {group} stored came from the \
             old one (id {}), of which the one there now (id {}) has no records; have the new one \
             consumed with --on-data-loss earliest, or under another --group",
            old.0,
            there.0
        )
    }

    /// The offsets that positions were moved to with `--on-data-loss`, of the
    /// partitions where that was done.
    pub fn moved(&self) -> BTreeMap<i32, i64> {
        let moved = |(number, one): (&i32, &Position)| Some((*number, one.moved_to?));
        self.positions.iter().filter_map(moved).collect()
    }

    /// What limits the judgement for the database's reasons.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.others.is_empty() {
            notes.push(format!(
                "rows without a record count as unknown, because others store into this table: {}",
                self.others.join(", ")
            ));
        }
        let moved = self.moved();
        if !moved.is_empty() {
            let to = |(number, offset): (&i32, &i64)| format!("partition {number} to {offset}");
            let all: Vec<String> = moved.iter().map(to).collect();
            notes.push(format!(
                "positions were moved with --on-data-loss ({}): rows and earlier dead letters \
                 without a record count as unknown, and so do records before these offsets that \
                 are neither",
                all.join(", ")
            ));
        }
        notes
    }
}
