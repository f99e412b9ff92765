//! What the parts of a run tell each other and whoever looks on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::rate::Bucket;
use crate::console::Console;
use crate::engine::metrics::{Mailing, Metrics};
use crate::events::Reject;

/// How many rejects are told one by one.
const REJECTS_TOLD_MAX: u64 = 5;

/// What a run cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The ledger of mails.
    Ledger,
    /// A mail server that lets us in.
    MailServer,
    /// A place in the group of this topic's readers, and brokers that answer.
    Topic(String),
}

/// Figures, the rate, and a bell that rings when there are mails to send.
#[derive(Debug)]
pub struct Shared {
    figures: Mutex<Mailing>,
    /// Mails that failed, or that nobody knows about, at some time of the run.
    unsent: Mutex<BTreeSet<i64>>,
    bucket: Mutex<Option<Bucket>>,
    metrics: Arc<Metrics>,
    console: Console,
    missed: Mutex<BTreeMap<Need, String>>,
    /// Rings when mails were written down.
    pub bell: Notify,
}

impl Shared {
    /// With one mail a period, if there is a limit.
    pub fn new(period: Option<Duration>, console: &Console, metrics: &Arc<Metrics>) -> Shared {
        let bucket = period.map(|period| Bucket::new(period, Instant::now()));
        Shared {
            figures: Mutex::default(),
            unsent: Mutex::default(),
            bucket: Mutex::new(bucket),
            metrics: Arc::clone(metrics),
            console: console.clone(),
            missed: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// The loop has come round.
    pub fn beat(&self) {
        self.metrics.beat();
    }

    /// Records were read, and of them came so many new mails, of which some will
    /// never be sent, and dead letters.
    pub fn planned(&self, records: u64, (mails, refused): (u64, u64), rejected: u64) {
        self.count(|figures| {
            figures.read += records;
            figures.planned += mails;
            figures.failed += refused;
            figures.refused += refused;
            figures.rejected += rejected;
        });
        if mails > 0 {
            self.bell.notify_waiters();
        }
    }

    /// Says what is wrong with a record, the first few times.
    pub fn rejected(&self, reject: &Reject) {
        let told = lock(&self.figures).rejected;
        if told < REJECTS_TOLD_MAX {
            self.console.warn(format_args!("a record is a dead letter now: {reject}"));
        }
    }

    /// The run misses something from now on, and is not ready; whether that is new.
    pub fn miss(&self, need: Need, why: &str) -> bool {
        self.missing(|missed| missed.insert(need, why.to_owned()).is_none())
    }

    /// It is there (again); whether that is new.
    pub fn found(&self, need: &Need) -> bool {
        self.missing(|missed| missed.remove(need).is_some())
    }

    fn missing(&self, change: impl FnOnce(&mut BTreeMap<Need, String>) -> bool) -> bool {
        let mut missed = lock(&self.missed);
        let is_new = change(&mut missed);
        self.metrics.set_unready(missed.values().next().map(|why| format!("waiting: {why}")));
        is_new
    }

    /// The mail server is away: said once, until it is back.
    pub fn note_away(&self, why: &str) {
        if self.miss(Need::MailServer, why) {
            self.console.note(format_args!("waiting: {why}"));
        }
    }

    /// The mail server lets us in.
    pub fn note_back(&self) {
        if self.found(&Need::MailServer) {
            self.console.note("the mail server is back");
        }
    }

    /// These mails were not sent, or perhaps not; another try may change that.
    pub fn note_unsent(&self, ids: &[i64]) {
        lock(&self.unsent).extend(ids);
    }

    /// Mails that were noted so.
    pub fn unsent(&self) -> Vec<i64> {
        lock(&self.unsent).iter().copied().collect()
    }

    /// Changes the figures.
    pub fn count(&self, change: impl FnOnce(&mut Mailing)) {
        let mut figures = lock(&self.figures);
        change(&mut figures);
        self.metrics.set_mailing(figures.clone());
    }

    /// The figures so far.
    pub fn figures(&self) -> Mailing {
        lock(&self.figures).clone()
    }

    /// How long the next mail has to wait for the rate's sake.
    pub fn delay(&self) -> Duration {
        lock(&self.bucket).as_mut().map_or(Duration::ZERO, |bucket| bucket.take(Instant::now()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
