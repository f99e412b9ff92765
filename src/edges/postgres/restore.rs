//! Dead letters stored into their table after all, by the way that `consume`
//! uses for rows that the server may refuse.

use std::collections::BTreeMap;

use anyhow::Context as _;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::encode;
use super::failure::describe;
use super::identifier::Identifier;
use super::ledger::Ledger;
use super::letters::State;
use super::staging;
use super::target::{self, OnDuplicate, Target};
use super::transaction::storable;
use crate::engine::batch::Batch;
use crate::engine::record::Raw;
use crate::events::Reject;

/// What came of one portion of letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Letters whose id is in the table now.
    pub stored: u64,
    /// Of those, letters whose id was there already.
    pub duplicates: u64,
    /// Letters that are still refused; they have the new reason.
    pub rejected: u64,
    /// Letters that another run, or a purge, was done with before.
    pub done_before: u64,
}

/// The table that letters were on their way to, as it is today.
///
/// # Errors
/// When it is gone, what it holds is not known, or it cannot take it.
pub async fn target(
    client: &Client,
    ledger: &Ledger,
    (schema, table): &(String, String),
) -> anyhow::Result<Target> {
    let schema: Identifier = schema.parse().map_err(anyhow::Error::msg)?;
    let name: Identifier = table.parse().map_err(anyhow::Error::msg)?;
    let found = target::find(client, Some(&schema), &name).await?;
    let found = found.with_context(|| {
        format!("table {schema}.{name} is not there any more: leave its letters out, or purge them")
    })?;
    let kind = match ledger.kind_of(client, &found).await? {
        Some(kind) => kind,
        None => target::guess_kind(client, &found).await?.with_context(|| {
            format!("what table {schema}.{name} holds is not recorded: run `orderctl db-setup`")
        })?,
    };
    target::shape(client, &found, kind).await
}

/// Stores the letters of these numbers that are open, and marks them in the
/// same transaction.
///
/// # Errors
/// Whatever the server says. Nothing is stored and marked then, or, when there
/// was no answer to the COMMIT, all or nothing of it.
pub async fn restore(
    client: &Client,
    ledger: &Ledger,
    target: &Target,
    on_duplicate: OnDuplicate,
    ids: &[i64],
) -> anyhow::Result<Restored> {
    let tried = try_restore(client, ledger, target, on_duplicate, ids).await;
    if tried.is_err() {
        // The connection may be gone, and the transaction with it.
        let _ = client.batch_execute("rollback").await;
    }
    tried.map_err(|error| {
        anyhow::anyhow!("cannot store into table {}: {}", target.quoted(), describe(&error))
    })
}

async fn try_restore(
    client: &Client,
    ledger: &Ledger,
    target: &Target,
    on_duplicate: OnDuplicate,
    ids: &[i64],
) -> Result<Restored, Error> {
    client.batch_execute("begin").await?;
    // Whoever else wants the same letters waits here, and then finds them done.
    let sql = format!(
        "select id, key, payload from {} where id = any($1) and state = 'open'
         order by id for update",
        ledger.table("dead_letter")
    );
    let rows = client.query_typed(&sql, &[(&ids, Type::INT8_ARRAY)]).await?;
    let letters: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let done_before = match letters.len() < ids.len() {
        true => count_done(client, ledger, ids).await?,
        false => 0,
    };
    let mut batch = Batch::new(0);
    for (number, row) in rows.iter().enumerate() {
        // The letter's place in the list stands for its offset.
        let (key, payload) = (row.get(1), row.get(2));
        let offset = number as i64;
        push(&mut batch, target, &Raw { partition: 0, offset, time_ms: None, key, payload });
    }
    batch.arrange(target, on_duplicate);
    let put = staging::put(target, on_duplicate, client, &batch).await?;
    let duplicates = put.duplicates + batch.repeated;
    batch.reject_rows(put.refused);
    let rejected: BTreeMap<i64, &Reject> =
        batch.dead.iter().map(|dead| (letters[dead.offset as usize], &dead.reject)).collect();
    let stored: Vec<i64> =
        letters.iter().copied().filter(|id| !rejected.contains_key(id)).collect();
    mark(client, ledger, &stored, &rejected).await?;
    client.batch_execute("commit").await?;
    let (stored, rejected) = (stored.len() as u64, rejected.len() as u64);
    Ok(Restored { stored, duplicates, rejected, done_before })
}

/// How many of these letters nothing is left to do with.
async fn count_done(client: &Client, ledger: &Ledger, ids: &[i64]) -> Result<u64, Error> {
    let unfinished = State::UNFINISHED.map(State::name);
    let sql = format!(
        "select count(*) from {} where id = any($1) and state <> all($2)",
        ledger.table("dead_letter")
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&ids, Type::INT8_ARRAY), (&unfinished.as_slice(), Type::TEXT_ARRAY)];
    let row = client.query_typed_one(&sql, &parameters).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

fn push(batch: &mut Batch, target: &Target, raw: &Raw<'_>) {
    batch.push(raw, true, |rows| match raw.payload {
        Some(payload) => encode::row(&target.kind.parse(payload)?, target, rows),
        None => Err(Reject::new("", "no payload (a tombstone)")),
    });
}

async fn mark(
    client: &Client,
    ledger: &Ledger,
    stored: &[i64],
    rejected: &BTreeMap<i64, &Reject>,
) -> Result<(), Error> {
    let table = ledger.table("dead_letter");
    let sql = format!("update {table} set state = 'stored', state_at = now() where id = any($1)");
    client.execute_typed(&sql, &[(&stored, Type::INT8_ARRAY)]).await?;
    let ids: Vec<i64> = rejected.keys().copied().collect();
    let fields: Vec<String> = rejected.values().map(|reject| storable(&reject.field)).collect();
    let reasons: Vec<String> = rejected.values().map(|reject| storable(&reject.reason)).collect();
    let sql = format!(
        "update {table} d set field = n.field, reason = n.reason
         from unnest($1::int8[], $2::text[], $3::text[]) as n (id, field, reason)
         where d.id = n.id"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&ids, Type::INT8_ARRAY), (&fields, Type::TEXT_ARRAY), (&reasons, Type::TEXT_ARRAY)];
    client.execute_typed(&sql, &parameters).await.map(|_| ())
}
