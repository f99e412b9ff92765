//! From Kafka to Kafka, exactly once: records made from records, and the
//! positions they were made from, in one transaction.
//!
//! The loop reads, lets the step make records, queues them, and commits when the
//! batch is old, large or long enough. Whatever goes wrong between two commits
//! is answered in one way: nothing since the last commit counts, and reading
//! goes on from the group's committed positions. A worker that was presumed dead
//! is fenced by the generation of the group that goes with each commit; readers
//! must use read_committed.

mod ahead;
mod early;
mod ends;
mod options;
mod outgoing;
mod recovery;
mod suspicion;
mod totals;
mod turn;
mod vitals;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::checkpoint::TopicId;
use super::metrics::{Metrics, RejectReason, Relayed};
use super::record::Raw;
use super::run::Ending;
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::edges::kafka::membership::Place;
use crate::edges::kafka::transaction::{Transactions, Trouble};
use crate::edges::kafka::{Consumer, Happening};
use crate::events::Reject;
use crate::stop::Stop;

use ahead::Ahead;
pub use ahead::Preparer;
use early::Early;
pub use options::Options;
pub use outgoing::{Inherited, Outgoing, Output};
use recovery::Fences;
use suspicion::Suspicion;
pub use totals::Totals;
use vitals::Vitals;

/// Something to tell the user while the loop runs.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Once in a while: the totals, and how many records are still to be read.
    Totals(&'a Totals, u64),
    /// The group assigned these partitions.
    Assigned(&'a [i32]),
    /// Something is away that will come back, or was lost and is done again.
    Waiting(&'a str),
    /// What was away is back.
    Resumed,
}

/// What the loop works with.
pub struct Parts<'p> {
    /// The group member, not yet subscribed.
    pub consumer: Consumer,
    /// To make producers with.
    pub settings: KafkaSettings,
    /// The transactional id: no two workers may have the same one.
    pub transactional_id: String,
    /// Where the client's log goes.
    pub console: Console,
    /// Whether the user asked to stop.
    pub stop: Stop,
    /// Where the loop shows how it fares.
    pub metrics: Arc<Metrics>,
    /// Makes records of one record.
    pub step: Step<'p>,
    /// Makes a dead letter of one record.
    pub reject: Rejecter<'p>,
    /// Changes the headers of the record read before they travel on.
    pub inherit: Inherit<'p>,
    /// Makes sure that topics are there.
    pub prepare: Preparer<'p>,
    /// To tell the user.
    pub progress: &'p mut dyn FnMut(Progress<'_>),
}

/// Makes records of one record, or says why that cannot be. It may be asked for
/// the same record again.
pub type Step<'p> = &'p mut dyn FnMut(&Raw<'_>, &mut Outgoing) -> Result<(), Reject>;
/// Makes a dead letter of one record and what is wrong with it.
pub type Rejecter<'p> = &'p mut dyn FnMut(&Raw<'_>, &Reject, &mut Outgoing);

/// Changes the headers of one record before they travel on.
pub type Inherit<'p> = &'p dyn Fn(&Raw<'_>, &mut Inherited);

impl Parts<'_> {
    fn producer(&self, options: &Options) -> anyhow::Result<Transactions> {
        let Parts { settings, transactional_id, console, stop, .. } = self;
        Transactions::new(settings, transactional_id, options.age_max, console, stop)
    }
}

/// A partition that is being read.
#[derive(Debug, Clone, Copy)]
struct Partition {
    /// Where it goes on; below 0 for its first record.
    next_offset: i64,
    /// Where it goes on after an abort.
    committed: i64,
    /// Where it ended when it was assigned, if the run is to end there.
    end: i64,
    /// Whether no transaction is open before that.
    is_stable: bool,
    at_end: bool,
}

/// A record that was read, after the step.
#[derive(Debug, Clone, Copy)]
struct Taken {
    partition: i32,
    offset: i64,
    time_ms: Option<i64>,
    payload_bytes: usize,
    rejected: Option<RejectReason>,
}

/// What the open transaction does.
#[derive(Debug, Default)]
struct Batch {
    totals: Totals,
    /// Bytes published.
    bytes: usize,
    /// For the metrics.
    relayed: Relayed,
}

struct Loop<'p> {
    parts: Parts<'p>,
    options: Options,
    producer: Transactions,
    /// The member's place since the last assignment.
    place: Option<Place>,
    /// The topic that was assigned, of those of its name.
    topic_id: Option<TopicId>,
    partitions: BTreeMap<i32, Partition>,
    /// When ends were looked at last.
    looked_at: Instant,
    /// Since when a transaction is open.
    open: Option<Instant>,
    outgoing: Outgoing,
    early: Early,
    prepared: HashSet<String>,
    ahead: Ahead,
    suspicion: Suspicion,
    batch: Batch,
    totals: Totals,
    last_record: Instant,
    waiting: bool,
    fences: Fences,
    vitals: Vitals,
}

/// Runs until the options' end, the stop signal, or a failure. What was not
/// committed by then does not count.
///
/// # Errors
/// What no wait will cure: missing rights or topics, a position that Kafka no
/// longer has, another worker with the same transactional id.
pub fn run(parts: Parts<'_>, options: Options) -> anyhow::Result<(Totals, Ending)> {
    let producer = parts.producer(&options)?;
    let now = Instant::now();
    let mut state = Loop {
        parts,
        options,
        producer,
        place: None,
        topic_id: None,
        partitions: BTreeMap::new(),
        looked_at: now,
        open: None,
        outgoing: Outgoing::default(),
        early: Early::default(),
        prepared: HashSet::new(),
        ahead: Ahead::default(),
        suspicion: Suspicion::default(),
        batch: Batch::default(),
        totals: Totals::default(),
        last_record: now,
        waiting: false,
        fences: Fences::default(),
        vitals: Vitals::new(now),
    };
    let ended = state.go_on();
    state.show_lag();
    let Loop { totals, parts, producer, .. } = state;
    producer.close();
    parts.consumer.close(Duration::from_secs(2));
    ended.map(|ending| (totals, ending))
}

impl Loop<'_> {
    fn go_on(&mut self) -> anyhow::Result<Ending> {
        if !self.initialise()? {
            return Ok(Ending::Stopped);
        }
        self.parts.consumer.subscribe()?;
        loop {
            if self.parts.stop.requested() {
                self.commit()?;
                return Ok(Ending::Stopped);
            }
            if self.ahead.is_far_enough() {
                self.prepare_topics()?;
            }
            self.look_for_stable_ends()?;
            let is_satisfied = self.ahead.is_empty() && self.is_satisfied();
            if self.open.is_some() && (is_satisfied || self.is_due()) {
                self.commit()?;
            }
            if self.open.is_none() && is_satisfied && self.is_satisfied() && self.is_heard() {
                self.settle()?;
                return Ok(Ending::Done);
            }
            self.show_vitals();
            self.take_some()?;
        }
    }

    fn is_due(&self) -> bool {
        self.is_full() || self.open.is_some_and(|since| since.elapsed() >= self.options.age_max)
    }

    /// Whether the open transaction takes no more records.
    fn is_full(&self) -> bool {
        let Batch { totals, bytes, .. } = &self.batch;
        self.suspicion.is_careful() || self.options.are_reached(totals.read, *bytes)
    }

    /// Whether no more need be read.
    fn is_satisfied(&self) -> bool {
        // Nothing can come before there is a place in the group.
        if self.place.is_none() || !self.early.is_empty() {
            return false;
        }
        let idle = self.options.idle_exit.is_some_and(|limit| self.last_record.elapsed() >= limit);
        let is_read = |one: &Partition| one.at_end || one.next_offset >= one.end;
        idle || (self.options.until_end && self.partitions.values().all(is_read))
    }

    /// The time until the open transaction is due, or a little when none is.
    fn poll_timeout(&self) -> Duration {
        let idle = Duration::from_millis(50);
        self.open
            .map_or(idle, |since| self.options.age_max.saturating_sub(since.elapsed()).min(idle))
    }

    fn handle(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Nothing => {
                self.ahead.hurry();
                Ok(())
            }
            Happening::End(partition) => {
                if let Some(partition) = self.partitions.get_mut(&partition) {
                    partition.at_end = partition.is_stable;
                }
                Ok(())
            }
            Happening::Assigned(partitions) => self.take_over(&partitions),
            Happening::Revoked => self.give_back(),
            Happening::Away(why) => {
                self.note_waiting(&why);
                Ok(())
            }
            Happening::PositionLost => bail!(
                "Kafka no longer has the position that the group goes on from: records were \
                 removed by retention before they were read, or the topic was created again; \
                 set the group's offsets with Kafka's kafka-consumer-groups, or start over under \
                 another --group"
            ),
            Happening::Failed(error) => Err(error),
        }
    }

    /// Commits what was read and published since the last commit, if anything was.
    fn commit(&mut self) -> anyhow::Result<()> {
        if self.open.is_none() || self.place.is_none() {
            return Ok(());
        }
        let moved = self.partitions.iter().filter(|(_, one)| one.next_offset > one.committed);
        let positions: Vec<_> = moved.map(|(number, one)| (*number, one.next_offset)).collect();
        let since = Instant::now();
        if self.is_another_topic() {
            bail!(
                "the topic was deleted and created again while it was read: start again, and the \
                 group goes on from the first record of the new one, as Kafka forgets positions \
                 in a topic that is deleted; what was not committed of the old one is lost"
            );
        }
        if let Err(trouble) = self.commit_reading_on(&positions) {
            // Of a record refused before it was sent it is known which.
            if let Trouble::Refused(why) = &trouble {
                self.suspicion.note_refusal(self.batch.totals.read, why)?;
            }
            return self.recover(trouble);
        }
        let batch = std::mem::take(&mut self.batch);
        self.open = None;
        self.suspicion.clear_up(batch.totals.read, &positions);
        self.totals.add(batch.totals);
        self.totals.commits += 1;
        for partition in self.partitions.values_mut() {
            partition.committed = partition.next_offset;
        }
        let (metrics, totals) = (&self.parts.metrics, &self.totals);
        metrics.relaying(|relaying| relaying.count(totals, batch.relayed, since.elapsed()));
        if std::mem::take(&mut self.waiting) {
            (self.parts.progress)(Progress::Resumed);
        }
        Ok(())
    }

    /// Forgets what belongs to a transaction that came to nothing.
    fn begin_anew(&mut self) {
        self.open = None;
        self.batch = Batch::default();
        self.ahead = Ahead::default();
        self.totals.aborts += 1;
    }
}
