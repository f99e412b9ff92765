//! What a run comes to.

use std::collections::BTreeMap;

/// What was done so far; only what is committed counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records read.
    pub read: u64,
    /// Records published, without dead letters.
    pub published: u64,
    /// Records that are dead letters now.
    pub rejected: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions that came to nothing and were done again.
    pub aborts: u64,
    /// What the step counts by a name of its own.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// Takes in what a transaction did that is committed.
    pub(super) fn add(&mut self, other: Totals) {
        self.read += other.read;
        self.published += other.published;
        self.rejected += other.rejected;
        for (name, number) in other.counts {
            *self.counts.entry(name).or_default() += number;
        }
    }

    /// Counts one of each.
    pub(super) fn count(&mut self, names: &[&'static str]) {
        for name in names {
            *self.counts.entry(name).or_default() += 1;
        }
    }
}
