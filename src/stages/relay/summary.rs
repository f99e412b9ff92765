//! What a run of a stage came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::console::plural;
use crate::engine::relay::Totals;
use crate::error::Outcome;

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// The topic read.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Records read.
    pub read: u64,
    /// Records published, without dead letters.
    pub published: u64,
    /// Records that are in the dead-letter topic now.
    pub rejected: u64,
    /// What the stage counts by names of its own.
    pub counts: BTreeMap<&'static str, u64>,
    /// Transactions.
    pub commits: u64,
    /// Transactions that came to nothing and were done again.
    pub aborts: u64,
    /// Seconds from the start of the verb.
    pub seconds: f64,
    /// Whether the stop signal ended it.
    pub interrupted: bool,
}

impl Summary {
    /// How the verb ends.
    pub fn outcome(&self) -> Outcome {
        match (self.interrupted, self.rejected) {
            (true, _) => Outcome::Interrupted,
            (false, 0) => Outcome::Done,
            (false, _) => Outcome::Rejected,
        }
    }
}

impl Summary {
    pub(super) fn new(topic: &str, group: &str) -> Summary {
        Summary { topic: topic.to_owned(), group: group.to_owned(), ..Summary::default() }
    }

    pub(super) fn take(&mut self, totals: Totals) {
        let Totals { read, published, rejected, commits, aborts, counts } = totals;
        (self.read, self.published, self.rejected) = (read, published, rejected);
        (self.commits, self.aborts, self.counts) = (commits, aborts, counts);
    }

    pub(super) fn ended(self, started: Instant, interrupted: bool) -> Summary {
        Summary { seconds: started.elapsed().as_secs_f64(), interrupted, ..self }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.counts.iter().map(|(name, number)| (*name, number));
        let rows =
            [("read", &self.read), ("published", &self.published), ("rejected", &self.rejected)];
        let rows: Vec<(&str, &u64)> = rows.into_iter().chain(own).collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, number) in rows {
            writeln!(f, "{name:width$}  {number}")?;
        }
        let rate = self.read as f64 / self.seconds.max(0.001);
        let Summary { commits, aborts, seconds, .. } = self;
        write!(f, "{} in {seconds:.1} s, {rate:.0}/s", plural(*commits, "transaction"))?;
        match aborts {
            0 => Ok(()),
            _ => write!(f, "; {} done again", plural(*aborts, "other")),
        }
    }
}
