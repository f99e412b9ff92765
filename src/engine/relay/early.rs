//! Records that are read, and go through the step, while a commit is under way:
//! to wait for one takes up to half of the time otherwise.
//!
//! Nothing of them is published before the commit is known to have succeeded.
//! After anything else, and whenever reading goes back, they are forgotten: they
//! are read again.

use std::collections::VecDeque;
use std::time::Duration;

use super::suspicion::Suspicion;
use super::{Inherit, Loop, Options, Outgoing, Parts, Rejecter, Step, Taken};
use crate::edges::kafka::transaction::Trouble;
use crate::edges::kafka::{Consumer, Happening, Polled};
use crate::engine::metrics::RejectReason;

/// How many records are read between two looks at the commit.
const RECORDS_AT_ONCE: usize = 32;
/// How many records, and bytes made of them, are kept at the most: more than are read
/// during a commit that takes its usual time, and few enough to keep memory low.
const RECORDS_MAX: u64 = 20_000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads one record after the other and makes of it what is to be published.
pub(super) struct Reader<'r, 'p> {
    pub consumer: &'r Consumer,
    pub step: &'r mut Step<'p>,
    pub reject: &'r mut Rejecter<'p>,
    pub inherit: Inherit<'p>,
    pub suspicion: &'r Suspicion,
}

impl Reader<'_, '_> {
    /// The next record, with what comes of it put into `outgoing`; or what happened
    /// instead.
    pub(super) fn read(
        &mut self,
        timeout: Duration,
        outgoing: &mut Outgoing,
    ) -> Result<Taken, Happening> {
        let record = match self.consumer.poll(timeout) {
            Polled::Record(record) => record,
            Polled::Other(happening) => return Err(happening),
        };
        let raw = record.raw();
        outgoing.clear();
        let made = match self.suspicion.condemned(raw.partition, raw.offset) {
            Some(reject) => Err(reject),
            None => (self.step)(&raw, outgoing),
        };
        if let Err(reject) = &made {
            outgoing.clear();
            (self.reject)(&raw, reject, outgoing);
        }
        let mut headers = record.headers();
        (self.inherit)(&raw, &mut headers);
        outgoing.inherit(headers);
        Ok(Taken {
            partition: raw.partition,
            offset: raw.offset,
            time_ms: raw.time_ms,
            payload_bytes: raw.payload.map_or(0, <[u8]>::len),
            rejected: made.err().map(|reject| RejectReason::of(&reject)),
        })
    }
}

/// What was read early, in order.
#[derive(Debug, Default)]
pub(super) struct Early {
    records: VecDeque<(Taken, Outgoing)>,
    bytes: usize,
    /// What happened after them; nothing is read behind it.
    happened: Option<Happening>,
    spare: Vec<Outgoing>,
}

impl Early {
    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.happened.is_none()
    }

    /// The next record, with what came of it put into `outgoing`; after the last one
    /// what happened then.
    pub(super) fn next(&mut self, outgoing: &mut Outgoing) -> Option<Result<Taken, Happening>> {
        let Some((taken, made)) = self.records.pop_front() else {
            return self.happened.take().map(Err);
        };
        self.bytes -= made.size();
        self.spare.push(std::mem::replace(outgoing, made));
        Some(Ok(taken))
    }

    /// Forgets records, which will be read again. What else happened stays so, but
    /// for the end of a partition, which will be told again.
    pub(super) fn clear(&mut self) {
        self.spare.extend(self.records.drain(..).map(|(_, made)| made));
        self.bytes = 0;
        if matches!(self.happened, Some(Happening::End(_))) {
            self.happened = None;
        }
    }

    /// Reads a few records, if any are waiting; whether there were any. No more than
    /// one transaction takes are kept.
    pub(super) fn read_some(
        &mut self,
        reader: &mut Reader<'_, '_>,
        records_max: u64,
        bytes_max: usize,
    ) -> bool {
        for number in 0..RECORDS_AT_ONCE {
            let is_full = self.records.len() as u64 >= records_max || self.bytes >= bytes_max;
            if is_full || self.happened.is_some() {
                return number > 0;
            }
            let mut made = self.spare.pop().unwrap_or_default();
            match reader.read(Duration::ZERO, &mut made) {
                Ok(taken) => {
                    self.bytes += made.size();
                    self.records.push_back((taken, made));
                }
                Err(happening) => {
                    self.spare.push(made);
                    if !matches!(happening, Happening::Nothing) {
                        self.happened = Some(happening);
                    }
                    return number > 0;
                }
            }
        }
        true
    }
}

impl Loop<'_> {
    /// Commits with these positions, and reads the next records meanwhile.
    pub(super) fn commit_reading_on(&mut self, positions: &[(i32, i64)]) -> Result<(), Trouble> {
        let Loop { parts, producer, options, place, early, suspicion, ahead, .. } = self;
        let Some(place) = place else { return Err(Trouble::Moved) };
        let Parts { consumer, step, reject, inherit, stop, .. } = parts;
        let consumer = &*consumer;
        let may_read = !suspicion.is_careful() && ahead.is_empty();
        let mut reader = Reader { consumer, step, reject, inherit: *inherit, suspicion };
        let Options { records_max, bytes_max, .. } = *options;
        let (records_max, bytes_max) = (records_max.min(RECORDS_MAX), bytes_max.min(BYTES_MAX));
        producer.commit(consumer, place, positions, &mut || {
            may_read && !stop.requested() && early.read_some(&mut reader, records_max, bytes_max)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(offsets: std::ops::Range<i64>, happened: Happening) -> Early {
        let mut early = Early { happened: Some(happened), ..Early::default() };
        for offset in offsets {
            let taken =
                Taken { partition: 0, offset, time_ms: None, payload_bytes: 0, rejected: None };
            let mut made = Outgoing::default();
            made.push("t", None, Some(offset.to_string().as_bytes()), &[]);
            early.bytes += made.size();
            early.records.push_back((taken, made));
        }
        early
    }

    #[test]
    fn what_was_read_early_comes_in_order_and_then_what_happened() {
        let mut early = early(5..7, Happening::End(3));
        let mut outgoing = Outgoing::default();
        for offset in [5, 6] {
            let taken = early.next(&mut outgoing).unwrap().unwrap();
            assert_eq!(taken.offset, offset);
            let payload = outgoing.records().next().unwrap().payload.unwrap().to_vec();
            assert_eq!(payload, offset.to_string().as_bytes());
        }
        assert!(!early.is_empty());
        assert!(matches!(early.next(&mut outgoing), Some(Err(Happening::End(3)))));
        assert!(early.next(&mut outgoing).is_none() && early.is_empty());
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn what_is_forgotten_leaves_only_what_will_not_be_told_again() {
        let mut outgoing = Outgoing::default();
        let mut ended = early(5..7, Happening::End(3));
        ended.clear();
        assert!(ended.next(&mut outgoing).is_none());
        let mut revoked = early(5..7, Happening::Revoked);
        revoked.clear();
        assert!(matches!(revoked.next(&mut outgoing), Some(Err(Happening::Revoked))));
    }
}
