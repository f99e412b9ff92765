//! Taking in what the writers and the claimer report.

use std::time::SystemTime;

use super::{Loop, Progress};
use crate::engine::batch::Batch;
use crate::engine::metrics::{Cause, RejectReason, Written};
use crate::engine::report::{Fate, Report, Stored};

impl Loop<'_> {
    pub(super) fn take_reports(&mut self) -> anyhow::Result<()> {
        while let Ok(report) = self.parts.reports.try_recv() {
            self.take_report(report)?;
        }
        Ok(())
    }

    pub(super) fn take_report(&mut self, report: Report) -> anyhow::Result<()> {
        match report {
            Report::Claimed(claimed) if claimed.generation == self.generation => {
                self.begin_reading(&claimed)
            }
            // Of an assignment that is over.
            Report::Claimed(_) => Ok(()),
            Report::Batch { lane, batch, fate } => self.take_fate(lane, *batch, fate),
            Report::Waiting { why, cause } => {
                self.note_waiting(&why, cause);
                Ok(())
            }
            Report::Failed(error) => Err(error),
        }
    }

    fn take_fate(&mut self, lane: usize, batch: Batch, fate: Fate) -> anyhow::Result<()> {
        let is_current = batch.generation == self.generation;
        // Whatever the fate is, the ledger told it.
        self.vitals.database_away = None;
        if let Fate::Stored(stored) = &fate {
            self.count(&batch, stored);
            if is_current {
                self.lanes[lane].pending -= batch.records();
                self.advance(&batch);
            }
        }
        self.lanes[lane].take_back(batch);
        match fate {
            Fate::Stored(_) => Ok(()),
            // Of an assignment that is over.
            _ if !is_current => Ok(()),
            Fate::Fenced => self.rejoin(),
            Fate::PayloadsMissing => {
                self.parts.keep_payloads = true;
                self.rejoin()
            }
        }
    }

    fn count(&mut self, batch: &Batch, stored: &Stored) {
        self.totals.read += batch.records();
        self.totals.stored += stored.rows;
        self.totals.duplicates += stored.duplicates;
        self.totals.rejected += stored.rejected;
        self.totals.batches += 1;
        self.parts.metrics.consuming(|consuming| {
            consuming.count(Written {
                totals: self.totals,
                bytes: batch.payload_bytes,
                rejects: batch.dead.iter().map(|dead| RejectReason::of(&dead.reject)).collect(),
                times: batch.times.runs(),
                took: stored.took,
                at: SystemTime::now(),
            });
        });
        self.unshown.extend(batch.advances.iter().map(|one| (one.partition, one.to)));
        self.note_resumed();
    }

    pub(super) fn note_resumed(&mut self) {
        if std::mem::take(&mut self.waiting) {
            (self.progress)(Progress::Resumed);
        }
    }

    /// Takes over the positions that the database has now.
    fn advance(&mut self, batch: &Batch) {
        for advance in &batch.advances {
            if let Some(partition) = self.partitions.get_mut(&advance.partition) {
                partition.stored = advance.to;
            }
        }
    }

    pub(super) fn note_waiting(&mut self, why: &str, cause: Cause) {
        self.parts.metrics.consuming(|consuming| consuming.count_retry(cause));
        if cause.is_database() {
            self.vitals.database_away = Some(why.to_owned());
        }
        if !std::mem::replace(&mut self.waiting, true) {
            (self.progress)(Progress::Waiting(why, cause));
        }
    }
}
