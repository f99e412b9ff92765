//! What the loop shows of itself: to the user, and to whoever watches from
//! outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Loop, Progress};

/// How often the totals are shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What was shown, and when.
#[derive(Debug)]
pub(super) struct Vitals {
    shown_at: Instant,
    /// Why something is away, if it is.
    away: Option<String>,
    /// Whether it has partitions, and what was away, as they were shown.
    readiness: Option<(bool, Option<String>)>,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Vitals {
        Vitals { shown_at: now, away: None, readiness: None }
    }
}

impl Loop<'_> {
    /// To be called whenever the loop comes round.
    pub(super) fn show_vitals(&mut self) {
        self.parts.metrics.beat();
        if !self.waiting {
            self.vitals.away = None;
        }
        self.show_readiness();
        if self.vitals.shown_at.elapsed() >= SHOW_EVERY {
            self.vitals.shown_at = Instant::now();
            let lag = self.show_lag();
            (self.parts.progress)(Progress::Totals(&self.totals, lag));
        }
    }

    fn show_readiness(&mut self) {
        let now = (self.place.is_some(), self.vitals.away.clone());
        if self.vitals.readiness.as_ref() != Some(&now) {
            self.parts.metrics.set_unready(unready(now.0, now.1.as_deref()));
            self.vitals.readiness = Some(now);
        }
    }

    /// Shows how far each partition is behind; the sum is the answer.
    pub(super) fn show_lag(&self) -> u64 {
        let ends = self.parts.consumer.ends();
        let lag: BTreeMap<i32, u64> = (self.partitions.iter())
            .map(|(number, one)| {
                let end = ends.get(number).copied().unwrap_or(one.end).max(one.end);
                // Behind the last record may be the mark of a transaction's end.
                let is_read = one.at_end && one.next_offset == one.committed;
                let behind = u64::try_from(end - one.committed).unwrap_or(0);
                (*number, if is_read { 0 } else { behind })
            })
            .collect();
        let sum = lag.values().sum();
        self.parts.metrics.relaying(|relaying| relaying.set_lag(lag));
        sum
    }

    pub(super) fn note_waiting(&mut self, why: &str) {
        if !std::mem::replace(&mut self.waiting, true) {
            (self.parts.progress)(Progress::Waiting(why));
        }
        self.vitals.away = Some(why.to_owned());
        self.show_readiness();
    }
}

/// Why a run is not ready; none when it is.
fn unready(is_member: bool, away: Option<&str>) -> Option<String> {
    match (away, is_member) {
        (Some(why), _) => Some(format!("waiting: {why}")),
        (None, false) => Some("waiting for the group to assign partitions".to_owned()),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ready_that_has_its_place_and_waits_for_nothing() {
        assert_eq!(unready(true, None), None);
        assert!(unready(false, None).unwrap().contains("partitions"));
        assert!(unready(true, Some("nothing listens on h:1")).unwrap().ends_with("on h:1"));
    }
}
