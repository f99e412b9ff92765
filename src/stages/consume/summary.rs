//! What a run of `consume` came to.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::selection::Plan;
use crate::console::plural;
use crate::engine::run::Totals;

/// The counts of a run, as printed at its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The topic read.
    pub topic: String,
    /// The table stored into, with its schema.
    pub table: String,
    /// The consumer group.
    pub group: String,
    /// Records whose effect is in the database because of this run.
    pub read: u64,
    /// Rows inserted or updated.
    pub stored: u64,
    /// Records whose id was there already: skipped, or updated.
    pub duplicates: u64,
    /// Records that are dead letters now.
    pub rejected: u64,
    /// Transactions.
    pub batches: u64,
    /// Seconds from the start of the verb.
    pub seconds: f64,
    /// Rows per second.
    pub rows_per_second: f64,
    /// Whether the stop signal ended it.
    pub interrupted: bool,
}

impl Summary {
    /// From the loop's totals.
    pub(super) fn new(plan: &Plan, totals: Totals, interrupted: bool, took: Duration) -> Summary {
        let seconds = took.as_secs_f64();
        Summary {
            topic: plan.owner.topic.clone(),
            table: format!("{}.{}", plan.target.schema, plan.target.table),
            group: plan.owner.group.clone(),
            read: totals.read,
            stored: totals.stored,
            duplicates: totals.duplicates,
            rejected: totals.rejected,
            batches: totals.batches,
            seconds,
            rows_per_second: totals.stored as f64 / seconds.max(0.001),
            interrupted,
        }
    }

    /// Of a run that was stopped before it had begun.
    pub(super) fn interrupted_early() -> Summary {
        Summary { interrupted: true, ..Summary::default() }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read        {}", self.read)?;
        writeln!(f, "stored      {}", self.stored)?;
        writeln!(f, "duplicates  {}", self.duplicates)?;
        writeln!(f, "rejected    {}", self.rejected)?;
        write!(
            f,
            "{} in {:.1} s, {:.0} rows/s",
            plural(self.batches, "batch"),
            self.seconds,
            self.rows_per_second
        )
    }
}
