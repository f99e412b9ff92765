//! What a group's work has left in the database, read in one repeatable-read
//! transaction: positions, dead letters and ids as of the same moment, while
//! workers go on.

use std::collections::BTreeMap;
use std::pin::pin;

use anyhow::anyhow;
use futures_util::TryStreamExt as _;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::failure::describe;
use super::identifier::literal;
use super::ledger::{Ledger, Owner};
use super::target::{Found, Target};
use crate::engine::checkpoint::TopicId;

/// A dead letter, as far as it says which record it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// Where the record was.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970 UTC, if it had a storable one.
    pub time_ms: Option<i64>,
    /// Whether its record is in the table after all.
    pub is_stored: bool,
    /// Whether the position of its partition was moved since, so that its record
    /// may be of a topic that is gone.
    pub is_before_move: bool,
}

/// Begins the transaction that everything here is read in. A long table takes
/// longer than time limits that are meant for applications.
///
/// # Errors
/// Whatever the server says.
pub async fn begin(client: &Client) -> anyhow::Result<()> {
    let begin = "begin isolation level repeatable read, read only;
        set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";
    client.batch_execute(begin).await.map_err(|error| anyhow!("{}", describe(&error)))
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The offset of the first record not yet stored.
    pub next_offset: i64,
    /// The topic that this is an offset of, where the brokers give ids.
    pub topic_id: Option<TopicId>,
    /// The offset that it was last moved to with `--on-data-loss`, if it was:
    /// records before it may never have been read.
    pub moved_to: Option<i64>,
}

/// Where each partition stands.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn positions(
    client: &Client,
    ledger: &Ledger,
    owner: &Owner,
) -> anyhow::Result<BTreeMap<i32, Position>> {
    let positions = ledger.table("ledger_position");
    let sql = format!(
        "select partition, next_offset, topic_id, moved_to from {positions}
         where group_name = {} and topic = {}",
        literal(&owner.group),
        literal(&owner.topic)
    );
    let rows = client.query_typed(&sql, &[]).await.map_err(|error| refusal(&error, &positions))?;
    let position = |row: &Row| Position {
        next_offset: row.get(1),
        topic_id: row.get::<_, Option<_>>(2).map(TopicId),
        moved_to: row.get(3),
    };
    Ok(rows.iter().map(|row| (row.get(0), position(row))).collect())
}

/// Who else stores into the table, as `group GROUP of topic TOPIC`.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn others(
    client: &Client,
    ledger: &Ledger,
    owner: &Owner,
    found: &Found,
) -> anyhow::Result<Vec<String>> {
    let positions = ledger.table("ledger_position");
    let sql = format!(
        "select distinct 'group ' || group_name || ' of topic ' || topic from {positions}
         where table_schema = {} and table_name = {} and not (group_name = {} and topic = {})
         order by 1",
        literal(found.schema.as_str()),
        literal(found.table.as_str()),
        literal(&owner.group),
        literal(&owner.topic)
    );
    let rows = client.query_typed(&sql, &[]).await.map_err(|error| refusal(&error, &positions))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Gives every dead letter of the group and topic to `take`, by partition and
/// offset.
///
/// # Errors
/// When the ledger cannot be read, or `take` fails.
pub async fn letters(
    client: &Client,
    ledger: &Ledger,
    owner: &Owner,
    mut take: impl FnMut(Letter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let dead_letter = ledger.table("dead_letter");
    let query = format!(
        "select partition, \"offset\", round(extract(epoch from record_time) * 1000)::int8,
             {IS_STORED_AFTER_ALL}, coalesce(rejected_at < moved_at, false)
         from {dead_letter} left join {} using (group_name, topic, partition)
         where group_name = {} and topic = {}
         order by partition, \"offset\", id",
        ledger.table("ledger_position"),
        literal(&owner.group),
        literal(&owner.topic)
    );
    let types = [Type::INT4, Type::INT8, Type::INT8, Type::BOOL, Type::BOOL];
    copy_out(client, &query, &types, &dead_letter, |row| {
        take(Letter {
            partition: row.try_get(0)?,
            offset: row.try_get(1)?,
            time_ms: row.try_get(2)?,
            is_stored: row.try_get(3)?,
            is_before_move: row.try_get(4)?,
        })
    })
    .await
}

/// Whether a dead letter's record was stored into the table later, by `dlq
/// redrive --to table`, as SQL over `dead_letter`: then its id must be among the
/// table's like any other, also when the letter was purged since.
const IS_STORED_AFTER_ALL: &str = "coalesce(purged_from, state) = 'stored'";

/// Gives the id of every row of the table to `take`, in the bytes of the
/// column's `send` function; none where it is null.
///
/// # Errors
/// When the table cannot be read, or `take` fails.
pub async fn ids(
    client: &Client,
    target: &Target,
    mut take: impl FnMut(Option<&[u8]>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let table = target.quoted();
    let query = format!("select {} from {table}", target.key().name.quoted());
    // Not decoded: bytea is what gives the bytes as they came.
    copy_out(client, &query, &[Type::BYTEA], &table, |row| take(row.try_get(0)?)).await
}

async fn copy_out(
    client: &Client,
    query: &str,
    types: &[Type],
    what: &str,
    mut take: impl FnMut(&BinaryCopyOutRow) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let refused = |error: Error| refusal(&error, what);
    let sql = format!("copy ({query}) to stdout binary");
    let statement = client.prepare(&sql).await.map_err(refused)?;
    let stream = client.copy_out(&statement).await.map_err(refused)?;
    let mut rows = pin!(BinaryCopyOutStream::new(stream, types));
    while let Some(row) = rows.try_next().await.map_err(refused)? {
        take(&row)?;
    }
    Ok(())
}

fn refusal(error: &Error, what: &str) -> anyhow::Error {
    let cure = match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "; grant this role SELECT on it",
        _ => "",
    };
    anyhow!("cannot read {what}: {}{cure}", describe(error))
}
