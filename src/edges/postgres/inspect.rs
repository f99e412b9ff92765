//! What a server and a role are like, for people who ask why something does not
//! work.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::ledger::{DEFAULT_SCHEMA, Ledger};
use super::target::Found;

/// A server, seen from a connection.
#[derive(Debug, Clone)]
pub struct Server {
    /// As the server calls it, `17.5 (Debian 17.5-1)`.
    pub version: String,
    /// The same as a number, 170005.
    pub version_number: i32,
    /// Protocol and cipher of the connection; none when it is not encrypted.
    pub encryption: Option<String>,
    /// The role.
    pub role: String,
    /// The database.
    pub database: String,
    /// Whether it is a standby, or the role's transactions only read.
    pub is_read_only: bool,
    /// Connections that a role without privileges may have, all roles together.
    pub connections_max: i64,
    /// Connections there are now.
    pub connections: i64,
    /// By how much its clock is ahead of ours, in milliseconds; behind when
    /// negative. Right to half of the time that the question took.
    pub clock_ahead_ms: i64,
}

/// Asks a server what it is like.
///
/// # Errors
/// Whatever the server says.
pub async fn server(client: &Client) -> Result<Server, Error> {
    let clock_ahead_ms = clock_ahead_ms(client).await?;
    let sql = "select current_setting('server_version'),
            current_setting('server_version_num')::int4,
            (select version || ', ' || cipher from pg_catalog.pg_stat_ssl
                where pid = pg_catalog.pg_backend_pid() and ssl),
            current_user::text, current_database()::text,
            pg_catalog.pg_is_in_recovery()
                or current_setting('default_transaction_read_only')::bool,
            current_setting('max_connections')::int8
                - current_setting('superuser_reserved_connections')::int8
                - coalesce(current_setting('reserved_connections', true), '0')::int8,
            (select coalesce(sum(numbackends), 0)::int8 from pg_catalog.pg_stat_database)";
    let row = client.query_typed_one(sql, &[]).await?;
    Ok(Server {
        version: row.get(0),
        version_number: row.get(1),
        encryption: row.get(2),
        role: row.get(3),
        database: row.get(4),
        is_read_only: row.get(5),
        connections_max: row.get(6),
        connections: row.get(7),
        clock_ahead_ms,
    })
}

async fn clock_ahead_ms(client: &Client) -> Result<i64, Error> {
    let sql = "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000)::int8";
    let asked = Instant::now();
    let row = client.query_typed_one(sql, &[]).await?;
    let theirs_ms: i64 = row.get(0);
    // The server looked at its clock about half-way.
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ours_ms = ours.saturating_sub(asked.elapsed() / 2).as_millis();
    Ok(theirs_ms - i64::try_from(ours_ms).unwrap_or(i64::MAX))
}

/// What the role lacks on a table and its schema, of `usage`, `select`, `insert`
/// and `update`.
///
/// # Errors
/// Whatever the server says.
pub async fn missing_rights(client: &Client, found: &Found) -> Result<Vec<String>, Error> {
    let sql = "select array_remove(array[
            case when not pg_catalog.has_schema_privilege(c.relnamespace, 'usage')
                then 'usage' end,
            case when not pg_catalog.has_table_privilege(c.oid, 'select') then 'select' end,
            case when not pg_catalog.has_table_privilege(c.oid, 'insert') then 'insert' end,
            case when not pg_catalog.has_table_privilege(c.oid, 'update') then 'update' end
        ], null) from pg_catalog.pg_class c where c.oid = $1";
    let row = client.query_typed_one(sql, &[(&found.oid, Type::OID)]).await?;
    Ok(row.get(0))
}

/// The rights on the ledger's tables without which `consume` does not start.
const CONSUME_RIGHTS: [&str; 9] = [
    "select on ledger_position",
    "insert on ledger_position",
    "update on ledger_position",
    "select on dead_letter",
    "insert on dead_letter",
    "update on dead_letter",
    "select on ledger_table",
    "insert on ledger_table",
    "update on ledger_table",
];

/// Those that `dlq redrive` needs beside them.
const REDRIVE_RIGHTS: [&str; 9] = [
    "select on ledger_identity",
    "select on redrive",
    "insert on redrive",
    "select on redrive_owner",
    "insert on redrive_owner",
    "update on redrive_owner",
    "select on foreign_letter",
    "insert on foreign_letter",
    "update on foreign_letter",
];

/// What the role lacks in the ledger, each as `select on ledger_position`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRights {
    /// Of what `consume` needs.
    pub consume: Vec<String>,
    /// Of what `dlq redrive` needs beside that.
    pub redrive: Vec<String>,
}

/// What the role lacks in the ledger; nothing on a table that is not there.
///
/// # Errors
/// Whatever the server says.
pub async fn missing_ledger_rights(
    client: &Client,
    ledger: &Ledger,
) -> Result<MissingRights, Error> {
    Ok(MissingRights {
        consume: missing_of(client, ledger, &CONSUME_RIGHTS).await?,
        redrive: missing_of(client, ledger, &REDRIVE_RIGHTS).await?,
    })
}

async fn missing_of(
    client: &Client,
    ledger: &Ledger,
    rights: &[&str],
) -> Result<Vec<String>, Error> {
    let sql = "select coalesce(array_agg(n.right_on order by n.place), '{}')
        from unnest($2::text[]) with ordinality as n (right_on, place)
        join pg_catalog.pg_class c on c.relname = split_part(n.right_on, ' on ', 2)
        join pg_catalog.pg_namespace s on s.oid = c.relnamespace and s.nspname = $1
        where not pg_catalog.has_table_privilege(c.oid, split_part(n.right_on, ' on ', 1))";
    let schema = ledger.schema.as_str();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&rights, Type::TEXT_ARRAY)];
    let row = client.query_typed_one(sql, &parameters).await?;
    Ok(row.get(0))
}

/// The tables of a schema, else those that the search path finds, without the
/// ledger's.
///
/// # Errors
/// Whatever the server says.
pub async fn table_names(client: &Client, schema: Option<&str>) -> Result<Vec<String>, Error> {
    let sql = "select c.relname::text from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and n.nspname = coalesce($1, n.nspname)
            and ($1 is not null or pg_catalog.pg_table_is_visible(c.oid))
            and n.nspname not in ('pg_catalog', 'information_schema', $2)";
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&DEFAULT_SCHEMA, Type::TEXT)];
    let rows = client.query_typed(sql, &parameters).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
