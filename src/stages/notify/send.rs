//! From the ledger to the mail server: one worker a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use rand::RngExt as _;

use super::shared::Shared;
use super::templates::{self, Details};
use crate::console::{Console, one_line};
use crate::edges::postgres::mail::{Book, Fate, Mail};
use crate::edges::postgres::retry::Backoff;
use crate::edges::smtp::message::{self, Recipient, Sender};
use crate::edges::smtp::session::{Refusal, Server, Session};
use crate::stop::Stop;

/// How often the ledger is asked for mails that someone else wrote down, or that
/// are due again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A connection that had nothing to do for so long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// How long the server gets for its answer to a content after a stop was
/// requested.
const LAST_ANSWER: Duration = Duration::from_secs(4);
/// The first wait for a mail that was not taken for now; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What every worker of a run needs.
pub struct Office {
    /// The ledger, shared by all workers.
    pub book: Book,
    /// The mail server.
    pub server: Server,
    /// Who sends.
    pub from: Sender,
    /// A mail that no server takes for so long has failed.
    pub give_up_after: Duration,
    /// Where to say things.
    pub console: Console,
    /// When to end.
    pub stop: Stop,
    /// Figures, rate and bell.
    pub shared: Arc<Shared>,
}

/// How long a mail waits after so many tries: doubling, and up to a quarter more
/// by chance, so that mails put off together do not all come back together.
fn wait_after(attempts: u32) -> Duration {
    let doubled = FIRST_WAIT * 2_u32.saturating_pow(attempts.saturating_sub(1).min(20));
    let wait = doubled.min(LONGEST_WAIT);
    wait.mul_f64(rand::rng().random_range(1.0..1.25))
}

/// Sends mails until the stop.
///
/// # Errors
/// What no wait will cure: a refused login or sender, a ledger that refuses.
pub async fn run(office: Arc<Office>) -> anyhow::Result<()> {
    let mut session: Option<Session> = None;
    let mut backoff = Backoff::default();
    let mut idle_since = None;
    while !office.stop.requested() {
        let taken = office.book.ask(async |mails, client| mails.take(client).await).await?;
        let Some(taken) = taken else { break };
        let Some(mail) = taken else {
            office.await_mails().await;
            if idle_since.get_or_insert_with(Instant::now).elapsed() >= IDLE_LIMIT
                && let Some(idle) = session.take()
            {
                idle.quit().await;
            }
            continue;
        };
        idle_since = None;
        let was_open = session.is_some();
        let (fate, left) = office.deliver(&mail, session.take()).await?;
        session = left;
        office.settle(&mail, &fate).await?;
        match session {
            Some(_) => backoff = Backoff::default(),
            // Servers close connections that are old or idle: a new one will do.
            None if matches!(fate, Fate::PutBack) && was_open => backoff = Backoff::default(),
            None if matches!(fate, Fate::Failed(_)) => {}
            None => tokio::select! { () = backoff.wait() => {}, () = office.stop.wait() => {} },
        }
    }
    if let Some(session) = session {
        session.quit().await;
    }
    Ok(())
}

impl Office {
    /// Waits until there may be mails to send.
    async fn await_mails(&self) {
        tokio::select! {
            () = self.shared.bell.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = self.stop.wait() => {}
        }
    }

    /// Sends one mail; what became of it, and the connection if it is still good.
    async fn deliver(
        &self,
        mail: &Mail,
        session: Option<Session>,
    ) -> anyhow::Result<(Fate, Option<Session>)> {
        let (to, content) = match self.compose(mail) {
            Ok(composed) => composed,
            Err(why) => return Ok((Fate::Failed(why), session)),
        };
        tokio::select! {
            () = tokio::time::sleep(self.shared.delay()) => {}
            () = self.stop.wait() => return Ok((Fate::PutBack, session)),
        }
        let offered = tokio::select! {
            offered = self.offer(&to, session) => offered,
            () = self.stop.wait() => return Ok((Fate::PutBack, None)),
        };
        let mut session = match offered {
            Ok(session) => session,
            Err((refusal, session)) => return Ok((self.judge(mail, refusal)?, session)),
        };
        // From here on the server may have it, and whoever comes after us must know.
        let begun = self.book.ask(async |mails, client| mails.begin_content(client, mail).await);
        match begun.await? {
            Some(true) => {}
            Some(false) => {
                self.console.detail(format_args!("another has {} in hand now", mail.order_id));
                return Ok((Fate::PutBack, None));
            }
            None => return Ok((Fate::PutBack, None)),
        }
        let sent = tokio::select! {
            sent = session.send(&content) => sent,
            () = self.after_the_last_answer() => {
                Err(Refusal::Unknown("stopped before the server answered".to_owned()))
            }
        };
        match sent {
            Ok(()) => Ok((Fate::Sent, Some(session))),
            Err(refusal) => {
                let is_good = session.is_good();
                Ok((self.judge(mail, refusal)?, is_good.then_some(session)))
            }
        }
    }

    /// The mail as it goes over the wire.
    fn compose(&self, mail: &Mail) -> Result<(Recipient, Vec<u8>), String> {
        let to = Recipient::parse(&mail.recipient)?;
        let details: Details = serde_json::from_str(&mail.details)
            .map_err(|error| format!("the ledger's details are not understood: {error}"))?;
        let content = templates::content(mail.occasion, &mail.order_id, &details);
        let built = message::build(&self.from, &to, &details.name, &mail.message_id, &content);
        Ok((to, built.map_err(|error| format!("the mail cannot be written: {error:#}"))?))
    }

    /// Offers a mail over this connection or a new one, up to the answer that its
    /// content may come.
    async fn offer(
        &self,
        to: &Recipient,
        session: Option<Session>,
    ) -> Result<Session, (Refusal, Option<Session>)> {
        let mut session = match session {
            Some(session) => session,
            None => {
                let session = self.server.open().await.map_err(|refusal| (refusal, None))?;
                self.shared.note_back();
                self.shared.count(|figures| figures.logins += 1);
                session
            }
        };
        match session.offer(&self.from, to).await {
            Ok(()) => Ok(session),
            Err(refusal @ (Refusal::Later(_) | Refusal::Never(_))) => {
                let is_good = session.reset().await;
                Err((refusal, is_good.then_some(session)))
            }
            Err(refusal) => Err((refusal, None)),
        }
    }

    fn judge(&self, mail: &Mail, refusal: Refusal) -> anyhow::Result<Fate> {
        Ok(match refusal {
            Refusal::Away(why) => {
                self.shared.note_away(&why);
                Fate::PutBack
            }
            Refusal::Later(why) if mail.age >= self.give_up_after => {
                Fate::Failed(format!("given up: {why}"))
            }
            Refusal::Later(why) => Fate::Later(why, wait_after(mail.attempts)),
            Refusal::Never(why) => Fate::Failed(why),
            Refusal::Unknown(why) => Fate::Unknown(why, wait_after(mail.attempts)),
            Refusal::Stop(why) => bail!(why),
        })
    }

    async fn after_the_last_answer(&self) {
        self.stop.wait().await;
        tokio::time::sleep(LAST_ANSWER).await;
    }

    /// Notes what became of a mail, and counts it.
    async fn settle(&self, mail: &Mail, fate: &Fate) -> anyhow::Result<()> {
        let settled =
            self.book.ask(async |mails, client| mails.settle(client, mail, fate).await).await?;
        let about = format!("{} of order {} to {}", mail.occasion, mail.order_id, mail.recipient);
        let about = one_line(&about);
        match fate {
            Fate::Sent => {
                self.console.detail(format_args!("sent: {about}"));
                self.shared.count(|figures| figures.sent += 1);
            }
            Fate::Failed(why) => {
                self.console.warn(format_args!("not sent: {about}: {why}"));
                self.shared.note_unsent(&[mail.id]);
                self.shared.count(|figures| figures.failed += 1);
            }
            Fate::Unknown(why, _) => {
                self.console.warn(format_args!("perhaps sent: {about}: {why}"));
                self.shared.note_unsent(&[mail.id]);
                self.shared.count(|figures| figures.unknown += 1);
            }
            Fate::Later(why, _) => {
                self.console.detail(format_args!("put off: {about}: {why}"));
                self.shared.count(|figures| figures.put_off += 1);
            }
            Fate::PutBack => {}
        }
        if settled.is_none() {
            self.console.warn(format_args!(
                "the database is away, and cannot be told what became of a mail: {about}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_are_not_all_the_same() {
        for attempts in 1..60 {
            let least = FIRST_WAIT * 2_u32.saturating_pow((attempts - 1).min(20));
            let wait = wait_after(attempts);
            assert!(wait >= least.min(LONGEST_WAIT) && wait < LONGEST_WAIT.mul_f64(1.25));
        }
        let waits: std::collections::BTreeSet<Duration> = (0..20).map(|_| wait_after(5)).collect();
        assert!(waits.len() > 1, "{waits:?}");
    }
}
