//! A question before something is done that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::Context;
use crate::error::{Outcome, Usage};

/// How often a stop is looked for while an answer is awaited.
const ANSWER_SLICE: Duration = Duration::from_millis(100);

/// What the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it.
    No,
    /// Asked to stop instead.
    Stopped,
}

impl Answer {
    /// How the verb ends, where nothing is to be done.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Answer::Yes => None,
            Answer::No => Some(Outcome::Done),
            Answer::Stopped => Some(Outcome::Interrupted),
        }
    }
}

/// Asks the user about `purge 3 letters?`; only a terminal is asked, else `3 letters
/// would be purged` is refused.
///
/// # Errors
/// [`Usage`] when nobody can be asked.
pub fn ask(question: &str, would: &str, context: &Context) -> anyhow::Result<Answer> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage(format!("{would}: nobody can be asked here, so add --yes")).into());
    }
    write!(std::io::stderr(), "{question} [y/N] ").context("cannot ask")?;
    // On a thread of its own: reading a line cannot be broken off by a stop.
    let (reader, answers) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        // The receiver is gone only when the user stopped instead.
        let _ = reader.send(read.map(|_| answer));
    });
    loop {
        match answers.recv_timeout(ANSWER_SLICE) {
            Ok(answer) => {
                let answer = answer.context("cannot read the answer")?;
                return Ok(match answer.trim() {
                    "y" | "Y" | "yes" => Answer::Yes,
                    _ => Answer::No,
                });
            }
            Err(_) if context.stop.requested() => return Ok(Answer::Stopped),
            Err(_) => {}
        }
    }
}
