//! Where events come from.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::inject::Faulty;
use super::rows;
use super::url::{self, Fetched};
use crate::config::PostgresSettings;
use crate::edges::http::fetch::Fetcher;
use crate::edges::postgres::runtime;
use crate::edges::postgres::source::rows_as_json;
use crate::error::Usage;
use crate::events::{Kind, Reject, card};
use crate::stop::Stop;

/// How many lines or rows are read ahead.
const READ_AHEAD: usize = 1024;
/// How long a source may keep us from everything else.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One record on its way, its buffers used again and again.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The id.
    pub key: Vec<u8>,
    /// Whether the key counts; a raw record may have none.
    pub has_key: bool,
    /// The event in JSON.
    pub payload: Vec<u8>,
}

/// What kind of record the source gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An event as it should be.
    Plain,
    /// A valid event some days late.
    Late,
    /// An event that was sent before.
    Duplicate,
    /// An event that is certainly rejected.
    Malformed,
}

/// What the source says when it is asked for the next record.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It is in the record.
    Ready(Mark),
    /// It is not valid and not to be sent.
    Invalid {
        /// Where it is: `line 7`.
        place: String,
        /// What is wrong.
        reject: Reject,
    },
    /// There are no more.
    End,
    /// Nothing for now: ask again.
    Nothing,
    /// Something to tell the user; then ask again.
    Note(String),
}

/// An open source.
pub enum Source {
    /// Generated events.
    Generated(Box<Faulty>),
    /// Lines or rows that a thread reads.
    Read(Input),
}

impl Source {
    /// Puts the next record into `record`.
    ///
    /// # Errors
    /// When the source breaks off.
    pub fn next(&mut self, record: &mut Record) -> anyhow::Result<Next> {
        match self {
            Source::Generated(events) => Ok(events.next(record).map_or(Next::End, Next::Ready)),
            Source::Read(input) => input.next(record),
        }
    }
}

/// Items that a thread reads, so that a source that has nothing to say does not
/// keep us from stopping.
pub struct Input {
    kind: Kind,
    raw: bool,
    left: u64,
    unit: &'static str,
    items: Receiver<anyhow::Result<Said>>,
}

/// What the thread says.
enum Said {
    Item(Item),
    /// Something to tell the user.
    Note(String),
}

struct Item {
    /// Which line or row, from 1.
    number: u64,
    payload: Vec<u8>,
}

impl Input {
    fn next(&mut self, record: &mut Record) -> anyhow::Result<Next> {
        if self.left == 0 {
            return Ok(Next::End);
        }
        let item = match self.items.recv_timeout(PATIENCE) {
            Ok(said) => match said? {
                Said::Item(item) => item,
                Said::Note(note) => return Ok(Next::Note(note)),
            },
            Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
            Err(RecvTimeoutError::Timeout) => return Ok(Next::Nothing),
        };
        record.payload = match card::clean(&item.payload) {
            Cow::Borrowed(_) => item.payload,
            Cow::Owned(cleaned) => cleaned,
        };
        record.key.clear();
        record.has_key = true;
        match self.kind.parse(&record.payload) {
            Ok(event) => record.key.extend_from_slice(event.id().as_bytes()),
            Err(_) if self.raw => match loose_id(self.kind, &record.payload) {
                Some(id) => record.key.extend_from_slice(id.as_bytes()),
                None => record.has_key = false,
            },
            Err(reject) => {
                return Ok(Next::Invalid {
                    place: format!("{} {}", self.unit, item.number),
                    reject,
                });
            }
        }
        self.left -= 1;
        Ok(Next::Ready(Mark::Plain))
    }
}

/// The id of a payload that is not valid otherwise, if it has one.
fn loose_id(kind: Kind, payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    match value.get(kind.fields()[0].name)? {
        serde_json::Value::String(id) => Some(id.clone()),
        serde_json::Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// How a source is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The kind of the events.
    pub kind: Kind,
    /// Whether events that are not valid are sent too.
    pub raw: bool,
    /// How many events are given at most.
    pub num: u64,
}

/// Starts reading JSON lines from a file, or from standard input without one.
///
/// # Errors
/// When the file cannot be opened: a [`Usage`] error.
pub fn open_lines(path: Option<&Path>, reading: Reading) -> anyhow::Result<Source> {
    let input: Box<dyn io::Read + Send> = match path {
        None => Box::new(io::stdin()),
        Some(path) => {
            let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            let failed = |error| {
                let path = path.display();
                Usage(format!("cannot read {path}: {error}; give --source a file of JSON lines"))
            };
            Box::new(file.map_err(failed)?)
        }
    };
    spawn("line", reading, move |items| {
        if let Err(error) = read_lines(BufReader::with_capacity(1 << 16, input), items) {
            let _ = items.send(Err(error));
        }
    })
}

/// Sends each line that is not blank, without its end; ends early when nobody
/// wants more.
fn read_lines(
    mut input: impl BufRead,
    items: &SyncSender<anyhow::Result<Said>>,
) -> anyhow::Result<()> {
    for number in 1.. {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let length = read.with_context(|| format!("cannot read line {number} of --source"))?;
        if length == 0 {
            break;
        }
        if length as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bail!(
                "line {number} of --source is longer than {LINE_BYTES_MAX} bytes; write one JSON object a line"
            );
        }
        line.truncate(line.trim_ascii_end().len());
        if !line.is_empty() && items.send(Ok(Said::Item(Item { number, payload: line }))).is_err() {
            break;
        }
    }
    Ok(())
}

/// Starts a query, whose rows become events.
///
/// # Errors
/// When no thread can be started.
pub fn open_query(
    settings: PostgresSettings,
    query: String,
    reading: Reading,
) -> anyhow::Result<Source> {
    spawn("row", reading, move |items| {
        if let Err(error) = read_query(&settings, &query, reading.kind, items) {
            let _ = items.send(Err(error));
        }
    })
}

fn read_query(
    settings: &PostgresSettings,
    query: &str,
    kind: Kind,
    items: &SyncSender<anyhow::Result<Said>>,
) -> anyhow::Result<()> {
    let mut number = 0;
    runtime()?.block_on(rows_as_json(settings, query, |row| {
        number += 1;
        let item = rows::payload(kind, &row).map(|payload| Said::Item(Item { number, payload }));
        items.send(item.map_err(Into::into)).is_ok()
    }))
}

/// Starts fetching events: once, or once every interval.
///
/// # Errors
/// When no thread can be started.
pub fn open_url(
    fetcher: Fetcher,
    interval: Option<Duration>,
    stop: Stop,
    reading: Reading,
) -> anyhow::Result<Source> {
    spawn("event", reading, move |items| {
        let mut number = 0;
        let mut emit = |fetched| {
            let said = match fetched {
                Fetched::Note(note) => Said::Note(note),
                Fetched::Event(payload) => {
                    number += 1;
                    Said::Item(Item { number, payload })
                }
            };
            items.send(Ok(said)).is_ok()
        };
        if let Err(error) = url::run(&fetcher, reading.kind, interval, &stop, &mut emit) {
            let _ = items.send(Err(error));
        }
    })
}

fn spawn(
    unit: &'static str,
    reading: Reading,
    read: impl FnOnce(&SyncSender<anyhow::Result<Said>>) + Send + 'static,
) -> anyhow::Result<Source> {
    let (sender, items) = sync_channel(READ_AHEAD);
    std::thread::Builder::new()
        .name("source".into())
        .spawn(move || read(&sender))
        .context("cannot start the thread that reads --source")?;
    let Reading { kind, raw, num } = reading;
    Ok(Source::Read(Input { kind, raw, left: num, unit, items }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"{"user_id":"u1","full_name":"Ann","email":"a@example.com"}"#;

    fn source(text: &str, raw: bool, num: u64) -> Source {
        let input = io::Cursor::new(text.as_bytes().to_vec());
        let reading = Reading { kind: Kind::User, raw, num };
        spawn("line", reading, move |items| read_lines(input, items).unwrap()).unwrap()
    }

    fn all(mut source: Source) -> Vec<(Next, Record)> {
        let mut found = Vec::new();
        loop {
            let mut record = Record::default();
            match source.next(&mut record).unwrap() {
                Next::End => return found,
                next => found.push((next, record)),
            }
        }
    }

    #[test]
    fn lines_are_events_keyed_by_their_id_and_blank_ones_are_none() {
        let found = all(source(&format!("\n{USER}\r\n  \n{USER}"), false, u64::MAX));
        assert_eq!(found.len(), 2);
        for (next, record) in found {
            assert_eq!(next, Next::Ready(Mark::Plain));
            assert_eq!(
                (record.key.as_slice(), record.payload.as_slice()),
                (&b"u1"[..], USER.as_bytes())
            );
        }
    }

    #[test]
    fn an_invalid_line_is_told_by_its_number() {
        let found = all(source(&format!("{USER}\n\n{{\"user_id\":7}}\n"), false, u64::MAX));
        let Next::Invalid { place, reject } = &found[1].0 else { panic!("{found:?}") };
        assert_eq!((place.as_str(), reject.field.as_str()), ("line 3", "full_name"));
    }

    #[test]
    fn a_raw_line_is_sent_as_it_is_with_the_id_it_may_have() {
        let found = all(source("{\"user_id\":7}\nnonsense\n", true, u64::MAX));
        assert!(found.iter().all(|(next, _)| *next == Next::Ready(Mark::Plain)));
        assert_eq!((found[0].1.has_key, found[0].1.key.as_slice()), (true, &b"7"[..]));
        assert_eq!((found[1].1.has_key, found[1].1.payload.as_slice()), (false, &b"nonsense"[..]));
    }

    #[test]
    fn a_card_number_is_not_passed_on_valid_or_not() {
        let card = r#""card_number":"4111111111111111""#;
        let line = USER.replacen('{', &format!("{{{card},"), 1);
        for (_, record) in all(source(&format!("{line}\n{{{card}\n"), true, 9)) {
            let payload = String::from_utf8(record.payload).unwrap();
            assert!(!payload.contains("411111"), "{payload}");
        }
    }

    #[test]
    fn no_more_lines_are_taken_than_asked_for() {
        assert_eq!(all(source(&format!("{USER}\n").repeat(5), false, 3)).len(), 3);
    }

    #[test]
    fn a_silent_source_does_not_keep_us_waiting() {
        let (silent, items) = sync_channel(1);
        let mut input = Input { kind: Kind::User, raw: false, left: 1, unit: "line", items };
        assert_eq!(input.next(&mut Record::default()).unwrap(), Next::Nothing);
        drop(silent);
        assert_eq!(input.next(&mut Record::default()).unwrap(), Next::End);
    }
}
