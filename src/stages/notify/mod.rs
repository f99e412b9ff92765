//! `notify`: mails to the customers of urgent, confirmed and declined orders.
//!
//! Told in three parts: `intake` writes into the ledger which mails are to be
//! sent, `send` works that off over a few connections, and the ledger says what
//! became of each (`edges/postgres/mail`).

mod asking;
mod batch;
mod dry_run;
mod intake;
mod plan;
mod rate;
mod retry;
mod send;
mod shared;
mod status;
mod summary;
mod templates;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::task::{JoinSet, LocalSet};

use crate::cli::Context;
use crate::config::args::{parse_group, parse_topic_name};
use crate::config::creds::SmtpSecurity;
use crate::config::smtp::SmtpSettings;
use crate::config::{KafkaSettings, PostgresSettings, duration};
use crate::edges::kafka::client::{self, ANSWER_LIMIT};
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::postgres::ledger::Owner;
use crate::edges::postgres::mail::{Book, Mails};
use crate::edges::postgres::runtime;
use crate::edges::smtp::message::Sender;
use crate::edges::smtp::session::Server;
use crate::engine::metrics::Mailing;
use crate::error::{Outcome, Usage};
use crate::stages::consume::selection::{ask_kafka, refuse_other_values, refuse_own_properties};
use crate::stop::Stop;
use asking::ask;
use intake::Intake;
use send::Office;
use shared::Shared;
use summary::Summary;

/// What is read where nothing else is said.
pub const FROM: [&str; 3] = ["product_orders", "confirmed_orders", "declined_orders"];

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  orderctl notify                                    for ever
  orderctl notify --from confirmed_orders,declined_orders
  orderctl notify --until-end --rate 100/s           what is there now, then exit
  orderctl notify --dry-run mails                    into a folder, nothing is sent
  orderctl notify status                             what became of the mails
  orderctl notify retry --failed --to a@example.com  send them again

The event decides what is written: an order with a payment that is approved or
declined gets that mail, any other one only if its priority is high. Of each
order, each address gets one mail of each kind, however often the order is in
the topics: of an urgent one that is confirmed later, two. Mail server, login and sender come from creds.json (auth-setup
--smtp-hostname …); the ledger from db-setup.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected, or
some mails failed or are unknown at the end, 130 interrupted."
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    sending: Sending,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show how many mails are in which state, and what went wrong last
    Status(status::Args),
    /// Have mails sent again that failed, or whose fate is unknown
    Retry(retry::Args),
}

/// What is read and how it is sent.
#[derive(Debug, Clone, clap::Args)]
struct Sending {
    /// Topics to read, separated by commas [default: those of product_orders,
    /// confirmed_orders and declined_orders that are there at the start]
    #[arg(long, visible_alias = "topic-name", value_name = "TOPICS", value_delimiter = ',', value_parser = parse_topic_name)]
    from: Vec<String>,

    /// Consumer group, and whose mails they are in the ledger
    #[arg(long, value_name = "GROUP", default_value = "orderctl-notify", value_parser = parse_group)]
    group: String,

    /// Connections to the mail server at most
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,

    /// Mails at most, as in 100/s, 30/m or 500/h [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = rate::parse)]
    rate: Option<Duration>,

    /// How long the mail server may take for each answer
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,

    /// How often a mail is sent again when nobody can say whether it was taken
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    repeat_unknown: u32,

    /// A mail that the server does not take for now (4xx) has failed after so long
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "24h")]
    give_up_after: Duration,

    /// Write mails into this folder as .eml files instead of sending them; reads
    /// what is there now, changes nothing
    #[arg(long, value_name = "DIR")]
    dry_run: Option<PathBuf>,

    /// Exit when all that is in the topics now is read and no mail is open
    #[arg(long)]
    until_end: bool,

    /// Exit when no record came for so long and no mail was due, as in 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    idle_exit: Option<Duration>,
}

/// Sends mails until the end asked for, or shows what became of them.
///
/// # Errors
/// When a service cannot be reached at the start or refuses, the ledger or the
/// mail server's settings are missing, or a folder cannot be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    match &args.action {
        Some(Action::Status(args)) => status::run(args, context),
        Some(Action::Retry(args)) => retry::run(args, context),
        None => notify(&args.sending, context),
    }
}

fn notify(args: &Sending, context: &Context) -> anyhow::Result<Outcome> {
    let topics: std::collections::BTreeSet<&String> = args.from.iter().collect();
    if topics.len() < args.from.len() {
        return Err(Usage("--from names a topic twice".to_owned()).into());
    }
    if let Some(folder) = &args.dry_run {
        let summary = match dry_run::run(args, folder, context) {
            Err(_) if context.stop.requested() => return Ok(Outcome::Interrupted),
            ended => ended?,
        };
        context.console.result(&summary)?;
        return Ok(summary.outcome());
    }
    let smtp = SmtpSettings::resolve(&context.connections)?;
    let from = sender(&smtp)?;
    if smtp.creds.security == SmtpSecurity::None && !is_here(&smtp.creds.hostname) {
        context.console.warn(
            "smtp.security is none: the login and the mails can be read by others on the way",
        );
    }
    let server = Server::new(smtp, args.timeout)?;
    let (postgres, kafka) = (context.postgres()?, context.kafka()?);
    let Some(ledger) = ask(context, async |_, ledger| Ok(ledger.clone()))? else {
        return Ok(Outcome::Interrupted);
    };
    let mails = Mails {
        ledger,
        group: args.group.clone(),
        owner: uuid::Uuid::from_u128(rand::random()).to_string(),
        repeats_max: args.repeat_unknown,
    };
    let consumers = match join(args, &kafka, context) {
        // A question to Kafka was broken off.
        Err(_) if context.stop.requested() => return Ok(Outcome::Interrupted),
        joined => joined?,
    };
    let topics: Vec<&str> = consumers.iter().map(|(topic, _)| topic.as_str()).collect();
    context.console.note(format_args!(
        "notify: reading {} as group {}, sending through {}",
        topics.join(", "),
        args.group,
        server.address()
    ));
    let run = Run { args, context, postgres, mails, from, server };
    let runtime = runtime()?;
    let summary = LocalSet::new().block_on(&runtime, run.finish(consumers));
    // A name server that does not answer would be waited for.
    runtime.shutdown_background();
    let summary = summary?;
    context.console.result(&summary)?;
    Ok(summary.outcome())
}

fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn sender(smtp: &SmtpSettings) -> anyhow::Result<Sender> {
    Sender::parse(&smtp.creds.from).map_err(|why| {
        anyhow!(
            "smtp.from in creds.json is no address ({why}): write it as in \
             `Orders <orders@example.com>`"
        )
    })
}

/// A member of the group for each topic, not yet subscribed.
fn join(
    args: &Sending,
    settings: &KafkaSettings,
    context: &Context,
) -> anyhow::Result<Vec<(String, Consumer)>> {
    refuse_own_properties(settings)?;
    // What was taken back is not to be mailed about.
    refuse_other_values(settings, &[("isolation.level", "read_committed")])?;
    client::probe(settings, &context.console, &context.stop, ANSWER_LIMIT)?;
    let mut members = Vec::new();
    let mut missing = Vec::new();
    for topic in args.topics() {
        let config = client::client_config_over(&DEFAULTS, settings);
        let consumer = Joining::new(config, &args.group, &context.console, false)?.on(topic);
        match ask_kafka(&context.stop, |limit| consumer.partition_count(limit))? {
            Some(_) => members.push((topic.to_owned(), consumer)),
            None if args.from.is_empty() => missing.push(topic),
            None => bail!(
                "there is no topic {topic}: publish to it with `orderctl produce --topic-name \
                 {topic} --create-topic`, or name others with --from"
            ),
        }
    }
    if members.is_empty() {
        bail!(
            "there is none of the topics {}: publish to the first with `orderctl produce \
             --create-topic`, or name others with --from",
            missing.join(", ")
        );
    }
    if !missing.is_empty() {
        context.console.note(format_args!(
            "not read, because there is no such topic yet: {}; start again when there is",
            missing.join(", ")
        ));
    }
    Ok(members)
}

impl Sending {
    fn topics(&self) -> Vec<&str> {
        match self.from.is_empty() {
            true => FROM.to_vec(),
            false => self.from.iter().map(String::as_str).collect(),
        }
    }
}

struct Run<'r> {
    args: &'r Sending,
    context: &'r Context,
    postgres: PostgresSettings,
    mails: Mails,
    from: Sender,
    server: Server,
}

impl Run<'_> {
    /// Reads and sends until all is done, someone fails, or the user stops it.
    async fn finish(self, consumers: Vec<(String, Consumer)>) -> anyhow::Result<Summary> {
        let (started, context, args) = (Instant::now(), self.context, self.args);
        let topics: Vec<String> = consumers.iter().map(|(topic, _)| topic.clone()).collect();
        let shared = Arc::new(Shared::new(args.rate, &context.console, &context.metrics));
        // Set when there is nothing more to do, whoever finds that out.
        let halt = Stop::manual();
        let mut parts = JoinSet::new();
        for (topic, consumer) in consumers {
            let (intake, shared) = (self.intake(topic, consumer, &halt), Arc::clone(&shared));
            parts.spawn_blocking(move || intake::run(intake, &shared).map(|()| Part::Intake));
        }
        let office = Arc::new(Office {
            book: self.book(&halt),
            server: self.server,
            from: self.from,
            give_up_after: args.give_up_after,
            console: context.console.clone(),
            stop: halt.clone(),
            shared: Arc::clone(&shared),
        });
        for _ in 0..args.connections {
            let office = Arc::clone(&office);
            parts.spawn_local(async move { send::run(office).await.map(|()| Part::Sender) });
        }
        let (count, only_due) = (topics.len(), !args.until_end);
        let watching = watch::until_done(&office, &context.stop, count, only_due, &mut parts);
        let ended = watching.await;
        halt.request();
        while let Some(part) = parts.join_next().await {
            // What failed first is what is told.
            let _ = part;
        }
        let put_back = office.book.ask(async |mails, client| mails.put_back_all(client).await);
        let put_back = put_back.await;
        ended?;
        put_back?;
        let figures = figures(&office).await?;
        Ok(Summary::new(topics, args, &figures, started.elapsed(), context.stop.requested()))
    }

    fn book(&self, halt: &Stop) -> Book {
        Book::new(&self.postgres, self.mails.clone(), &self.context.console, halt)
    }

    fn intake(&self, topic: String, consumer: Consumer, halt: &Stop) -> Intake {
        let owner =
            Owner { group: self.args.group.clone(), topic, worker: self.mails.owner.clone() };
        Intake {
            consumer,
            owner,
            book: self.book(halt),
            domain: self.from.domain().to_owned(),
            console: self.context.console.clone(),
            stop: halt.clone(),
            until_end: self.args.until_end,
            idle_exit: self.args.idle_exit,
        }
    }
}

/// The figures of the run, with those mails as failed or unknown that still are: a
/// repeat may have cured what is counted. Where the database is away, nobody knows
/// better.
async fn figures(office: &Office) -> anyhow::Result<Mailing> {
    let (mut figures, ids) = (office.shared.figures(), office.shared.unsent());
    if ids.is_empty() {
        return Ok(figures);
    }
    let count = office.book.ask(async |mails, client| mails.count_unsent(client, &ids).await);
    if let Some((failed, unknown)) = count.await? {
        figures.failed = figures.refused + failed;
        figures.unknown = unknown;
    }
    Ok(figures)
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A topic is read.
    Intake,
    /// A connection's worker was asked to stop.
    Sender,
}
