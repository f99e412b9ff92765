//! Everything that is looked at before the first record: table, kind, ledger,
//! topic. What is wrong is said here, and nothing is half done.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::Args;
use crate::cli::Context;
use crate::config::{KafkaSettings, PostgresSettings};
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining, OWN_PROPERTIES};
use crate::edges::kafka::questions::Questions;
use crate::edges::postgres::claimer::{Claimer, Request, refuse_shared_group};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::ledger::{self, Ledger, Owner};
use crate::edges::postgres::target::{self, Found, Target};
use crate::edges::postgres::transaction::Destination;
use crate::edges::postgres::{Identifier, OnDuplicate, application_name, runtime, setup, writer};
use crate::engine::report::Report;
use crate::engine::run::Parts;
use crate::error::Usage;
use crate::events::Kind;

/// How long a broker may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a first answer may take before we look for what is wrong.
const KAFKA_SHORT: Duration = Duration::from_secs(4);

/// What is to be done, decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Group and topic.
    pub owner: Owner,
    /// The table.
    pub target: Target,
    /// The brokers asked first.
    pub brokers: String,
    /// The database's server.
    pub database: String,
    found: Found,
    ledger: Ledger,
}

/// The plan, and the parts that carry it out, at work already.
pub struct Prepared {
    /// What is to be done.
    pub plan: Plan,
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
    let table = table(args)?;
    let group = args.group.clone().unwrap_or_else(|| format!("orderctl-{table}"));
    // First, so that it connects while the database is asked.
    let config = client::client_config_over(&DEFAULTS, &kafka);
    let wants_ends = context.is_watched || context.console.shows_progress();
    let joining = Joining::new(config, &group, &context.console, wants_ends)?;
    let plan = runtime()?.block_on(async {
        tokio::select! {
            plan = plan(args, table, group, &kafka, &postgres) => plan.map(Some),
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
    let consumer = match find_topic(&kafka, joining.on(&plan.owner.topic), &plan.owner, context) {
        Ok(consumer) => consumer,
        Err(_) if context.stop.requested() => return Ok(None),
        Err(error) => return Err(error),
    };
    let parts = start(args, context, &postgres, &plan, consumer)?;
    Ok(Some(Prepared { plan, parts }))
}

/// Refuses properties that would change how positions are kept or partitions
/// are handed over.
fn refuse_own_properties(kafka: &KafkaSettings) -> anyhow::Result<()> {
    for (name, value) in &kafka.properties {
        let fault = match name.as_str() {
            "group.id" => "name the consumer group with --group, not with group.id".to_owned(),
            "group.protocol" if value.expose() != "classic" => {
                "group.protocol can only be classic here: leave it out".to_owned()
            }
            "partition.assignment.strategy" if value.expose().contains("cooperative") => {
                "partition.assignment.strategy can be range or roundrobin, not cooperative-sticky"
                    .to_owned()
            }
            own if OWN_PROPERTIES.iter().any(|(name, _)| *name == own) => {
                format!(
                    "property {own} is not free: positions are kept in the database; leave it out"
                )
            }
            _ => continue,
        };
        return Err(Usage(fault).into());
    }
    Ok(())
}

fn table(args: &Args) -> anyhow::Result<Identifier> {
    match &args.table {
        Some(table) => Ok(table.clone()),
        None => args.kind.unwrap_or_default().default_table().parse().map_err(anyhow::Error::msg),
    }
}

async fn plan(
    args: &Args,
    table: Identifier,
    group: String,
    kafka: &KafkaSettings,
    postgres: &PostgresSettings,
) -> anyhow::Result<Plan> {
    let client = connect(postgres, "orderctl consume").await?;
    let found = target::find(&client, args.schema.as_ref(), &table)
        .await?
        .ok_or_else(|| no_such_table(args, &table))?;
    let ledger = ledger::locate(&client, &found.schema).await?.ok_or_else(|| {
        anyhow!("there is no ledger in this database yet: run `{}`", setup_command(args, &table))
    })?;
    setup::refuse_outdated(&client, &ledger).await?;
    let recorded = ledger.kind_of(&client, &found).await?;
    let kind = match args.kind.or(recorded) {
        Some(kind) => kind,
        None => target::guess_kind(&client, &found).await?.ok_or_else(|| {
            anyhow!("what table {table} holds is not recorded: name it with --kind")
        })?,
    };
    let target = target::shape(&client, &found, kind).await?;
    let owner = Owner {
        group,
        topic: args.topic_name.clone().unwrap_or_else(|| kind.default_topic().into()),
        worker: worker_name(),
    };
    refuse_shared_group(&client, &ledger, &owner, &found).await?;
    let (brokers, database) = (kafka.brokers().to_owned(), postgres.server.clone());
    Ok(Plan { owner, target, brokers, database, found, ledger })
}

fn no_such_table(args: &Args, table: &Identifier) -> anyhow::Error {
    let place =
        args.schema.as_ref().map_or("on the search path".into(), |s| format!("in schema {s}"));
    anyhow!("there is no table {table} {place}: create it with `{}`", setup_command(args, table))
}

fn setup_command(args: &Args, table: &Identifier) -> String {
    let mut command = format!("orderctl db-setup --table-name {table}");
    if let Some(schema) = &args.schema {
        command.push_str(&format!(" --schema {schema}"));
    }
    match args.kind {
        Some(kind) if kind != Kind::default() => format!("{command} --kind {}", kind.name()),
        _ => command,
    }
}

/// Host and process, for people who look at the ledger.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// Makes sure that the topic is there.
fn find_topic(
    kafka: &KafkaSettings,
    consumer: Consumer,
    owner: &Owner,
    context: &Context,
) -> anyhow::Result<Consumer> {
    let partitions = match consumer.partition_count(KAFKA_SHORT) {
        Ok(partitions) => partitions,
        // The probe finds out what is wrong with the connection and says it.
        Err(_) => {
            client::probe(kafka, &context.console, &context.stop, KAFKA_TIMEOUT)?;
            consumer.partition_count(KAFKA_TIMEOUT)?
        }
    };
    match partitions {
        Some(_) => Ok(consumer),
        None => Err(anyhow!(
            "there is no topic {0}: publish to it with `orderctl produce --topic-name {0} \
             --create-topic`, or name another with --topic-name",
            owner.topic
        )),
    }
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
        let logs = |partitions: &[i32]| questions.logs(partitions, KAFKA_TIMEOUT);
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
