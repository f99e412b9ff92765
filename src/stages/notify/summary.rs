//! What a run did.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Sending;
use crate::engine::metrics::Mailing;
use crate::error::Outcome;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    topics: Vec<String>,
    group: String,
    read: u64,
    planned: u64,
    rejected: u64,
    sent: u64,
    failed: u64,
    unknown: u64,
    /// Mails of the group still to be sent, by the last look at them.
    open: u64,
    put_off: u64,
    logins: u64,
    seconds: f64,
    interrupted: bool,
}

impl Summary {
    /// From the figures of a run.
    pub fn new(
        topics: Vec<String>,
        args: &Sending,
        figures: &Mailing,
        elapsed: Duration,
        interrupted: bool,
    ) -> Summary {
        Summary {
            topics,
            group: args.group.clone(),
            read: figures.read,
            planned: figures.planned,
            rejected: figures.rejected,
            sent: figures.sent,
            failed: figures.failed,
            unknown: figures.unknown,
            open: figures.open,
            put_off: figures.put_off,
            logins: figures.logins,
            seconds: elapsed.as_secs_f64(),
            interrupted,
        }
    }

    /// How the verb ends.
    pub fn outcome(&self) -> Outcome {
        match self.interrupted {
            true => Outcome::Interrupted,
            false if self.rejected + self.failed + self.unknown > 0 => Outcome::Rejected,
            false => Outcome::Done,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read      {}", self.read)?;
        writeln!(f, "rejected  {}", self.rejected)?;
        writeln!(f, "planned   {}", self.planned)?;
        writeln!(f, "sent      {}", self.sent)?;
        writeln!(f, "failed    {}", self.failed)?;
        writeln!(f, "unknown   {}", self.unknown)?;
        writeln!(f, "open      {}", self.open)?;
        let rate = self.sent as f64 / self.seconds.max(0.001);
        write!(
            f,
            "{} put off, {} logins, in {:.1} s, {rate:.0}/s",
            self.put_off, self.logins, self.seconds
        )
    }
}
