//! What the demo asks of the database while others work in it.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::ledger::Ledger;
use super::target::Target;

/// What a table and its dead letters hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Rows.
    pub rows: u64,
    /// Different ids among them.
    pub ids: u64,
    /// Dead letters of the table.
    pub dead: u64,
}

/// Records that a group has behind it, when it began at offset 0 everywhere.
///
/// # Errors
/// Whatever the server says.
pub async fn records_done(client: &Client, ledger: &Ledger, group: &str) -> Result<u64, Error> {
    let sql = format!(
        "select coalesce(sum(next_offset), 0)::int8 from {} where group_name = $1",
        ledger.table("ledger_position")
    );
    let row = client.query_typed_one(&sql, &[(&group, Type::TEXT)]).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// Cuts the connections of a group, as a failing network does; how many.
///
/// # Errors
/// Whatever the server says.
pub async fn cut_connections(client: &Client, application: &str) -> Result<u64, Error> {
    let sql = "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
        where application_name = $1";
    client.execute_typed(sql, &[(&application, Type::TEXT)]).await
}

/// Counts what is there.
///
/// # Errors
/// Whatever the server says.
pub async fn contents(
    client: &Client,
    ledger: &Ledger,
    target: &Target,
) -> Result<Contents, Error> {
    let sql = format!(
        "select count(*), count(distinct {}), (select count(*) from {}) from {}",
        target.key().name.quoted(),
        ledger.table("dead_letter"),
        target.quoted()
    );
    let row = client.query_typed_one(&sql, &[]).await?;
    let count = |column: usize| row.get::<_, i64>(column) as u64;
    Ok(Contents { rows: count(0), ids: count(1), dead: count(2) })
}

/// A few rows as text, with the columns' names first.
///
/// # Errors
/// Whatever the server says.
pub async fn sample(
    client: &Client,
    from: &str,
    columns: &[&str],
    rows_max: u32,
) -> Result<Vec<Vec<String>>, Error> {
    let texts: Vec<String> =
        columns.iter().map(|column| format!("left({column}::text, 60)")).collect();
    let sql = format!("select {} from {from} limit {rows_max}", texts.join(", "));
    let mut table = vec![columns.iter().map(|column| (*column).to_owned()).collect()];
    for row in client.query_typed(&sql, &[]).await? {
        let texts = (0..columns.len()).map(|at| row.get::<_, Option<String>>(at));
        table.push(texts.map(Option::unwrap_or_default).collect());
    }
    Ok(table)
}
