//! Parses the command line, installs the stop signal, runs one verb, prints
//! its error once and turns the result into the exit code.

use std::process::ExitCode;

use clap::Parser;
use orderctl::cli::Cli;
use orderctl::error::exit_code;
use orderctl::stop::Stop;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = Stop::install().and_then(|stop| cli.run(stop));
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(exit_code(&result))
}
