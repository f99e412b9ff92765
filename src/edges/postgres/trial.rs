//! What the menu of tests asks of the database, and what it takes away again.

use anyhow::anyhow;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::failure::describe;
use super::identifier::{Identifier, literal};
use super::ledger::{self, Ledger, Owner};
use super::setup;
use super::target::{self, Found, Target};

/// How many rows a table holds.
///
/// # Errors
/// Whatever the server says.
pub async fn rows(client: &Client, target: &Target) -> Result<u64, Error> {
    let sql = format!("select count(*) from {}", target.quoted());
    let row = client.query_typed_one(&sql, &[]).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// How many of these ids the table holds.
///
/// # Errors
/// Whatever the server says.
pub async fn stored(client: &Client, target: &Target, ids: &[String]) -> Result<u64, Error> {
    let key = target.key().name.quoted();
    let sql = format!(
        "select count(distinct {key}) from {} where {key}::text = any($1)",
        target.quoted()
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::TEXT_ARRAY)];
    let row = client.query_typed_one(&sql, &parameters).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// What a column says in each row of one id, as text.
///
/// # Errors
/// Whatever the server says.
pub async fn texts(
    client: &Client,
    target: &Target,
    column: &Identifier,
    id: &str,
) -> Result<Vec<String>, Error> {
    let sql = format!(
        "select coalesce({}::text, '') from {} where {}::text = $1",
        column.quoted(),
        target.quoted(),
        target.key().name.quoted()
    );
    let rows = client.query_typed(&sql, &[(&id, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Whether there was a table.
    pub table: bool,
    /// Positions, dead letters and notes of the ledger.
    pub ledger_rows: u64,
}

/// Drops a table and what the ledger knows of it and of the group's work on the
/// topic, all or nothing. Nothing there to remove is fine.
///
/// # Errors
/// When a right is missing (the text says which), something depends on the
/// table, or somebody works with it for more than 10 s.
pub async fn remove(
    client: &Client,
    schema: Option<&Identifier>,
    table: &Identifier,
    owner: &Owner,
) -> anyhow::Result<Removed> {
    let found = target::find(client, schema, table).await?;
    let place = match (&found, schema) {
        (Some(Found { schema, .. }), _) => schema.clone(),
        (None, Some(schema)) => schema.clone(),
        (None, None) => setup::path_schema(client).await?,
    };
    let ledger = ledger::locate(client, &place).await.map_err(|error| refusal(&error, None))?;
    let mut sql = "begin; set local lock_timeout = '10s';".to_owned();
    if let Some(ledger) = &ledger {
        sql.push_str(&forget_sql(ledger, &place, table, owner));
    }
    if found.is_some() {
        sql.push_str(&format!("drop table {}.{};", place.quoted(), table.quoted()));
    }
    sql.push_str("commit");
    let done = client.simple_query(&sql).await;
    let done = done.map_err(|error| refusal(&error, ledger.as_ref()))?;
    let touched = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(rows) => *rows,
        _ => 0,
    };
    Ok(Removed { table: found.is_some(), ledger_rows: done.iter().map(touched).sum() })
}

/// Deletes what the ledger knows of a table and of the group's work on a topic.
fn forget_sql(ledger: &Ledger, schema: &Identifier, table: &Identifier, owner: &Owner) -> String {
    let table = format!(
        "(table_schema = {} and table_name = {})",
        literal(schema.as_str()),
        literal(table.as_str())
    );
    let work =
        format!("(group_name = {} and topic = {})", literal(&owner.group), literal(&owner.topic));
    format!(
        "delete from {} where {table} or {work}; delete from {} where {table} or {work};
         delete from {} where {table};",
        ledger.table("ledger_position"),
        ledger.table("dead_letter"),
        ledger.table("ledger_table")
    )
}

fn refusal(error: &Error, ledger: Option<&Ledger>) -> anyhow::Error {
    let cure = match (error.code(), ledger) {
        (Some(&SqlState::INSUFFICIENT_PRIVILEGE), Some(ledger)) => format!(
            "; only the table's owner can drop it, and the ledger's rows want `grant delete on \
             all tables in schema {}`",
            ledger.schema.quoted()
        ),
        (Some(&SqlState::LOCK_NOT_AVAILABLE), _) => {
            "; somebody works with the table: stop it first".to_owned()
        }
        _ => String::new(),
    };
    anyhow!("{}{cure}", describe(error))
}
