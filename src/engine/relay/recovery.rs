//! What to do when a transaction comes to nothing, and when partitions come and
//! go: go back to what is committed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Loop, Partition};
use crate::edges::kafka::membership::Committed;
use crate::edges::kafka::transaction::Trouble;

/// How long the broker may take to tell the committed positions.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(2);
/// The first wait before something is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// So many fences within this time mean that another worker has the same id: one
/// alone is a transaction that took too long.
const FENCES_MAX: usize = 3;
const FENCES_WITHIN: Duration = Duration::from_secs(60);

/// When the producer was fenced lately.
#[derive(Debug, Default)]
pub struct Fences {
    at: VecDeque<Instant>,
}

impl Fences {
    /// Notes one; whether there were too many.
    fn are_too_many(&mut self, now: Instant) -> bool {
        self.at.push_back(now);
        self.at.retain(|at| now.duration_since(*at) < FENCES_WITHIN);
        self.at.len() >= FENCES_MAX
    }
}

impl Loop<'_> {
    /// Nothing since the last commit counts: ends the transaction, with a new
    /// producer where the old one is of no use, and goes back.
    pub(super) fn recover(&mut self, trouble: Trouble) -> anyhow::Result<()> {
        self.totals.aborts += 1;
        self.begin_anew();
        let ended = match trouble {
            Trouble::Abort(why) => {
                self.note_waiting(&why);
                self.producer.abort()
            }
            other => Err(other),
        };
        let is_going_on = match ended {
            Ok(()) => true,
            Err(trouble) => self.renew(trouble)?,
        };
        // Stopped meanwhile: nothing more is read.
        if !is_going_on || self.parts.stop.requested() {
            return Ok(());
        }
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        self.begin_reading(&numbers)
    }

    fn renew(&mut self, trouble: Trouble) -> anyhow::Result<bool> {
        match trouble {
            Trouble::Stop(error) => return Err(error),
            Trouble::Fenced if self.fences.are_too_many(Instant::now()) => bail!(
                "another worker has the transactional id {} too: give each a name of its own with \
                 --instance",
                self.parts.transactional_id
            ),
            Trouble::Fenced => self.note_waiting("the transaction was given up by the cluster"),
            Trouble::Abort(why) | Trouble::Renew(why) => self.note_waiting(&why),
        }
        let parts = &self.parts;
        let fresh = parts.producer()?;
        std::mem::replace(&mut self.producer, fresh).close();
        self.initialise()
    }

    /// Initialises the producer, however long the cluster is away; false when the
    /// user asked to stop.
    pub(super) fn initialise(&mut self) -> anyhow::Result<bool> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.producer.init() {
                Ok(()) => return Ok(true),
                Err(Trouble::Stop(error)) => return Err(error),
                Err(Trouble::Abort(why) | Trouble::Renew(why)) => self.note_waiting(&why),
                Err(Trouble::Fenced) => {}
            }
            if self.parts.stop.wait_for(wait) {
                return Ok(false);
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Reads partitions from the group's committed positions on; those that the
    /// group never read, from their first record.
    pub(super) fn begin_reading(&mut self, numbers: &[i32]) -> anyhow::Result<()> {
        self.abandon();
        if numbers.is_empty() {
            self.partitions.clear();
            return self.parts.consumer.assign(std::iter::empty());
        }
        let mut wait = FIRST_WAIT;
        let positions = loop {
            match self.parts.consumer.committed(numbers, KAFKA_TIMEOUT) {
                Ok(positions) => break positions,
                Err(error) => self.note_waiting(&format!("{error:#}")),
            }
            if self.parts.stop.wait_for(wait) {
                return Ok(());
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        let partition = |at: &Committed| Partition {
            next_offset: at.next_offset,
            end: at.end,
            at_end: false,
            moved: false,
        };
        self.partitions = positions.iter().map(|at| (at.partition, partition(at))).collect();
        self.last_record = Instant::now();
        let starts = positions.iter().map(|at| (at.partition, at.next_offset));
        self.parts.consumer.assign(starts)
    }

    /// Gives the partitions back; what was not committed is for the next owner.
    pub(super) fn give_back(&mut self) -> anyhow::Result<()> {
        self.abandon();
        self.partitions.clear();
        self.parts.consumer.unassign()
    }

    /// Ends the open transaction, if any, so that nothing of it counts.
    fn abandon(&mut self) {
        if self.open.is_some() {
            self.totals.aborts += 1;
            self.begin_anew();
            // What it could not end, the next call on the producer finds out.
            let _ = self.producer.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_fences_in_a_minute_are_too_many() {
        let start = Instant::now();
        let mut fences = Fences::default();
        assert!(!fences.are_too_many(start));
        assert!(!fences.are_too_many(start + Duration::from_secs(50)));
        assert!(!fences.are_too_many(start + Duration::from_secs(70)));
        assert!(fences.are_too_many(start + Duration::from_secs(80)));
    }
}
