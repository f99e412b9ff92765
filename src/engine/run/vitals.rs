//! What the loop shows of itself: to the group, to the user, and to whoever
//! watches from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Loop, Phase, Progress};

/// How often the group is told the positions, and the user the totals.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often the ends of partitions are asked for while nothing is fetched that
/// would tell them.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What was shown, and when.
#[derive(Debug)]
pub(super) struct Vitals {
    shown_at: Instant,
    asked_at: Instant,
    /// Why the database could not be reached at the last try, if so.
    pub database_away: Option<String>,
    readiness: Option<(Phase, Option<String>)>,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Vitals {
        Vitals { shown_at: now, asked_at: now, database_away: None, readiness: None }
    }
}

impl Loop<'_> {
    /// To be called whenever the loop comes round.
    pub(super) fn show_vitals(&mut self) {
        self.parts.metrics.beat();
        self.show_readiness();
        if self.vitals.shown_at.elapsed() >= SHOW_EVERY {
            self.show_positions();
            let lag = self.show_lag();
            (self.progress)(Progress::Totals(&self.totals, lag));
        }
    }

    fn show_readiness(&mut self) {
        let Vitals { database_away, readiness, .. } = &mut self.vitals;
        if readiness
            .as_ref()
            .is_some_and(|(phase, away)| (*phase, away) == (self.phase, &*database_away))
        {
            return;
        }
        *readiness = Some((self.phase, database_away.clone()));
        self.parts.metrics.set_unready(unready(self.phase, database_away.as_deref()));
    }

    /// Tells the group the positions.
    pub(super) fn show_positions(&mut self) {
        self.vitals.shown_at = Instant::now();
        self.parts.consumer.show_positions(std::mem::take(&mut self.unshown).into_iter());
    }

    /// Shows how far each partition is behind; the sum is the answer.
    pub(super) fn show_lag(&mut self) -> u64 {
        let asks = self.paused && !self.partitions.is_empty();
        if asks && self.vitals.asked_at.elapsed() >= ASK_EVERY {
            self.vitals.asked_at = Instant::now();
            self.parts.consumer.ask_for_ends(self.partitions.keys().copied().collect());
        }
        let ends = self.parts.consumer.ends();
        let lag: BTreeMap<i32, u64> = (self.partitions.iter())
            .map(|(number, partition)| {
                let end = ends.get(number).copied().unwrap_or(0);
                (*number, partition.lag(end, !self.paused))
            })
            .collect();
        let sum = lag.values().sum();
        self.parts.metrics.consuming(|consuming| consuming.set_lag(lag));
        sum
    }
}

/// Why a run in this phase is not ready; none when it is.
fn unready(phase: Phase, database_away: Option<&str>) -> Option<String> {
    match (database_away, phase) {
        (Some(why), _) => Some(format!("the database cannot be reached: {why}")),
        (None, Phase::Joining) => Some("waiting for the group to assign partitions".to_owned()),
        (None, Phase::Reading) => None,
        (None, Phase::Draining) => Some("writing what was read, then ending".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ready_that_reads_and_reaches_its_database() {
        assert_eq!(unready(Phase::Reading, None), None);
        assert!(unready(Phase::Joining, None).unwrap().contains("partitions"));
        assert!(unready(Phase::Draining, None).unwrap().contains("ending"));
        let away = unready(Phase::Reading, Some("nothing listens on h:1"));
        assert!(away.unwrap().ends_with("nothing listens on h:1"));
    }
}
