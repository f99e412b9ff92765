//! What a run shows of itself: figures for the scraper and the log file, whether
//! its loop is alive, and whether it is ready.
//!
//! The loops write here once a batch or once a look at the clock, never once a
//! record, and under one lock, so that figures read together belong together.

mod classes;
mod commits;
mod consuming;
mod histogram;
mod mailing;
mod parts;
mod producing;
mod relaying;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use classes::{Cause, RejectReason};
pub use consuming::{Consuming, Written};
pub use histogram::Histogram;
pub use mailing::Mailing;
pub use producing::Producing;
pub use relaying::{Relayed, Relaying};
use text::Exposition;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A loop that has not come round for this long is taken for dead. The longest
/// that one goes without on purpose is the 5 s that writers get to finish.
pub const BEAT_LIMIT: Duration = Duration::from_secs(30);

/// No loop has begun.
const NO_BEAT: u64 = u64::MAX;

/// What this process shows of itself.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: SystemTime,
    /// Milliseconds from the start to the last time that the loop came round.
    beat_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it is not ready; none when it is.
    unready: Option<String>,
    consuming: Option<Consuming>,
    producing: Option<Producing>,
    relaying: Option<Relaying>,
    /// Loops with vitals and figures of their own.
    parts: Vec<Arc<Metrics>>,
    mailing: Option<Mailing>,
}

/// Figures of a moment, for a line of the log file.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Records done so far; from two of these comes a rate.
    pub records: u64,
    /// Names and values.
    pub fields: BTreeMap<&'static str, Value>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let state = State { unready: Some("starting".to_owned()), ..State::default() };
        Metrics {
            started: Instant::now(),
            started_at: SystemTime::now(),
            beat_ms: AtomicU64::new(NO_BEAT),
            state: Mutex::new(state),
        }
    }
}

impl Metrics {
    /// Shows figures of `consume` from now on.
    pub fn begin_consuming(&self, consuming: Consuming) {
        self.lock().consuming = Some(consuming);
    }

    /// Changes the figures of `consume`, if there are any.
    pub fn consuming(&self, change: impl FnOnce(&mut Consuming)) {
        self.lock().consuming.as_mut().map(change);
    }

    /// Shows figures of a stage from Kafka to Kafka from now on.
    pub fn begin_relaying(&self, relaying: Relaying) {
        self.lock().relaying = Some(relaying);
    }

    /// Changes the figures of the stage, if there are any.
    pub fn relaying(&self, change: impl FnOnce(&mut Relaying)) {
        self.lock().relaying.as_mut().map(change);
    }

    /// Shows figures of `produce` from now on, or newer ones.
    pub fn set_producing(&self, producing: Producing) {
        self.lock().producing = Some(producing);
    }

    /// Shows figures of `notify` from now on, or newer ones.
    pub fn set_mailing(&self, mailing: Mailing) {
        self.lock().mailing = Some(mailing);
    }

    /// The loop has come round.
    pub fn beat(&self) {
        let since_start = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NO_BEAT - 1);
        self.beat_ms.store(since_start, Ordering::Relaxed);
    }

    /// How long the loop has not come round, when that is too long; before it has
    /// begun, other limits hold.
    pub fn stuck_for(&self) -> Option<Duration> {
        let own = stuck_for(self.beat_ms.load(Ordering::Relaxed), self.started.elapsed());
        own.max(self.parts().iter().filter_map(|part| part.stuck_for()).max())
    }

    /// Sets why the run is not ready; none when it is.
    pub fn set_unready(&self, why: Option<String>) {
        self.lock().unready = why;
    }

    /// Why the run is not ready; none when it is.
    pub fn unready(&self) -> Option<String> {
        match self.parts().as_slice() {
            [] => self.lock().unready.clone(),
            parts => parts.iter().find_map(|part| part.unready()),
        }
    }

    /// The figures for a line of the log file; none before there are any.
    pub fn figures(&self) -> Option<Figures> {
        let parts = self.parts();
        if !parts.is_empty() {
            return Some(parts::figures(&parts));
        }
        let state = self.lock();
        let consuming = state.consuming.as_ref().map(Consuming::figures);
        consuming
            .or_else(|| state.relaying.as_ref().map(Relaying::figures))
            .or_else(|| state.producing.as_ref().map(Producing::figures))
            .or_else(|| state.mailing.as_ref().map(Mailing::figures))
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.info("orderctl_build_info", "The program.", &[("version", env!("CARGO_PKG_VERSION"))]);
        out.gauge(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970 UTC.",
            started.as_secs_f64(),
        );
        out.gauge(
            "orderctl_ready",
            "1 when /readyz says yes, else 0.",
            u8::from(self.unready().is_none()),
        );
        let state = self.lock();
        if let Some(consuming) = &state.consuming {
            consuming.render(&mut out);
        }
        if let Some(relaying) = &state.relaying {
            relaying.render(&mut out);
        }
        if let Some(producing) = &state.producing {
            producing.render(&mut out);
        }
        if let Some(mailing) = &state.mailing {
            mailing.render(&mut out);
        }
        drop(state);
        parts::render(&self.parts(), &mut out);
        out.into_text()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stuck_for(beat_ms: u64, elapsed: Duration) -> Option<Duration> {
    if beat_ms == NO_BEAT {
        return None;
    }
    let silent = elapsed.saturating_sub(Duration::from_millis(beat_ms));
    (silent > BEAT_LIMIT).then_some(silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_stuck_when_it_has_begun_and_not_come_round_for_too_long() {
        let seconds = Duration::from_secs;
        assert_eq!(stuck_for(NO_BEAT, seconds(1_000)), None);
        assert_eq!(stuck_for(10_000, seconds(40)), None);
        assert_eq!(stuck_for(10_000, seconds(41)), Some(seconds(31)));
    }

    #[test]
    fn a_run_is_not_ready_before_it_says_so() {
        let metrics = Metrics::default();
        assert_eq!(metrics.unready().as_deref(), Some("starting"));
        assert!(metrics.render().contains("\norderctl_ready 0\n"));
        metrics.set_unready(None);
        assert!(metrics.render().contains("\norderctl_ready 1\n"));
        assert_eq!(metrics.figures(), None);
    }

    #[test]
    fn only_what_runs_is_shown() {
        let metrics = Metrics::default();
        assert!(!metrics.render().contains("orderctl_records"));
        metrics.set_producing(Producing { sent: 3, ..Producing::default() });
        let text = metrics.render();
        assert!(text.contains("\norderctl_records_sent_total 3\n"), "{text}");
        assert!(!text.contains("orderctl_records_read_total"), "{text}");
    }
}
