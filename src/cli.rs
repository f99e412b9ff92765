//! The command line: one line an arm.

use std::sync::Arc;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{Connections, KafkaSettings, PostgresSettings, stdin};
use crate::console::{Console, OutputFormat};
use crate::edges::kafka::client;
use crate::edges::tls;
use crate::engine::metrics::Metrics;
use crate::error::Outcome;
use crate::log::LogFormat;
use crate::seen::{self, History};
use crate::stages;
use crate::stop::Stop;

const EXAMPLES: &str = "\
Examples:
  orderctl demo                                   the main job, with nothing installed
  eval \"$(orderctl stack up)\"                     a local Kafka, PostgreSQL and mail, then:
  orderctl db-setup
  orderctl produce --num 100
  orderctl consume --table orders --until-end
  orderctl verify --table orders                  is each record stored once?
  orderctl doctor                                 what is wrong with my connections?
  orderctl help consume                           all about one command

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some records were rejected, 130 interrupted.";

/// Moves order events exactly once: from generators, files and databases,
/// through Apache Kafka, into PostgreSQL, and proves that nothing was lost or
/// doubled.
#[derive(Debug, Parser)]
#[command(name = "orderctl", version, about, max_term_width = 100, subcommand_required = true)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    connections: Connections,

    /// Form of the results on standard output
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t)]
    output: OutputFormat,

    /// Only results and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// More detail; twice for the drivers' own
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    #[command(flatten)]
    seen: seen::Flags,

    /// The verb as it was typed.
    #[arg(skip)]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// See the main job in one command, with nothing installed
    Demo(stages::demo::Args),
    /// Write creds.json: where the services are and how to log in
    #[command(after_help = stages::auth_setup::EXAMPLES)]
    AuthSetup(Box<stages::auth_setup::Args>),
    /// Check every connection, and say what to do about what fails
    Doctor(stages::doctor::Args),
    /// Create the table and the ledger
    DbSetup(stages::db_setup::Args),
    /// Publish events and wait until every one is acknowledged
    Produce(stages::produce::Args),
    /// Run a real local Kafka, PostgreSQL and mail server, without containers
    Stack(stages::stack::Args),
    /// Store a topic's events in a table, exactly once
    Consume(stages::consume::Args),
    /// Publish each order to the topic of its city, exactly once
    RouteCities(stages::route_cities::Args),
    /// Add a time and two tags to users, from topic to topic, exactly once
    Enrich(stages::enrich::Args),
    /// Price each order, charge it at a mock bank and publish it, exactly once
    Confirm(stages::confirm::Args),
    /// Mail the customers of urgent, confirmed and declined orders
    Notify(stages::notify::Args),
    /// Prove that every record is a row, a duplicate or a dead letter, once
    Verify(stages::verify::Args),
    /// Show brokers, topics, groups and their lag; again and again with --watch
    Status(stages::status::Args),
    /// Find one order, ticket or user in every topic and table
    Trace(stages::trace::Args),
    /// See what was rejected and why, and move it again after the cure
    Dlq(stages::dlq::Args),
    /// Pick tests from a menu, or run them in a script
    Test(stages::test::Args),
    /// Print the script by which a shell completes command lines
    Completions(stages::completions::Args),
}

/// What every verb is given beside its own arguments.
#[derive(Debug, Clone)]
pub struct Context {
    /// The flags that say where the services are.
    pub connections: Connections,
    /// Where to say things.
    pub console: Console,
    /// Whether the user asked to stop.
    pub stop: Stop,
    /// What is shown of the run from outside.
    pub metrics: Arc<Metrics>,
    /// Whether someone may look at it.
    pub is_watched: bool,
}

impl Context {
    /// How to reach Kafka; its properties and certificate files are good.
    ///
    /// # Errors
    /// As [`KafkaSettings::resolve`], [`client::check`] and [`tls::check_kafka`].
    pub fn kafka(&self) -> anyhow::Result<KafkaSettings> {
        let settings = KafkaSettings::resolve(&self.connections)?;
        for detail in &settings.details {
            self.console.detail(detail);
        }
        client::check(&settings)?;
        self.warn(tls::check_kafka(&settings)?);
        Ok(settings)
    }

    /// How to reach PostgreSQL; its certificate files are good.
    ///
    /// # Errors
    /// As [`PostgresSettings::resolve`] and [`tls::check_postgres`].
    pub fn postgres(&self) -> anyhow::Result<PostgresSettings> {
        let settings = PostgresSettings::resolve(&self.connections)?;
        self.warn(tls::check_postgres(&settings)?);
        Ok(settings)
    }

    fn warn(&self, warnings: Vec<String>) {
        for warning in warnings {
            self.console.warn(warning);
        }
    }
}

impl Cli {
    /// Takes the command line apart; one that is wrong, or that asks for help,
    /// ends the process, and so does a shell that asks how to complete one.
    pub fn from_command_line() -> Cli {
        if stages::completions::answer(Cli::command) {
            std::process::exit(0);
        }
        let matches = Cli::command().get_matches();
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.name = matches.subcommand_name().unwrap_or_default().to_owned();
        cli
    }

    /// The form of messages on standard error.
    pub fn log_format(&self) -> LogFormat {
        self.seen.log_format
    }

    /// Reads the secrets given as `-` from standard input, a line each. To be
    /// called while Ctrl-C still ends the process at once.
    ///
    /// # Errors
    /// When there is no line for one of them.
    pub fn with_secrets_from_stdin(mut self) -> anyhow::Result<Cli> {
        stdin::replace_dash(&mut self.connections.postgres_uri, "--postgres-uri")?;
        stdin::replace_dash(&mut self.connections.sasl_password, "--sasl-password")?;
        if let Verb::AuthSetup(args) = &mut self.verb {
            args.read_secrets()?;
        }
        Ok(self)
    }

    /// Runs the verb to its end.
    ///
    /// # Errors
    /// Whatever the verb failed with; [`crate::error::exit_code`] tells usage
    /// errors from others.
    pub fn run(self, stop: Stop) -> anyhow::Result<Outcome> {
        let log = self.seen.log()?;
        let console =
            Console { output: self.output, quiet: self.quiet, verbosity: self.verbose, log };
        let metrics = Arc::default();
        let history = History::begin(&console.log, &self.name, &metrics)?;
        let listening = self.seen.listen(&metrics, &console);
        let is_watched = self.seen.is_asked_for();
        let context = Context { connections: self.connections, console, stop, metrics, is_watched };
        let result = listening.and_then(|()| run_verb(self.verb, &context));
        history.end(&result);
        result
    }
}

fn run_verb(verb: Verb, context: &Context) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Demo(args) => stages::demo::run(&args, context),
        Verb::AuthSetup(args) => stages::auth_setup::run(&args, context),
        Verb::Doctor(args) => stages::doctor::run(&args, context),
        Verb::DbSetup(args) => stages::db_setup::run(&args, context),
        Verb::Produce(args) => stages::produce::run(&args, context),
        Verb::Stack(args) => stages::stack::run(&args, context),
        Verb::Consume(args) => stages::consume::run(&args, context),
        Verb::RouteCities(args) => stages::route_cities::run(&args, context),
        Verb::Enrich(args) => stages::enrich::run(&args, context),
        Verb::Confirm(args) => stages::confirm::run(&args, context),
        Verb::Notify(args) => stages::notify::run(&args, context),
        Verb::Verify(args) => stages::verify::run(&args, context),
        Verb::Status(args) => stages::status::run(&args, context),
        Verb::Trace(args) => stages::trace::run(&args, context),
        Verb::Dlq(args) => stages::dlq::run(&args, context),
        Verb::Test(args) => stages::test::run(&args, context),
        Verb::Completions(args) => stages::completions::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
