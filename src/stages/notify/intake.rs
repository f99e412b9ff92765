//! From a topic into the ledger: which mails are to be sent.
//!
//! Mails are written down first and the group's positions committed after that:
//! who dies between the two has the records read again, and a mail that is there
//! already is not written down twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::batch::Batch;
use super::shared::{Need, Shared};
use crate::console::Console;
use crate::edges::kafka::client;
use crate::edges::kafka::{Consumer, Happening, Polled};
use crate::edges::postgres::ledger::Owner;
use crate::edges::postgres::mail::{Book, Planned};
use crate::edges::postgres::retry::Backoff;
use crate::edges::postgres::transaction::insert_dead;
use crate::engine::checkpoint::TopicId;
use crate::engine::record::DeadLetter;
use crate::stop::Stop;

/// The most records between two commits.
const BATCH_MAX: u64 = 500;
/// The longest that a record waits for others.
const AGE_MAX: Duration = Duration::from_millis(100);
/// How long the broker may take to tell the committed positions.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the broker may take to note positions, at the end.
const TELL_LIMIT: Duration = Duration::from_secs(2);
/// How long leaving the group may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Why a member of the group does nothing yet.
const NO_PLACE: &str = "the group assigns no partitions yet";
/// How long a poll waits for something to happen.
const POLL: Duration = Duration::from_millis(50);

/// Reads a topic.
pub struct Intake {
    /// The group member, not yet subscribed.
    pub consumer: Consumer,
    /// The topic and who reads it.
    pub owner: Owner,
    /// A connection of its own to the ledger.
    pub book: Book,
    /// What stands behind the @ of the sender.
    pub domain: String,
    /// Where to say things.
    pub console: Console,
    /// When to end.
    pub stop: Stop,
    /// End when every partition was read to where it ended when it was assigned.
    pub until_end: bool,
    /// End when no record came for so long.
    pub idle_exit: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    /// Where it goes on; below 0 for its first record.
    next_offset: i64,
    /// As far as its mails are written down in this assignment, if any are.
    noted: Option<i64>,
    end: i64,
    at_end: bool,
}

struct Loop<'s> {
    intake: Intake,
    shared: &'s Shared,
    runtime: tokio::runtime::Runtime,
    partitions: BTreeMap<i32, Partition>,
    batch: Batch,
    /// Whether there is a place in the group; nothing can come before.
    is_assigned: bool,
    /// The topic that the positions are of.
    topic_id: Option<TopicId>,
    last_record: Instant,
    is_waiting: bool,
}

/// Reads until the end asked for, or the stop.
///
/// # Errors
/// What no wait will cure.
pub fn run(intake: Intake, shared: &Shared) -> anyhow::Result<()> {
    let runtime = crate::edges::postgres::runtime()?;
    intake.consumer.subscribe()?;
    shared.miss(need(&intake), NO_PLACE);
    let mut state = Loop {
        intake,
        shared,
        runtime,
        partitions: BTreeMap::new(),
        batch: Batch::default(),
        is_assigned: false,
        topic_id: None,
        last_record: Instant::now(),
        is_waiting: false,
    };
    let ended = state.go_on();
    state.tell_positions();
    let Loop { intake, runtime, .. } = state;
    intake.consumer.close(CLOSE_LIMIT);
    // A name server that does not answer would be waited for.
    runtime.shutdown_background();
    ended
}

impl Loop<'_> {
    fn go_on(&mut self) -> anyhow::Result<()> {
        while !self.intake.stop.requested() {
            self.shared.beat();
            let is_due = self.batch.since.is_some_and(|since| since.elapsed() >= AGE_MAX);
            if is_due || self.batch.records >= BATCH_MAX || self.is_satisfied() {
                self.write_down()?;
            }
            if self.batch.since.is_none() && self.is_satisfied() && self.is_heard() {
                return Ok(());
            }
            let waiting =
                self.batch.since.map_or(POLL, |since| AGE_MAX - since.elapsed().min(AGE_MAX));
            match self.intake.consumer.poll(waiting.min(POLL)) {
                Polled::Record(record) => {
                    let (raw, batch) = (record.raw(), &mut self.batch);
                    if let Some(partition) = self.partitions.get_mut(&raw.partition) {
                        batch.take(&raw, &self.intake, self.shared);
                        partition.next_offset = raw.offset + 1;
                        self.last_record = Instant::now();
                    }
                }
                Polled::Other(happening) => self.handle(happening)?,
            }
        }
        Ok(())
    }

    /// Whether no more need be read.
    fn is_satisfied(&self) -> bool {
        if !self.is_assigned {
            return false;
        }
        let idle = self.intake.idle_exit.is_some_and(|limit| self.last_record.elapsed() >= limit);
        let is_read = |one: &Partition| one.at_end || one.next_offset >= one.end;
        idle || (self.intake.until_end && self.partitions.values().all(is_read))
    }

    /// Whether Kafka answers: while it is away, that no record comes says nothing.
    fn is_heard(&mut self) -> bool {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        match self.intake.consumer.ask_ends(&numbers, KAFKA_TIMEOUT) {
            Ok(_) => {
                self.back_again();
                true
            }
            Err(error) => {
                self.note_waiting(&format!("{error:#}"));
                false
            }
        }
    }

    fn handle(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Nothing => {}
            Happening::End(number) => {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.at_end = true;
                }
                self.back_again();
            }
            Happening::Assigned(numbers) => self.begin_reading(&numbers)?,
            Happening::Revoked => {
                self.tell_positions();
                self.let_go();
                self.intake.consumer.unassign()?;
            }
            Happening::Away(why) => self.note_waiting(&why),
            Happening::PositionLost => bail!(
                "Kafka no longer has the position that group {} goes on from in {}: records were \
                 removed by retention before they were read; set the group's offsets with Kafka's \
                 kafka-consumer-groups",
                self.intake.owner.group,
                self.intake.owner.topic
            ),
            Happening::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads partitions from the group's committed positions on; those that the
    /// group never read, from their first record.
    fn begin_reading(&mut self, numbers: &[i32]) -> anyhow::Result<()> {
        self.let_go();
        self.topic_id = self.intake.consumer.topic_id();
        let mut wait = Duration::from_millis(100);
        while !self.intake.stop.requested() {
            match positions(&self.intake.consumer, numbers) {
                Ok(partitions) => {
                    self.partitions = partitions;
                    self.is_assigned = true;
                    self.shared.found(&need(&self.intake));
                    break;
                }
                Err(error) if client::is_refused(&error) => {
                    return Err(error.context(
                        "this login may not go on in the group: grant its principal READ on the \
                         group and on the topic",
                    ));
                }
                Err(error) => self.note_waiting(&format!("{error:#}")),
            }
            self.intake.stop.wait_for(wait);
            wait = (wait * 2).min(Duration::from_secs(3));
        }
        self.last_record = Instant::now();
        let starts = self.partitions.iter().map(|(number, one)| (*number, one.next_offset));
        self.intake.consumer.assign(starts)
    }

    /// What was read and not written down is for the next owner.
    fn let_go(&mut self) {
        self.batch = Batch::default();
        self.partitions.clear();
        self.is_assigned = false;
        self.shared.miss(need(&self.intake), NO_PLACE);
    }

    /// Makes sure that the group knows how far all is written down. Who does not
    /// know reads again what is there already, so a short time will do.
    fn tell_positions(&self) {
        let noted = self.partitions.iter().filter_map(|(number, one)| Some((*number, one.noted?)));
        let told = self.intake.consumer.commit_positions(noted.collect(), TELL_LIMIT);
        if let Err(error) = told {
            self.intake
                .console
                .detail(format_args!("the group does not know where we are: {error:#}"));
        }
    }

    /// Whether records come from a topic other than the one whose positions were
    /// asked for: it was deleted and created again meanwhile.
    fn is_another_topic(&mut self) -> bool {
        match (&self.topic_id, self.intake.consumer.topic_id()) {
            (Some(known), Some(read)) => *known != read,
            (None, read) => {
                self.topic_id = read;
                false
            }
            (Some(_), None) => false,
        }
    }

    /// Leaves the group and joins it again: it says where to go on.
    fn rejoin(&mut self) -> anyhow::Result<()> {
        self.let_go();
        self.intake.consumer.rejoin()
    }

    /// Writes the batch into the ledger, however long the database is away, and
    /// shows the group how far it was read. The group is polled all the while:
    /// who does not is put out of it.
    fn write_down(&mut self) -> anyhow::Result<()> {
        if self.is_another_topic() {
            self.intake.console.note(format_args!(
                "topic {} was created again: reading it from its first record",
                self.intake.owner.topic
            ));
            return self.rejoin();
        }
        let mut backoff = Backoff::default();
        while self.batch.since.is_some() && !self.intake.stop.requested() {
            let Batch { mails, dead, .. } = &self.batch;
            let intake = &self.intake;
            let noted = self.runtime.block_on(async {
                tokio::select! {
                    noted = note(intake, mails, dead) => noted,
                    () = intake.stop.wait() => Ok(None),
                }
            })?;
            if let Some(fresh) = noted {
                self.shared.planned(self.batch.records, fresh, self.batch.dead.len() as u64);
                self.batch = Batch::default();
                // Below 0 where nothing was read yet.
                for one in self.partitions.values_mut().filter(|one| one.next_offset >= 0) {
                    one.noted = Some(one.next_offset);
                }
                let noted = self.partitions.iter().map(|(number, one)| (*number, one.noted));
                let noted = noted.filter_map(|(number, noted)| Some((number, noted?)));
                self.intake.consumer.show_positions(noted);
                return self.intake.consumer.resume(self.partitions.keys().copied());
            }
            self.intake.consumer.pause(self.partitions.keys().copied())?;
            let next_try = Instant::now() + backoff.next_wait();
            while Instant::now() < next_try && !self.intake.stop.requested() {
                self.shared.beat();
                match self.intake.consumer.poll(POLL) {
                    // Of before the pause, and not in the batch: read again.
                    Polled::Record(record) => {
                        let raw = record.raw();
                        let (number, offset) = (raw.partition, raw.offset);
                        drop(record);
                        self.go_back(number, offset)?;
                    }
                    Polled::Other(happening) => self.handle(happening)?,
                }
            }
        }
        Ok(())
    }

    /// A record came that cannot be taken now: it is read again later, from where
    /// the batch ends.
    fn go_back(&mut self, number: i32, offset: i64) -> anyhow::Result<()> {
        let is_next = self.partitions.get(&number).is_some_and(|one| offset >= one.next_offset);
        if is_next {
            let starts = self.partitions.iter().map(|(number, one)| (*number, one.next_offset));
            if let Err(error) = self.intake.consumer.seek(starts) {
                self.note_waiting(&format!("joining the group again: {error:#}"));
                return self.rejoin();
            }
        }
        Ok(())
    }

    fn note_waiting(&mut self, why: &str) {
        // Nothing can come now, which is not the same as that nothing comes.
        self.last_record = Instant::now();
        self.shared.miss(need(&self.intake), why);
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.intake.console.note(format_args!("waiting: {why}"));
        }
    }

    fn back_again(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.shared.found(&need(&self.intake));
            self.intake.console.note("Kafka is back");
        }
    }
}

fn need(intake: &Intake) -> Need {
    Need::Topic(intake.owner.topic.clone())
}

/// Where the group goes on in these partitions, and where they end.
fn positions(consumer: &Consumer, numbers: &[i32]) -> anyhow::Result<BTreeMap<i32, Partition>> {
    let read = consumer.committed(numbers, KAFKA_TIMEOUT)?;
    let ends = consumer.ask_ends(numbers, KAFKA_TIMEOUT)?;
    let partition = |((number, next_offset), end)| {
        (number, Partition { next_offset, noted: None, end, at_end: false })
    };
    Ok(read.into_iter().zip(ends).map(partition).collect())
}

/// Writes mails and dead letters down; how many mails were not there yet, and how
/// many of those will never be sent; or none when the database is away.
async fn note(
    intake: &Intake,
    mails: &[Planned],
    dead: &[DeadLetter],
) -> anyhow::Result<Option<(u64, u64)>> {
    let (book, owner) = (&intake.book, &intake.owner);
    book.try_once(&mut async |own, client| {
        let fresh = own.plan(client, mails).await?;
        if !dead.is_empty() {
            let table = (own.ledger.schema.as_str(), "mail");
            insert_dead(client, &own.ledger, owner, table, dead).await?;
        }
        Ok(fresh)
    })
    .await
}
