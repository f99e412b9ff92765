//! One turn of the loop: the records that are there, one after the other. What the
//! loop looks at between two turns takes longer than a record.

use std::time::{Duration, Instant};

use super::early::Reader;
use super::{Batch, Happening, Loop, Parts, Taken, Trouble};

/// How many records go by between two looks at what was acknowledged.
const RECORDS_A_POLL: u64 = 256;
/// How many records are taken before the loop looks again at the clock, at whether to
/// stop, and at how it fares.
const RECORDS_A_TURN: u32 = 32;

impl Loop<'_> {
    /// Takes the records that are there, as far as one turn goes, and whatever else
    /// happens.
    pub(super) fn take_some(&mut self) -> anyhow::Result<()> {
        for number in 0..RECORDS_A_TURN {
            let timeout = if number == 0 { self.poll_timeout() } else { Duration::ZERO };
            let taken = match self.read_next(timeout) {
                Ok(taken) => taken,
                Err(Happening::Nothing) if number > 0 => return Ok(()),
                Err(happening) => return self.handle(happening),
            };
            if number == 0 {
                self.last_record = Instant::now();
            }
            // Else of a partition that is no longer ours, or done with already.
            let partition = self.partitions.get(&taken.partition);
            let is_next = partition.is_some_and(|one| taken.offset >= one.next_offset);
            if !is_next || self.looks_ahead() {
                continue;
            }
            if !self.take(taken)? || self.is_full() || self.is_satisfied() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next record, with what comes of it put into `outgoing`; or what happened
    /// instead.
    fn read_next(&mut self, timeout: Duration) -> Result<Taken, Happening> {
        if let Some(read) = self.early.next(&mut self.outgoing) {
            return read;
        }
        let Parts { consumer, step, reject, inherit, .. } = &mut self.parts;
        let (inherit, suspicion) = (*inherit, &self.suspicion);
        Reader { consumer, step, reject, inherit, suspicion }.read(timeout, &mut self.outgoing)
    }

    /// Publishes what was made of a record; whether another may follow at once.
    fn take(&mut self, taken: Taken) -> anyhow::Result<bool> {
        let had_room = match self.publish() {
            Ok(had_room) => had_room,
            Err(trouble) => {
                if let Trouble::Refused(why) = &trouble {
                    self.suspicion.condemn(taken.partition, taken.offset, why)?;
                }
                return self.recover(trouble).map(|()| false);
            }
        };
        let Batch { totals, bytes, relayed } = &mut self.batch;
        totals.read += 1;
        match taken.rejected {
            Some(reason) => {
                totals.rejected += 1;
                relayed.rejects.push(reason);
            }
            None => totals.published += self.outgoing.len() as u64,
        }
        totals.count(self.outgoing.counted());
        relayed.bytes += taken.payload_bytes as u64;
        relayed.times.note(taken.time_ms);
        *bytes += self.outgoing.size();
        if totals.read.is_multiple_of(RECORDS_A_POLL) {
            self.producer.poll();
        }
        self.suspicion.last = Some((taken.partition, taken.offset));
        if let Some(partition) = self.partitions.get_mut(&taken.partition) {
            partition.next_offset = taken.offset + 1;
        }
        Ok(had_room)
    }

    fn publish(&mut self) -> Result<bool, Trouble> {
        if self.open.is_none() {
            self.producer.begin()?;
            self.open = Some(Instant::now());
        }
        self.producer.send(&self.outgoing)
    }
}
