//! PostgreSQL's side: rows, dead letters and mails.

use anyhow::bail;

use super::record;
use super::report::{Place, Stage};
use super::{Args, Sought};
use crate::cli::Context;
use crate::config::PostgresSettings;
use crate::console::plural;
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::letters::Letter;
use crate::edges::postgres::whereabouts::{self, Mail, Stored};
use crate::edges::postgres::{Client, Ledger, Target, runtime};
use crate::error::Usage;

/// What was found, and where it was looked.
#[derive(Debug, Default)]
pub struct Found {
    pub places: Vec<Place>,
    pub looked: Vec<String>,
    /// What was not looked at, and why.
    pub not_looked: Vec<String>,
    /// The cities that its rows name.
    pub cities: Vec<String>,
    /// The topics that tables which have it are filled from.
    pub topics: Vec<String>,
}

/// Looks for an id in the tables that the ledger knows, or the one named, among
/// the dead letters and the mails.
///
/// # Errors
/// When the database cannot be reached or refuses, the table that was named is
/// not there, or a stop is requested.
pub fn look(
    args: &Args,
    sought: &Sought,
    settings: &PostgresSettings,
    context: &Context,
) -> anyhow::Result<Found> {
    runtime()?.block_on(async {
        let looking = async {
            let client = connect(settings, "orderctl trace").await?;
            ask(&client, args, sought).await
        };
        tokio::select! {
            found = looking => found,
            () = context.stop.wait() => bail!("stopped before the database answered"),
        }
    })
}

async fn ask(client: &Client, args: &Args, sought: &Sought) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let ledger = whereabouts::find_ledger(client, args.schema.as_ref()).await?;
    for target in tables(client, ledger.as_ref(), args, &mut found).await? {
        let rows = whereabouts::rows(client, &target, &sought.id).await?;
        found.looked.push(format!("table {}.{}", target.schema, target.table));
        found.cities.extend(rows.iter().filter_map(|row| row.city.clone()));
        if let Some(ledger) = ledger.as_ref().filter(|_| !rows.is_empty()) {
            found.topics.extend(whereabouts::topics(client, ledger, &target).await?);
        }
        found.places.extend(rows.into_iter().map(row));
    }
    let Some(ledger) = ledger else {
        found.not_looked.push("the dead letters: this database has no ledger".into());
        return Ok(found);
    };
    let (schema, table) = (args.schema.as_ref(), args.table.as_ref());
    let letters = whereabouts::dead_letters(client, &ledger, &sought.id, schema, table).await?;
    found.looked.push("dead letters of the ledger".into());
    for (letter, payload) in letters {
        if record::is_of(&sought.id, letter.key.as_deref(), payload.as_deref()) {
            found.places.push(dead_letter(letter));
        }
    }
    let mails = whereabouts::mails(client, &ledger, &sought.id).await?;
    found.looked.push("mails of the ledger".into());
    found.places.extend(mails.into_iter().map(mail));
    Ok(found)
}

async fn tables(
    client: &Client,
    ledger: Option<&Ledger>,
    args: &Args,
    found: &mut Found,
) -> anyhow::Result<Vec<Target>> {
    match (&args.table, ledger) {
        (Some(table), _) => {
            let target =
                whereabouts::named_table(client, ledger, args.schema.as_ref(), table).await?;
            match target {
                Some(target) => Ok(vec![target]),
                None => {
                    let why =
                        format!("there is no table {table}: correct --table, or add --schema");
                    Err(Usage(why).into())
                }
            }
        }
        (None, Some(ledger)) => {
            let (mut targets, faults) = whereabouts::known_tables(client, ledger).await?;
            found.not_looked.extend(faults);
            if let Some(schema) = &args.schema {
                targets.retain(|target| target.schema == *schema);
            }
            Ok(targets)
        }
        (None, None) => {
            found.not_looked.push("tables: no ledger names them (name one with --table)".into());
            Ok(Vec::new())
        }
    }
}

fn row(stored: Stored) -> Place {
    Place {
        table: Some(stored.table),
        detail: stored.city,
        ..Place::new(Stage::Row, stored.time_ms)
    }
}

fn dead_letter(letter: Letter) -> Place {
    let reason = match letter.field.as_str() {
        "" => letter.reason,
        field => format!("{field}: {}", letter.reason),
    };
    let time: Option<jiff::Timestamp> = letter.rejected_at.parse().ok();
    Place {
        letter: Some(letter.id),
        topic: Some(letter.topic),
        partition: Some(letter.partition),
        offset: Some(letter.offset),
        detail: Some(format!("{reason} ({})", letter.state.name())),
        ..Place::new(Stage::DeadLetter, time.map(jiff::Timestamp::as_millisecond))
    }
}

fn mail(mail: Mail) -> Place {
    let Mail { kind, recipient, state, time_ms, fault } = mail;
    let fault = fault.map(|fault| format!(": {fault}")).unwrap_or_default();
    Place {
        detail: Some(format!("{kind} to {recipient}, {state}{fault}")),
        ..Place::new(Stage::Mail, time_ms)
    }
}

/// `3 places`, for messages.
pub fn count(found: &Found) -> String {
    plural(found.places.len() as u64, "place")
}
