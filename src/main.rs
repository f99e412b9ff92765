//! Parses the command line, installs the stop signal, runs one verb, prints
//! its error once and turns the result into the exit code.

use std::process::ExitCode;

use clap::Parser;
use orderctl::cli::Cli;
use orderctl::error::exit_code;
use orderctl::stop::Stop;

fn main() -> ExitCode {
    let result = Cli::parse()
        .with_secrets_from_stdin()
        .and_then(|cli| Stop::install().and_then(|stop| cli.run(stop)));
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(exit_code(&result))
}
