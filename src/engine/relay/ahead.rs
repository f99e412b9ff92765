//! Topics that are published to for the first time: they are looked for ahead,
//! so that all that the next records need are made sure of at once.
//!
//! From the first record with a topic that is not known, records are only given
//! to the step, and what it makes is looked at for topics and thrown away. Then
//! the topics are prepared, and the records are read again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Loop, Output};
use crate::edges::kafka::topics::Readied;

/// How many records are looked at before topics are prepared.
const RECORDS_MAX: u64 = 1_000;
/// How long they are looked at.
const TIME_MAX: Duration = Duration::from_millis(200);
/// How long to let go before topics are prepared again.
const WAIT: Duration = Duration::from_secs(1);

/// Makes sure that topics are there. May take its time, but must come back soon
/// once the user asked to stop.
pub type Preparer<'p> = &'p mut dyn FnMut(&BTreeSet<String>) -> anyhow::Result<Readied>;

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    topics: BTreeSet<String>,
    records: u64,
    since: Option<Instant>,
    is_hurried: bool,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// No more records are waiting: what was found is all for now.
    pub(super) fn hurry(&mut self) {
        self.is_hurried = !self.is_empty();
    }

    pub(super) fn is_far_enough(&self) -> bool {
        let took = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.is_hurried || self.records >= RECORDS_MAX || took >= TIME_MAX
    }
}

impl Loop<'_> {
    /// Whether the record in hand is only looked at, to be read again once topics
    /// are there: because of its own, or those of a record before.
    pub(super) fn looks_ahead(&mut self) -> bool {
        let is_new = |output: &Output<'_>| !self.prepared.contains(output.topic);
        let new = self.outgoing.records().filter(is_new).map(|output| output.topic.to_owned());
        self.ahead.topics.extend(new);
        if self.ahead.is_empty() {
            return false;
        }
        self.ahead.since.get_or_insert_with(Instant::now);
        self.ahead.records += 1;
        true
    }

    /// Prepares the topics that were found, and reads the records again. That may
    /// take longer than a transaction may stay open, so the open one is committed
    /// before.
    pub(super) fn prepare_topics(&mut self) -> anyhow::Result<()> {
        let aborts = self.totals.aborts;
        self.commit()?;
        // Reading went back already, and all will be found again.
        if self.totals.aborts > aborts {
            return Ok(());
        }
        let topics = std::mem::take(&mut self.ahead).topics;
        match (self.parts.prepare)(&topics)? {
            Readied::Yes => self.prepared.extend(topics),
            Readied::NotYet(why) => {
                if !self.parts.stop.requested() {
                    self.note_waiting(&why);
                    self.parts.stop.wait_for(WAIT);
                }
            }
        }
        self.last_record = Instant::now();
        if self.partitions.is_empty() || self.parts.stop.requested() {
            return Ok(());
        }
        for partition in self.partitions.values_mut() {
            partition.at_end = false;
        }
        self.read_again()
    }
}
