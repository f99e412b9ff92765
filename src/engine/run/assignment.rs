//! Following the group's rebalances: partitions are claimed, read and given back.

use std::time::Instant;

use super::{GRACE, Loop, Phase, Progress};
use crate::edges::postgres::claimer::Request;
use crate::engine::lanes::Partition;
use crate::engine::metrics::Consuming;
use crate::engine::report::Claimed;

impl Loop<'_> {
    /// Claims partitions just assigned.
    pub(super) fn claim(&mut self, partitions: Vec<i32>) {
        self.parts.metrics.consuming(Consuming::count_rebalance);
        (self.progress)(Progress::Assigned(&partitions));
        self.assigned = partitions;
        self.ask();
    }

    /// Claims the same partitions anew, because a position is gone: the claim says
    /// which. The group is not asked: it might give them to a worker that does not
    /// know of it.
    pub(super) fn claim_again(&mut self) {
        // Else the group takes them away already.
        if !self.assigned.is_empty() {
            self.ask();
        }
    }

    /// Asks for the watermarks and positions of the partitions; they are read when
    /// the answer comes.
    fn ask(&mut self) {
        self.let_go();
        let request = Request {
            generation: self.generation,
            partitions: self.assigned.clone(),
            refused: self.parts.consumer.take_refused(),
        };
        // A claimer that has ended reported why.
        let _ = self.parts.claims.send(request);
    }

    pub(super) fn begin_reading(&mut self, claimed: &Claimed) -> anyhow::Result<()> {
        if self.parts.consumer.has_refused() {
            // It was told after the claim had been asked for.
            self.ask();
            return Ok(());
        }
        let lanes = self.lanes.len();
        self.topic_id.clone_from(&claimed.topic_id);
        for (number, (claim, end)) in claimed.partitions.iter().enumerate() {
            let partition = Partition {
                claim: *claim,
                lane: number % lanes,
                end: *end,
                at_end: false,
                stored: claim.next_offset,
                ended_at: None,
            };
            self.partitions.insert(claim.partition, partition);
        }
        self.show_lag();
        self.phase = Phase::Reading;
        self.vitals.database_away = None;
        // The claim had an answer of both, broker and database.
        self.note_resumed();
        self.last_record = Instant::now();
        // A partition that was paused when it was taken away is paused still.
        self.paused = false;
        self.parts.consumer.resume(self.partitions.keys().copied())?;
        let positions = claimed.partitions.iter();
        self.parts.consumer.assign(positions.map(|(claim, _)| (claim.partition, claim.next_offset)))
    }

    /// Gives the partitions back, after a bounded wait for the batches that are
    /// being written: the next owner would wait for them anyway.
    pub(super) fn give_back(&mut self) -> anyhow::Result<()> {
        self.assigned.clear();
        self.let_go();
        self.finish_in_flight()?;
        self.show_positions();
        self.parts.consumer.unassign()
    }

    /// Drops what was read and not handed over, and gives up the partitions.
    fn let_go(&mut self) {
        self.generation += 1;
        self.phase = Phase::Joining;
        self.partitions.clear();
        self.show_lag();
        for lane in &mut self.lanes {
            lane.begin(self.generation);
        }
    }

    /// Whether records come from a topic other than the one whose positions were
    /// claimed: it was deleted and created again meanwhile.
    pub(super) fn is_another_topic(&self) -> bool {
        match (&self.topic_id, self.parts.consumer.topic_id()) {
            (Some(claimed), Some(read)) => *claimed != read,
            _ => false,
        }
    }

    /// Leaves the group and joins anew: the ledger says where to go on.
    pub(super) fn rejoin(&mut self) -> anyhow::Result<()> {
        self.assigned.clear();
        self.let_go();
        self.parts.consumer.rejoin()
    }

    pub(super) fn finish_in_flight(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + GRACE;
        while self.lanes.iter().any(|lane| lane.in_flight > 0) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.parts.reports.recv_timeout(left) {
                Ok(report) => self.take_report(report)?,
                Err(_) => break,
            }
        }
        Ok(())
    }
}
