//! Where one id is in the database: rows, dead letters, mails.

use anyhow::anyhow;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::failure::describe;
use super::identifier::Identifier;
use super::ledger::{self, Ledger};
use super::letters::{self, Letter};
use super::setup;
use super::target::{self, Found, Target};

/// The most rows, letters and mails of one id that are told.
const TOLD_MAX: i64 = 100;

/// A row that has the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Schema and table.
    pub table: String,
    /// When the transaction that wrote it was committed, in milliseconds since 1970
    /// UTC, where the server keeps that (`track_commit_timestamp`).
    pub time_ms: Option<i64>,
    /// Its column `city`, if it has one.
    pub city: Option<String>,
}

/// A mail about the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// What it is about: `order`, `confirmed` or `declined`.
    pub kind: String,
    /// To whom.
    pub recipient: String,
    /// `sending`, `sent`, `failed` or `unknown`.
    pub state: String,
    /// When it was sent, or else last touched, in milliseconds since 1970 UTC.
    pub time_ms: Option<i64>,
    /// Why it was not sent, where it was not.
    pub fault: Option<String>,
}

/// The ledger that serves this schema, or the current one; none when there is
/// none.
///
/// # Errors
/// When it is an older one, or the catalog cannot be read.
pub async fn find_ledger(
    client: &Client,
    schema: Option<&Identifier>,
) -> anyhow::Result<Option<Ledger>> {
    let schema = match schema {
        Some(schema) => schema.clone(),
        None => letters::current_schema(client).await?,
    };
    let found = ledger::locate(client, &schema).await.map_err(|error| plain(&error))?;
    if let Some(ledger) = &found {
        setup::refuse_outdated(client, ledger).await?;
    }
    Ok(found)
}

/// The tables that a ledger knows and that are still there, with what keeps the
/// others from being looked at.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn known_tables(
    client: &Client,
    ledger: &Ledger,
) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let sql = format!(
        "select table_schema, table_name from {} order by 1, 2",
        ledger.table("ledger_table")
    );
    let rows = client.query_typed(&sql, &[]).await;
    let (mut targets, mut faults) = (Vec::new(), Vec::new());
    for row in rows.map_err(|error| letters::refused(&error, ledger))? {
        let names = (row.get::<_, &str>(0).parse(), row.get::<_, &str>(1).parse());
        let (Ok(schema), Ok(table)): (Result<Identifier, _>, Result<Identifier, _>) = names else {
            continue;
        };
        match named_table(client, Some(ledger), Some(&schema), &table).await {
            Ok(target) => targets.extend(target),
            Err(error) => faults.push(format!("table {schema}.{table}: {error:#}")),
        }
    }
    Ok((targets, faults))
}

/// A table by its name; none when there is none.
///
/// # Errors
/// When what it holds is not known, or the catalog cannot be read.
pub async fn named_table(
    client: &Client,
    ledger: Option<&Ledger>,
    schema: Option<&Identifier>,
    table: &Identifier,
) -> anyhow::Result<Option<Target>> {
    let Some(found) = target::find(client, schema, table).await? else { return Ok(None) };
    let Found { schema, .. } = &found;
    let recorded = match ledger {
        Some(ledger) => ledger.kind_of(client, &found).await.map_err(|error| plain(&error))?,
        None => None,
    };
    let kind = match recorded {
        Some(kind) => Some(kind),
        None => target::guess_kind(client, &found).await?,
    };
    let kind = kind.ok_or_else(|| anyhow!("table {schema}.{table} has no column of an id"))?;
    target::shape(client, &found, kind).await.map(Some)
}

/// The rows of a table that have the id; none when the table could not hold it.
///
/// # Errors
/// Whatever the server says.
pub async fn rows(client: &Client, target: &Target, id: &str) -> anyhow::Result<Vec<Stored>> {
    let (key, from) = (target.key(), target.quoted());
    let name = key.name.quoted();
    // The column stays as it is, so that its index serves.
    let is_it = match key.base_type.as_str() {
        "json" | "jsonb" => format!("t.{name}::jsonb #>> '{{}}' = $1"),
        other => format!("t.{name} = cast($1::text as {other})"),
    };
    let sql = format!(
        "select case when pg_catalog.current_setting('track_commit_timestamp')::bool then
             (extract(epoch from pg_catalog.pg_xact_commit_timestamp(t.xmin)) * 1000)::int8 end,
             pg_catalog.to_jsonb(t) ->> 'city'
         from {from} t where {is_it} limit {TOLD_MAX}"
    );
    let found = match client.query_typed(&sql, &[(&id, Type::TEXT)]).await {
        Ok(found) => found,
        Err(error) if cannot_be(&error) => Vec::new(),
        Err(error) => return Err(plain(&error)),
    };
    let table = format!("{}.{}", target.schema, target.table);
    let stored = |row: &Row| Stored { table: table.clone(), time_ms: row.get(0), city: row.get(1) };
    Ok(found.iter().map(stored).collect())
}

/// The topics that a table is filled from.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn topics(
    client: &Client,
    ledger: &Ledger,
    target: &Target,
) -> anyhow::Result<Vec<String>> {
    let sql = format!(
        "select distinct topic from {} where table_schema = $1 and table_name = $2 order by 1",
        ledger.table("ledger_position")
    );
    let (schema, table) = (target.schema.as_str(), target.table.as_str());
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&table, Type::TEXT)];
    let rows = client.query_typed(&sql, &parameters).await;
    let rows = rows.map_err(|error| letters::refused(&error, ledger))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether the id is no value of the column's type.
fn cannot_be(error: &Error) -> bool {
    let codes = [
        SqlState::INVALID_TEXT_REPRESENTATION,
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        SqlState::INVALID_DATETIME_FORMAT,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Dead letters whose key is the id, or whose payload has it somewhere, with
/// their payloads, by number; those of records on their way to this schema and
/// table only, where named.
///
/// # Errors
/// Whatever the server says.
pub async fn dead_letters(
    client: &Client,
    ledger: &Ledger,
    id: &str,
    schema: Option<&Identifier>,
    table: Option<&Identifier>,
) -> anyhow::Result<Vec<(Letter, Option<Vec<u8>>)>> {
    let sql = format!(
        "select id from {} where (key = $1 or position($1 in payload) > 0)
             and ($2::text is null or table_schema = $2) and ($3::text is null or table_name = $3)
         order by id desc limit {TOLD_MAX}",
        ledger.table("dead_letter")
    );
    let (schema, table) = (schema.map(Identifier::as_str), table.map(Identifier::as_str));
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&id.as_bytes(), Type::BYTEA), (&schema, Type::TEXT), (&table, Type::TEXT)];
    let rows = client.query_typed(&sql, &parameters).await;
    let rows = rows.map_err(|error| letters::refused(&error, ledger))?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    letters::load(client, ledger, &ids).await
}

/// Mails about the id.
///
/// # Errors
/// Whatever the server says.
pub async fn mails(client: &Client, ledger: &Ledger, id: &str) -> anyhow::Result<Vec<Mail>> {
    let sql = format!(
        "select kind::text, recipient::text, state::text,
             (extract(epoch from coalesce(sent_at, updated_at, created_at)) * 1000)::int8,
             case when state <> 'sent' then last_error end
         from {} where order_id = $1 order by created_at limit {TOLD_MAX}",
        ledger.table("mail")
    );
    let rows = client.query_typed(&sql, &[(&id, Type::TEXT)]).await;
    let rows = rows.map_err(|error| letters::refused(&error, ledger))?;
    let mail = |row: &Row| Mail {
        kind: row.get(0),
        recipient: row.get(1),
        state: row.get(2),
        time_ms: row.get(3),
        fault: row.get(4),
    };
    Ok(rows.iter().map(mail).collect())
}

fn plain(error: &Error) -> anyhow::Error {
    anyhow!("the database refuses: {}", describe(error))
}
