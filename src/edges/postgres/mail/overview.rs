//! The ledger of mails for people: what became of them, and which are to be sent
//! again.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::Parameter;
use crate::edges::postgres::ledger::Ledger;

/// How many of the last errors are told.
const ERRORS_MAX: i64 = 10;

/// Mails of one kind in one state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The consumer group.
    pub group: String,
    /// `order`, `confirmed` or `declined`.
    pub kind: String,
    /// `sending`, `sent`, `failed` or `unknown`.
    pub state: String,
    /// How many.
    pub mails: i64,
    /// When the first of them was written down, RFC 3339 in UTC.
    pub oldest: String,
}

/// One mail that is not sent, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trouble {
    /// The order's identifier.
    pub order_id: String,
    /// What it is about.
    pub kind: String,
    /// Where it goes.
    pub recipient: String,
    /// Its state.
    pub state: String,
    /// How often it was tried.
    pub attempts: i32,
    /// What went wrong last.
    pub last_error: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// Which mails are meant.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Only of this group.
    pub group: Option<String>,
    /// In one of these states.
    pub states: Vec<&'static str>,
    /// Only of these orders; empty for all.
    pub order_ids: Vec<String>,
    /// Only to this address.
    pub recipient: Option<String>,
}

const MOMENT: &str = "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"";

/// Mails by group, kind and state.
///
/// # Errors
/// Whatever the server says.
pub async fn counts(
    client: &Client,
    ledger: &Ledger,
    group: Option<&str>,
) -> Result<Vec<Count>, Error> {
    let sql = format!(
        "select group_name, kind, state, count(*),
             to_char(min(created_at) at time zone 'UTC', '{MOMENT}')
         from {} where $1::text is null or group_name = $1
         group by group_name, kind, state order by group_name, kind, state",
        ledger.table("mail")
    );
    let rows = client.query_typed(&sql, &[(&group, Type::TEXT)]).await?;
    let count = |row: &tokio_postgres::Row| Count {
        group: row.get(0),
        kind: row.get(1),
        state: row.get(2),
        mails: row.get(3),
        oldest: row.get(4),
    };
    Ok(rows.iter().map(count).collect())
}

/// The last mails that something went wrong with and that are not sent, the
/// latest first.
///
/// # Errors
/// Whatever the server says.
pub async fn troubles(
    client: &Client,
    ledger: &Ledger,
    group: Option<&str>,
) -> Result<Vec<Trouble>, Error> {
    let sql = format!(
        "select order_id, kind, recipient, state, attempts, last_error,
             to_char(updated_at at time zone 'UTC', '{MOMENT}')
         from {} where ($1::text is null or group_name = $1)
             and state <> 'sent' and last_error is not null
         order by updated_at desc, id desc limit {ERRORS_MAX}",
        ledger.table("mail")
    );
    let rows = client.query_typed(&sql, &[(&group, Type::TEXT)]).await?;
    let trouble = |row: &tokio_postgres::Row| Trouble {
        order_id: row.get(0),
        kind: row.get(1),
        recipient: row.get(2),
        state: row.get(3),
        attempts: row.get(4),
        last_error: row.get(5),
        at: row.get(6),
    };
    Ok(rows.iter().map(trouble).collect())
}

impl Chosen {
    const CONDITION: &str = "($1::text is null or group_name = $1) and state = any($2::text[])
        and (cardinality($3::text[]) = 0 or order_id = any($3::text[]))
        and ($4::text is null or recipient = $4)";

    fn parameters(&self) -> [Parameter<'_>; 4] {
        [
            (&self.group, Type::TEXT),
            (&self.states, Type::TEXT_ARRAY),
            (&self.order_ids, Type::TEXT_ARRAY),
            (&self.recipient, Type::TEXT),
        ]
    }

    /// How many these are.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn count(&self, client: &Client, ledger: &Ledger) -> Result<u64, Error> {
        let sql =
            format!("select count(*) from {} where {}", ledger.table("mail"), Self::CONDITION);
        let count: i64 = client.query_typed_one(&sql, &self.parameters()).await?.get(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Has them sent again by whatever worker comes first; how many they were.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn send_again(&self, client: &Client, ledger: &Ledger) -> Result<u64, Error> {
        let sql = format!(
            "update {} set state = 'sending', unknowns = 0, content_at = null, owner = null,
                 lease_until = null, next_try_at = now(), created_at = now(), updated_at = now()
             where {}",
            ledger.table("mail"),
            Self::CONDITION
        );
        client.execute_typed(&sql, &self.parameters()).await
    }
}
