//! One batch in one transaction: positions, dead letters, rows, commit.
//!
//! Only an [`Open`] can be committed, and every step takes it and gives it back
//! only when the step succeeded: the driver answers Ok to a COMMIT that the
//! server turned into a ROLLBACK, so after an error it must be out of reach.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Error, SimpleQueryMessage, Statement};

use super::ledger::{Ledger, Owner};
use super::target::{OnDuplicate, Target};
use crate::engine::batch::Batch;
use crate::engine::record::DeadLetter;

/// The server reads COPY data in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Signature, flags and extension length of COPY BINARY.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: i16 = -1;
/// The beginning of the year 10000, in milliseconds since 1970.
const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// Where batches go: everything that stays the same from one to the next.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where the positions and dead letters are.
    pub ledger: Ledger,
    /// Whose positions.
    pub owner: Owner,
    /// The table.
    pub target: Target,
    /// What happens to a record whose id is stored already.
    pub on_duplicate: OnDuplicate,
}

/// A transaction in which everything so far succeeded: the positions are
/// advanced and the dead letters are in.
#[derive(Debug)]
pub struct Open {
    client: Arc<Client>,
    copy: Statement,
}

/// How the beginning of a transaction ended.
#[derive(Debug)]
pub enum Begun {
    /// The batch's positions are advanced.
    Ours(Open),
    /// At least one position is not the one the batch starts from.
    Fenced,
}

/// A COPY whose data are sent and whose end is not.
pub struct Copied {
    client: Arc<Client>,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl Destination {
    /// Begins the batch's transaction. Everything is sent at once, so it costs
    /// one round trip.
    ///
    /// # Errors
    /// Whatever the server says; the transaction must then be rolled back.
    pub async fn begin(&self, client: &Arc<Client>, batch: &Batch) -> Result<Begun, Error> {
        self.begin_after("", client, batch).await
    }

    async fn begin_after(
        &self,
        before: &str,
        client: &Arc<Client>,
        batch: &Batch,
    ) -> Result<Begun, Error> {
        let guard = self.ledger.advance_sql(&self.owner, &batch.advances);
        let begin = format!("{before}begin;{guard}");
        let copy_sql = format!(
            "copy {} ({}) from stdin binary",
            self.target.quoted(),
            self.target.column_list()
        );
        // A statement prepared here is closed before the commit, so that nothing
        // is left on a backend that a pooler gives to somebody else.
        let (guarded, dead, copy) = tokio::join!(
            client.simple_query(&begin),
            self.insert_dead(client, &batch.dead),
            client.prepare(&copy_sql)
        );
        if touched(&guarded?) != batch.advances.len() as u64 {
            return Ok(Begun::Fenced);
        }
        dead?;
        Ok(Begun::Ours(Open { client: Arc::clone(client), copy: copy? }))
    }

    /// Stores dead letters of this table; see [`insert_dead`].
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn insert_dead(&self, client: &Client, dead: &[DeadLetter]) -> Result<(), Error> {
        let table = (self.target.schema.as_str(), self.target.table.as_str());
        insert_dead(client, &self.ledger, &self.owner, table, dead).await
    }
}

/// The time of a record as its dead letter has it: none when no clock was ever
/// that wrong, for a producer may write any number, and the server's timestamps
/// end before it. In milliseconds since 1970 UTC.
pub fn storable_time(time_ms: Option<i64>) -> Option<i64> {
    time_ms.filter(|time_ms| (0..YEAR_10000_MS).contains(time_ms))
}

/// Text that PostgreSQL can hold: it has no NUL.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\\0")
}

/// Rows touched by all statements of a simple query.
fn touched(messages: &[SimpleQueryMessage]) -> u64 {
    messages
        .iter()
        .map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        })
        .sum()
}

impl Open {
    /// Sends the batch's rows in the order they are in.
    ///
    /// # Errors
    /// Whatever the server says of the rows it has looked at so far.
    pub async fn copy(self, batch: &Batch) -> Result<Copied, Error> {
        let sink = self.client.copy_in::<_, Bytes>(&self.copy).await?;
        let mut sink = Box::pin(sink);
        // Dropped now, the statement is closed right behind the COPY.
        drop(self.copy);
        let rows = batch.encoded(0..batch.row_count());
        send(&mut sink, rows, |row, piece| piece.put_slice(row)).await?;
        Ok(Copied { client: self.client, sink })
    }
}

/// Sends rows through a COPY in pieces, with its header and trailer.
///
/// # Errors
/// When the connection is gone or the server has refused a row.
pub async fn send<'r>(
    sink: &mut Pin<Box<CopyInSink<Bytes>>>,
    rows: impl Iterator<Item = &'r [u8]>,
    mut append: impl FnMut(&[u8], &mut BytesMut),
) -> Result<(), Error> {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES + 4096);
    piece.put_slice(COPY_HEADER);
    for row in rows {
        append(row, &mut piece);
        if piece.len() >= PIECE_BYTES {
            let full = std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE_BYTES + 4096));
            sink.feed(full.freeze()).await?;
        }
    }
    piece.put_i16(COPY_TRAILER);
    sink.feed(piece.freeze()).await
}

/// How the end of a batch's transaction ended.
#[derive(Debug)]
pub enum Ended {
    /// Stored; and the next batch's transaction, when there was one, is begun.
    Committed(Option<Begun>),
    /// The server refused the rows: nothing of the batch is stored.
    Refused(Error),
    /// No answer to the COMMIT, or an error where its answer should be: only the
    /// ledger knows.
    Unknown(Error),
}

impl Copied {
    /// Ends the COPY, commits, and begins the next batch's transaction if there
    /// is one, all sent at once.
    pub async fn commit(mut self, destination: &Destination, next: Option<&Batch>) -> Ended {
        match next {
            Some(next) => {
                let (copied, begun) = tokio::join!(
                    self.sink.as_mut().finish(),
                    destination.begin_after("commit;", &self.client, next)
                );
                match (copied, begun) {
                    (Err(refused), _) => Ended::Refused(refused),
                    (Ok(_), Ok(begun)) => Ended::Committed(Some(begun)),
                    (Ok(_), Err(error)) => Ended::Unknown(error),
                }
            }
            None => {
                let (copied, committed) =
                    tokio::join!(self.sink.as_mut().finish(), self.client.batch_execute("commit"));
                match (copied, committed) {
                    (Err(refused), _) => Ended::Refused(refused),
                    (Ok(_), Ok(())) => Ended::Committed(None),
                    (Ok(_), Err(error)) => Ended::Unknown(error),
                }
            }
        }
    }
}
/// Stores dead letters of a table, by schema and name. One that is there already, because the user had the
/// topic read again, stays as it is.
///
/// # Errors
/// Whatever the server says.
pub async fn insert_dead(
    client: &Client,
    ledger: &Ledger,
    owner: &Owner,
    (schema, table): (&str, &str),
    dead: &[DeadLetter],
) -> Result<(), Error> {
    if dead.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "insert into {} (group_name, topic, table_schema, table_name,
             partition, \"offset\", record_time, key, payload, field, reason)
         select $1, $2, $3, $4, d.partition, d.\"offset\",
             to_timestamp(d.time_ms / 1000.0), d.key, d.payload, d.field, d.reason
         from unnest($5::int4[], $6::int8[], $7::int8[], $8::bytea[], $9::bytea[],
             $10::text[], $11::text[])
             as d (partition, \"offset\", time_ms, key, payload, field, reason)
         on conflict do nothing",
        ledger.table("dead_letter")
    );
    let partitions: Vec<i32> = dead.iter().map(|letter| letter.partition).collect();
    let offsets: Vec<i64> = dead.iter().map(|letter| letter.offset).collect();
    let times: Vec<Option<i64>> = dead.iter().map(|letter| storable_time(letter.time_ms)).collect();
    let keys: Vec<Option<&[u8]>> = dead.iter().map(|letter| letter.key.as_deref()).collect();
    let payloads: Vec<Option<&[u8]>> =
        dead.iter().map(|letter| letter.payload.as_deref()).collect();
    let fields: Vec<String> = dead.iter().map(|one| storable(&one.reject.field)).collect();
    let reasons: Vec<String> = dead.iter().map(|one| storable(&one.reject.reason)).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 11] = [
        (&owner.group, Type::TEXT),
        (&owner.topic, Type::TEXT),
        (&schema, Type::TEXT),
        (&table, Type::TEXT),
        (&partitions, Type::INT4_ARRAY),
        (&offsets, Type::INT8_ARRAY),
        (&times, Type::INT8_ARRAY),
        (&keys, Type::BYTEA_ARRAY),
        (&payloads, Type::BYTEA_ARRAY),
        (&fields, Type::TEXT_ARRAY),
        (&reasons, Type::TEXT_ARRAY),
    ];
    client.execute_typed(&sql, &parameters).await.map(|_| ())
}
