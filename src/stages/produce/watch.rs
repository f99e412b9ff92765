//! How a run fares: on the bar, in notes, and to whoever watches from outside.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::report::Tally;
use crate::console::Console;
use crate::edges::kafka::producer::Producer;
use crate::engine::metrics::{Metrics, Producing};

/// How often figures are shown to the outside: more often than anyone looks, and
/// too seldom to cost anything.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Shows how a run fares.
pub struct Watch<'r> {
    /// The topic.
    pub topic: &'r str,
    /// Where to say things.
    pub console: &'r Console,
    /// What is shown outside.
    pub metrics: &'r Metrics,
    /// How far it is.
    pub bar: ProgressBar,
    told_away: bool,
    shown_at: Option<Instant>,
}

impl<'r> Watch<'r> {
    /// With nothing shown yet.
    pub fn new(
        topic: &'r str,
        console: &'r Console,
        metrics: &'r Metrics,
        bar: ProgressBar,
    ) -> Watch<'r> {
        Watch { topic, console, metrics, bar, told_away: false, shown_at: None }
    }

    /// Looks at the producer, and says once when the cluster goes away, and once
    /// when it is back.
    pub fn look(&mut self, producer: &Producer, tally: &Tally) {
        self.bar.set_position(producer.acknowledged());
        let pending = producer.pending();
        let away = if pending > 0 { producer.away() } else { None };
        let is_news = away.is_some() != self.told_away;
        if pending == 0 || is_news || self.is_due() {
            self.shown_at = Some(Instant::now());
            self.show(producer, tally, away.as_deref());
        }
        if is_news {
            self.told_away = away.is_some();
            match away {
                Some(reason) => self.tell(format_args!("waiting for the cluster: {reason}")),
                None => self.tell("the cluster is back"),
            }
        }
    }

    /// Says something beside the bar.
    pub fn tell(&self, text: impl Display) {
        self.bar.suspend(|| self.console.note(text));
    }

    fn is_due(&self) -> bool {
        self.shown_at.is_none_or(|at| at.elapsed() >= SHOW_EVERY)
    }

    fn show(&self, producer: &Producer, tally: &Tally, away: Option<&str>) {
        self.metrics.beat();
        self.metrics.set_unready(away.map(|why| format!("the cluster cannot be reached: {why}")));
        self.metrics.set_producing(Producing {
            topic: self.topic.to_owned(),
            sent: tally.sent,
            bytes: tally.bytes,
            acknowledged: producer.acknowledged(),
            failed: producer.failed(),
            rejected: tally.rejected,
            in_flight: producer.pending(),
        });
    }
}
