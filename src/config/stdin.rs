//! Secrets from standard input, for those who will not have them in the
//! process list or the environment.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Secret;
use crate::error::Usage;

/// Puts a line of standard input in the place of a secret given as `-`. On a
/// terminal the line is asked for and not shown.
///
/// # Errors
/// A [`Usage`] error that names the flag when there is no line.
pub fn replace_dash(secret: &mut Option<Secret>, flag: &str) -> anyhow::Result<()> {
    if secret.as_ref().is_none_or(|secret| secret.expose() != "-") {
        return Ok(());
    }
    let line = if io::stdin().is_terminal() { ask(flag)? } else { read_line()? };
    match line.trim() {
        "" => Err(Usage(format!("{flag} - reads a line of standard input: give one")).into()),
        line => {
            *secret = Some(line.into());
            Ok(())
        }
    }
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line)
}

fn ask(flag: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{}: ", flag.trim_start_matches('-'))?;
    stderr.flush()?;
    let echo = EchoOff::new();
    let line = read_line();
    drop(echo);
    writeln!(stderr)?;
    line
}

/// Keeps the terminal from showing what is typed, until it is dropped.
struct EchoOff(Termios);

impl EchoOff {
    fn new() -> Option<EchoOff> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).ok()?;
        Some(EchoOff(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
