//! The command line: one line an arm.

use clap::{ArgAction, Parser, Subcommand};

use crate::config::{Connections, KafkaSettings, PostgresSettings};
use crate::console::{Console, OutputFormat};
use crate::error::Outcome;
use crate::stages;
use crate::stop::Stop;

/// Moves order events exactly once: from generators, files and databases,
/// through Apache Kafka, into PostgreSQL, and proves that nothing was lost or
/// doubled.
#[derive(Debug, Parser)]
#[command(name = "orderctl", version, about, max_term_width = 100, subcommand_required = true)]
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
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create the table and the ledger
    DbSetup(stages::db_setup::Args),
    /// Run a real local Kafka and PostgreSQL, without containers
    Stack(stages::stack::Args),
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
}

impl Context {
    /// How to reach Kafka.
    ///
    /// # Errors
    /// As [`KafkaSettings::resolve`].
    pub fn kafka(&self) -> anyhow::Result<KafkaSettings> {
        KafkaSettings::resolve(&self.connections)
    }

    /// How to reach PostgreSQL.
    ///
    /// # Errors
    /// As [`PostgresSettings::resolve`].
    pub fn postgres(&self) -> anyhow::Result<PostgresSettings> {
        PostgresSettings::resolve(&self.connections)
    }
}

impl Cli {
    /// Runs the verb to its end.
    ///
    /// # Errors
    /// Whatever the verb failed with; [`crate::error::exit_code`] tells usage
    /// errors from others.
    pub fn run(self, stop: Stop) -> anyhow::Result<Outcome> {
        let console = Console { output: self.output, quiet: self.quiet, verbosity: self.verbose };
        let context = Context { connections: self.connections, console, stop };
        match self.verb {
            Verb::DbSetup(args) => stages::db_setup::run(&args, &context),
            Verb::Stack(args) => stages::stack::run(&args, &context),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
