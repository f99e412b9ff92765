//! What db-setup does in the database: schema, ledger, table, and the note which
//! kind the table holds. Safe to run again, and by many at once.

use anyhow::{Context as _, anyhow, bail};
use refinery::{Migration, Runner};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::connect::connect;
use super::create::{IdType, table_sql};
use super::failure::describe;
use super::identifier::Identifier;
use super::ledger::{self, DEFAULT_SCHEMA, Ledger};
use super::seating::{self, Seating};
use super::target::{self, Target};
use crate::config::PostgresSettings;
use crate::events::Kind;

/// The ledger's migrations by name; `{schema}` is replaced by its schema.
const MIGRATIONS: [(&str, &str); 5] = [
    ("V1__ledger", include_str!("migrations/V1__ledger.sql")),
    ("V2__topic_id", include_str!("migrations/V2__topic_id.sql")),
    ("V3__dead_letter_state", include_str!("migrations/V3__dead_letter_state.sql")),
    ("V4__position_moved", include_str!("migrations/V4__position_moved.sql")),
    ("V5__mail", include_str!("migrations/V5__mail.sql")),
];

/// The version that a ledger has when it is up to date.
pub const LEDGER_VERSION: usize = MIGRATIONS.len();

/// The advisory lock that one db-setup holds while others wait: any number, as
/// long as it is always the same.
const LOCK: i64 = 0x6f72_6465_7263_746c;

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The table's schema; none for the first one on the search path.
    pub schema: Option<Identifier>,
    /// The table.
    pub table: Identifier,
    /// What it holds.
    pub kind: Kind,
    /// The type of its id column, when it is created.
    pub id_type: IdType,
    /// Whether its seats are to be sold once: see [`super::seating`].
    pub with_seating: bool,
}

/// What is there now.
#[derive(Debug)]
pub struct Ready {
    /// The table.
    pub target: Target,
    /// Whether it was created now.
    pub table_created: bool,
    /// Where the ledger is.
    pub ledger: Ledger,
    /// Whether the ledger was created or brought up to date now.
    pub ledger_changed: bool,
    /// What became of the seating, where it was asked for.
    pub seating: Option<Seating>,
}

/// Creates what is missing; changes nothing that is there.
///
/// # Errors
/// When the database cannot be reached, a right is missing (the text says
/// which), or a table of that name cannot take the kind.
pub async fn set_up(settings: &PostgresSettings, wanted: &Wanted) -> anyhow::Result<Ready> {
    let lock = connect(settings, "orderctl db-setup").await?;
    // The lock belongs to a transaction, not to a session, so that it works
    // through a pooler; the work is done on a second connection meanwhile.
    lock.batch_execute("begin").await.map_err(plain)?;
    lock.execute_typed("select pg_catalog.pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
        .await
        .map_err(plain)?;
    let mut client = connect(settings, "orderctl db-setup").await?;
    let ready = set_up_alone(&mut client, wanted).await;
    // Nothing to undo: the transaction holds only the lock.
    let _ = lock.batch_execute("commit").await;
    ready
}

async fn set_up_alone(client: &mut Client, wanted: &Wanted) -> anyhow::Result<Ready> {
    let role = Role::of(client).await.map_err(plain)?;
    let schema = table_schema(client, &role, wanted.schema.as_ref()).await?;
    let ledger = match ledger::locate(client, &schema).await.map_err(plain)? {
        Some(ledger) => ledger,
        None => Ledger { schema: ledger_schema(client, &role, &schema).await? },
    };
    let ledger_changed = migrate(client, &role, &ledger).await?;
    let (found, table_created) = match target::find(client, Some(&schema), &wanted.table).await? {
        Some(found) => (found, false),
        None => {
            // Before the table is made: one without its seats would sell them twice.
            if wanted.with_seating {
                seating::refuse_other_tables(client, &schema, &wanted.table).await?;
            }
            let sql = table_sql(&schema, &wanted.table, wanted.kind, wanted.id_type);
            client
                .batch_execute(&sql)
                .await
                .map_err(|error| role.may_not_create(&error, &schema))?;
            let found = target::find(client, Some(&schema), &wanted.table).await?;
            (found.context("the table just created is gone again")?, true)
        }
    };
    let target = target::shape(client, &found, wanted.kind).await?;
    ledger
        .record_table(client, &found, wanted.kind)
        .await
        .map_err(|error| role.may_not_write(&error, &ledger))?;
    let seating = match wanted.with_seating {
        true => Some(seating::set_up(client, &target).await?),
        false => None,
    };
    Ok(Ready { target, table_created, ledger, ledger_changed, seating })
}

/// The schema the table goes to; created when it was named and is missing.
async fn table_schema(
    client: &Client,
    role: &Role,
    named: Option<&Identifier>,
) -> anyhow::Result<Identifier> {
    let Some(schema) = named else { return path_schema(client).await };
    if rights_on(client, schema).await.map_err(plain)?.is_none() {
        create_schema(client, role, schema).await?;
    }
    Ok(schema.clone())
}

/// The schema that a table goes to when none is named: the search path's first.
///
/// # Errors
/// When no schema of the search path exists.
pub async fn path_schema(client: &Client) -> anyhow::Result<Identifier> {
    // A role called orderctl has the ledger's schema on its search path.
    let sql = "select s::text from unnest(pg_catalog.current_schemas(false))
        with ordinality as path (s, place) where s <> $1 order by place limit 1";
    let row = client.query_typed_opt(sql, &[(&DEFAULT_SCHEMA, Type::TEXT)]).await;
    let row = row.map_err(plain)?;
    let row = row.context("no schema of the search path exists: name one with --schema")?;
    row.get::<_, &str>(0).parse().map_err(anyhow::Error::msg)
}

async fn create_schema(client: &Client, role: &Role, schema: &Identifier) -> anyhow::Result<()> {
    let sql = format!("create schema if not exists {}", schema.quoted());
    client.batch_execute(&sql).await.map_err(|error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
            "role {0} may not create schema {schema} in database {1}: its owner can \
             `create schema {2} authorization {3}` or `grant create on database {4} to {3}`",
            role.name,
            role.database,
            schema.quoted(),
            role.quoted(),
            quoted(&role.database)
        ),
        _ => plain(error),
    })
}

/// A schema for a new ledger: its own where the role may create it or create in
/// it, else the table's.
async fn ledger_schema(
    client: &Client,
    role: &Role,
    table_schema: &Identifier,
) -> anyhow::Result<Identifier> {
    let own: Identifier = DEFAULT_SCHEMA.parse().map_err(anyhow::Error::msg)?;
    match rights_on(client, &own).await.map_err(plain)? {
        Some(may_create) if may_create => return Ok(own),
        None if role.may_create_schemas => {
            create_schema(client, role, &own).await?;
            return Ok(own);
        }
        _ => {}
    }
    match rights_on(client, table_schema).await.map_err(plain)? {
        Some(true) => Ok(table_schema.clone()),
        _ => bail!(
            "role {0} may create neither schema {DEFAULT_SCHEMA} in database {1} nor tables in \
             schema {table_schema}: its owner can `create schema {DEFAULT_SCHEMA} authorization \
             {2}` or `grant create, usage on schema {3} to {2}`",
            role.name,
            role.database,
            role.quoted(),
            table_schema.quoted()
        ),
    }
}

/// Whether the role may create in a schema; none when there is no such schema.
async fn rights_on(client: &Client, schema: &Identifier) -> Result<Option<bool>, Error> {
    let sql = "select pg_catalog.has_schema_privilege(oid, 'create')
            and pg_catalog.has_schema_privilege(oid, 'usage')
        from pg_catalog.pg_namespace where nspname = $1";
    let row = client.query_typed_opt(sql, &[(&schema.as_str(), Type::TEXT)]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Refuses a ledger that an older orderctl set up.
///
/// # Errors
/// When it is so, with the cure, or the ledger's history cannot be read.
pub async fn refuse_outdated(client: &Client, ledger: &Ledger) -> anyhow::Result<()> {
    let sql = format!("select coalesce(max(version), 0) from {}", ledger.table("ledger_history"));
    let version: i32 = match client.query_typed_one(&sql, &[]).await {
        Ok(row) => row.get(0),
        // A role that may only use the ledger finds out what it misses by using it.
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => return Ok(()),
        Err(error) => return Err(plain(error)),
    };
    if (version as usize) < MIGRATIONS.len() {
        bail!(
            "the ledger in schema {} has version {version}, and this orderctl needs {}: run \
             `orderctl db-setup` once; workers of the older version go on meanwhile",
            ledger.schema,
            MIGRATIONS.len()
        );
    }
    Ok(())
}

/// Brings the ledger up to date; whether there was anything to do. The history
/// is looked at first, because running migrations needs the right to create.
async fn migrate(client: &mut Client, role: &Role, ledger: &Ledger) -> anyhow::Result<bool> {
    let history = ledger.table("ledger_history");
    let exists = client
        .query_typed_one("select to_regclass($1) is not null", &[(&history, Type::TEXT)])
        .await
        .map_err(plain)?;
    if exists.get(0) {
        let version = ledger.version(client).await;
        if version.map_err(|error| role.may_not_write(&error, ledger))? >= LEDGER_VERSION {
            return Ok(false);
        }
    }
    let migrations = MIGRATIONS
        .iter()
        .map(|(name, sql)| {
            Migration::unapplied(name, &sql.replace("{schema}", &ledger.schema.quoted()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(&history);
    let done = runner.run_async(client).await;
    done.with_context(|| format!("cannot create the ledger in schema {}", ledger.schema))?;
    Ok(true)
}

/// Who we are, for messages about missing rights.
struct Role {
    name: String,
    database: String,
    may_create_schemas: bool,
}

impl Role {
    async fn of(client: &Client) -> Result<Role, Error> {
        let sql = "select current_user::text, current_database()::text,
            pg_catalog.has_database_privilege(current_database(), 'create')";
        let row = client.query_typed_one(sql, &[]).await?;
        Ok(Role { name: row.get(0), database: row.get(1), may_create_schemas: row.get(2) })
    }

    fn quoted(&self) -> String {
        quoted(&self.name)
    }

    fn may_not_create(&self, error: &Error, schema: &Identifier) -> anyhow::Error {
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
                "role {} may not create tables in schema {schema}: its owner can `grant create, \
                 usage on schema {} to {}`, or name another with --schema",
                self.name,
                schema.quoted(),
                self.quoted()
            ),
            _ => anyhow!("cannot create the table: {}", describe(error)),
        }
    }

    fn may_not_write(&self, error: &Error, ledger: &Ledger) -> anyhow::Error {
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => anyhow!(
                "role {0} may not use the ledger in schema {1}: its owner can `grant usage on \
                 schema {2} to {3}; grant select, insert, update on all tables in schema {2} \
                 to {3}`",
                self.name,
                ledger.schema,
                ledger.schema.quoted(),
                self.quoted()
            ),
            _ => anyhow!("cannot write to the ledger: {}", describe(error)),
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn plain(error: Error) -> anyhow::Error {
    anyhow!("the database refuses: {}", describe(&error))
}
