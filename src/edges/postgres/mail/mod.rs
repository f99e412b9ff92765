//! The ledger of mails: which are to be sent, who has one in hand, and what
//! became of it.
//!
//! Mails are written here before they are sent, by whoever reads the topics, and
//! worked off by any number of workers. What may happen to a worker, and what
//! the next one finds:
//!
//! | it ends | the row says | then |
//! |---|---|---|
//! | before it took the mail in hand | `sending`, no owner | sent by another |
//! | before the content was on the way | `sending`, no `content_at` | sent by another when the lease has passed: certainly not sent yet |
//! | before the server's answer was noted | `sending`, `content_at` | `unknown` when the lease has passed |
//! | later | `sent` or `failed` | nothing |
//!
//! Every statement stands alone, so that it works through a transaction-mode
//! pooler, and may be run again when its answer was lost.

pub mod book;
pub mod overview;

use std::time::{Duration, SystemTime};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::ledger::Ledger;
use crate::events::notice::Occasion;

pub use book::Book;

/// A worker that has not renewed its leases for so long is presumed dead.
pub const LEASE: Duration = Duration::from_secs(10);

/// A mail as it is written down first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What it is about.
    pub occasion: Occasion,
    /// The order's identifier.
    pub order_id: String,
    /// Where it goes.
    pub recipient: String,
    /// The same for every try.
    pub message_id: String,
    /// What the templates show, as a JSON object.
    pub details: String,
    /// Why it can never be sent, when that is known already.
    pub refused: Option<String>,
}

/// A mail in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its row.
    pub id: i64,
    /// What it is about.
    pub occasion: Occasion,
    /// The order's identifier.
    pub order_id: String,
    /// Where it goes.
    pub recipient: String,
    /// The same for every try.
    pub message_id: String,
    /// What the templates show, as a JSON object.
    pub details: String,
    /// How often it was taken in hand, this time included.
    pub attempts: u32,
    /// How long ago it was written down.
    pub age: Duration,
    /// The database's clock when it was taken: tells this hand from a later one of
    /// the same worker, which sends over several connections.
    pub taken_at: SystemTime,
}

/// What became of a mail in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A server has taken it.
    Sent,
    /// It will not be sent.
    Failed(String),
    /// Nobody can say whether it was taken; to be sent again after so long, if it
    /// is at all.
    Unknown(String, Duration),
    /// It was not sent, and is to be tried again after so long.
    Later(String, Duration),
    /// It was not sent, for reasons that are not its own.
    PutBack,
}

/// The mails of one consumer group, for one worker.
#[derive(Debug, Clone)]
pub struct Mails {
    /// Where the table is.
    pub ledger: Ledger,
    /// The consumer group.
    pub group: String,
    /// The worker's name, unlike any other's.
    pub owner: String,
    /// How often a mail whose fate is unknown is sent again.
    pub repeats_max: u32,
}

type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

impl Mails {
    fn table(&self) -> String {
        self.ledger.table("mail")
    }

    /// Writes mails down; one that is there already stays as it is. How many were
    /// not there yet, and how many of those will never be sent.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn plan(&self, client: &Client, planned: &[Planned]) -> Result<(u64, u64), Error> {
        if planned.is_empty() {
            return Ok((0, 0));
        }
        let sql = format!(
            "insert into {} (group_name, kind, order_id, recipient, message_id, details, state,
                 last_error)
             select $1, m.kind, m.order_id, m.recipient, m.message_id, m.details::jsonb,
                 case when m.refused is null then 'sending' else 'failed' end, m.refused
             from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                 as m (kind, order_id, recipient, message_id, details, refused)
             on conflict (group_name, kind, order_id, recipient) do nothing
             returning state = 'failed'",
            self.table()
        );
        let column = |value: fn(&Planned) -> &str| planned.iter().map(value).collect::<Vec<_>>();
        let kinds = column(|one| one.occasion.name());
        let order_ids = column(|one| &one.order_id);
        let recipients = column(|one| &one.recipient);
        let message_ids = column(|one| &one.message_id);
        let details = column(|one| &one.details);
        let refused: Vec<_> = planned.iter().map(|one| one.refused.as_deref()).collect();
        let parameters: [Parameter<'_>; 7] = [
            (&self.group, Type::TEXT),
            (&kinds, Type::TEXT_ARRAY),
            (&order_ids, Type::TEXT_ARRAY),
            (&recipients, Type::TEXT_ARRAY),
            (&message_ids, Type::TEXT_ARRAY),
            (&details, Type::TEXT_ARRAY),
            (&refused, Type::TEXT_ARRAY),
        ];
        let fresh = client.query_typed(&sql, &parameters).await?;
        let refused = fresh.iter().filter(|row| row.get(0)).count();
        Ok((fresh.len() as u64, refused as u64))
    }

    /// Takes the mail in hand that has waited longest; none when none is due.
    ///
    /// # Errors
    /// Whatever the server says. A mail that was taken all the same is free again
    /// when the lease has passed.
    pub async fn take(&self, client: &Client) -> Result<Option<Mail>, Error> {
        let sql = format!(
            "update {table} set state = 'sending', owner = $2, content_at = null,
                 lease_until = now() + $3 * interval '1 second', attempts = attempts + 1,
                 updated_at = now()
             where id = (
                 select id from {table}
                 where group_name = $1 and state in ('sending', 'unknown')
                     and next_try_at <= now() and {is_open}
                     and (lease_until is null or lease_until < now() and content_at is null)
                 order by next_try_at, id limit 1 for update skip locked)
             returning id, kind, order_id, recipient, message_id, details::text, attempts,
                 extract(epoch from now() - created_at)::float8, updated_at",
            table = self.table(),
            is_open = self.is_open(),
        );
        let lease_s = LEASE.as_secs_f64();
        let parameters: [Parameter<'_>; 3] =
            [(&self.group, Type::TEXT), (&self.owner, Type::TEXT), (&lease_s, Type::FLOAT8)];
        let row = client.query_typed_opt(&sql, &parameters).await?;
        Ok(row.and_then(|row| {
            Some(Mail {
                id: row.get(0),
                occasion: Occasion::parse(row.get(1))?,
                order_id: row.get(2),
                recipient: row.get(3),
                message_id: row.get(4),
                details: row.get(5),
                attempts: u32::try_from(row.get::<_, i32>(6)).unwrap_or(u32::MAX),
                age: Duration::try_from_secs_f64(row.get(7)).unwrap_or_default(),
                taken_at: row.get(8),
            })
        }))
    }

    /// Notes that the content is about to go on its way; false when the mail is no
    /// longer in our hand, and must not be sent.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn begin_content(&self, client: &Client, mail: &Mail) -> Result<bool, Error> {
        let sql = format!(
            "update {} set content_at = now(), lease_until = now() + $3 * interval '1 second'
             where id = $1 and owner = $2 and updated_at = $4 and state = 'sending'",
            self.table()
        );
        let lease_s = LEASE.as_secs_f64();
        let parameters: [Parameter<'_>; 4] = [
            (&mail.id, Type::INT8),
            (&self.owner, Type::TEXT),
            (&lease_s, Type::FLOAT8),
            (&mail.taken_at, Type::TIMESTAMPTZ),
        ];
        Ok(client.execute_typed(&sql, &parameters).await? == 1)
    }

    /// Notes what became of a mail; false when it is no longer in our hand. That it
    /// was sent is noted in any case: it is the truth.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn settle(&self, client: &Client, mail: &Mail, fate: &Fate) -> Result<bool, Error> {
        const FREE: &str = "owner = null, lease_until = null, updated_at = now()";
        let (set, why, wait): (&str, &str, Duration) = match fate {
            Fate::Sent => {
                ("state = 'sent', sent_at = now(), last_error = null", "", Duration::ZERO)
            }
            Fate::Failed(why) => (
                "state = 'failed', last_error = $3 || case when unknowns > 0
                     then ' (an earlier try may have arrived)' else '' end",
                why,
                Duration::ZERO,
            ),
            Fate::Unknown(why, wait) => (
                "state = 'unknown', unknowns = unknowns + 1, last_error = $3,
                 next_try_at = now() + $4 * interval '1 second'",
                why,
                *wait,
            ),
            Fate::Later(why, wait) => (
                "content_at = null, last_error = $3,
                 next_try_at = now() + $4 * interval '1 second'",
                why,
                *wait,
            ),
            Fate::PutBack => ("content_at = null, attempts = attempts - 1", "", Duration::ZERO),
        };
        let ours = match fate {
            Fate::Sent => "state <> 'sent'",
            _ => "state = 'sending' and owner = $2 and updated_at = $5",
        };
        // The server wants to know the type of every parameter, used or not.
        let sql = format!(
            "update {} set {set}, {FREE} where id = $1 and {ours}
                 and $2::text is not null and $3::text is not null and $4::float8 is not null
                 and $5::timestamptz is not null",
            self.table()
        );
        let wait_s = wait.as_secs_f64();
        let parameters: [Parameter<'_>; 5] = [
            (&mail.id, Type::INT8),
            (&self.owner, Type::TEXT),
            (&why, Type::TEXT),
            (&wait_s, Type::FLOAT8),
            (&mail.taken_at, Type::TIMESTAMPTZ),
        ];
        Ok(client.execute_typed(&sql, &parameters).await? == 1)
    }

    /// Puts everything back that is in our hand and was certainly not sent.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn put_back_all(&self, client: &Client) -> Result<u64, Error> {
        let sql = format!(
            "update {} set owner = null, lease_until = null, updated_at = now()
             where owner = $1 and state = 'sending' and content_at is null",
            self.table()
        );
        client.execute_typed(&sql, &[(&self.owner, Type::TEXT)]).await
    }

    /// Says that this worker lives.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn renew(&self, client: &Client) -> Result<(), Error> {
        let sql = format!(
            "update {} set lease_until = now() + $3 * interval '1 second'
             where group_name = $1 and owner = $2 and state = 'sending'",
            self.table()
        );
        let lease_s = LEASE.as_secs_f64();
        let parameters: [Parameter<'_>; 3] =
            [(&self.group, Type::TEXT), (&self.owner, Type::TEXT), (&lease_s, Type::FLOAT8)];
        client.execute_typed(&sql, &parameters).await.map(drop)
    }

    /// Gives up the leases of workers that ended while a mail's content was on the
    /// way; which mails those are.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn find_lost(&self, client: &Client) -> Result<Vec<i64>, Error> {
        let sql = format!(
            "update {} set state = 'unknown', unknowns = unknowns + 1, owner = null,
                 lease_until = null, updated_at = now(), next_try_at = now(),
                 last_error = 'the worker ended before it could note the answer'
             where group_name = $1 and state = 'sending' and content_at is not null
                 and lease_until < now() returning id",
            self.table()
        );
        let lost = client.query_typed(&sql, &[(&self.group, Type::TEXT)]).await?;
        Ok(lost.iter().map(|row| row.get(0)).collect())
    }

    /// How many of these mails have failed, and of how many nobody can say.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn count_unsent(&self, client: &Client, ids: &[i64]) -> Result<(u64, u64), Error> {
        let sql = format!(
            "select count(*) filter (where state = 'failed'),
                 count(*) filter (where state = 'unknown')
             from {} where id = any($1)",
            self.table()
        );
        let row = client.query_typed_one(&sql, &[(&ids, Type::INT8_ARRAY)]).await?;
        let count = |at| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
        Ok((count(0), count(1)))
    }

    /// How many mails are not done with.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn count_open(&self, client: &Client) -> Result<u64, Error> {
        let sql = format!(
            "select count(*) from {} where group_name = $1 and state in ('sending', 'unknown')
                 and {}",
            self.table(),
            self.is_open()
        );
        let count: i64 = client.query_typed_one(&sql, &[(&self.group, Type::TEXT)]).await?.get(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// How many mails are due now or in someone's hand.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn count_due(&self, client: &Client) -> Result<u64, Error> {
        let sql = format!(
            "select count(*) from {} where group_name = $1 and state in ('sending', 'unknown')
                 and {} and (next_try_at <= now() or owner is not null)",
            self.table(),
            self.is_open()
        );
        let count: i64 = client.query_typed_one(&sql, &[(&self.group, Type::TEXT)]).await?.get(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Whether a row in one of the two states is to be sent, as SQL.
    fn is_open(&self) -> String {
        format!("(state = 'sending' or unknowns <= {})", self.repeats_max)
    }
}
