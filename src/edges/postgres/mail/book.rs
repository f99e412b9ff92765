//! A connection to the ledger of mails that waits for a database that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Error};

use super::Mails;
use crate::config::PostgresSettings;
use crate::console::Console;
use crate::edges::postgres::connect::{ConnectError, connect};
use crate::edges::postgres::failure::{Class, classify, describe};
use crate::edges::postgres::ledger::Ledger;
use crate::edges::postgres::retry::Backoff;
use crate::edges::postgres::whereabouts::find_ledger;
use crate::stop::Stop;

/// How long the database gets after a stop was requested.
const LAST_TRY: Duration = Duration::from_secs(2);
/// A question that takes longer was asked in a time without a database.
const SOON: Duration = Duration::from_secs(2);

/// The ledger, on a connection that is made anew when it is lost. Shared by
/// whatever runs on one runtime.
#[derive(Debug)]
pub struct Book {
    settings: PostgresSettings,
    /// Whose mails they are.
    pub mails: Mails,
    console: Console,
    stop: Stop,
    state: Mutex<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    client: Option<Arc<Client>>,
    is_waiting: bool,
    /// Since when every question was answered, and soon.
    reached_since: Option<Instant>,
}

/// Finds the ledger: in its own schema, else where the role's tables are.
///
/// # Errors
/// When there is none or it is too old, with the cure.
pub async fn locate(client: &Client) -> anyhow::Result<Ledger> {
    let found = find_ledger(client, None).await.context("cannot look for the ledger")?;
    found.context("there is no ledger to note mails in: make it with `orderctl db-setup`")
}

impl Book {
    /// The ledger of these mails; it connects when it is asked for the first time.
    pub fn new(settings: &PostgresSettings, mails: Mails, console: &Console, stop: &Stop) -> Book {
        Book {
            settings: settings.clone(),
            mails,
            console: console.clone(),
            stop: stop.clone(),
            state: Mutex::default(),
        }
    }

    /// Asks the ledger, however long the database is away; none when a stop was
    /// requested first. What is asked may be asked twice: its answer can be lost.
    ///
    /// # Errors
    /// What no wait will cure.
    pub async fn ask<T>(
        &self,
        mut question: impl AsyncFnMut(&Mails, &Client) -> Result<T, Error>,
    ) -> anyhow::Result<Option<T>> {
        let mut backoff = Backoff::default();
        loop {
            let tried = tokio::select! {
                tried = self.try_once(&mut question) => tried,
                () = self.given_up() => return Ok(None),
            };
            match tried? {
                Some(answer) => return Ok(Some(answer)),
                None if self.stop.requested() => return Ok(None),
                None => {}
            }
            tokio::select! { () = backoff.wait() => {}, () = self.stop.wait() => {} }
        }
    }

    /// Asks once; none when the database is away.
    ///
    /// # Errors
    /// What no wait will cure.
    pub async fn try_once<T>(
        &self,
        question: &mut impl AsyncFnMut(&Mails, &Client) -> Result<T, Error>,
    ) -> anyhow::Result<Option<T>> {
        let asked = Instant::now();
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) if error.class() == Class::Stop => return Err(error.into()),
            Err(error) => {
                self.note_waiting(&error.to_string()).await;
                return Ok(None);
            }
        };
        match question(&self.mails, &client).await {
            Ok(answer) => {
                self.note_back(asked).await;
                Ok(Some(answer))
            }
            Err(error) => match classify(&error) {
                Class::Wait | Class::Closed => {
                    self.note_waiting(&describe(&error)).await;
                    Ok(None)
                }
                Class::Record | Class::Stop => {
                    Err(anyhow!("the ledger of mails refuses: {}", describe(&error)))
                }
            },
        }
    }

    async fn client(&self) -> Result<Arc<Client>, ConnectError> {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let name = super::super::application_name(&self.mails.group);
        let client = Arc::new(connect(&self.settings, &name).await?);
        state.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Completes when a stop was requested, and the database has had its time.
    async fn given_up(&self) {
        self.stop.wait().await;
        tokio::time::sleep(LAST_TRY).await;
    }

    /// For how long every question was answered, and soon.
    pub async fn reached_for(&self) -> Duration {
        let since = self.state.lock().await.reached_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    async fn note_waiting(&self, why: &str) {
        let mut state = self.state.lock().await;
        state.reached_since = None;
        if !std::mem::replace(&mut state.is_waiting, true) {
            self.console.note(format_args!("waiting: {why}"));
        }
    }

    async fn note_back(&self, asked: Instant) {
        let mut state = self.state.lock().await;
        let known = state.reached_since.filter(|_| asked.elapsed() < SOON);
        state.reached_since = Some(known.unwrap_or_else(Instant::now));
        if std::mem::take(&mut state.is_waiting) {
            self.console.note("the database is back");
        }
    }
}
