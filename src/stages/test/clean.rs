//! `--clean`: what the tests made is removed, as far as the login may.

use std::fmt;

use serde::Serialize;

use super::Names;
use crate::cli::Context;
use crate::console::{escaped, plural};
use crate::edges::kafka::removal;
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::ledger::Owner;
use crate::edges::postgres::runtime;
use crate::edges::postgres::trial::{self, Removed};

/// What came of removing one thing.
#[derive(Debug, Serialize)]
pub struct Cleaned {
    what: String,
    /// Whether it was there and is gone now.
    removed: bool,
    /// Why it could not be removed; none when it is gone or never was there.
    pub reason: Option<String>,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, self.removed) {
            (Some(reason), _) => write!(f, "not removed: {}: {}", self.what, escaped(reason)),
            (None, true) => write!(f, "removed {}", self.what),
            (None, false) => write!(f, "{} was not there", self.what),
        }
    }
}

/// Removes the topic, the group, the table and its rows in the ledger; one that
/// cannot be removed does not keep the others.
pub fn clean(names: &Names, context: &Context) -> Vec<Cleaned> {
    let Names { topic, table, group, .. } = names;
    let one = |what: String, done: anyhow::Result<bool>| Cleaned {
        what,
        removed: matches!(done, Ok(true)),
        reason: done.err().map(|error| format!("{error:#}")),
    };
    let mut cleaned = vec![
        one(format!("topic {topic}"), delete_topic(names, context)),
        one(format!("group {group}"), delete_group(names, context)),
    ];
    match remove_table(names, context) {
        Ok(Removed { table: removed, ledger_rows }) => {
            cleaned.push(one(format!("table {table}"), Ok(removed)));
            let rows = plural(ledger_rows, "row");
            let what = match ledger_rows {
                0 => "what the ledger knows of it".to_owned(),
                _ => format!("{rows} of the ledger"),
            };
            cleaned.push(one(what, Ok(ledger_rows > 0)));
        }
        Err(error) => {
            cleaned.push(one(format!("table {table} and its ledger rows"), Err(error)));
        }
    }
    cleaned
}

fn delete_topic(names: &Names, context: &Context) -> anyhow::Result<bool> {
    removal::delete_topic(&context.kafka()?, &names.topic, &context.console, &context.stop)
}

fn delete_group(names: &Names, context: &Context) -> anyhow::Result<bool> {
    removal::delete_group(&context.kafka()?, &names.group, &context.console, &context.stop)
}

fn remove_table(names: &Names, context: &Context) -> anyhow::Result<Removed> {
    let settings = context.postgres()?;
    let Names { topic, table, schema, group } = names;
    let owner = Owner { group: group.clone(), topic: topic.clone(), worker: String::new() };
    runtime()?.block_on(async {
        let removing = async {
            let client = connect(&settings, "orderctl test").await?;
            trial::remove(&client, schema.as_ref(), table, &owner).await
        };
        tokio::select! {
            done = removing => done,
            () = context.stop.wait() => anyhow::bail!("stopped before it was removed"),
        }
    })
}
