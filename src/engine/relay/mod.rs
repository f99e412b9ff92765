//! From Kafka to Kafka, exactly once: records made from records, and the
//! positions they were made from, in one transaction.
//!
//! The loop reads, lets the step make records, queues them, and commits when the
//! batch is old, large or long enough. Whatever goes wrong between two commits
//! is answered in one way: nothing since the last commit counts, and reading
//! goes on from the group's committed positions. A worker that was presumed dead
//! is fenced by the generation of the group that goes with each commit; readers
//! must use read_committed.

mod outgoing;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::record::Raw;
use super::run::Ending;
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::edges::kafka::transaction::{Transactions, Trouble};
use crate::edges::kafka::{Consumer, Happening, Polled};
use crate::events::Reject;
use crate::stop::Stop;

pub use outgoing::{Headers, Outgoing, Output};
use recovery::Fences;

/// How many records go by between two looks at what was acknowledged.
const RECORDS_A_POLL: u64 = 256;
/// How often the totals are shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// When the loop commits and ends.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most records read in one transaction.
    pub records_max: u64,
    /// The most bytes published in one transaction.
    pub bytes_max: usize,
    /// The longest that a record waits for its transaction's commit.
    pub age_max: Duration,
    /// End when every partition was read to where it ended when it was assigned.
    pub until_end: bool,
    /// End when no record came for so long.
    pub idle_exit: Option<Duration>,
}

/// What was done so far; only what is committed counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.read += other.read;
        self.published += other.published;
        self.rejected += other.rejected;
    }
}

/// Something to tell the user while the loop runs.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Once in a while.
    Totals(&'a Totals),
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
    /// Makes records of one record.
    pub step: Step<'p>,
    /// Makes a dead letter of one record.
    pub reject: Rejecter<'p>,
    /// Called with the topic of each output before it is published for the first
    /// time.
    pub prepare_topic: &'p mut dyn FnMut(&str) -> anyhow::Result<()>,
    /// To tell the user.
    pub progress: &'p mut dyn FnMut(Progress<'_>),
}

/// Makes records of one record, or says why that cannot be.
pub type Step<'p> = &'p mut dyn FnMut(&Raw<'_>, &mut Outgoing) -> Result<(), Reject>;
/// Makes a dead letter of one record and what is wrong with it.
pub type Rejecter<'p> = &'p mut dyn FnMut(&Raw<'_>, &Reject, &mut Outgoing);

impl Parts<'_> {
    fn producer(&self) -> anyhow::Result<Transactions> {
        Transactions::new(&self.settings, &self.transactional_id, &self.console, &self.stop)
    }
}

/// A partition that is being read.
#[derive(Debug, Clone, Copy)]
struct Partition {
    /// Where it goes on.
    next_offset: i64,
    /// Where it ended when it was assigned.
    end: i64,
    at_end: bool,
    /// Whether it was read further since the last commit.
    moved: bool,
}

/// A record that was read, after the step.
struct Taken {
    partition: i32,
    offset: i64,
    is_rejected: bool,
}

struct Loop<'p> {
    parts: Parts<'p>,
    options: Options,
    producer: Transactions,
    partitions: BTreeMap<i32, Partition>,
    /// Since when a transaction is open.
    open: Option<Instant>,
    outgoing: Outgoing,
    prepared: BTreeSet<String>,
    bytes: usize,
    /// What the open transaction does.
    batch: Totals,
    totals: Totals,
    last_record: Instant,
    shown_at: Instant,
    waiting: bool,
    fences: Fences,
}

/// Runs until the options' end, the stop signal, or a failure. What was not
/// committed by then does not count.
///
/// # Errors
/// What no wait will cure: missing rights or topics, a position that Kafka no
/// longer has, another worker with the same transactional id.
pub fn run(parts: Parts<'_>, options: Options) -> anyhow::Result<(Totals, Ending)> {
    let producer = parts.producer()?;
    let now = Instant::now();
    let mut state = Loop {
        parts,
        options,
        producer,
        partitions: BTreeMap::new(),
        open: None,
        outgoing: Outgoing::default(),
        prepared: BTreeSet::new(),
        bytes: 0,
        batch: Totals::default(),
        totals: Totals::default(),
        last_record: now,
        shown_at: now,
        waiting: false,
        fences: Fences::default(),
    };
    if !state.initialise()? {
        return Ok((state.totals, Ending::Stopped));
    }
    state.parts.consumer.subscribe()?;
    let ended = state.go_on();
    let Loop { totals, parts, producer, .. } = state;
    producer.close();
    parts.consumer.close(Duration::from_secs(2));
    ended.map(|ending| (totals, ending))
}

impl Loop<'_> {
    fn go_on(&mut self) -> anyhow::Result<Ending> {
        loop {
            if self.parts.stop.requested() {
                self.commit()?;
                return Ok(Ending::Stopped);
            }
            let is_due = self.open.is_some_and(|since| since.elapsed() >= self.options.age_max);
            if is_due || self.is_full() || (self.open.is_some() && self.is_satisfied()) {
                self.commit()?;
            }
            if self.open.is_none() && self.is_satisfied() {
                return Ok(Ending::Done);
            }
            self.show();
            self.poll_once()?;
        }
    }

    fn is_full(&self) -> bool {
        self.batch.read >= self.options.records_max || self.bytes >= self.options.bytes_max
    }

    /// Whether no more need be read.
    fn is_satisfied(&self) -> bool {
        let idle = self.options.idle_exit.is_some_and(|limit| self.last_record.elapsed() >= limit);
        let is_read = |one: &Partition| one.at_end || one.next_offset >= one.end;
        idle || (self.options.until_end
            && !self.partitions.is_empty()
            && self.partitions.values().all(is_read))
    }

    /// The time until the open transaction is due, or a little when none is.
    fn poll_timeout(&self) -> Duration {
        let idle = Duration::from_millis(50);
        self.open
            .map_or(idle, |since| self.options.age_max.saturating_sub(since.elapsed()).min(idle))
    }

    fn poll_once(&mut self) -> anyhow::Result<()> {
        let taken = match self.parts.consumer.poll(self.poll_timeout()) {
            Polled::Record(record) => {
                let raw = record.raw();
                self.outgoing.clear();
                let made = (self.parts.step)(&raw, &mut self.outgoing);
                if let Err(reject) = &made {
                    self.outgoing.clear();
                    (self.parts.reject)(&raw, reject, &mut self.outgoing);
                }
                Taken { partition: raw.partition, offset: raw.offset, is_rejected: made.is_err() }
            }
            Polled::Other(happening) => return self.handle(happening),
        };
        // Else of a partition that is no longer ours.
        if self.partitions.contains_key(&taken.partition) { self.take(taken) } else { Ok(()) }
    }

    /// Publishes what was made of a record.
    fn take(&mut self, taken: Taken) -> anyhow::Result<()> {
        self.last_record = Instant::now();
        if !self.prepare_topics()? {
            return Ok(());
        }
        if let Err(trouble) = self.publish() {
            return self.recover(trouble);
        }
        let made = self.outgoing.records().count() as u64;
        let batch = &mut self.batch;
        batch.read += 1;
        if taken.is_rejected {
            batch.rejected += 1
        } else {
            batch.published += made
        }
        self.bytes += self.outgoing.size();
        if batch.read.is_multiple_of(RECORDS_A_POLL) {
            self.producer.poll();
        }
        if let Some(partition) = self.partitions.get_mut(&taken.partition) {
            partition.next_offset = taken.offset + 1;
            partition.moved = true;
        }
        Ok(())
    }

    /// Prepares topics seen for the first time. That may take longer than a
    /// transaction may stay open, so the open one is committed before; false when
    /// that came to nothing, and the record in hand will be read again.
    fn prepare_topics(&mut self) -> anyhow::Result<bool> {
        let is_new = |output: &Output<'_>| !self.prepared.contains(output.topic);
        let new: Vec<String> =
            self.outgoing.records().filter(is_new).map(|output| output.topic.to_owned()).collect();
        if new.is_empty() {
            return Ok(true);
        }
        let aborts = self.totals.aborts;
        self.commit()?;
        for topic in new {
            (self.parts.prepare_topic)(&topic)?;
            self.prepared.insert(topic);
        }
        Ok(self.totals.aborts == aborts)
    }

    fn publish(&mut self) -> Result<(), Trouble> {
        if self.open.is_none() {
            self.producer.begin()?;
            self.open = Some(Instant::now());
        }
        self.producer.send(&self.outgoing)
    }

    fn handle(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Nothing => Ok(()),
            Happening::End(partition) => {
                if let Some(partition) = self.partitions.get_mut(&partition) {
                    partition.at_end = true;
                }
                Ok(())
            }
            Happening::Assigned(partitions) => self.begin_reading(&partitions),
            Happening::Revoked => self.give_back(),
            Happening::Away(why) => {
                self.note_waiting(&why);
                Ok(())
            }
            Happening::PositionLost => anyhow::bail!(
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
        if self.open.is_none() {
            return Ok(());
        }
        let moved = self.partitions.iter().filter(|(_, partition)| partition.moved);
        let positions: Vec<_> =
            moved.map(|(number, partition)| (*number, partition.next_offset)).collect();
        match self.producer.commit(&self.parts.consumer, &positions) {
            Ok(()) => {
                self.totals.add(self.batch);
                self.totals.commits += 1;
                self.begin_anew();
                for partition in self.partitions.values_mut() {
                    partition.moved = false;
                }
                if std::mem::take(&mut self.waiting) {
                    (self.parts.progress)(Progress::Resumed);
                }
                Ok(())
            }
            Err(trouble) => self.recover(trouble),
        }
    }

    /// Forgets what belongs to a transaction that is over.
    fn begin_anew(&mut self) {
        self.open = None;
        self.batch = Totals::default();
        self.bytes = 0;
    }

    fn show(&mut self) {
        if self.shown_at.elapsed() >= SHOW_EVERY {
            self.shown_at = Instant::now();
            (self.parts.progress)(Progress::Totals(&self.totals));
        }
    }

    fn note_waiting(&mut self, why: &str) {
        if !std::mem::replace(&mut self.waiting, true) {
            (self.parts.progress)(Progress::Waiting(why));
        }
    }
}
