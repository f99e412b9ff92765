//! Finding the record whose results the cluster refuses, as when they are too
//! large for their topic: it refuses them in batches, and does not say which.
//!
//! After a refusal, as many records as were in the transaction are committed one
//! by one. The one that is refused alone becomes a dead letter.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::events::Reject;

/// What is suspected.
#[derive(Debug, Default)]
pub struct Suspicion {
    /// So many records are still to be committed one by one.
    records_left: u64,
    /// The record taken last: partition and offset.
    pub last: Option<(i32, i64)>,
    /// Why each of these can never be published, by partition and offset.
    condemned: BTreeMap<(i32, i64), String>,
}

impl Suspicion {
    /// Whether each record is to be committed alone.
    pub fn is_careful(&self) -> bool {
        self.records_left > 0
    }

    /// Notes that the cluster refuses what was made of this many records, of
    /// which [`Suspicion::last`] is the last.
    ///
    /// # Errors
    /// As [`Suspicion::condemn`].
    pub fn note_refusal(&mut self, records: u64, why: &str) -> anyhow::Result<()> {
        match (records, self.last) {
            (1, Some((partition, offset))) => self.condemn(partition, offset, why),
            _ => {
                self.records_left = records;
                Ok(())
            }
        }
    }

    /// This record can never be published as what it is.
    ///
    /// # Errors
    /// When it was condemned before: its dead letter is refused too.
    pub fn condemn(&mut self, partition: i32, offset: i64, why: &str) -> anyhow::Result<()> {
        if self.condemned(partition, offset).is_some() {
            bail!(
                "the cluster refuses the dead letter of partition {partition}, offset {offset} \
                 too ({why}): raise max.message.bytes of the dead-letter topic, or name another \
                 with --dead-letter-topic; and raise message.max.bytes if -X lowers it"
            );
        }
        self.condemned.insert((partition, offset), why.to_owned());
        Ok(())
    }

    /// Why this record is to be a dead letter, if so.
    pub fn condemned(&self, partition: i32, offset: i64) -> Option<Reject> {
        let why = self.condemned.get(&(partition, offset))?;
        Some(Reject::new("", format!("refused by the cluster: {why}")))
    }

    /// So many records are committed, up to these offsets of partitions.
    pub fn clear_up(&mut self, records: u64, positions: &[(i32, i64)]) {
        self.records_left = self.records_left.saturating_sub(records);
        self.condemned.retain(|(partition, offset), _| {
            positions.iter().all(|(number, next)| number != partition || next <= offset)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::metrics::RejectReason;

    #[test]
    fn records_are_tried_one_by_one_until_the_one_at_fault_is_found() {
        let mut suspicion = Suspicion { last: Some((0, 7)), ..Suspicion::default() };
        suspicion.note_refusal(3, "too large").unwrap();
        assert!(suspicion.is_careful() && suspicion.condemned(0, 7).is_none());
        suspicion.clear_up(1, &[]);
        suspicion.last = Some((0, 6));
        suspicion.note_refusal(1, "too large").unwrap();
        let reject = suspicion.condemned(0, 6).unwrap();
        assert_eq!(RejectReason::of(&reject), RejectReason::Refused);
        assert!(suspicion.condemned(0, 7).is_none());
        suspicion.clear_up(2, &[]);
        assert!(!suspicion.is_careful());
        let error = suspicion.note_refusal(1, "too large").unwrap_err().to_string();
        assert!(error.contains("offset 6") && error.contains("max.message.bytes"), "{error}");
    }

    #[test]
    fn records_that_are_refused_before_they_are_sent_are_known_until_they_are_done_with() {
        let mut suspicion = Suspicion { last: Some((0, 7)), ..Suspicion::default() };
        suspicion.condemn(0, 8, "too large").unwrap();
        suspicion.condemn(0, 9, "too large").unwrap();
        assert!(suspicion.condemned(0, 7).is_none(), "the good one before them");
        assert!(suspicion.condemned(0, 8).is_some() && suspicion.condemned(0, 9).is_some());
        suspicion.clear_up(2, &[(0, 9), (1, 20)]);
        assert!(suspicion.condemned(0, 8).is_none() && suspicion.condemned(0, 9).is_some());
    }
}
