//! A writer: one connection, one batch after the other, whatever breaks.
//!
//! What the server or the network says decides: what will pass is waited out
//! with back-off on a new connection, after a look into the ledger whether the
//! batch is written already; what will not pass ends the run.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::connect;
use super::failure::{self, Class};
use super::retry::Backoff;
use super::staging::{self, Staged};
use super::transaction::{Begun, Destination, Ended};
use crate::config::PostgresSettings;
use crate::engine::batch::Batch;
use crate::engine::checkpoint::{Standing, standing};
use crate::engine::report::{Fate, Report, Stored};

/// So many batches in a row with ids that are there already, and the next ones
/// do not try a plain COPY first.
const CONFLICTS_MAX: u32 = 3;
/// How many batches go through staging then.
const STAGED_BATCHES: u32 = 32;

/// A writer at work on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    /// Takes one batch beyond the one being written; closed, it ends the writer.
    pub inbox: mpsc::Sender<Batch>,
    /// Ends after the last batch.
    pub thread: JoinHandle<()>,
}

/// Starts a writer. What becomes of each batch is reported with its number.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn spawn(
    lane: usize,
    settings: PostgresSettings,
    application: String,
    destination: Arc<Destination>,
    reports: Sender<Report>,
) -> anyhow::Result<Writer> {
    let (inbox, batches) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            let at_work = AtWork {
                lane,
                settings,
                application,
                destination,
                reports: reports.clone(),
                batches,
                client: None,
                upcoming: None,
                conflicts: 0,
                staged_left: 0,
            };
            if let Err(error) = runtime.block_on(at_work.run()) {
                // The receiver is gone only when the run has ended already.
                let _ = reports.send(Report::Failed(error));
            }
        })
        .context("cannot start a writer's thread")?;
    Ok(Writer { inbox, thread })
}

struct AtWork {
    lane: usize,
    settings: PostgresSettings,
    application: String,
    destination: Arc<Destination>,
    reports: Sender<Report>,
    batches: mpsc::Receiver<Batch>,
    client: Option<Arc<Client>>,
    /// The batch after the one in hand, with its transaction when that was begun
    /// behind the commit.
    upcoming: Option<(Batch, Option<Begun>)>,
    conflicts: u32,
    staged_left: u32,
}

/// What came of one try to write a batch.
enum Tried {
    Stored {
        rows: u64,
        duplicates: u64,
    },
    Fenced,
    /// Ids are there already, or the server refuses a row.
    NeedsStaging,
    PayloadsMissing,
    /// An error after which only the ledger knows; with what is stored if it is.
    Broken {
        error: tokio_postgres::Error,
        rows: u64,
        duplicates: u64,
    },
}

impl AtWork {
    async fn run(mut self) -> anyhow::Result<()> {
        // Connected before the first batch comes, so that it need not wait.
        self.client(&mut Backoff::default()).await?;
        loop {
            let (batch, begun) = match self.upcoming.take() {
                Some(next) => next,
                None => match self.batches.recv().await {
                    Some(batch) => (self.sorted(batch), None),
                    None => return Ok(()),
                },
            };
            self.write(batch, begun).await?;
        }
    }

    fn sorted(&self, mut batch: Batch) -> Batch {
        batch.arrange(&self.destination.target, self.destination.on_duplicate);
        batch
    }

    /// Writes a batch, however long it takes.
    async fn write(&mut self, mut batch: Batch, mut begun: Option<Begun>) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut backoff = Backoff::default();
        let mut must_stage = self.staged_left > 0;
        // What was sent with a COMMIT whose outcome is not known yet.
        let mut in_doubt = None;
        self.staged_left = self.staged_left.saturating_sub(1);
        loop {
            let client = self.client(&mut backoff).await?;
            let tried = if must_stage {
                // Whatever was begun behind the last commit is begun anew.
                if begun.take().is_some() {
                    self.roll_back(&client).await;
                }
                self.try_staging(&client, &mut batch).await
            } else {
                self.try_copy(&client, &batch, begun.take()).await
            };
            match tried {
                Tried::Stored { rows, duplicates } => {
                    self.report_stored(batch, rows, duplicates, since.elapsed());
                    return Ok(());
                }
                Tried::Fenced => {
                    self.roll_back(&client).await;
                    // Our own COMMIT may have come through after we looked.
                    if let Some((rows, duplicates)) = in_doubt
                        && self.look_up(&batch, &mut backoff).await? == Standing::Written
                    {
                        self.report_stored(batch, rows, duplicates, since.elapsed());
                    } else {
                        self.report_fate(batch, Fate::Fenced);
                    }
                    return Ok(());
                }
                Tried::PayloadsMissing => {
                    self.roll_back(&client).await;
                    self.report_fate(batch, Fate::PayloadsMissing);
                    return Ok(());
                }
                Tried::NeedsStaging => {
                    self.roll_back(&client).await;
                    self.count_conflict();
                    must_stage = true;
                }
                Tried::Broken { error, rows, duplicates } => {
                    self.wait_out(&error, &mut backoff).await?;
                    match self.look_up(&batch, &mut backoff).await? {
                        Standing::NotYet => in_doubt = Some((rows, duplicates)),
                        Standing::Written => {
                            self.report_stored(batch, rows, duplicates, since.elapsed());
                            return Ok(());
                        }
                        Standing::Fenced => {
                            self.report_fate(batch, Fate::Fenced);
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    async fn try_copy(
        &mut self,
        client: &Arc<Client>,
        batch: &Batch,
        begun: Option<Begun>,
    ) -> Tried {
        let destination = Arc::clone(&self.destination);
        let begun = match begun {
            Some(begun) => Ok(begun),
            None => destination.begin(client, batch).await,
        };
        let open = match begun {
            Ok(Begun::Ours(open)) => open,
            Ok(Begun::Fenced) => return Tried::Fenced,
            Err(error) => return broken(error, batch),
        };
        let copied = match open.copy(batch).await {
            Ok(copied) => copied,
            Err(error) => return refused_or_broken(error, batch),
        };
        let next = self.next_in_line();
        match copied.commit(&destination, next.as_ref()).await {
            Ended::Committed(begun) => {
                self.upcoming = next.map(|next| (next, begun));
                self.conflicts = 0;
                Tried::Stored { rows: batch.row_count() as u64, duplicates: 0 }
            }
            Ended::Refused(error) => {
                self.upcoming = next.map(|next| (next, None));
                refused_or_broken(error, batch)
            }
            Ended::Unknown(error) => {
                self.upcoming = next.map(|next| (next, None));
                // A constraint that is checked at the commit refuses rows there.
                refused_or_broken(error, batch)
            }
        }
    }

    /// The batch after this one, if it is waiting already.
    fn next_in_line(&mut self) -> Option<Batch> {
        match self.upcoming.take() {
            Some((batch, _)) => Some(batch),
            // One that staging will take is not begun behind the commit.
            None if self.staged_left > 0 => None,
            None => self.batches.try_recv().ok().map(|batch| self.sorted(batch)),
        }
    }

    async fn try_staging(&mut self, client: &Arc<Client>, batch: &mut Batch) -> Tried {
        match staging::store(&self.destination, client, batch).await {
            Ok(Staged::Stored { rows, duplicates }) => Tried::Stored { rows, duplicates },
            Ok(Staged::Fenced) => Tried::Fenced,
            Ok(Staged::PayloadsMissing) => Tried::PayloadsMissing,
            Ok(Staged::Unknown { error, rows, duplicates }) => {
                Tried::Broken { error, rows, duplicates }
            }
            Err(error) => broken(error, batch),
        }
    }

    fn count_conflict(&mut self) {
        self.conflicts += 1;
        if self.conflicts >= CONFLICTS_MAX {
            self.conflicts = 0;
            self.staged_left = STAGED_BATCHES;
        }
    }

    async fn roll_back(&mut self, client: &Client) {
        if client.batch_execute("rollback").await.is_err() {
            self.client = None;
        }
    }

    /// Waits before the next try on a new connection, or gives up on what no
    /// wait will cure.
    async fn wait_out(
        &mut self,
        error: &tokio_postgres::Error,
        backoff: &mut Backoff,
    ) -> anyhow::Result<()> {
        self.client = None;
        match failure::classify(error) {
            Class::Wait | Class::Closed => {
                self.report(Report::Waiting {
                    why: failure::describe(error),
                    cause: failure::cause(error),
                });
                backoff.wait().await;
                Ok(())
            }
            // No row is at fault where staging finds none.
            Class::Record | Class::Stop => anyhow::bail!(
                "cannot write to table {}: {}{}",
                self.destination.target.quoted(),
                failure::describe(error),
                self.cure(error)
            ),
        }
    }

    /// What helps against an error that stops the run, when that is known.
    fn cure(&self, error: &tokio_postgres::Error) -> String {
        let Destination { target, ledger, .. } = &*self.destination;
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => format!(
                "; the owner can `grant select, insert, update on {} to {}`, and the same on all \
                 tables in schema {} for the ledger",
                target.quoted(),
                self.settings.user.as_deref().unwrap_or("this role"),
                ledger.schema.quoted()
            ),
            Some(&SqlState::UNDEFINED_TABLE) => {
                "; was it dropped? create it again with `orderctl db-setup`".to_owned()
            }
            _ => String::new(),
        }
    }

    /// What the ledger says of a batch whose outcome is unknown.
    async fn look_up(&mut self, batch: &Batch, backoff: &mut Backoff) -> anyhow::Result<Standing> {
        loop {
            let client = self.client(backoff).await?;
            let destination = Arc::clone(&self.destination);
            match destination.ledger.positions(&client, &destination.owner).await {
                Ok(positions) => return Ok(standing(&batch.advances, &positions)),
                Err(error) => self.wait_out(&error, backoff).await?,
            }
        }
    }

    /// The connection, made anew when it is gone.
    async fn client(&mut self, backoff: &mut Backoff) -> anyhow::Result<Arc<Client>> {
        loop {
            match &self.client {
                Some(client) if !client.is_closed() => return Ok(Arc::clone(client)),
                _ => match connect(&self.settings, &self.application).await {
                    Ok(client) => self.client = Some(Arc::new(client)),
                    Err(error) if error.class() == Class::Stop => return Err(error.into()),
                    Err(error) => {
                        let (why, cause) = (error.to_string(), error.cause());
                        self.report(Report::Waiting { why, cause });
                        backoff.wait().await;
                    }
                },
            }
        }
    }

    fn report_stored(&self, batch: Batch, rows: u64, duplicates: u64, took: Duration) {
        let stored = Stored {
            rows,
            duplicates: duplicates + batch.repeated,
            rejected: batch.dead.len() as u64,
            took,
        };
        self.report_fate(batch, Fate::Stored(stored));
    }

    fn report_fate(&self, batch: Batch, fate: Fate) {
        self.report(Report::Batch { lane: self.lane, batch: Box::new(batch), fate });
    }

    fn report(&self, report: Report) {
        // The receiver is gone only when the run has ended already.
        let _ = self.reports.send(report);
    }
}

fn refused_or_broken(error: tokio_postgres::Error, batch: &Batch) -> Tried {
    match failure::classify(&error) {
        Class::Record => Tried::NeedsStaging,
        _ => broken(error, batch),
    }
}

fn broken(error: tokio_postgres::Error, batch: &Batch) -> Tried {
    Tried::Broken { error, rows: batch.row_count() as u64, duplicates: 0 }
}
