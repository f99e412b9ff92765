//! The claimer: takes partitions over in the ledger, on a thread of its own, so
//! that the thread that polls goes on polling while the database is away.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use anyhow::bail;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{ConnectError, connect};
use super::failure::{self, Class};
use super::ledger::{Ledger, Owner};
use super::position::{self, Known, Verdict};
use super::retry::Backoff;
use super::target::Found;
use crate::config::PostgresSettings;
use crate::engine::checkpoint::{Claim, Logs, TopicId};
use crate::engine::metrics::Cause;
use crate::engine::report::{Claimed, Report};

/// How long a claim waits for a batch of another worker before it ends the
/// backend that holds the row.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server lets a claim wait at all.
const LOCK_TIMEOUT_S: u32 = 30;

/// What to do when Kafka no longer has the position that the ledger names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnDataLoss {
    /// End with an error that names the partition and the choices.
    #[default]
    Stop,
    /// Go on from the oldest record that Kafka still has.
    Earliest,
    /// Go on from the records that come next.
    Latest,
}

/// Partitions to take over.
#[derive(Debug)]
pub struct Request {
    /// The assignment they belong to.
    pub generation: u64,
    /// Their numbers.
    pub partitions: Vec<i32>,
    /// Those in which Kafka refused to read on since they were claimed last.
    pub refused: BTreeSet<i32>,
}

impl Request {
    /// This request in the place of one that was not answered: what is known of
    /// its partitions stays known.
    fn after(mut self, unanswered: Request) -> Request {
        self.refused.extend(unanswered.refused);
        self
    }
}

/// What a claimer works with.
#[derive(Debug, Clone)]
pub struct Claimer {
    /// How to reach the database.
    pub settings: PostgresSettings,
    /// What its connections are called, as the group's writers'.
    pub application: String,
    /// The ledger.
    pub ledger: Ledger,
    /// Whose positions.
    pub owner: Owner,
    /// The table they are of.
    pub table: Found,
    /// What to do about a position that is gone.
    pub on_data_loss: OnDataLoss,
}

impl Claimer {
    /// Serves requests until their sender is gone. `logs` says what Kafka has of
    /// each partition; none when the consumer is closed.
    ///
    /// # Errors
    /// What no wait will cure.
    pub fn serve(
        &self,
        requests: &Receiver<Request>,
        logs: impl Fn(&[i32]) -> anyhow::Result<Option<Logs>>,
        reports: &Sender<Report>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Connected before the first request comes; if that fails, the request
        // tries again and says why.
        let mut client = runtime.block_on(connect(&self.settings, &self.application)).ok();
        while let Ok(mut request) = requests.recv() {
            let mut backoff = Backoff::default();
            let (topic_id, partitions) = loop {
                // Claims of an assignment that is over would fence the new owner.
                while let Ok(newer) = requests.try_recv() {
                    request = newer.after(request);
                }
                let tried = match logs(&request.partitions) {
                    Ok(Some(logs)) => runtime
                        .block_on(self.try_once(&mut client, &logs, &request.refused))
                        .map(|partitions| (logs.topic_id, partitions)),
                    Ok(None) => return Ok(()),
                    Err(error) => Err(Trouble::Passing(format!("{error:#}"), Cause::Broker)),
                };
                match tried {
                    Ok(claimed) => break claimed,
                    Err(Trouble::ForGood(error)) => return Err(error),
                    Err(Trouble::Passing(why, cause)) => {
                        // The receiver is gone only when the run has ended already.
                        let _ = reports.send(Report::Waiting { why, cause });
                        runtime.block_on(backoff.wait());
                    }
                }
            };
            let claimed = Claimed { generation: request.generation, topic_id, partitions };
            let _ = reports.send(Report::Claimed(claimed));
        }
        Ok(())
    }

    async fn try_once(
        &self,
        kept: &mut Option<Client>,
        logs: &Logs,
        refused: &BTreeSet<i32>,
    ) -> Result<Vec<(Claim, i64)>, Trouble> {
        let client = match kept.take() {
            Some(client) if !client.is_closed() => client,
            _ => connect(&self.settings, &self.application).await.map_err(|error| {
                match error.class() {
                    Class::Stop => Trouble::ForGood(error.into()),
                    _ => passing(&error),
                }
            })?,
        };
        let claims = self.claim(&client, logs).await?;
        let mut partitions = Vec::with_capacity(claims.len());
        for (claim, stored_of) in claims {
            let log = logs.partitions.iter().find(|(partition, _)| *partition == claim.partition);
            let Some((_, log)) = log else { continue };
            let known = Known {
                claim,
                stored_of: stored_of.as_ref(),
                log: *log,
                topic_id: logs.topic_id.as_ref(),
                was_refused: refused.contains(&claim.partition),
            };
            let claim = match position::judge(&self.owner, &known) {
                Verdict::Kept => claim,
                Verdict::Untold(why) => return Err(Trouble::Passing(why, Cause::Broker)),
                Verdict::Lost(why) => self.move_on(&client, &known, why).await?,
            };
            partitions.push((claim, log.end));
        }
        *kept = Some(client);
        Ok(partitions)
    }

    /// Claims, and ends the backends of stopped workers that are in the way.
    async fn claim(
        &self,
        client: &Client,
        logs: &Logs,
    ) -> Result<Vec<(Claim, Option<TopicId>)>, Trouble> {
        let starts: Vec<(i32, i64)> =
            logs.partitions.iter().map(|(partition, log)| (*partition, log.first)).collect();
        let claiming = self.ledger.claim(
            client,
            &self.owner,
            &self.table,
            logs.topic_id.as_ref(),
            &starts,
            LOCK_TIMEOUT_S,
        );
        tokio::pin!(claiming);
        loop {
            tokio::select! {
                claimed = &mut claiming => return claimed.map_err(trouble),
                () = tokio::time::sleep(PATIENCE) => {
                    let other = connect(&self.settings, &self.application)
                        .await
                        .map_err(|error| passing(&error))?;
                    self.ledger.end_blockers(&other, &self.application).await.map_err(trouble)?;
                }
            }
        }
    }

    /// Moves a claim whose position is lost to where the user chose.
    async fn move_on(
        &self,
        client: &Client,
        lost: &Known<'_>,
        why: String,
    ) -> Result<Claim, Trouble> {
        let next_offset = match self.on_data_loss {
            OnDataLoss::Stop => {
                return Err(Trouble::ForGood(anyhow::anyhow!(
                    "{why}; choose where to go on with --on-data-loss earliest or --on-data-loss \
                     latest, or start over under another --group"
                )));
            }
            OnDataLoss::Earliest => lost.log.first,
            OnDataLoss::Latest => lost.log.end,
        };
        let moved = Claim { next_offset, ..lost.claim };
        let moving = self.ledger.move_position(client, &self.owner, &moved, lost.topic_id);
        moving.await.map_err(trouble)?;
        Ok(moved)
    }
}

enum Trouble {
    Passing(String, Cause),
    ForGood(anyhow::Error),
}

fn passing(error: &ConnectError) -> Trouble {
    Trouble::Passing(error.to_string(), error.cause())
}

fn trouble(error: tokio_postgres::Error) -> Trouble {
    let waits_for_a_batch = error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
    match failure::classify(&error) {
        Class::Wait | Class::Closed => {
            Trouble::Passing(failure::describe(&error), failure::cause(&error))
        }
        _ if waits_for_a_batch => Trouble::Passing(failure::describe(&error), Cause::Lock),
        _ => Trouble::ForGood(anyhow::anyhow!(
            "cannot take partitions over in the ledger: {}",
            failure::describe(&error)
        )),
    }
}

/// Refuses a group that already stores the topic into another table: its
/// workers would share the partitions, and each table would get a part.
///
/// # Errors
/// When that is so, or the ledger cannot be read.
pub async fn refuse_shared_group(
    client: &Client,
    ledger: &Ledger,
    owner: &Owner,
    table: &Found,
) -> anyhow::Result<()> {
    match ledger.table_of(client, owner).await? {
        Some((schema, name)) if schema != table.schema.as_str() || name != table.table.as_str() => {
            bail!(
                "group {} already stores topic {} into table {schema}.{name}; \
                 give this table a group of its own with --group",
                owner.group,
                owner.topic
            )
        }
        _ => Ok(()),
    }
}
