//! Where entries come from: keys on a terminal, or lines.

use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use console::{Key, Term, style};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::entry::Entry;
use super::{Names, Next, Session};
use crate::error::Usage;
use crate::stop::Stop;

/// How often a stop is looked for while the user thinks.
const SLICE: Duration = Duration::from_millis(100);

/// Runs one entry after the other until the user leaves or there are no more;
/// how it ended, and how many lines were no entries.
///
/// # Errors
/// When no entry was given at all, settings are wrong, or the terminal fails.
pub fn serve(session: &mut Session<'_>, names: &Names) -> anyhow::Result<(Next, u64)> {
    let is_asked = std::io::stdin().is_terminal();
    let is_drawable = std::io::stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    if is_asked && is_drawable {
        return Ok((keys(session, names)?, 0));
    }
    lines(session, names, is_asked)
}

/// A line of the menu.
fn line(entry: Entry, names: &Names) -> String {
    format!("{} {}", entry.number(), entry.title(names))
}

/// Reads a line an entry; an unknown one is told and passed over.
fn lines(session: &mut Session<'_>, names: &Names, is_asked: bool) -> anyhow::Result<(Next, u64)> {
    let stop = session.stop.clone();
    let lines = stdin_lines();
    let (mut given, mut unknown) = (0u64, 0);
    loop {
        if is_asked {
            ask(names).context("cannot ask")?;
        }
        let Some(line) = receive(&lines, &stop) else { break };
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        given += 1;
        match Entry::parse(&line) {
            Ok(entry) => match session.run(entry)? {
                Next::GoOn => {}
                next => return Ok((next, unknown)),
            },
            Err(why) => {
                session.console.warn(format_args!("{:?} is no entry: {why}", line.trim()));
                unknown += u64::from(!is_asked);
            }
        }
    }
    if stop.requested() {
        return Ok((Next::Stopped, unknown));
    }
    if given == 0 && !is_asked {
        return Err(Usage(
            "no entry was given: name some (`orderctl test 1 3`), take --all, or write one a line \
             to standard input"
                .into(),
        )
        .into());
    }
    Ok((Next::Exit, unknown))
}

fn ask(names: &Names) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    for entry in Entry::ALL {
        writeln!(out, "  {}", line(entry, names))?;
    }
    write!(out, "entry: ")
}

/// The lines of standard input, read on a thread of its own: reading cannot be
/// broken off by a stop.
fn stdin_lines() -> Receiver<std::io::Result<String>> {
    let (sender, lines) = mpsc::sync_channel(0);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            // The receiver is gone when nobody wants more.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// What comes next; none at the end or when a stop is requested.
fn receive<T>(from: &Receiver<T>, stop: &Stop) -> Option<T> {
    loop {
        match from.recv_timeout(SLICE) {
            Ok(one) => return Some(one),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if stop.requested() => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Select(usize),
    Run(usize),
    Leave,
    Nothing,
}

fn meaning(key: &Key, selected: usize) -> Meaning {
    let last = Entry::ALL.len() - 1;
    match key {
        Key::ArrowUp | Key::BackTab | Key::Char('k') => {
            Meaning::Select(selected.checked_sub(1).unwrap_or(last))
        }
        Key::ArrowDown | Key::Tab | Key::Char('j') => {
            Meaning::Select(if selected == last { 0 } else { selected + 1 })
        }
        Key::Home | Key::PageUp => Meaning::Select(0),
        Key::End | Key::PageDown => Meaning::Select(last),
        Key::Enter => Meaning::Run(selected),
        // Ctrl-D ends what a terminal says.
        Key::Escape | Key::Char('q' | '\u{4}') => Meaning::Leave,
        Key::Char(digit) => match Entry::parse(&digit.to_string()) {
            Ok(entry) => Meaning::Run(entry.number() - 1),
            Err(_) => Meaning::Nothing,
        },
        _ => Meaning::Nothing,
    }
}

/// Draws the menu and follows the keys.
fn keys(session: &mut Session<'_>, names: &Names) -> anyhow::Result<Next> {
    let term = Term::stderr();
    let stop = session.stop.clone();
    let mut selected = 0;
    loop {
        let drawn = draw(&term, names, selected).context("cannot draw the menu")?;
        let key = key(&term, &stop)?;
        term.clear_last_lines(drawn).context("cannot draw the menu")?;
        let Some(key) = key else { return Ok(Next::Stopped) };
        match meaning(&key, selected) {
            Meaning::Select(entry) => selected = entry,
            Meaning::Run(entry) => {
                selected = entry;
                match session.run(Entry::ALL[entry])? {
                    Next::GoOn => {}
                    next => return Ok(next),
                }
            }
            Meaning::Leave => return Ok(Next::Exit),
            Meaning::Nothing => {}
        }
    }
}

/// Draws the menu; how many lines it has.
fn draw(term: &Term, names: &Names, selected: usize) -> std::io::Result<usize> {
    let width = usize::from(term.size().1).saturating_sub(1);
    // A line that is broken could not be taken back.
    let cut = |text: String| text.chars().take(width).collect::<String>();
    term.write_line(&cut("Which test? Arrow keys and Enter, or a digit; q leaves".into()))?;
    for (index, entry) in Entry::ALL.into_iter().enumerate() {
        let text = line(entry, names);
        let shown = match index == selected {
            true => style(cut(format!("> {text}"))).for_stderr().cyan().to_string(),
            false => cut(format!("  {text}")),
        };
        term.write_line(&shown)?;
    }
    Ok(Entry::ALL.len() + 1)
}

/// The next key; none when a stop is requested, Ctrl-C among them.
fn key(term: &Term, stop: &Stop) -> anyhow::Result<Option<Key>> {
    let _restored = Restored::now();
    let (sender, keys) = mpsc::sync_channel(1);
    let reader = term.clone();
    // On a thread of its own: reading cannot be broken off by a stop.
    std::thread::spawn(move || {
        // The receiver is gone only when the user stopped instead.
        let _ = sender.send(reader.read_key());
    });
    match receive(&keys, stop) {
        None => Ok(None),
        Some(Ok(key)) => Ok(Some(key)),
        // Ctrl-C, whose signal is on its way.
        Some(Err(error)) if error.kind() == ErrorKind::Interrupted => Ok(None),
        // The terminal is gone.
        Some(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(Some(Key::Escape)),
        Some(Err(error)) => Err(error).context("cannot read a key"),
    }
}

/// Puts the terminal back as it was, also when a stop comes while a key is being
/// waited for.
struct Restored(Option<Termios>);

impl Restored {
    fn now() -> Restored {
        Restored(tcgetattr(std::io::stdin()).ok())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_round_and_digits_run() {
        let last = Entry::ALL.len() - 1;
        assert_eq!(meaning(&Key::ArrowDown, 0), Meaning::Select(1));
        assert_eq!(meaning(&Key::ArrowDown, last), Meaning::Select(0));
        assert_eq!(meaning(&Key::ArrowUp, 0), Meaning::Select(last));
        assert_eq!(meaning(&Key::Enter, 4), Meaning::Run(4));
        assert_eq!(meaning(&Key::Char('9'), 4), Meaning::Run(8));
        assert_eq!(meaning(&Key::Char('0'), 4), Meaning::Nothing);
        assert_eq!(meaning(&Key::Char('x'), 4), Meaning::Nothing);
        assert_eq!(meaning(&Key::Char('q'), 4), Meaning::Leave);
    }
}
