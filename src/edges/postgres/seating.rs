//! Seats that are sold once, and the sales: two tables beside one of tickets.
//!
//! Triggers on the table of tickets fill them, once a statement and set-wise, in
//! the same transaction, whoever stores the ticket: COPY, staging, a redrive, a
//! person with psql. A ticket with a seat that another one holds is refused with
//! that one's id, so that it becomes a dead letter like any row that the server
//! refuses. A ticket that is deleted gives its seats back; one that is updated
//! changes them.
//!
//! A showing is a movie in a theater, both as they are written.

use anyhow::{anyhow, bail};
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::column::ColumnType;
use super::failure::describe;
use super::identifier::{Identifier, literal};
use super::staging::STAGE;
use super::target::{Column, SEATING_TRIGGER, Target};

/// The trigger for tickets that change.
const TRIGGER_UPDATE: &str = "orderctl_seating_update";
/// What both call.
const FUNCTION: &str = "orderctl_seating";
/// The tables, in the schema of the tickets.
const TABLES: [&str; 2] = ["seating", "transactions"];
/// Together with the table's object id, the advisory lock of whoever sells seats:
/// any number, as long as it is always the same.
const LOCK: i64 = 0x7365_6174_0000_0000;
/// The tickets that a statement stored, as the triggers see them.
const NEW: &str = "orderctl_new";

/// What is there now.
#[derive(Debug, Clone, Serialize)]
pub struct Seating {
    /// Whether the tables were created now.
    pub created: bool,
    /// How many tickets there were already, whose seats are in the tables now.
    pub tickets: u64,
}

/// Makes both tables and the triggers, and fills in the tickets that are there;
/// changes nothing where the table has seating already.
///
/// # Errors
/// When the table cannot have it, a table of one of the names is there, a seat
/// is sold twice already (the text names one), or a right is missing. Nothing is
/// made then.
pub async fn set_up(client: &Client, target: &Target) -> anyhow::Result<Seating> {
    if target.has_seating {
        return Ok(Seating { created: false, tickets: 0 });
    }
    let place = Place::of(target)?;
    refuse_other_tables(client, &target.schema, &target.table).await?;
    match place.make(client).await {
        Ok(tickets) => {
            client.batch_execute("commit").await.map_err(|error| place.refusal(&error))?;
            Ok(Seating { created: true, tickets })
        }
        Err(refusal) => {
            // What is wrong was said already; a connection that is gone rolls back too.
            let _ = client.batch_execute("rollback").await;
            Err(refusal)
        }
    }
}

/// Fails when the schema has tables of the names that seating of this table needs.
///
/// # Errors
/// That, with the cure, or whatever the server says.
pub async fn refuse_other_tables(
    client: &Client,
    schema: &Identifier,
    table: &Identifier,
) -> anyhow::Result<()> {
    let sql = "select c.relname::text from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = any($2) order by 1 limit 1";
    let name = schema.as_str();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&name, Type::TEXT), (&TABLES.as_slice(), Type::TEXT_ARRAY)];
    let row = client.query_typed_opt(sql, &parameters).await;
    match row.map_err(|error| anyhow!("the catalog: {}", describe(&error)))? {
        Some(row) => bail!(
            "schema {schema} has a table {} already that is not of {table}: rename or drop it, or \
             keep the tickets in another --schema",
            row.get::<_, &str>(0)
        ),
        None => Ok(()),
    }
}

/// A condition on a staged row `s` under which it is refused, most likely: it
/// wants a seat that another ticket holds, or that a row before it wants. None
/// where the table has no seating.
pub fn suspicion(target: &Target) -> Option<String> {
    let place = Place::of(target).ok().filter(|_| target.has_seating)?;
    let wanted = place.wanted("t.orderctl_row,", STAGE);
    let seating = place.table(TABLES[0]);
    Some(format!(
        "s.orderctl_row in (
             select w.orderctl_row from ({wanted}) as w
             join {seating} as h using (theater, movie, seat) where h.ticket <> w.ticket
             union all
             select w.orderctl_row from (
                 select x.orderctl_row, pg_catalog.row_number() over (
                     partition by theater, movie, seat order by x.orderctl_row) as turn
                 from ({wanted}) as x) as w
             where w.turn > 1)"
    ))
}

/// A table of tickets, and its columns as written in SQL.
struct Place<'t> {
    target: &'t Target,
    key: String,
    theater: String,
    movie: String,
    name: String,
    seats: &'t Identifier,
}

impl<'t> Place<'t> {
    fn of(target: &'t Target) -> anyhow::Result<Place<'t>> {
        if !target.unique_key {
            bail!(
                "seating needs a unique index on {} of table {}: create one first",
                target.key().name,
                target.table
            );
        }
        let quoted = |field| column(target, field).map(|column| column.name.quoted());
        let seats = column(target, "seats")?;
        if !matches!(seats.column_type, ColumnType::Text { .. }) {
            bail!("seating needs column {} of table {} to be text", seats.name, target.table);
        }
        Ok(Place {
            target,
            key: target.key().name.quoted(),
            theater: quoted("theater")?,
            movie: quoted("movie")?,
            name: quoted("name")?,
            seats: &seats.name,
        })
    }

    /// The tables that are made, as written in SQL.
    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.target.schema.quoted())
    }

    /// One row for each seat of each ticket, with more columns of the tickets' table
    /// `t` where some are named, each with a comma.
    fn wanted(&self, more: &str, from: &str) -> String {
        let Place { key, theater, movie, .. } = self;
        format!(
            "select {more} t.{theater}::text as theater, t.{movie}::text as movie,
                 pg_catalog.btrim(seat) as seat, t.{key} as ticket
             from {from} as t cross join lateral
                 unnest(pg_catalog.string_to_array(t.{}::text, ',')) as seat",
            self.seats.quoted()
        )
    }

    /// One row for each ticket.
    fn sales(&self, from: &str) -> String {
        let Place { key, theater, movie, name, .. } = self;
        format!(
            "select t.{key}, t.{theater}, t.{movie}, t.{name},
                 pg_catalog.cardinality(pg_catalog.string_to_array(t.{}::text, ','))
             from {from} as t",
            self.seats.quoted()
        )
    }

    /// The template with a value for each name in braces.
    fn fill_in(&self, template: &str) -> String {
        let mut parts = template.split('{');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or((part, ""));
            sql.push_str(&self.value(name));
            sql.push_str(rest);
        }
        sql
    }

    fn value(&self, name: &str) -> String {
        match name {
            "body" => literal(&self.fill_in(include_str!("seating_trigger.sql"))),
            "function" => self.table(FUNCTION),
            "trigger_insert" => SEATING_TRIGGER.to_owned(),
            "trigger_update" => TRIGGER_UPDATE.to_owned(),
            "lock" => LOCK.to_string(),
            "wanted" => self.wanted("", NEW),
            "sales" => self.sales(NEW),
            "seats_name" => literal(self.seats.as_str()),
            "table" => self.target.quoted(),
            "key" => self.key.clone(),
            "theater" => self.theater.clone(),
            "movie" => self.movie.clone(),
            "name" => self.name.clone(),
            // One of `TABLES`.
            other => self.table(other),
        }
    }

    /// Makes everything in a transaction that stays open; how many tickets there
    /// were.
    async fn make(&self, client: &Client) -> anyhow::Result<u64> {
        let refusal = |error| self.refusal(&error);
        let script = self.fill_in(include_str!("seating.sql"));
        client.batch_execute(&format!("begin; {script}")).await.map_err(refusal)?;
        let tickets = self.target.quoted();
        let wanted = self.wanted("", &tickets);
        let twice = format!(
            "select seat, movie, theater, (min(ticket::text)), (max(ticket::text)),
                 count(*) over () from ({wanted}) as w
             group by theater, movie, seat having count(*) > 1
             order by theater, movie, seat limit 1"
        );
        if let Some(row) = client.query_typed_opt(&twice, &[]).await.map_err(refusal)? {
            let text = |index| row.get::<_, &str>(index);
            bail!(
                "seats of table {tickets} are sold more than once, {} in all: {} of {} at {} by \
                 tickets {} and {}, for one; delete tickets or change their seats first",
                row.get::<_, i64>(5),
                text(0),
                text(1),
                text(2),
                text(3),
                text(4)
            );
        }
        let [seating, transactions] = TABLES.map(|name| self.table(name));
        let seats = format!("insert into {seating} (theater, movie, seat, ticket) {wanted}");
        client.execute_typed(&seats, &[]).await.map_err(refusal)?;
        let sales = format!(
            "insert into {transactions} (ticket_id, theater, movie, name, seats) {}",
            self.sales(&tickets)
        );
        client.execute_typed(&sales, &[]).await.map_err(refusal)
    }

    fn refusal(&self, error: &Error) -> anyhow::Error {
        let Target { schema, table, .. } = self.target;
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
                "this role may not add seating to table {schema}.{table} ({}): have its owner run \
                 `orderctl db-setup --kind movie-ticket --schema {schema} --table-name {table} \
                 --with-seating`",
                describe(error)
            ),
            _ => anyhow!("cannot add seating to table {schema}.{table}: {}", describe(error)),
        }
    }
}

/// The column that holds a field of a ticket.
fn column<'t>(target: &'t Target, field: &str) -> anyhow::Result<&'t Column> {
    let fields = target.kind.fields();
    let is_it = |column: &&Column| fields[column.field].name == field;
    target
        .columns
        .iter()
        .find(is_it)
        .ok_or_else(|| anyhow!("table {} has no {field}", target.table))
}
