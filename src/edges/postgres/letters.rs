//! Dead letters as the ledger keeps them: chosen by filters, counted, read,
//! purged.

use std::str::FromStr;

use anyhow::anyhow;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::failure::describe;
use super::identifier::Identifier;
use super::ledger::{self, Ledger};
use super::setup;

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Nothing came of it yet
    Open,
    /// A redrive took it, and whether it was published is to be found out
    Redriving,
    /// Published to its topic again
    Redriven,
    /// In its table after all
    Stored,
    /// Its contents were removed
    Purged,
}

impl State {
    /// All states, in the order that a letter may go through them.
    pub const ALL: [State; 5] =
        [State::Open, State::Redriving, State::Redriven, State::Stored, State::Purged];

    /// The states of letters that a redrive still has to move.
    pub const UNFINISHED: [State; 2] = [State::Open, State::Redriving];

    /// Its name in the ledger and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Redriving => "redriving",
            State::Redriven => "redriven",
            State::Stored => "stored",
            State::Purged => "purged",
        }
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<State, String> {
        State::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            format!(
                "a dead letter is in a state that this program does not know, {text}: use the \
                newer one that wrote it"
            )
        })
    }
}

/// The state in a column of a row.
pub(super) fn state(row: &Row, column: usize) -> anyhow::Result<State> {
    row.get::<_, &str>(column).parse().map_err(anyhow::Error::msg)
}

/// Which dead letters are meant; what is none does not narrow them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Numbers of letters.
    pub ids: Option<Vec<i64>>,
    /// The schema of the table they were on their way to.
    pub schema: Option<String>,
    /// The table they were on their way to.
    pub table: Option<String>,
    /// The consumer group that rejected them.
    pub group: Option<String>,
    /// The topic they came from.
    pub topic: Option<String>,
    /// The field at fault, or a part of the reason in any case of letters.
    pub reason: Option<String>,
    /// Rejected at this time or later, in milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Rejected before this time, in milliseconds since 1970 UTC.
    pub until_ms: Option<i64>,
    /// In one of these states.
    pub states: Vec<State>,
}

const WHERE: &str = "where ($1::int8[] is null or id = any($1))
    and ($2::text is null or table_schema = $2) and ($3::text is null or table_name = $3)
    and ($4::text is null or group_name = $4) and ($5::text is null or topic = $5)
    and ($6::text is null or field = $6 or position(lower($6) in lower(reason)) > 0)
    and ($7::int8 is null or rejected_at >= to_timestamp($7 / 1000.0))
    and ($8::int8 is null or rejected_at < to_timestamp($8 / 1000.0))
    and state = any($9::text[])";

impl Filter {
    /// Runs a statement that has [`WHERE`] with the filter's values, and one
    /// number more as `$10`.
    async fn query(
        &self,
        client: &Client,
        sql: &str,
        number: Option<i64>,
    ) -> Result<Vec<Row>, Error> {
        let states: Vec<&str> = self.states.iter().map(|state| state.name()).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&self.ids, Type::INT8_ARRAY),
            (&self.schema, Type::TEXT),
            (&self.table, Type::TEXT),
            (&self.group, Type::TEXT),
            (&self.topic, Type::TEXT),
            (&self.reason, Type::TEXT),
            (&self.since_ms, Type::INT8),
            (&self.until_ms, Type::INT8),
            (&states, Type::TEXT_ARRAY),
        ];
        if let Some(number) = &number {
            parameters.push((number, Type::INT8));
        }
        client.query_typed(sql, &parameters).await
    }
}

/// A dead letter without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// The consumer group that rejected it.
    pub group: String,
    /// Where the record came from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// The record's own time, RFC 3339 in UTC, if it has a possible one.
    pub record_time: Option<String>,
    /// The record's key, if it has one.
    pub key: Option<Vec<u8>>,
    /// How long the payload is; none for a tombstone.
    pub payload_bytes: Option<i32>,
    /// The field at fault; empty for the payload as a whole.
    pub field: String,
    /// What was found there.
    pub reason: String,
    /// The schema of the table it was on its way to.
    pub schema: String,
    /// That table.
    pub table: String,
    /// When it was rejected, RFC 3339 in UTC.
    pub rejected_at: String,
    /// What became of it.
    pub state: State,
    /// Since when, RFC 3339 in UTC; none while it is open.
    pub state_at: Option<String>,
}

const COLUMNS: &str = "id, group_name, topic, partition, \"offset\",
    to_char(record_time at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), key,
    octet_length(payload), field, reason, table_schema, table_name,
    to_char(rejected_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), state,
    to_char(state_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

fn letter(row: &Row) -> anyhow::Result<Letter> {
    Ok(Letter {
        id: row.get(0),
        group: row.get(1),
        topic: row.get(2),
        partition: row.get(3),
        offset: row.get(4),
        record_time: row.get(5),
        key: row.get(6),
        payload_bytes: row.get(7),
        field: row.get(8),
        reason: row.get(9),
        schema: row.get(10),
        table: row.get(11),
        rejected_at: row.get(12),
        state: state(row, 13)?,
        state_at: row.get(14),
    })
}

/// Finds the ledger that serves a table, or the tables of a schema, as
/// `consume` finds it; it must be of this program's version.
///
/// # Errors
/// When there is none, or it is an older one: db-setup is what helps.
pub async fn open(
    client: &Client,
    schema: Option<&Identifier>,
    table: Option<&Identifier>,
) -> anyhow::Result<Ledger> {
    let schema = match (schema, table) {
        (Some(schema), _) => schema.clone(),
        (None, Some(table)) => match super::target::find(client, None, table).await? {
            Some(found) => found.schema,
            None => current_schema(client).await?,
        },
        (None, None) => current_schema(client).await?,
    };
    let found = ledger::locate(client, &schema).await.map_err(|error| plain(&error))?;
    let ledger = found.ok_or_else(|| {
        anyhow!("there is no ledger in this database yet: run `orderctl db-setup` for your table")
    })?;
    setup::refuse_outdated(client, &ledger).await?;
    Ok(ledger)
}

pub(super) async fn current_schema(client: &Client) -> anyhow::Result<Identifier> {
    let sql = "select coalesce(current_schema()::text, 'public')";
    let row = client.query_typed_one(sql, &[]).await.map_err(|error| plain(&error))?;
    row.get::<_, &str>(0).parse().map_err(anyhow::Error::msg)
}

/// What a filter finds, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Letters in each state, whatever states the filter names.
    pub states: Vec<(State, u64)>,
    /// Letters of each field and reason, most frequent first.
    pub reasons: Vec<(String, String, u64)>,
    /// Letters that are of a reason beyond those.
    pub other_reasons: u64,
}

/// Counts what a filter finds; at most `reasons_max` reasons are told apart.
///
/// # Errors
/// Whatever the server says.
pub async fn counts(
    client: &Client,
    ledger: &Ledger,
    filter: &Filter,
    reasons_max: usize,
) -> anyhow::Result<Counts> {
    let any = Filter { states: State::ALL.to_vec(), ..filter.clone() };
    let from = ledger.table("dead_letter");
    let states = format!("select state, count(*) from {from} {WHERE} group by 1 order by 1");
    let states = any.query(client, &states, None).await;
    let sql = format!(
        "select field, reason, count(*) from {from} {WHERE} group by 1, 2 order by 3 desc, 1, 2"
    );
    let rows = filter.query(client, &sql, None).await.map_err(|error| refused(&error, ledger))?;
    let number = |row: &Row, at: usize| row.get::<_, i64>(at) as u64;
    let (told, others) = rows.split_at(reasons_max.min(rows.len()));
    Ok(Counts {
        states: (states.map_err(|error| refused(&error, ledger))?.iter())
            .map(|row| Ok((state(row, 0)?, number(row, 1))))
            .collect::<anyhow::Result<_>>()?,
        reasons: told.iter().map(|row| (row.get(0), row.get(1), number(row, 2))).collect(),
        other_reasons: others.iter().map(|row| number(row, 2)).sum(),
    })
}

/// The first letters that a filter finds, by their numbers; at most `limit`.
///
/// # Errors
/// Whatever the server says.
pub async fn select(
    client: &Client,
    ledger: &Ledger,
    filter: &Filter,
    limit: u32,
) -> anyhow::Result<Vec<Letter>> {
    let sql = format!(
        "select {COLUMNS} from {} {WHERE} order by id limit $10",
        ledger.table("dead_letter")
    );
    let rows = filter.query(client, &sql, Some(i64::from(limit))).await;
    rows.map_err(|error| refused(&error, ledger))?.iter().map(letter).collect()
}

/// A letter that was chosen, with what is needed to handle it in portions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its number.
    pub id: i64,
    /// Where the record came from.
    pub topic: String,
    /// The table it was on its way to: schema and name.
    pub table: (String, String),
    /// Bytes of key and payload.
    pub bytes: u64,
    /// What became of it.
    pub state: State,
}

/// Every letter that a filter finds, by number.
///
/// # Errors
/// Whatever the server says.
pub async fn choose(
    client: &Client,
    ledger: &Ledger,
    filter: &Filter,
) -> anyhow::Result<Vec<Chosen>> {
    let sql = format!(
        "select id, topic, table_schema, table_name,
             coalesce(octet_length(payload), 0)::int8 + coalesce(octet_length(key), 0), state
         from {} {WHERE} order by id",
        ledger.table("dead_letter")
    );
    let rows = filter.query(client, &sql, None).await.map_err(|error| refused(&error, ledger))?;
    let chosen = |row: &Row| {
        Ok(Chosen {
            id: row.get(0),
            topic: row.get(1),
            table: (row.get(2), row.get(3)),
            bytes: row.get::<_, i64>(4) as u64,
            state: state(row, 5)?,
        })
    };
    rows.iter().map(chosen).collect()
}

/// Letters with their payloads, by number; those that are not there are left
/// out.
///
/// # Errors
/// Whatever the server says.
pub async fn load(
    client: &Client,
    ledger: &Ledger,
    ids: &[i64],
) -> anyhow::Result<Vec<(Letter, Option<Vec<u8>>)>> {
    let sql = format!(
        "select {COLUMNS}, payload from {} where id = any($1) order by id",
        ledger.table("dead_letter")
    );
    let rows = client.query_typed(&sql, &[(&ids, Type::INT8_ARRAY)]).await;
    let rows = rows.map_err(|error| refused(&error, ledger))?;
    rows.iter().map(|row| Ok((letter(row)?, row.get(15)))).collect()
}

/// Removes the contents of the letters that a filter finds, up to a number; how
/// many. The rows stay, as `purged`, so that the records remain accounted for,
/// with the state before: the record of one that was stored is in its table.
///
/// # Errors
/// Whatever the server says; nothing is purged then.
pub async fn purge(
    client: &Client,
    ledger: &Ledger,
    filter: &Filter,
    id_max: i64,
) -> anyhow::Result<u64> {
    let sql = format!(
        "update {} set state = 'purged', purged_from = state, state_at = now(),
             redrive_id = null, key = null, payload = null, field = '', reason = ''
         {WHERE} and id <= $10 returning id",
        ledger.table("dead_letter")
    );
    let rows = filter.query(client, &sql, Some(id_max)).await;
    Ok(rows.map_err(|error| refused(&error, ledger))?.len() as u64)
}

/// Why the server refuses, with the cure where rights on the ledger are missing.
pub(super) fn refused(error: &Error, ledger: &Ledger) -> anyhow::Error {
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
            "{}: the owner of the ledger can `grant usage on schema {1} to ROLE; grant select, \
             insert, update on all tables in schema {1} to ROLE`",
            describe(error),
            ledger.schema.quoted()
        ),
        _ => plain(error),
    }
}

/// What the server, or the connection, says.
fn plain(error: &Error) -> anyhow::Error {
    anyhow!("the database refuses: {}", describe(error))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_state_has_one_name_in_the_ledger_and_on_the_command_line() {
        assert_eq!(State::value_variants(), State::ALL);
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.to_possible_value().unwrap().get_name(), state.name());
        }
        for wrong in ["", "Open", "lost"] {
            assert!(wrong.parse::<State>().is_err(), "{wrong}");
        }
    }
}
