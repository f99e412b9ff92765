//! Reading the rows of a query, a few at a time.

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use tokio_postgres::Client;

use super::connect::connect;
use super::failure::describe;
use crate::config::PostgresSettings;

/// How many rows the server sends before it is asked for more.
const ROWS_A_FETCH: i32 = 1000;

/// Runs a query in a transaction that can only read, and gives each row to
/// `take` as a JSON object whose fields are named like the columns; ends early
/// when `take` answers false. At most 1000 rows are held at a time.
///
/// # Errors
/// When the database cannot be reached, or refuses the query.
pub async fn rows_as_json(
    settings: &PostgresSettings,
    query: &str,
    mut take: impl FnMut(String) -> bool,
) -> anyhow::Result<()> {
    let mut client = connect(settings, "orderctl-produce").await?;
    read(&mut client, query, &mut take)
        .await
        .map_err(|error| anyhow::anyhow!("{}", describe(&error)))
        .context("the query of --source postgres: failed")
}

async fn read(
    client: &mut Client,
    query: &str,
    take: &mut impl FnMut(String) -> bool,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    // Unnamed types come back as text; the line feed ends a `--` comment.
    let query = query.trim().trim_end_matches(';');
    let statement = format!("select row_to_json(q)::text from (\n{query}\n) q");
    let portal = transaction.bind(&statement, &[]).await?;
    loop {
        let rows = transaction.query_portal_raw(&portal, ROWS_A_FETCH).await?;
        let mut rows = std::pin::pin!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            count += 1;
            if !take(row.try_get(0)?) {
                return Ok(());
            }
        }
        if count < ROWS_A_FETCH {
            return Ok(());
        }
    }
}
