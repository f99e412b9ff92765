//! Publishing in transactions: records and the positions they were made from
//! become visible together, or not at all.
//!
//! A transaction call that times out has an unknown outcome, and librdkafka has
//! no way to find out (it lacks KIP-890). A new producer of the same id does: to
//! initialise it ends whatever is open, and the group's committed positions tell
//! what counted.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::client::describe;
use super::consumer::Consumer;
use super::deliveries::Deliveries;
use super::enqueue::Topics;
use super::membership::Place;
use super::transaction_settings::{TIMEOUT_MIN, config};
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::engine::relay::Outgoing;
use crate::stop::Stop;

/// How long one call may take before it is tried again or given up.
pub(super) const CALL: Duration = Duration::from_secs(1);
/// How much longer a call is waited for before it counts as lost.
const CALL_GRACE: Duration = Duration::from_secs(2);
/// How often what comes back is served while a call is under way.
const SERVED_EVERY: Duration = Duration::from_millis(5);
/// How long a transaction's end may take with its retries.
pub(super) const END_LIMIT: Duration = Duration::from_secs(8);
/// The same, once the user asked to stop.
const STOP_LIMIT: Duration = Duration::from_millis(1500);
/// How long to let go between two looks whether all is acknowledged.
const LOOK: Duration = Duration::from_micros(500);

/// Why a transaction cannot go on.
#[derive(Debug)]
pub enum Trouble {
    /// There is no answer yet: the same call again.
    Again(String),
    /// Nothing of it counts: abort it and go back to the committed positions.
    Abort(String),
    /// The group has gone on without this member, or is about to: abort, and see
    /// what it assigns.
    Moved,
    /// The producer is of no use any more, and the outcome may be unknown: make
    /// a new one and go back to the committed positions.
    Renew(String),
    /// The cluster will never take a record: abort, and find out which.
    Refused(String),
    /// A topic is not there (any more): as [`Trouble::Renew`], and look for the
    /// topics.
    TopicGone,
    /// Another producer has the same transactional id, or this one was away for
    /// so long that it was given up.
    Fenced,
    /// What no wait will cure.
    Stop(anyhow::Error),
}

type Producer = BaseProducer<Deliveries>;
/// A call that may block.
type Task = Box<dyn FnOnce(&Producer) -> Result<(), KafkaError> + Send>;
/// Does a little of something else, and says whether there was anything to do.
type Work<'w> = &'w mut dyn FnMut() -> bool;

/// A producer that publishes in transactions.
///
/// librdkafka may forget a call on transactions when the broker goes away just
/// then, and never come back, whatever the call's time limit. So these calls are
/// made on a thread of their own, which is left behind with the producer then.
pub struct Transactions {
    topics: Topics<Deliveries>,
    inner: Arc<Producer>,
    tasks: Sender<Task>,
    answers: Receiver<Result<(), KafkaError>>,
    stop: Stop,
    timeout: Duration,
    /// A call did not come back: its answer may still come, to whatever is asked
    /// then.
    is_lost: Cell<bool>,
}

/// Until when something is tried again; sooner once the user asked to stop.
struct Deadline<'s> {
    at: Instant,
    stop: &'s Stop,
    is_short: bool,
}

impl Deadline<'_> {
    fn has_passed(&mut self) -> bool {
        let now = Instant::now();
        if !self.is_short && self.stop.requested() {
            self.is_short = true;
            self.at = self.at.min(now + STOP_LIMIT);
        }
        now >= self.at
    }
}

impl Transactions {
    /// Makes a producer, whose transactions are to be ended at this age at the
    /// latest; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        settings: &KafkaSettings,
        transactional_id: &str,
        age_max: Duration,
        console: &Console,
        stop: &Stop,
    ) -> anyhow::Result<Transactions> {
        let config = config(settings, transactional_id, age_max);
        let timeout = config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
        let timeout = timeout.map_or(TIMEOUT_MIN, Duration::from_millis);
        let inner = Producer::from_config_and_context(&config, Deliveries::new(console))
            .map_err(|error| anyhow::anyhow!("cannot make a producer: {}", describe(&error)))?;
        let inner = Arc::new(inner);
        let ((tasks, asked), (answer, answers)) = (mpsc::channel::<Task>(), mpsc::channel());
        let producer = Arc::clone(&inner);
        std::thread::Builder::new().name("transactions".into()).spawn(move || {
            for task in asked {
                if answer.send(task(&producer)).is_err() {
                    return;
                }
            }
        })?;
        let (stop, is_lost) = (stop.clone(), Cell::new(false));
        let topics = Topics::new(Arc::clone(&inner));
        Ok(Transactions { topics, inner, tasks, answers, stop, timeout, is_lost })
    }

    /// How long a transaction may be open before the cluster gives it up.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Ends what an earlier producer of the id left open, and fences it.
    ///
    /// # Errors
    /// [`Trouble::Again`] when there is no answer within a second.
    pub fn init(&self) -> Result<(), Trouble> {
        let init = Box::new(|producer: &Producer| producer.init_transactions(CALL));
        let done = self.call(init, &mut || false)?;
        // Serves what is known of failed connections.
        self.poll();
        done.map_err(|error| match &error {
            KafkaError::Transaction(known) if known.is_retriable() => {
                Trouble::Again(self.explained(&error))
            }
            _ => self.trouble(&error),
        })
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the producer is of no use any more.
    pub fn begin(&self) -> Result<(), Trouble> {
        if self.is_lost.get() {
            return Err(lost());
        }
        self.inner.begin_transaction().map_err(|error| self.trouble(&error))
    }

    /// Queues copies of records; the same key goes to the same partition. Whether
    /// there was room at once: who had to wait has a look at the clock due.
    ///
    /// # Errors
    /// When a record can never be sent, or there was no room for too long.
    pub fn send(&self, outgoing: &Outgoing) -> Result<bool, Trouble> {
        let mut had_room = true;
        for record in outgoing.records() {
            let mut deadline = self.deadline();
            while let Err(error) = self.topics.enqueue(outgoing, &record) {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !is_full || deadline.has_passed() {
                    return Err(self.trouble(&error));
                }
                had_room = false;
                self.inner.poll(Duration::from_millis(5));
            }
        }
        Ok(had_room)
    }

    /// Serves what has come back.
    pub fn poll(&self) {
        self.inner.poll(Duration::ZERO);
    }

    /// Waits until all is acknowledged, and commits it together with the
    /// positions of the consumer's group, as the member in this place. Instead of
    /// only waiting it does some work each time, as long as that says that there was
    /// any.
    ///
    /// # Errors
    /// When the outcome is not known to be a commit.
    pub fn commit(
        &self,
        consumer: &Consumer,
        place: &Place,
        positions: &[(i32, i64)],
        work: Work<'_>,
    ) -> Result<(), Trouble> {
        let mut deadline = self.deadline();
        self.drain(&mut deadline, work)?;
        let list = consumer.positions(positions).map_err(Trouble::Stop)?;
        let send = || -> Task {
            let (list, place) = (list.clone(), Arc::clone(&place.0));
            Box::new(move |to| to.send_offsets_to_transaction(&list, &place, CALL))
        };
        self.retried(&mut deadline, send, work)?;
        let commit = || -> Task { Box::new(|producer| producer.commit_transaction(CALL)) };
        self.retried(&mut deadline, commit, work)
    }

    /// Lets go of the producer, in at most a second: to drop one has no deadline.
    pub fn close(self) {
        let (gone, waiting) = mpsc::channel();
        let dropper = std::thread::Builder::new().name("dropper".into()).spawn(move || {
            drop(self);
            let _ = gone.send(());
        });
        if dropper.is_ok() {
            let _ = waiting.recv_timeout(Duration::from_secs(1));
        }
    }

    /// Ends a transaction so that nothing of it counts.
    ///
    /// # Errors
    /// When that is not certain: then a new producer is needed.
    pub fn abort(&self) -> Result<(), Trouble> {
        let abort = || -> Task { Box::new(|producer| producer.abort_transaction(CALL)) };
        let aborted = self.retried(&mut self.deadline(), abort, &mut || false);
        // Those that were given up with it.
        self.poll();
        self.inner.context().take_failure();
        aborted.map_err(|trouble| match trouble {
            Trouble::Abort(why) => Trouble::Renew(why),
            other => other,
        })
    }

    fn deadline(&self) -> Deadline<'_> {
        Deadline { at: Instant::now() + END_LIMIT, stop: &self.stop, is_short: false }
    }

    /// Not by flush, which looks every 100 ms only.
    fn drain(&self, deadline: &mut Deadline<'_>, work: Work<'_>) -> Result<(), Trouble> {
        while self.inner.in_flight_count() > 0 {
            self.inner.poll(Duration::ZERO);
            if deadline.has_passed() {
                return Err(Trouble::Abort("records are not acknowledged".into()));
            }
            if !work() {
                std::thread::sleep(LOOK);
            }
        }
        match self.inner.context().take_failure() {
            Some(error) => Err(self.trouble(&error)),
            None => Ok(()),
        }
    }

    fn retried(
        &self,
        deadline: &mut Deadline<'_>,
        task: impl Fn() -> Task,
        work: Work<'_>,
    ) -> Result<(), Trouble> {
        loop {
            match self.call(task(), work)? {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !deadline.has_passed() => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
    }

    /// Makes a call; [`Trouble::Renew`] when it does not come back.
    fn call(&self, task: Task, work: Work<'_>) -> Result<Result<(), KafkaError>, Trouble> {
        let is_asked = !self.is_lost.get() && self.tasks.send(task).is_ok();
        let since = Instant::now();
        while is_asked && since.elapsed() < CALL + CALL_GRACE {
            let wait = if work() { Duration::ZERO } else { SERVED_EVERY };
            if let Ok(answer) = self.answers.recv_timeout(wait) {
                return Ok(answer);
            }
            // To abort waits until the records that it gave up are taken note of.
            self.poll();
        }
        self.is_lost.set(true);
        Err(lost())
    }

    fn trouble(&self, error: &KafkaError) -> Trouble {
        use RDKafkaErrorCode as Code;
        let code = match error {
            KafkaError::Transaction(error) => error.code(),
            other => match other.rdkafka_error_code() {
                Some(code) => code,
                None => return Trouble::Renew(describe(other)),
            },
        };
        // After a fatal error every call only says that there was one.
        let code = self.inner.client().fatal_error().map_or(code, |(code, _)| code);
        let needs_abort =
            matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort());
        match code {
            Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping => Trouble::Fenced,
            Code::TransactionalIdAuthorizationFailed => Trouble::Stop(anyhow::anyhow!(
                "this login may not use transactions ({code}): grant its principal WRITE on the \
                 transactional id"
            )),
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                Trouble::Stop(anyhow::anyhow!(
                    "this login may not publish ({code}): grant its principal WRITE on the topics"
                ))
            }
            Code::GroupAuthorizationFailed => Trouble::Stop(anyhow::anyhow!(
                "this login may not commit positions ({code}): grant its principal READ on the \
                 group"
            )),
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Trouble::TopicGone
            }
            Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
                if needs_abort =>
            {
                Trouble::Moved
            }
            Code::MessageSizeTooLarge | Code::InvalidRecord => Trouble::Refused(describe(error)),
            Code::SaslAuthenticationFailed | Code::Authentication => {
                Trouble::Stop(anyhow::anyhow!(
                    "Kafka refuses this client's login ({code}): check user and password"
                ))
            }
            _ if needs_abort => Trouble::Abort(self.explained(error)),
            _ => Trouble::Renew(self.explained(error)),
        }
    }

    /// What is away, in the words of the connection that failed.
    fn explained(&self, error: &KafkaError) -> String {
        let failure = self.inner.context().log.failure();
        failure.map_or_else(|| describe(error), |failure| failure.text)
    }
}

fn lost() -> Trouble {
    Trouble::Renew("no answer from the Kafka client".into())
}
