//! `notify`: mails to the customers of urgent, confirmed and declined orders.
//!
//! Told in three parts: `intake` writes into the ledger which mails are to be
//! sent, `send` works that off over a few connections, and the ledger says what
//! became of each (`edges/postgres/mail`).

mod choose;
mod dry_run;
mod intake;
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

use anyhow::anyhow;
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinSet, LocalSet};

use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::config::creds::SmtpSecurity;
use crate::config::smtp::SmtpSettings;
use crate::config::{KafkaSettings, PostgresSettings, duration};
use crate::edges::kafka::client;
use crate::edges::kafka::consumer::{Consumer, DEFAULTS, Joining};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::ledger::Owner;
use crate::edges::postgres::mail::book::locate;
use crate::edges::postgres::mail::{Book, Mails};
use crate::edges::postgres::{application_name, runtime};
use crate::edges::smtp::message::Sender;
use crate::edges::smtp::session::Server;
use crate::error::{Outcome, Usage};
use crate::events::notice::Occasion;
use crate::stages::consume::selection::refuse_own_properties;
use crate::stop::Stop;
use intake::Intake;
use send::Office;
use shared::Shared;
use summary::Summary;

/// How long a broker may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  orderctl notify                                    customers of urgent orders, for ever
  orderctl notify --from confirmed_orders,declined_orders
  orderctl notify --until-end --rate 100/s           what is there now, then exit
  orderctl notify --dry-run mails                    into a folder, nothing is sent
  orderctl notify status                             what became of the mails
  orderctl notify retry --failed --to a@example.com  send them again

The event decides what is written: an order with a payment that is approved or
declined gets that mail, any other one only if its priority is high. Of each
order, each address gets one mail of each kind, however often the order is in
the topics. Mail server, login and sender come from creds.json (auth-setup
--smtp-hostname …); the ledger from db-setup.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected or
some mails not sent, 130 interrupted."
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
    /// Topics to read, separated by commas
    #[arg(long, visible_alias = "topic-name", value_name = "TOPICS", value_delimiter = ',', default_value = "product_orders", value_parser = parse_topic_name)]
    from: Vec<String>,

    /// Consumer group, and whose mails they are in the ledger
    #[arg(long, value_name = "GROUP", default_value = "orderctl-notify")]
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

/// The same for every try of the same mail, and for no other mail.
fn message_id(
    group: &str,
    occasion: Occasion,
    order_id: &str,
    recipient: &str,
    domain: &str,
) -> String {
    let mut hash = Sha256::new();
    for part in [group, occasion.name(), order_id, recipient] {
        // The length first: parts must not run into each other.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let letters: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<{letters}.{occasion}@{domain}>")
}

fn notify(args: &Sending, context: &Context) -> anyhow::Result<Outcome> {
    let topics: std::collections::BTreeSet<&String> = args.from.iter().collect();
    if topics.len() < args.from.len() {
        return Err(Usage("--from names a topic twice".to_owned()).into());
    }
    if let Some(folder) = &args.dry_run {
        let summary = dry_run::run(args, folder, context)?;
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
    let runtime = runtime()?;
    let prepared = runtime.block_on(async {
        tokio::select! {
            prepared = prepare(args, &postgres) => prepared.map(Some),
            () = context.stop.wait() => Ok(None),
        }
    })?;
    let Some(mails) = prepared else { return Ok(Outcome::Interrupted) };
    let consumers = join(args, &kafka, context)?;
    context.console.note(format_args!(
        "notify: reading {} as group {}, sending through {}",
        args.from.join(", "),
        args.group,
        server.address()
    ));
    context.metrics.set_unready(None);
    let run = Run { args, context, postgres, mails, from, server };
    let summary = LocalSet::new().block_on(&runtime, run.finish(consumers))?;
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

/// Finds the ledger.
async fn prepare(args: &Sending, settings: &PostgresSettings) -> anyhow::Result<Mails> {
    let client = connect(settings, &application_name(&args.group)).await?;
    Ok(Mails {
        ledger: locate(&client).await?,
        group: args.group.clone(),
        owner: uuid::Uuid::from_u128(rand::random()).to_string(),
        repeats_max: args.repeat_unknown,
    })
}

/// A member of the group for each topic, not yet subscribed.
fn join(
    args: &Sending,
    settings: &KafkaSettings,
    context: &Context,
) -> anyhow::Result<Vec<(String, Consumer)>> {
    refuse_own_properties(settings)?;
    client::probe(settings, &context.console, &context.stop, KAFKA_TIMEOUT)?;
    let member = |topic: &String| {
        let config = client::client_config_over(&DEFAULTS, settings);
        let consumer = Joining::new(config, &args.group, &context.console, false)?.on(topic);
        partitions(&consumer, topic)?;
        Ok((topic.clone(), consumer))
    };
    args.from.iter().map(member).collect()
}

/// How many partitions a topic has.
fn partitions(consumer: &Consumer, topic: &str) -> anyhow::Result<usize> {
    consumer.partition_count(KAFKA_TIMEOUT)?.ok_or_else(|| {
        anyhow!(
            "there is no topic {topic}: publish to it with `orderctl produce --topic-name {topic} \
             --create-topic`, or name others with --from"
        )
    })
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
        let (topics, only_due) = (args.from.len(), !args.until_end);
        let watching = watch::until_done(&office, &context.stop, topics, only_due, &mut parts);
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
        Ok(Summary::new(args, &shared.figures(), started.elapsed(), context.stop.requested()))
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

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A topic is read.
    Intake,
    /// A connection's worker was asked to stop.
    Sender,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_stable_and_like_no_other() {
        let id = |group, occasion, order, to| message_id(group, occasion, order, to, "example.com");
        let one = id("g", Occasion::Order, "o-1", "a@b");
        assert_eq!(one, id("g", Occasion::Order, "o-1", "a@b"));
        assert!(one.starts_with('<') && one.ends_with(".order@example.com>"), "{one}");
        for other in [
            id("h", Occasion::Order, "o-1", "a@b"),
            id("g", Occasion::Confirmed, "o-1", "a@b"),
            id("g", Occasion::Order, "o-2", "a@b"),
            id("g", Occasion::Order, "o-1", "a@c"),
            id("g", Occasion::Order, "o-1a", "@b"),
        ] {
            assert_ne!(one, other);
        }
    }
}
