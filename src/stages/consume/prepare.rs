//! Everything that is looked at before the first record: table, kind, ledger,
//! topic. What is wrong is said here, and nothing is half done.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;

use super::Args;
use super::selection::{Plan, Selection, find_topic, refuse_own_properties};
use crate::cli::Context;
use crate::config::PostgresSettings;
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::kafka::questions::Questions;
use crate::edges::postgres::claimer::{Claimer, Request};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::transaction::Destination;
use crate::edges::postgres::{OnDuplicate, application_name, runtime, writer};
use crate::engine::report::Report;
use crate::engine::run::Parts;
use crate::error::Usage;

/// How long one question about a partition's log may take before it is asked
/// again: the workers of a group wait for it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The plan, and the parts that carry it out, at work already.
pub struct Prepared {
    /// What is to be done.
    pub plan: Plan,
    /// The brokers asked first.
    pub brokers: String,
    /// The database's server.
    pub database: String,
    /// For the loop.
    pub parts: Parts,
}

/// Looks at everything and starts writers and claimer; none when the user
/// stopped it meanwhile.
///
/// # Errors
/// One message that says what is wrong and what to do.
pub fn prepare(args: &Args, context: &Context) -> anyhow::Result<Option<Prepared>> {
    let kafka = context.kafka()?;
    refuse_own_properties(&kafka)?;
    let postgres = context.postgres()?;
    let group = args.selection.group()?;
    // First, so that it connects while the database is asked.
    let config = client::client_config_over(&DEFAULTS, &kafka);
    let wants_ends = context.is_watched || context.console.shows_progress();
    let joining = Joining::new(config, &group, &context.console, wants_ends)?;
    let plan = runtime()?.block_on(async {
        tokio::select! {
            plan = plan(&args.selection, &postgres) => plan.map(Some),
            () = context.stop.wait() => Ok(None),
        }
    })?;
    let Some(plan) = plan else { return Ok(None) };
    if !plan.target.unique_key && args.on_duplicate != OnDuplicate::Skip {
        return Err(Usage(format!(
            "only a unique index on {} of table {} can tell duplicates: create one, or leave \
             --on-duplicate out",
            plan.target.key().name,
            plan.target.table
        ))
        .into());
    }
    let consumer = joining.on(&plan.owner.topic);
    match find_topic(&kafka, &consumer, &plan.owner.topic, context) {
        Ok(_) => {}
        Err(_) if context.stop.requested() => return Ok(None),
        Err(error) => return Err(error),
    }
    let parts = start(args, context, &postgres, &plan, consumer)?;
    let (brokers, database) = (kafka.brokers().to_owned(), postgres.server.clone());
    Ok(Some(Prepared { plan, brokers, database, parts }))
}

async fn plan(selection: &Selection, postgres: &PostgresSettings) -> anyhow::Result<Plan> {
    let client = connect(postgres, "orderctl consume").await?;
    selection.resolve(&client, worker_name()).await
}

/// Host and process, for people who look at the ledger.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

fn start(
    args: &Args,
    context: &Context,
    postgres: &PostgresSettings,
    plan: &Plan,
    consumer: Consumer,
) -> anyhow::Result<Parts> {
    let application = application_name(&plan.owner.group);
    let destination = Arc::new(Destination {
        ledger: plan.ledger.clone(),
        owner: plan.owner.clone(),
        target: plan.target.clone(),
        on_duplicate: args.on_duplicate,
    });
    let (reporter, reports) = mpsc::channel();
    let writers = (0..usize::from(args.writers))
        .map(|lane| {
            let (settings, application) = (postgres.clone(), application.clone());
            writer::spawn(lane, settings, application, Arc::clone(&destination), reporter.clone())
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let claimer = Claimer {
        settings: postgres.clone(),
        application,
        ledger: plan.ledger.clone(),
        owner: plan.owner.clone(),
        table: plan.found.clone(),
        on_data_loss: args.on_data_loss,
    };
    let (claims, requests) = mpsc::channel();
    start_claimer(claimer, consumer.questions(), requests, reporter)?;
    let server_may_refuse = plan.target.server_may_refuse;
    Ok(Parts {
        consumer,
        writers,
        claims,
        reports,
        target: plan.target.clone(),
        keep_payloads: server_may_refuse || args.on_duplicate == OnDuplicate::Reject,
        stop: context.stop.clone(),
        metrics: Arc::clone(&context.metrics),
    })
}

fn start_claimer(
    claimer: Claimer,
    questions: Questions,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Sender<Report>,
) -> anyhow::Result<()> {
    let serve = move || {
        let logs = |partitions: &[i32]| questions.logs(partitions, QUESTION_TIMEOUT);
        if let Err(error) = claimer.serve(&requests, logs, &reports) {
            // The receiver is gone only when the run has ended already.
            let _ = reports.send(Report::Failed(error));
        }
    };
    std::thread::Builder::new()
        .name("claimer".into())
        .spawn(serve)
        .map(|_| ())
        .context("cannot start the claimer's thread")
}
