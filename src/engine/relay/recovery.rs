//! What to do when a transaction comes to nothing, and when partitions come and
//! go: go back to what is committed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Ahead, Loop, Partition, Progress};
use crate::edges::kafka::client;
use crate::edges::kafka::transaction::Trouble;
use crate::engine::metrics::Relaying;

/// How long the broker may take to tell the committed positions.
pub(super) const KAFKA_TIMEOUT: Duration = Duration::from_secs(2);
/// The first wait before something is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How long a producer may take to be initialised before that is worth a word.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many fences within this time mean that another worker has the same id: one
/// alone is a transaction that took too long.
const FENCES_MAX: usize = 3;
const FENCES_WITHIN: Duration = Duration::from_secs(60);

/// A partition and its position, with its end and whether that is stable.
type Known = ((i32, i64), (i64, bool));

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
        let open_for = self.open.map_or(Duration::ZERO, |since| since.elapsed());
        let trouble = match trouble {
            // Nobody else need have the id for that.
            Trouble::Fenced if open_for >= self.producer.timeout() => {
                Trouble::Renew("the transaction took too long and was given up".into())
            }
            other => other,
        };
        self.begin_anew();
        self.parts.metrics.relaying(Relaying::count_retry);
        // A topic may be gone, and the cluster not say so.
        self.prepared.clear();
        let is_stopped = self.parts.stop.requested();
        let ended = match trouble {
            Trouble::Abort(why) => {
                if !is_stopped {
                    self.note_waiting(&why);
                }
                self.producer.abort()
            }
            Trouble::Refused(_) | Trouble::Moved => self.producer.abort(),
            other => Err(other),
        };
        if let Err(trouble) = ended {
            // What is left open ends with the next producer, or by its timeout.
            if is_stopped || !self.renew(trouble)? {
                return Ok(());
            }
        }
        // Stopped meanwhile: nothing more is read.
        if self.parts.stop.requested() { Ok(()) } else { self.go_back() }
    }

    /// A new producer in the place of one that is of no use any more; false when
    /// the user asked to stop.
    fn renew(&mut self, trouble: Trouble) -> anyhow::Result<bool> {
        self.replace_producer(trouble)?;
        self.initialise()
    }

    fn replace_producer(&mut self, trouble: Trouble) -> anyhow::Result<()> {
        match trouble {
            Trouble::Stop(error) => return Err(error),
            Trouble::Fenced if self.fences.are_too_many(Instant::now()) => bail!(
                "another worker has the transactional id {} too: give each a name of its own with \
                 --instance",
                self.parts.transactional_id
            ),
            Trouble::Fenced => self.note_waiting("another producer took the transactional id"),
            Trouble::TopicGone => self.note_waiting("a topic to publish to is not there any more"),
            Trouble::Moved => {}
            Trouble::Abort(why)
            | Trouble::Renew(why)
            | Trouble::Again(why)
            | Trouble::Refused(why) => self.note_waiting(&why),
        }
        let fresh = self.parts.producer(&self.options)?;
        std::mem::replace(&mut self.producer, fresh).close();
        Ok(())
    }

    /// Initialises the producer, however long the cluster is away; false when the
    /// user asked to stop.
    pub(super) fn initialise(&mut self) -> anyhow::Result<bool> {
        let (mut wait, since) = (FIRST_WAIT, Instant::now());
        loop {
            match self.producer.init() {
                Ok(()) => return Ok(true),
                // The first producer of an id takes its time where there was none.
                Err(Trouble::Again(_)) if since.elapsed() < PATIENCE => {}
                Err(Trouble::Again(why)) => self.note_waiting(&why),
                Err(other) => self.replace_producer(other)?,
            }
            if self.has_waited(&mut wait) {
                return Ok(false);
            }
        }
    }

    /// Waits until readers can see all that was committed: Kafka confirms a commit
    /// first and tells its partitions then. A new producer of the id is taken only
    /// after that.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        if self.totals.commits > 0 {
            let fresh = self.parts.producer(&self.options)?;
            std::mem::replace(&mut self.producer, fresh).close();
            self.initialise()?;
        }
        Ok(())
    }

    /// Waits longer each time; whether the user asked to stop.
    fn has_waited(&self, wait: &mut Duration) -> bool {
        self.parts.metrics.beat();
        let is_stopped = self.parts.stop.wait_for(*wait);
        *wait = (*wait * 2).min(LONGEST_WAIT);
        is_stopped
    }

    /// Begins to read the partitions that the group assigned.
    pub(super) fn take_over(&mut self, numbers: &[i32]) -> anyhow::Result<()> {
        self.abandon();
        self.partitions.clear();
        self.parts.metrics.relaying(Relaying::count_rebalance);
        (self.parts.progress)(Progress::Assigned(numbers));
        // Before the positions: those of a generation that is over are fenced.
        self.place = self.parts.consumer.place();
        if self.place.is_none() {
            return self.parts.consumer.rejoin();
        }
        self.begin_reading(numbers)
    }

    /// Reads the partitions again from where they are committed.
    fn go_back(&mut self) -> anyhow::Result<()> {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        match numbers.is_empty() || !self.learn_positions(&numbers)? {
            true => Ok(()),
            false => self.read_again(),
        }
    }

    /// Reads partitions from the group's committed positions on; those that the
    /// group never read, from their first record.
    fn begin_reading(&mut self, numbers: &[i32]) -> anyhow::Result<()> {
        if !self.learn_positions(numbers)? {
            return Ok(());
        }
        let starts = self.partitions.iter().map(|(number, one)| (*number, one.next_offset));
        self.parts.consumer.assign(starts)
    }

    /// Asks for the group's positions, however long the cluster is away; false when
    /// the user asked to stop.
    fn learn_positions(&mut self, numbers: &[i32]) -> anyhow::Result<bool> {
        let mut wait = FIRST_WAIT;
        let known = loop {
            match self.ask_positions(numbers) {
                Ok(known) => break known,
                Err(error) if client::is_refused(&error) => {
                    return Err(error.context(
                        "this login may not go on in the group: grant its principal READ on the \
                         group and on the topic",
                    ));
                }
                // As while a killed worker's transaction is pending.
                Err(error) => self.note_waiting(&format!("{error:#}")),
            }
            if self.has_waited(&mut wait) {
                return Ok(false);
            }
        };
        for ((number, next_offset), (end, is_stable)) in known {
            let before = self.partitions.get(&number);
            let (end, is_stable) = before.map_or((end, is_stable), |one| (one.end, one.is_stable));
            let (committed, at_end) = (next_offset, false);
            let partition = Partition { next_offset, committed, end, is_stable, at_end };
            self.partitions.insert(number, partition);
        }
        self.last_record = Instant::now();
        Ok(true)
    }

    /// The positions, each with the end of its partition; that is only asked for
    /// where the run is to end there.
    fn ask_positions(&mut self, numbers: &[i32]) -> anyhow::Result<Vec<Known>> {
        if self.partitions.is_empty() {
            self.topic_id = self.parts.consumer.ask_topic_id(KAFKA_TIMEOUT)?;
        }
        let ends = match self.options.until_end && self.partitions.is_empty() {
            true => self.ask_ends(numbers)?,
            false => vec![(0, true); numbers.len()],
        };
        let positions = self.parts.consumer.committed(numbers, KAFKA_TIMEOUT)?;
        Ok(positions.into_iter().zip(ends).collect())
    }

    /// Has the client deliver records again from where the partitions go on.
    pub(super) fn read_again(&mut self) -> anyhow::Result<()> {
        self.early.clear();
        let starts = self.partitions.iter().map(|(number, one)| (*number, one.next_offset));
        match self.parts.consumer.seek(starts) {
            Ok(()) => Ok(()),
            // Whatever it delivers now may leave records out.
            Err(error) => {
                self.note_waiting(&format!("joining the group again: {error:#}"));
                self.partitions.clear();
                self.place = None;
                self.parts.consumer.rejoin()
            }
        }
    }

    /// Whether records come from another topic of the same name than was assigned.
    pub(super) fn is_another_topic(&self) -> bool {
        match (&self.topic_id, self.parts.consumer.topic_id()) {
            (Some(assigned), Some(read)) => *assigned != read,
            _ => false,
        }
    }

    /// Whether Kafka answers: while it is away, that no record comes says nothing.
    pub(super) fn is_heard(&mut self) -> bool {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        match self.parts.consumer.ask_ends(&numbers, KAFKA_TIMEOUT) {
            Ok(_) => true,
            Err(error) => {
                self.note_waiting(&format!("{error:#}"));
                self.last_record = Instant::now();
                false
            }
        }
    }

    /// Gives the partitions back; what was not committed is for the next owner.
    pub(super) fn give_back(&mut self) -> anyhow::Result<()> {
        self.abandon();
        self.partitions.clear();
        self.place = None;
        self.parts.consumer.unassign()
    }

    /// Ends the open transaction, if any, so that nothing of it counts.
    fn abandon(&mut self) {
        self.ahead = Ahead::default();
        self.early.clear();
        if self.open.is_some() {
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
