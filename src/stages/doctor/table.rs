//! The checks of a table: there, of a shape that takes its kind, writable, and
//! with a ledger.

use super::finding::{Check, Sheet};
use crate::edges::postgres::claimer::refuse_shared_group;
use crate::edges::postgres::failure::describe;
use crate::edges::postgres::ledger::{self, Ledger, Owner};
use crate::edges::postgres::setup::LEDGER_VERSION;
use crate::edges::postgres::target::{self, Found, Target};
use crate::edges::postgres::{Client, Identifier, inspect};
use crate::events::Kind;
use crate::stages::consume::selection::Selection;

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The table.
    pub table: Identifier,
    /// The group that stores into it.
    pub group: String,
    /// What was named of all this.
    pub named: Selection,
    /// Whether it must be there; others are passed over when they are not.
    pub is_required: bool,
}

impl Wanted {
    /// The command that makes what is missing.
    fn setup(&self) -> String {
        self.named.setup_command(&self.table)
    }
}

/// Looks at a table; its kind, where that is known.
pub async fn look(sheet: &mut Sheet, client: &Client, wanted: &Wanted) -> Option<Kind> {
    let name = wanted.table.to_string();
    let rest = [Check::Rights, Check::Ledger];
    let found = match target::find(client, wanted.named.schema.as_ref(), &wanted.table).await {
        Ok(Some(found)) => found,
        Ok(None) if wanted.is_required => {
            let text = format!("there is no table {name}: create it with `{}`", wanted.setup());
            sheet.failed(Check::Table, &name, text);
            sheet.skip(&rest, &name, Check::Table);
            return wanted.named.kind;
        }
        Ok(None) => return wanted.named.kind,
        Err(error) => {
            sheet.failed(Check::Table, &name, format!("{error:#}"));
            sheet.skip(&rest, &name, Check::Table);
            return wanted.named.kind;
        }
    };
    let name = format!("{}.{}", found.schema, found.table);
    note_rights(sheet, client, &found, &name).await;
    let ledger = note_ledger(sheet, client, &found, wanted).await;
    let kind = kind(client, ledger.as_ref(), &found, wanted).await;
    let Some(kind) = kind else {
        let text = format!("what {name} holds is not recorded: name it with --kind");
        sheet.failed(Check::Table, &name, text);
        return None;
    };
    match target::shape(client, &found, kind).await {
        Ok(target) => note_target(sheet, &name, &target),
        Err(error) => sheet.failed(Check::Table, &name, format!("{error:#}")),
    }
    if let Some(ledger) = ledger {
        note_group(sheet, client, &ledger, &found, wanted, kind).await;
    }
    Some(kind)
}

async fn kind(
    client: &Client,
    ledger: Option<&Ledger>,
    found: &Found,
    wanted: &Wanted,
) -> Option<Kind> {
    if wanted.named.kind.is_some() {
        return wanted.named.kind;
    }
    let recorded = match ledger {
        Some(ledger) => ledger.kind_of(client, found).await.ok().flatten(),
        None => None,
    };
    match recorded {
        Some(kind) => Some(kind),
        None => target::guess_kind(client, found).await.ok().flatten(),
    }
}

async fn note_rights(sheet: &mut Sheet, client: &Client, found: &Found, name: &str) {
    let missing = match inspect::missing_rights(client, found).await {
        Ok(missing) => missing,
        Err(error) => return sheet.failed(Check::Rights, name, describe(&error)),
    };
    let (schema, table) = (found.schema.quoted(), found.table.quoted());
    let is_missing = |right: &str| missing.iter().any(|one| one == right);
    let mut grants = Vec::new();
    if is_missing("usage") {
        grants.push(format!("grant usage on schema {schema} to …"));
    }
    let rights: Vec<&str> =
        ["select", "insert"].into_iter().filter(|one| is_missing(one)).collect();
    if !rights.is_empty() {
        grants.push(format!("grant {} on {schema}.{table} to …", rights.join(", ")));
    }
    if !grants.is_empty() {
        let text =
            format!("the role lacks {}: its owner can `{}`", missing.join(", "), grants.join("; "));
        sheet.failed(Check::Rights, name, text);
    } else if is_missing("update") {
        let text = format!(
            "select and insert, but not update, which --on-duplicate update needs: its owner can \
             `grant update on {schema}.{table} to …`"
        );
        sheet.warning(Check::Rights, name, text);
    } else {
        sheet.ok(Check::Rights, name, "usage, select, insert, update");
    }
}

async fn note_ledger(
    sheet: &mut Sheet,
    client: &Client,
    found: &Found,
    wanted: &Wanted,
) -> Option<Ledger> {
    let name = format!("{}.{}", found.schema, found.table);
    let ledger = match ledger::locate(client, &found.schema).await {
        Ok(Some(ledger)) => ledger,
        Ok(None) => {
            let text = format!(
                "there is no ledger in this database, or the role may not use its schema: run `{}`",
                wanted.setup()
            );
            sheet.failed(Check::Ledger, &name, text);
            return None;
        }
        Err(error) => {
            sheet.failed(Check::Ledger, &name, describe(&error));
            return None;
        }
    };
    let (missing, version) =
        tokio::join!(inspect::missing_ledger_rights(client, &ledger), ledger.version(client));
    let schema = &ledger.schema;
    let cure = format!(
        "its owner can `grant select, insert, update on all tables in schema {} to …`",
        schema.quoted()
    );
    match (missing, version) {
        (Ok(missing), _) if !missing.consume.is_empty() => {
            let lacks = missing.consume.join(", ");
            let text = format!("in schema {schema} the role lacks {lacks}: {cure}");
            sheet.failed(Check::Ledger, &name, text);
        }
        (Err(error), _) | (_, Err(error)) => {
            let text =
                format!("the ledger in schema {schema} cannot be read: {}", describe(&error));
            sheet.failed(Check::Ledger, &name, text);
        }
        (Ok(missing), Ok(version)) => {
            note_version(sheet, &name, &ledger, version, &wanted.setup());
            if !missing.redrive.is_empty() {
                let lacks = missing.redrive.join(", ");
                let text = format!(
                    "in schema {schema} the role lacks {lacks}, which `dlq redrive` needs: {cure}"
                );
                sheet.warning(Check::Ledger, &name, text);
            }
        }
    }
    Some(ledger)
}

fn note_version(sheet: &mut Sheet, name: &str, ledger: &Ledger, version: usize, setup: &str) {
    let text = format!("schema {}, version {version}", ledger.schema);
    if version < LEDGER_VERSION {
        let text = format!("{text}, but this program wants {LEDGER_VERSION}: run `{setup}`");
        sheet.failed(Check::Ledger, name, text);
    } else if version > LEDGER_VERSION {
        let text = format!(
            "{text}, made by a newer program than this one, which knows {LEDGER_VERSION}: use the \
             newer one"
        );
        sheet.warning(Check::Ledger, name, text);
    } else {
        sheet.ok(Check::Ledger, name, text);
    }
}

fn note_target(sheet: &mut Sheet, name: &str, target: &Target) {
    let kind = target.kind.name();
    if !target.unique_key {
        let text = format!(
            "takes events of kind {kind}, but has no unique index on {0}, so a duplicate id is \
             stored twice: `create unique index on {1} ({2})`",
            target.key().name,
            target.quoted(),
            target.key().name.quoted()
        );
        return sheet.warning(Check::Table, name, text);
    }
    let left_out = match target.left_out.as_slice() {
        [] => String::new(),
        fields => format!("; no column for {}", fields.join(", ")),
    };
    sheet.ok(Check::Table, name, format!("takes events of kind {kind}, ids are unique{left_out}"));
}

async fn note_group(
    sheet: &mut Sheet,
    client: &Client,
    ledger: &Ledger,
    found: &Found,
    wanted: &Wanted,
    kind: Kind,
) {
    let owner = Owner {
        group: wanted.group.clone(),
        topic: wanted.named.topic_name.clone().unwrap_or_else(|| kind.default_topic().into()),
        worker: String::new(),
    };
    // What keeps the ledger from being read has been told already.
    if sheet.has_failed(Check::Ledger) {
        return;
    }
    if let Err(error) = refuse_shared_group(client, ledger, &owner, found).await {
        sheet.failed(Check::Group, &wanted.group, format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn an_older_ledger_fails_and_a_newer_one_is_warned_about() {
        let ledger = Ledger { schema: "orderctl".parse().unwrap() };
        for (version, status) in [
            (0, Status::Failed),
            (LEDGER_VERSION, Status::Ok),
            (LEDGER_VERSION + 1, Status::Warning),
        ] {
            let mut sheet = Sheet::new("postgres");
            note_version(&mut sheet, "t", &ledger, version, "orderctl db-setup");
            assert_eq!(sheet.findings[0].status, status, "{version}");
        }
    }
}
