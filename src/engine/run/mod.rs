//! The loop: polls, decodes, fills batches, hands them to writers, and follows
//! the group's rebalances.

mod assignment;
mod reports;
mod vitals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::batch::Bounds;
use super::checkpoint::TopicId;
use super::lanes::{Lane, Partition, take};
use super::metrics::{Cause, Metrics};
use super::report::Report;
use crate::edges::kafka::{Consumer, Happening, Polled};
use crate::edges::postgres::claimer::Request;
use crate::edges::postgres::target::Target;
use crate::edges::postgres::writer::Writer;
use crate::stop::Stop;
use vitals::Vitals;

/// How often the clock is looked at and reports are taken while records pour in.
const RECORDS_PER_LOOK: u64 = 256;
/// A batch that nobody takes for this long has its partitions paused, so that
/// polling can go on.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long writers may go on with what they have when partitions are taken
/// away or the run is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// When the loop ends by itself, and how it batches.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a batch is full.
    pub bounds: Bounds,
    /// The longest that a record waits for its batch to fill.
    pub linger: Duration,
    /// End when every partition was read to where it ended when it was claimed.
    pub until_end: bool,
    /// End after so many records.
    pub records_max: Option<u64>,
    /// End when no record came for so long.
    pub idle_exit: Option<Duration>,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records whose effect is in the database.
    pub read: u64,
    /// Rows inserted or updated.
    pub stored: u64,
    /// Records whose id was there already.
    pub duplicates: u64,
    /// Records that are dead letters now.
    pub rejected: u64,
    /// Transactions.
    pub batches: u64,
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What was asked for is done.
    Done,
    /// The stop signal.
    Stopped,
}

/// What the loop works with.
pub struct Parts {
    /// The group member, not yet subscribed.
    pub consumer: Consumer,
    /// At least one.
    pub writers: Vec<Writer>,
    /// To the thread that looks up watermarks and claims.
    pub claims: Sender<Request>,
    /// From the writers and the claimer.
    pub reports: Receiver<Report>,
    /// The table.
    pub target: Target,
    /// Whether a row that the server refuses must be able to become a dead letter.
    pub keep_payloads: bool,
    /// Whether the user asked to stop.
    pub stop: Stop,
    /// Where the loop shows how it fares.
    pub metrics: Arc<Metrics>,
}

/// Something to tell the user while the loop runs.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Once in a while: the totals, and how many records are still to be read.
    Totals(&'a Totals, u64),
    /// The group assigned these partitions.
    Assigned(&'a [i32]),
    /// Something is away that will come back, and which kind of trouble it is.
    Waiting(&'a str, Cause),
    /// What was away is back.
    Resumed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No partitions yet, or they are being claimed.
    Joining,
    Reading,
    /// Nothing more is read; what was read is being written.
    Draining,
}

struct Loop<'p> {
    parts: Parts,
    lanes: Vec<Lane>,
    options: Options,
    progress: &'p mut dyn FnMut(Progress<'_>),
    phase: Phase,
    generation: u64,
    /// What the group gave this member; empty while it takes it away.
    assigned: Vec<i32>,
    /// The topic that the partitions were claimed of.
    topic_id: Option<TopicId>,
    partitions: BTreeMap<i32, Partition>,
    /// Positions in the database that the group was not told yet.
    unshown: BTreeMap<i32, i64>,
    last_record: Instant,
    waiting: bool,
    paused: bool,
    totals: Totals,
    vitals: Vitals,
}

/// Runs until the options' end, the stop signal, or a failure. Leaves the group
/// and gives the writers a bounded time to finish.
///
/// # Errors
/// What no wait will cure: missing rights, a table or topic that is gone, a
/// position that Kafka no longer has.
pub fn run(
    mut parts: Parts,
    options: Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<(Totals, Ending)> {
    parts.consumer.subscribe()?;
    let lanes = std::mem::take(&mut parts.writers).into_iter().map(Lane::new).collect();
    let now = Instant::now();
    let mut state = Loop {
        parts,
        lanes,
        options,
        progress,
        phase: Phase::Joining,
        generation: 0,
        assigned: Vec::new(),
        topic_id: None,
        partitions: BTreeMap::new(),
        unshown: BTreeMap::new(),
        last_record: now,
        waiting: false,
        paused: false,
        totals: Totals::default(),
        vitals: Vitals::new(now),
    };
    let ended = state.go_on();
    let ended = ended.and_then(|ending| state.finish_in_flight().map(|()| ending));
    state.show_positions();
    state.show_lag();
    let totals = state.totals;
    state.parts.consumer.close(Duration::from_secs(3));
    ended.map(|ending| (totals, ending))
}

impl Loop<'_> {
    fn go_on(&mut self) -> anyhow::Result<Ending> {
        loop {
            self.take_reports()?;
            if self.parts.stop.requested() {
                return Ok(Ending::Stopped);
            }
            self.look_at_the_clock()?;
            if self.is_done() {
                return Ok(Ending::Done);
            }
            self.poll_some()?;
        }
    }

    /// Polls until nothing is waiting, or many records were read, or something
    /// other than a record came.
    fn poll_some(&mut self) -> anyhow::Result<()> {
        let budget = self.records_left().min(RECORDS_PER_LOOK);
        if self.phase == Phase::Reading && (budget == 0 || self.is_satisfied()) {
            self.phase = Phase::Draining;
            return self.pause();
        }
        let mut timeout = self.poll_timeout();
        for _ in 0..budget.max(1) {
            let happened = match self.parts.consumer.poll(timeout) {
                Polled::Record(record) if self.phase == Phase::Reading => {
                    let Parts { target, keep_payloads, .. } = &self.parts;
                    let raw = record.raw();
                    take(&mut self.partitions, &mut self.lanes, target, *keep_payloads, &raw)
                }
                // Read again from the ledger's position when it is wanted.
                Polled::Record(_) => None,
                Polled::Other(happening) => return self.handle(happening),
            };
            if timeout > Duration::ZERO {
                self.last_record = Instant::now();
                // What is there is taken without a wait, then flushed.
                timeout = Duration::ZERO;
            }
            if let Some(lane) = happened
                && self.lanes[lane].filling.is_full(self.options.bounds)
            {
                self.hand_over(lane, true)?;
            }
        }
        self.last_record = Instant::now();
        Ok(())
    }

    fn pending(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.pending).sum()
    }

    /// How many records may still be read.
    fn records_left(&self) -> u64 {
        match self.options.records_max {
            Some(most) => most.saturating_sub(self.totals.read + self.pending()),
            None => u64::MAX,
        }
    }

    fn poll_timeout(&self) -> Duration {
        let busy = self.pending() > 0 || self.waiting;
        match self.phase {
            Phase::Draining | Phase::Joining => Duration::from_millis(5),
            Phase::Reading if busy => Duration::from_millis(5),
            Phase::Reading => Duration::from_millis(50),
        }
    }

    fn handle(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Nothing => self.nothing_waits(),
            Happening::End(partition) => {
                if let Some(partition) = self.partitions.get_mut(&partition) {
                    partition.at_end = true;
                    partition.ended_at = Some(partition.claim.next_offset);
                }
                Ok(())
            }
            Happening::Assigned(partitions) => {
                self.claim(partitions);
                Ok(())
            }
            Happening::Revoked => self.give_back(),
            Happening::Away(why) => {
                self.note_waiting(&why, Cause::Broker);
                Ok(())
            }
            Happening::PositionLost => {
                self.claim_again();
                Ok(())
            }
            Happening::Failed(error) => Err(error),
        }
    }

    /// Commits at once when nothing more is waiting and a writer is idle.
    fn nothing_waits(&mut self) -> anyhow::Result<()> {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].in_flight == 0 {
                self.hand_over(lane, false)?;
            }
        }
        Ok(())
    }

    fn look_at_the_clock(&mut self) -> anyhow::Result<()> {
        for lane in 0..self.lanes.len() {
            let begun = self.lanes[lane].filling.begun;
            let is_due = begun.is_some_and(|begun| begun.elapsed() >= self.options.linger);
            if is_due || self.phase == Phase::Draining {
                self.hand_over(lane, false)?;
            }
        }
        self.show_vitals();
        Ok(())
    }

    /// Whether no more need be read.
    fn is_satisfied(&self) -> bool {
        let idle = self.options.idle_exit.is_some_and(|limit| self.last_record.elapsed() >= limit);
        idle || (self.options.until_end && self.partitions.values().all(Partition::is_read))
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Draining && self.pending() == 0
    }

    /// Gives a lane's batch to its writer. When the writer has enough and the
    /// batch `must_go`, waits: shortly as it is, then with the partitions paused,
    /// polling all the while.
    fn hand_over(&mut self, lane: usize, must_go: bool) -> anyhow::Result<()> {
        if !self.lanes[lane].filling.is_empty() && self.is_another_topic() {
            // The claim that follows says what is gone.
            return self.rejoin();
        }
        let since = Instant::now();
        while !self.lanes[lane].filling.is_empty() {
            if self.lanes[lane].try_send() {
                return self.resume();
            }
            if !must_go || self.parts.stop.requested() {
                return Ok(());
            }
            if let Ok(report) = self.parts.reports.recv_timeout(Duration::from_millis(20)) {
                self.take_report(report)?;
            }
            if since.elapsed() >= PATIENCE {
                self.pause()?;
                self.poll_paused()?;
            }
            self.show_vitals();
        }
        Ok(())
    }

    fn poll_paused(&mut self) -> anyhow::Result<()> {
        let happening = match self.parts.consumer.poll(Duration::ZERO) {
            Polled::Record(record) => {
                let Parts { target, keep_payloads, .. } = &self.parts;
                let raw = record.raw();
                take(&mut self.partitions, &mut self.lanes, target, *keep_payloads, &raw);
                return Ok(());
            }
            Polled::Other(Happening::Nothing) => return Ok(()),
            Polled::Other(happening) => happening,
        };
        self.handle(happening)
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        if !self.paused {
            self.paused = true;
            self.parts.consumer.pause(self.partitions.keys().copied())?;
        }
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        if self.paused && self.phase == Phase::Reading {
            self.paused = false;
            self.parts.consumer.resume(self.partitions.keys().copied())?;
        }
        Ok(())
    }
}
