//! Looks after a run: keeps the leases, finds what dead workers left, and notices
//! when all is done.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Part;
use super::send::Office;
use super::shared::Need;
use crate::console::plural;
use crate::edges::postgres::Client;
use crate::edges::postgres::mail::{LEASE, Mails};
use crate::stop::Stop;

/// How often the ledger is asked whether anything is open, once all is read.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a worker that waits for the database may take to ask it again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// Returns when the user stops the run, or when every topic is read and no mail is
/// open; with `only_due`, mails that are put off may be left for another run.
///
/// # Errors
/// What a part failed with.
pub async fn until_done(
    office: &Office,
    user: &Stop,
    topics: usize,
    only_due: bool,
    parts: &mut JoinSet<anyhow::Result<Part>>,
) -> anyhow::Result<()> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reading = topics;
    let mut care_at = Instant::now();
    loop {
        tokio::select! {
            () = user.wait() => return Ok(()),
            part = parts.join_next() => match part.context("no part of the run is left")?? ? {
                Part::Intake => reading -= 1,
                Part::Sender => bail!("a worker ended by itself"),
            },
            _ = looks.tick() => {
                if Instant::now() >= care_at {
                    care_at = Instant::now() + LEASE / 4;
                    // The database may take its time; the user need not.
                    tokio::select! {
                        cared = take_care(office) => cared?,
                        () = user.wait() => return Ok(()),
                    }
                }
                if reading == 0 {
                    tokio::select! {
                        done = is_done(office, only_due) => if done? { return Ok(()) },
                        () = user.wait() => return Ok(()),
                    }
                }
            }
        }
    }
}

/// Says that we live, and looks who does not. A database that is away is asked
/// again at the next turn.
async fn take_care(office: &Office) -> anyhow::Result<()> {
    office.shared.beat();
    // Else the leases that are over may be of workers that could not renew them,
    // and know more about their mails than we do.
    let may_judge = office.book.reached_for().await >= LEASE + ANSWERS_WITHIN;
    let mut care = async |mails: &Mails, client: &Client| {
        mails.renew(client).await?;
        let lost = match may_judge {
            true => mails.find_lost(client).await?,
            false => Vec::new(),
        };
        Ok((lost, mails.count_open(client).await?))
    };
    let Some((lost, open)) = office.book.try_once(&mut care).await? else {
        office.shared.miss(Need::Ledger, "the database does not answer");
        return Ok(());
    };
    office.shared.found(&Need::Ledger);
    if !lost.is_empty() {
        let mails = plural(lost.len() as u64, "mail");
        office.console.warn(format_args!("a worker ended in the middle of {mails}: perhaps sent"));
    }
    office.shared.note_unsent(&lost);
    office.shared.count(|figures| {
        figures.unknown += lost.len() as u64;
        figures.open = open;
    });
    Ok(())
}

async fn is_done(office: &Office, only_due: bool) -> anyhow::Result<bool> {
    let mut count = async |mails: &Mails, client: &Client| match only_due {
        true => mails.count_due(client).await,
        false => mails.count_open(client).await,
    };
    Ok(office.book.try_once(&mut count).await? == Some(0))
}
