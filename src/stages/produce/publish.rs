//! From the source to the topic, at the speed asked for, until all is
//! acknowledged.

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::time::{Duration, Instant};

use super::handover::Handover;
use super::report::Tally;
use super::source::{Next, Record, Source};
use super::watch::Watch;
use crate::edges::kafka::producer::{Producer, Queued};
use crate::events::Reject;
use crate::stop::Stop;

/// How many records go by between two looks at clock, stop and cluster.
const RECORDS_A_LOOK: u64 = 256;
/// How long the thread gives itself to what comes back from the cluster.
const POLL: Duration = Duration::from_millis(5);
/// How long after a stop what is queued may take to be acknowledged.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// How many invalid records are told one by one.
const REJECTS_TOLD_MAX: u64 = 20;

/// Where records go.
pub enum Sink {
    /// Into a topic.
    Topic(Box<Producer>),
    /// To standard output, one payload a line.
    Stdout(BufWriter<StdoutLock<'static>>),
}

/// What became of one record that was put into the sink.
enum Put {
    Done,
    TooLarge,
    /// The user asked to stop, or nobody reads standard output any more.
    Stopped,
}

/// A run of `produce`: what everything in it needs.
pub struct Run<'r> {
    /// Where records go.
    pub sink: Sink,
    /// The time from one record to the next, unless as fast as possible.
    pub pace: Option<Duration>,
    /// Whether the user asked to stop.
    pub stop: &'r Stop,
    /// What was handed over so far.
    pub tally: Tally,
    /// Shows how far it is.
    pub watch: Watch<'r>,
    /// When paced records go into the topic.
    pub handover: Handover,
}

impl Run<'_> {
    /// Puts all records of the source into the sink, until its end or a stop.
    ///
    /// # Errors
    /// When the source breaks off, or nothing can be sent any more.
    pub fn publish(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut record = Record::default();
        while !self.is_stopped() {
            let mark = match source.next(&mut record)? {
                Next::Ready(mark) => mark,
                Next::Invalid { place, reject } => {
                    self.reject(&place, &reject);
                    continue;
                }
                Next::Note(note) => {
                    self.watch.tell(note);
                    continue;
                }
                Next::Nothing if !self.stop.requested() && self.attend() => continue,
                Next::Nothing | Next::End => break,
            };
            if !self.wait_for_turn(started) {
                break;
            }
            match self.put(&record)? {
                Put::Done => self.tally.count(mark, record.payload.len()),
                Put::TooLarge => {
                    let size = format!(
                        "{} bytes are more than message.max.bytes; raise it with -X",
                        record.payload.len()
                    );
                    self.reject("an event", &Reject::new("", size));
                }
                Put::Stopped => break,
            }
        }
        Ok(())
    }

    /// Waits until everything is acknowledged or has failed; after a stop, only
    /// for so long. What was acknowledged is what the producer counts.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let producer = match &mut self.sink {
            Sink::Stdout(out) => return closed_is_fine(out.flush()).map(drop),
            Sink::Topic(producer) => producer,
        };
        let mut deadline = None;
        while producer.pending() > 0 {
            producer.flush(POLL);
            self.watch.look(producer, &self.tally);
            if self.stop.requested() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + STOP_LIMIT);
                if Instant::now() >= deadline {
                    producer.abandon();
                    break;
                }
            }
        }
        self.watch.look(producer, &self.tally);
        Ok(())
    }

    /// Whether to send no more. Looked at now and then only: it takes a lock.
    fn is_stopped(&self) -> bool {
        let is_refused = match &self.sink {
            Sink::Topic(producer) => producer.is_refused(),
            Sink::Stdout(_) => false,
        };
        is_refused || (self.tally.sent.is_multiple_of(RECORDS_A_LOOK) && self.stop.requested())
    }

    /// Waits until the next record is due; false when a stop came first.
    fn wait_for_turn(&mut self, started: Instant) -> bool {
        let Some(pace) = self.pace else { return true };
        let due = pace.mul_f64(self.tally.sent as f64);
        loop {
            let left = due.saturating_sub(started.elapsed());
            // Below a millisecond it is better to be early than to sleep.
            let is_due = left < Duration::from_millis(1);
            if is_due && self.takes_more() {
                return !self.stop.requested();
            }
            if !self.attend() {
                return false;
            }
            let pause = if is_due { POLL } else { left.min(Duration::from_millis(100)) };
            if self.stop.wait_for(pause) {
                return false;
            }
        }
    }

    /// Whether the sink is to be given another record now.
    fn takes_more(&mut self) -> bool {
        let Sink::Topic(producer) = &self.sink else { return true };
        let (queued, settled) = producer.counts();
        self.handover.is_open(queued, settled, Instant::now())
    }

    /// Does what is to be done while there is nothing to send; false when nobody
    /// reads standard output any more.
    fn attend(&mut self) -> bool {
        match &mut self.sink {
            Sink::Topic(producer) => {
                producer.poll(Duration::ZERO);
                self.watch.look(producer, &self.tally);
                true
            }
            Sink::Stdout(out) => out.flush().is_ok(),
        }
    }

    fn put(&mut self, record: &Record) -> anyhow::Result<Put> {
        let producer = match &mut self.sink {
            Sink::Topic(producer) => producer,
            Sink::Stdout(out) => {
                let written = out.write_all(&record.payload).and_then(|()| out.write_all(b"\n"));
                return Ok(if closed_is_fine(written)? { Put::Done } else { Put::Stopped });
            }
        };
        if self.tally.sent.is_multiple_of(RECORDS_A_LOOK) {
            producer.poll(Duration::ZERO);
            self.watch.look(producer, &self.tally);
        }
        let key = record.has_key.then_some(record.key.as_slice());
        loop {
            match producer.send(key, &record.payload)? {
                Queued::Yes => return Ok(Put::Done),
                Queued::TooLarge => return Ok(Put::TooLarge),
                Queued::Full if self.stop.requested() => return Ok(Put::Stopped),
                Queued::Full => {
                    producer.poll(POLL);
                    self.watch.look(producer, &self.tally);
                }
            }
        }
    }

    fn reject(&mut self, place: &str, reject: &Reject) {
        self.tally.rejected += 1;
        if self.tally.rejected <= REJECTS_TOLD_MAX {
            self.watch.tell(format_args!("{place} not sent: {reject}"));
        } else if self.tally.rejected == REJECTS_TOLD_MAX + 1 {
            self.watch.tell("more are not sent; only their number is told from here on");
        }
    }
}

/// Whether it was written; false when the reader has closed the pipe, which is
/// its way to say that it has enough.
fn closed_is_fine(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}
