//! The slow way for a batch that a plain COPY cannot store: ids that are there
//! already, and rows that the server refuses.
//!
//! COPY knows no ON CONFLICT and stops at the first row it does not like. So the
//! rows go into a temporary table that takes anything, and from there into the
//! target: those that the server is likely to refuse one by one with the refused
//! ones noted, all others in one statement, or, when that is refused, one by one
//! too.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_postgres::{Client, Error};

use super::alike::{self, ALIKE};
use super::failure::{self, Class};
use super::identifier::literal;
use super::suspects::{SUSPECTS, put_apart};
use super::target::{Column, OnDuplicate, Target};
use super::transaction::{Begun, Destination, send};
use crate::engine::batch::{Batch, repeated_id};
use crate::events::Reject;

/// The temporary table; it is gone at the end of the transaction.
pub(super) const STAGE: &str = "pg_temp.orderctl_stage";
/// The rows that were refused, with the server's reason.
const REFUSED: &str = "pg_temp.orderctl_refused";

/// How the slow way ended.
#[derive(Debug)]
pub enum Staged {
    /// Committed.
    Stored {
        /// Rows now in the table because of this batch: inserted or updated.
        rows: u64,
        /// Records whose id was there already, skipped or updated.
        duplicates: u64,
    },
    /// The batch is not ours to write.
    Fenced,
    /// The server refuses rows whose payloads the batch has not kept, so they
    /// cannot become dead letters: read it again, keeping them.
    PayloadsMissing,
    /// The COMMIT has no clear answer: only the ledger knows.
    Unknown {
        /// What came instead.
        error: Error,
        /// As in `Stored`, if it is.
        rows: u64,
        /// As in `Stored`, if it is.
        duplicates: u64,
    },
}

/// Stores a batch through the staging table. Rows that are refused become dead
/// letters of the batch, in the same transaction.
///
/// # Errors
/// Whatever the server says before the COMMIT; the transaction must then be
/// rolled back.
pub async fn store(
    destination: &Destination,
    client: &Arc<Client>,
    batch: &mut Batch,
) -> Result<Staged, Error> {
    // The dead letters go in at the end, when all of them are known.
    let dead_before = std::mem::take(&mut batch.dead);
    let begun = destination.begin(client, batch).await;
    batch.dead = dead_before;
    let Begun::Ours(open) = begun? else { return Ok(Staged::Fenced) };
    drop(open);
    let Put { rows, duplicates, refused } =
        put(&destination.target, destination.on_duplicate, client, batch).await?;
    if !refused.is_empty() && !batch.keeps_payloads() {
        return Ok(Staged::PayloadsMissing);
    }
    batch.reject_rows(refused);
    // Letters are stored into the table in the order of their numbers one day.
    batch.dead.sort_unstable_by_key(|letter| (letter.partition, letter.offset));
    destination.insert_dead(client, &batch.dead).await?;
    Ok(match client.batch_execute("commit").await {
        Ok(()) => Staged::Stored { rows, duplicates },
        Err(error) => Staged::Unknown { error, rows, duplicates },
    })
}

/// What became of a batch's rows in a transaction that is still open.
#[derive(Debug)]
pub struct Put {
    /// Rows now in the table because of this batch: inserted or updated.
    pub rows: u64,
    /// Records whose id was there already, skipped or updated.
    pub duplicates: u64,
    /// Numbers of the rows that were refused, ascending, and why.
    pub refused: Vec<(usize, Reject)>,
}

/// Puts a batch's rows into the target within the transaction that is open,
/// through the staging table; refused rows are passed over.
///
/// # Errors
/// Whatever the server says; the transaction must then be rolled back.
pub async fn put(
    target: &Target,
    on_duplicate: OnDuplicate,
    client: &Client,
    batch: &Batch,
) -> Result<Put, Error> {
    client.batch_execute(&create_sql(target)).await?;
    let mut refused = fill_stage(client, target, batch).await?;
    let mut put = move_rows(target, on_duplicate, client).await?;
    refused.append(&mut put.refused);
    refused.sort_unstable_by_key(|(number, _)| *number);
    Ok(Put { refused, ..put })
}

fn create_sql(target: &Target) -> String {
    let column = |column: &Column| format!("{} {}", column.name.quoted(), staged_type(column));
    let columns: Vec<String> = target.columns.iter().map(column).collect();
    format!(
        "create temporary table orderctl_stage
             (orderctl_row int4, orderctl_place int8, {}) on commit drop",
        columns.join(", ")
    )
}

/// The type of a staged column takes anything, but for the id's: it is the
/// target's own, so that the server cuts, rounds and compares ids there as it
/// does in the target. What it refuses then the encoder has refused before.
fn staged_type(column: &Column) -> String {
    if !column.is_key {
        return column.base_type.clone();
    }
    let collation = column.collation.as_ref().map(|name| format!(" collate {name}"));
    let modifier = column.column_type.modifier();
    format!("{}{modifier}{}", column.base_type, collation.unwrap_or_default())
}

/// Copies the batch's rows into the staging table, numbered in the order of the
/// batch, and with their place in the order that the records came in. A row whose bytes
/// the server cannot read (its encoding is not UTF-8, say) is found by halves.
async fn fill_stage(
    client: &Client,
    target: &Target,
    batch: &Batch,
) -> Result<Vec<(usize, Reject)>, Error> {
    let mut refused = Vec::new();
    let mut todo: Vec<Range<usize>> = Vec::new();
    todo.push(0..batch.row_count());
    while let Some(range) = todo.pop() {
        client.batch_execute("savepoint orderctl").await?;
        match copy_range(client, target, batch, range.clone()).await {
            Ok(()) => client.batch_execute("release savepoint orderctl").await?,
            Err(error) if failure::classify(&error) == Class::Record => {
                client.batch_execute("rollback to savepoint orderctl").await?;
                if range.len() == 1 {
                    refused.push((range.start, reject(&error)));
                } else {
                    let middle = range.start + range.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

async fn copy_range(
    client: &Client,
    target: &Target,
    batch: &Batch,
    range: Range<usize>,
) -> Result<(), Error> {
    let columns = target.column_list();
    let sql = format!("copy {STAGE} (orderctl_row, orderctl_place, {columns}) from stdin binary");
    let statement = client.prepare(&sql).await?;
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(&statement).await?);
    drop(statement);
    let mut number = range.start as i32;
    let mut places = batch.places(range.clone());
    let columns = target.column_count + 2;
    send(&mut sink, batch.encoded(range), |row, piece: &mut BytesMut| {
        piece.put_i16(columns);
        piece.put_i32(4);
        piece.put_i32(number);
        piece.put_i32(8);
        piece.put_i64(places.next().map_or(0, i64::from));
        // The row's own count of columns is replaced by the one above.
        piece.put_slice(&row[2..]);
        number += 1;
    })
    .await?;
    sink.as_mut().finish().await.map(|_| ())
}

/// Moves the staged rows into the target.
async fn move_rows(
    target: &Target,
    on_duplicate: OnDuplicate,
    client: &Client,
) -> Result<Put, Error> {
    let mut refused = Vec::new();
    let (mut duplicates, mut repeated) = (0, 0);
    if target.unique_key {
        repeated = alike::put_apart(client, target, on_duplicate).await?;
        match on_duplicate {
            OnDuplicate::Reject => refused = take_duplicates(client, target, STAGE).await?,
            OnDuplicate::Update => duplicates = count_duplicates(client, target).await?,
            OnDuplicate::Skip => {}
        }
    }
    let insert = |from| insert_sql(target, on_duplicate, from);
    // The values that came last go in last.
    if repeated > 0 && on_duplicate == OnDuplicate::Update {
        duplicates += insert_one_by_one(client, ALIKE, &insert(ALIKE), &mut refused).await?;
    }
    let staged = count(client, STAGE).await?;
    let suspects = put_apart(client, target).await?;
    client.batch_execute("savepoint orderctl").await?;
    let mut rows = match insert_all(client, &insert(STAGE)).await {
        Ok(rows) => rows,
        Err(error) if failure::classify(&error) == Class::Record => {
            client.batch_execute("rollback to savepoint orderctl").await?;
            insert_one_by_one(client, STAGE, &insert(STAGE), &mut refused).await?
        }
        Err(error) => return Err(error),
    };
    if suspects > 0 {
        rows += insert_one_by_one(client, SUSPECTS, &insert(SUSPECTS), &mut refused).await?;
    }
    if repeated > 0 && on_duplicate != OnDuplicate::Update {
        if on_duplicate == OnDuplicate::Reject {
            refused.append(&mut take_duplicates(client, target, ALIKE).await?);
        }
        rows += insert_one_by_one(client, ALIKE, &insert(ALIKE), &mut refused).await?;
    }
    if on_duplicate == OnDuplicate::Skip {
        duplicates = (staged + repeated).saturating_sub(rows + refused.len() as u64);
    }
    Ok(Put { rows, duplicates, refused })
}

/// Inserts all rows and has the server check what it would check at the commit,
/// while a refusal can still be undone.
async fn insert_all(client: &Client, insert: &str) -> Result<u64, Error> {
    let rows = client.execute_typed(insert, &[]).await?;
    client.batch_execute("set constraints all immediate").await?;
    Ok(rows)
}

fn insert_sql(target: &Target, on_duplicate: OnDuplicate, from: &str) -> String {
    let columns = target.column_list();
    let conflict = match on_duplicate {
        _ if !target.unique_key => String::new(),
        OnDuplicate::Reject => String::new(),
        OnDuplicate::Skip => format!("on conflict ({}) do nothing", target.key().name.quoted()),
        OnDuplicate::Update => {
            let sets: Vec<String> = (target.columns.iter().filter(|column| !column.is_key))
                .map(|column| format!("{0} = excluded.{0}", column.name.quoted()))
                .collect();
            format!(
                "on conflict ({}) do update set {}",
                target.key().name.quoted(),
                sets.join(", ")
            )
        }
    };
    // An id column that is `generated always as identity` takes ours, as under COPY.
    format!(
        "insert into {} ({columns}) overriding system value
         select {columns} from {from} order by orderctl_row {conflict}",
        target.quoted()
    )
}

/// Takes rows whose id is stored already out of the staging table.
async fn take_duplicates(
    client: &Client,
    target: &Target,
    from: &str,
) -> Result<Vec<(usize, Reject)>, Error> {
    let key = target.key().name.quoted();
    let sql = format!(
        "delete from {from} s using {} t where t.{key} = s.{key} returning s.orderctl_row",
        target.quoted()
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i32>(0) as usize, repeated_id())).collect())
}

async fn count_duplicates(client: &Client, target: &Target) -> Result<u64, Error> {
    let key = target.key().name.quoted();
    count(client, &format!("{STAGE} s join {} t on t.{key} = s.{key}", target.quoted())).await
}

pub(super) async fn count(client: &Client, from: &str) -> Result<u64, Error> {
    let row = client.query_typed_one(&format!("select count(*) from {from}"), &[]).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// How many rows are tried together before each is tried by itself: with one
/// bad row in a hundred, this is quickest.
const GROUP_ROWS: u32 = 32;

/// Inserts the rows of a temporary table in small groups on the server, and one
/// by one where a group is refused; rows that break a constraint or cannot be
/// converted are noted with the reason and passed over. How many went in.
async fn insert_one_by_one(
    client: &Client,
    from: &str,
    insert: &str,
    refused: &mut Vec<(usize, Reject)>,
) -> Result<u64, Error> {
    let in_group = format!(
        "where orderctl_row >= orderctl_first and orderctl_row < orderctl_first + {GROUP_ROWS}
         order by orderctl_row"
    );
    let group = insert.replace("order by orderctl_row", &in_group);
    let one = insert.replace("order by orderctl_row", "where orderctl_row = orderctl_one");
    let body = format!(
        "#variable_conflict use_column
         declare orderctl_first int4; orderctl_one int4; touched int8; stored int8 := 0;
         what text; col text;
         begin
           for orderctl_first in
             select distinct orderctl_row / {GROUP_ROWS} * {GROUP_ROWS} from {from} order by 1
           loop
             begin
               {group};
               get diagnostics touched = row_count;
               stored := stored + touched;
             exception when others then
               if not ({is_record}) then raise; end if;
               for orderctl_one in select orderctl_row from {from} {in_group} loop
                 begin
                   {one};
                   get diagnostics touched = row_count;
                   stored := stored + touched;
                 exception when others then
                   if not ({is_record}) then raise; end if;
                   get stacked diagnostics what = message_text, col = column_name;
                   insert into {REFUSED}
                     values (orderctl_one, what || ' (SQLSTATE ' || sqlstate || ')', col);
                 end;
               end loop;
             end;
           end loop;
           insert into {REFUSED} values (-1, stored::text, '');
         end",
        is_record = failure::IS_RECORD_SQL
    );
    let script = format!(
        "set constraints all immediate;
         create temporary table if not exists orderctl_refused
           (orderctl_row int4, what text, col text) on commit drop;
         create index on {from} (orderctl_row);
         do {}",
        literal(&body)
    );
    client.batch_execute(&script).await?;
    let mut stored = 0;
    let taken = format!("delete from {REFUSED} returning orderctl_row, what, col");
    for row in client.query_typed(&taken, &[]).await? {
        let number: i32 = row.get(0);
        let what: String = row.get(1);
        match usize::try_from(number) {
            Ok(number) => refused.push((number, Reject::new(row.get::<_, String>(2), what))),
            Err(_) => stored = what.parse().unwrap_or(0),
        }
    }
    Ok(stored)
}

fn reject(error: &Error) -> Reject {
    let field = error.as_db_error().and_then(|server| server.column()).unwrap_or_default();
    Reject::new(field, failure::describe(error))
}
