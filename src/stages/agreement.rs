//! A question before something is done that cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::Context;
use crate::error::Usage;

/// How often a stop is looked for while an answer is awaited.
const ANSWER_SLICE: Duration = Duration::from_millis(100);

/// Whether the user agrees to `purge 3 letters?`; only a terminal is asked, else
/// `3 letters would be purged` is refused.
///
/// # Errors
/// [`Usage`] when nobody can be asked; when the user stops instead of answering.
pub fn agreed(question: &str, would: &str, context: &Context) -> anyhow::Result<bool> {
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
                return Ok(matches!(answer.trim(), "y" | "Y" | "yes"));
            }
            Err(_) if context.stop.requested() => bail!("nothing was changed"),
            Err(_) => {}
        }
    }
}
