//! `--watch`: look after look, a broker that is away included.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::look::Looker;
use super::report::Status;
use crate::cli::Context;
use crate::console::{Console, OutputFormat, escaped};
use crate::error::Outcome;

/// Where the cursor goes before a picture, what ends each of its lines, and what
/// clears the rest (ECMA-48: CUP, EL, ED).
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\r\n";
const REST: &str = "\x1b[J";
/// Lines and columns of a terminal that does not say how many it has.
const SIZE: (usize, usize) = (24, 80);

/// Looks this often until a stop, or until nobody reads any more.
///
/// # Errors
/// When a login or a right is refused: no wait cures that.
pub fn run(
    looker: &mut Looker<'_>,
    interval: Duration,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let is_screen =
        context.console.output == OutputFormat::Table && std::io::stdout().is_terminal();
    let mut last: Option<Status> = None;
    let mut away: Option<String> = None;
    loop {
        match looker.look() {
            Ok(status) => {
                if away.take().is_some() && !is_screen {
                    context.console.note("the cluster answers again");
                }
                last = Some(status);
            }
            Err(_) if context.stop.requested() => break,
            Err(error) => {
                if let Some(failure) = looker.final_failure() {
                    bail!("{failure}");
                }
                let why = format!("{error:#}");
                if away.as_ref() != Some(&why) && !is_screen {
                    context.console.warn(format!("{why}; waiting until the cluster answers"));
                }
                away = Some(why);
            }
        }
        let text = match is_screen {
            true => screen(last.as_ref(), away.as_deref()),
            false => block(last.as_ref(), away.as_deref(), &context.console)?,
        };
        if !is_written(&text)? {
            return Ok(Outcome::Done);
        }
        if context.stop.wait_for(interval) {
            break;
        }
    }
    Ok(Outcome::Interrupted)
}

/// A picture over the one before, no longer than the terminal.
fn screen(last: Option<&Status>, away: Option<&str>) -> String {
    let size = rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(SIZE, |size| (size.ws_row.into(), size.ws_col.into()));
    picture(last, away, (size.0.max(4), size.1.max(20)))
}

fn picture(last: Option<&Status>, away: Option<&str>, (rows, columns): (usize, usize)) -> String {
    let mut head = last.map_or_else(String::new, |status| status.time.clone());
    if let Some(why) = away {
        let _ = write!(head, "  AWAY: {}; waiting", escaped(why).replace('\n', " "));
    }
    let body = last.map(Status::to_string).unwrap_or_default();
    let lines: Vec<&str> = [head.as_str(), ""].into_iter().chain(body.lines()).collect();
    let mut text = String::from(HOME);
    // The last line of the terminal stays free, so that nothing scrolls.
    let room = rows.saturating_sub(2);
    for line in lines.iter().take(room) {
        text.extend(line.chars().take(columns));
        text.push_str(END_OF_LINE);
    }
    if lines.len() > room {
        let _ = write!(text, "… {} more lines{END_OF_LINE}", lines.len() - room);
    }
    text.push_str(REST);
    text
}

/// A block with its time and an empty line behind it, or a line of JSON.
fn block(last: Option<&Status>, away: Option<&str>, console: &Console) -> anyhow::Result<String> {
    let now = || format!("{:.3}", jiff::Timestamp::now());
    Ok(match (console.output, away, last) {
        (OutputFormat::Json, Some(why), _) => {
            let line = serde_json::json!({"time": now(), "error": why});
            format!("{}\n", escaped(&line.to_string()))
        }
        (OutputFormat::Json, None, Some(status)) => {
            format!("{}\n", escaped(&serde_json::to_string(status)?))
        }
        (OutputFormat::Table, None, Some(status)) => format!("{}\n{status}\n\n", status.time),
        // It was said on stderr.
        (OutputFormat::Table, Some(_), _) | (_, None, None) => String::new(),
    })
}

/// Writes to stdout; false when nobody reads it any more.
fn is_written(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::TopicLine;
    use super::*;

    fn status(topics: usize) -> Status {
        let topic = |number| TopicLine {
            topic: format!("t{number}"),
            internal: false,
            partition_count: 0,
            replication_factor: 0,
            records: Some(0),
            bytes: None,
            partitions: Vec::new(),
        };
        Status {
            time: "2026-06-09T00:00:00.000Z".into(),
            cluster: None,
            topics: Some((0..topics).map(topic).collect()),
            groups: None,
            city_topics: None,
            details_topics: false,
            details_groups: false,
        }
    }

    #[test]
    fn a_picture_is_no_longer_than_the_terminal_and_says_what_is_cut() {
        let text = picture(Some(&status(100)), None, (10, 80));
        assert_eq!(text.matches("\r\n").count(), 9);
        assert!(text.contains("… 95 more lines"), "{text}");
        assert!(!picture(Some(&status(2)), None, (10, 80)).contains("more lines"));
    }

    #[test]
    fn a_broker_that_is_away_is_named_above_what_was_known() {
        let text = picture(Some(&status(1)), Some("nothing listens\non h:1"), (10, 80));
        assert!(text.contains("AWAY: nothing listens on h:1; waiting"), "{text}");
        assert!(text.contains("t0"));
    }
}
