//! `doctor`: looks at everything that the other verbs need, in the order in
//! which it can fail, and says what to do about what does.

mod finding;
mod hints;
mod kafka;
mod link;
mod others;
mod postgres;
mod table;
mod topic;

use std::path::Path;

use anyhow::bail;
use futures_util::future::join_all;

use crate::cli::Context;
use crate::config::certificates::{self, CertificateDirectory};
use crate::config::{Creds, creds};
use crate::edges::postgres::Identifier;
use crate::error::Outcome;
use crate::events::Kind;
use crate::stages::consume::selection::Selection;

use finding::{Check, Finding, Report, Sheet, Status};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("topic_name", |topic| {
    topic.help("Topic to look at [default: product_orders, movie_app or users_info, by the kind]")
}))]
#[command(after_help = "\
Examples:
  orderctl doctor                                    what consume needs without flags
  orderctl doctor --table movie_ticket               a table, and the topic of its kind
  orderctl doctor --topic-name t --table t --group g
  orderctl doctor -o json | jq '.[] | select(.status != \"ok\")'

Nothing is changed: no record is published, no group is joined, no mail is sent.
Each line is ok, warning, failed or skipped (because an earlier check failed).
Without --table, --kind or --topic-name the table orders and its topic must be
there; those of the other kinds are looked at where they are there. Mail and
search are looked at when creds.json has them.
Exit codes: 0 nothing failed, 1 something did, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// Which table, topic and group are meant.
    #[command(flatten)]
    pub selection: Selection,
}

impl Args {
    /// The tables to look at; those of kinds that nobody named need not be there.
    fn tables(&self) -> anyhow::Result<Vec<table::Wanted>> {
        let Selection { table, kind, topic_name, .. } = &self.selection;
        let is_named = table.is_some() || kind.is_some() || topic_name.is_some();
        let kinds = match kind {
            Some(kind) => vec![*kind],
            None if is_named => vec![Kind::default()],
            None => Kind::ALL.to_vec(),
        };
        let wanted = |kind: Kind| {
            let of_kind = Selection { kind: Some(kind), ..self.selection.clone() };
            Ok(table::Wanted {
                table: of_kind.table()?,
                group: of_kind.group()?,
                named: self.selection.clone(),
                is_required: is_named || kind == Kind::default(),
            })
        };
        kinds.into_iter().map(wanted).collect()
    }
}

/// Looks at everything and prints what was found.
///
/// # Errors
/// When anything failed, with the number of failures.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let tables = args.tables()?;
    let progress = context.console.live_line();
    progress.set_message("looking at files, kafka and postgres");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        tokio::select! {
            found = examine(&tables, context) => Some(found),
            () = context.stop.wait() => None,
        }
    });
    // A probe that still waits for its own limit keeps nobody waiting.
    runtime.shutdown_background();
    progress.finish_and_clear();
    let Some(found) = found else { return Ok(Outcome::Interrupted) };
    let report = Report(found);
    context.console.result(&report)?;
    match report.count(Status::Failed) {
        0 => Ok(Outcome::Done),
        failed => bail!(
            "{failed} of {} checks failed: do what is said beside them, then run `orderctl \
             doctor` again",
            report.0.len()
        ),
    }
}

async fn examine(tables: &[table::Wanted], context: &Context) -> Vec<Finding> {
    let (mut files, creds, directory) = files(context);
    let is_readable = !files.has_failed(Check::Settings);
    if !is_readable {
        // Kafka, PostgreSQL and the rest would all say the same once more.
        for service in ["kafka", "postgres"] {
            let mut sheet = Sheet::new(service);
            sheet.skip(&[Check::Settings], "", Check::Settings);
            files.findings.extend(sheet.findings);
        }
        return files.findings;
    }
    let mail = async {
        match &creds.smtp {
            Some(creds) => others::mail(creds, directory.as_ref()).await.findings,
            None => Vec::new(),
        }
    };
    let search = async {
        match &creds.search {
            Some(creds) => others::search(creds, directory.as_ref()).await.findings,
            None => Vec::new(),
        }
    };
    let (mut kafka, (postgres, kinds), mail, search) =
        tokio::join!(kafka::link(context), database(tables, context), mail, search);
    let topics = topics(tables, &kinds);
    match &kafka.settings {
        Some(settings) => {
            let (provider, brokers) = (kafka.sheet.provider, kafka.brokers);
            let console = &context.console;
            let looks = topics.iter();
            let looks = looks.map(|one| topic::look(settings, one, provider, brokers, console));
            for sheet in join_all(looks).await {
                kafka.sheet.findings.extend(sheet.findings);
            }
        }
        None => {
            for topic in topics.iter().filter(|topic| topic.is_required) {
                kafka.sheet.skip(&[Check::Topic], &topic.topic, Check::Login);
                kafka.sheet.skip(&[Check::Group], &topic.group, Check::Login);
            }
        }
    }
    [files.findings, kafka.sheet.findings, postgres, mail, search].concat()
}

/// creds.json and the certificate directory.
fn files(context: &Context) -> (Sheet, Creds, Option<CertificateDirectory>) {
    let mut sheet = Sheet::new("files");
    let found = match creds::find(&context.connections, Path::new(".")) {
        Ok(found) => found,
        Err(error) => {
            sheet.failed(Check::Settings, creds::FILE_NAME, format!("{error:#}"));
            return (sheet, Creds::default(), None);
        }
    };
    let path = found.as_ref().map(|found| found.path.clone());
    let text = match &found {
        Some(found) => format!("{}, for us alone", found.path.display()),
        None => {
            "there is none; flags and variables are used (`orderctl auth-setup` writes it)".into()
        }
    };
    sheet.ok(Check::Settings, creds::FILE_NAME, text);
    let directory = match certificates::find(&context.connections, path.as_deref()) {
        Ok(directory) => directory,
        Err(error) => {
            sheet.failed(Check::Settings, "certificates", format!("{error:#}"));
            None
        }
    };
    (sheet, found.map(|found| found.creds).unwrap_or_default(), directory)
}

/// The database and its tables, and the kind of each where that is known.
async fn database(
    tables: &[table::Wanted],
    context: &Context,
) -> (Vec<Finding>, Vec<Option<Kind>>) {
    let (mut sheet, client) = postgres::link(context).await;
    let mut kinds = Vec::new();
    for wanted in tables {
        let Some(client) = &client else {
            if wanted.is_required {
                let name = wanted.table.to_string();
                let rest = [Check::Table, Check::Rights, Check::Ledger];
                sheet.skip(&rest, &name, Check::Login);
            }
            kinds.push(wanted.named.kind);
            continue;
        };
        match tokio::time::timeout(link::LIMIT, table::look(&mut sheet, client, wanted)).await {
            Ok(kind) => kinds.push(kind),
            Err(_) => {
                let text = "the server gives no answer in time: look at its load and its locks";
                sheet.failed(Check::Table, wanted.table.as_str(), text);
                kinds.push(wanted.named.kind);
            }
        }
    }
    (sheet.findings, kinds)
}

/// The topics that belong to the tables.
fn topics(tables: &[table::Wanted], kinds: &[Option<Kind>]) -> Vec<topic::Wanted> {
    let by_table = |table: &Identifier| {
        Kind::ALL.into_iter().find(|kind| kind.default_table() == table.as_str())
    };
    let topic = |(wanted, kind): (&table::Wanted, &Option<Kind>)| topic::Wanted {
        topic: wanted.named.topic_name.clone().unwrap_or_else(|| {
            let kind = kind.or_else(|| by_table(&wanted.table)).unwrap_or_default();
            kind.default_topic().to_owned()
        }),
        group: wanted.group.clone(),
        is_required: wanted.is_required,
    };
    tables.iter().zip(kinds).map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(selection: Selection) -> Args {
        Args { selection }
    }

    #[test]
    fn without_flags_only_the_orders_must_be_there() {
        let tables = args(Selection::default()).tables().unwrap();
        let required: Vec<&str> =
            tables.iter().filter(|one| one.is_required).map(|one| one.table.as_str()).collect();
        assert_eq!((tables.len(), required), (Kind::ALL.len(), vec!["orders"]));
        let topics = topics(&tables, &[None; 3]);
        let names: Vec<&str> = topics.iter().map(|one| one.topic.as_str()).collect();
        assert_eq!(names, Kind::ALL.map(|kind| kind.default_topic()));
        assert_eq!(topics[0].group, "orderctl-orders");
    }

    #[test]
    fn what_is_named_is_looked_at_alone_and_must_be_there() {
        let named = Selection { table: Some("seen".parse().unwrap()), ..Selection::default() };
        let tables = args(named).tables().unwrap();
        assert!(tables.len() == 1 && tables[0].is_required);
        assert_eq!(tables[0].group, "orderctl-seen");
        // The ledger knows what the table holds.
        assert_eq!(topics(&tables, &[Some(Kind::User)])[0].topic, Kind::User.default_topic());
        let topic = Selection { topic_name: Some("t".into()), ..Selection::default() };
        let tables = args(topic).tables().unwrap();
        assert_eq!(topics(&tables, &[Some(Kind::User)])[0].topic, "t");
    }
}
