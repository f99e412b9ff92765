//! Parses the command line, installs the stop signal, runs one verb, prints
//! its error once and turns the result into the exit code.

use std::process::ExitCode;

use orderctl::cli::Cli;
use orderctl::console::say_error;
use orderctl::error::exit_code;
use orderctl::stop::Stop;

// Also of the C libraries: see Cargo.toml.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let format = cli.log_format();
    let result = cli
        .with_secrets_from_stdin()
        .and_then(|cli| Stop::install().and_then(|stop| cli.run(stop)));
    if let Err(error) = &result {
        say_error(format, error);
    }
    ExitCode::from(exit_code(&result))
}
