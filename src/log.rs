//! Messages as JSON lines: on standard error with `--log-format json`, and in the
//! file of `--log-file`.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

/// The form of messages on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line: time, level, message, fields.
    Json,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Detail that only `-v` wants.
    Debug,
    /// What goes on.
    Info,
    /// Something to look at.
    Warn,
    /// Why the verb failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Where messages go beside standard error, and in which form they are there.
#[derive(Debug, Clone)]
pub struct Log {
    /// The form on standard error.
    pub format: LogFormat,
    /// The file, when there is one.
    pub file: Option<Arc<LogFile>>,
}

impl Log {
    /// Text, and no file.
    pub const PLAIN: Log = Log { format: LogFormat::Text, file: None };

    /// Appends a message to the file, if there is one.
    pub fn append(&self, level: Level, message: &str, fields: &Value) {
        if let Some(file) = &self.file {
            file.append(&line(level, message, fields));
        }
    }
}

/// Writes a line to standard error. Where that is full, or nobody reads it any
/// more, the line is lost: the work goes on.
pub fn to_stderr(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// A message as a JSON object without a line break; the time is now, UTC, to the
/// millisecond.
pub fn line(level: Level, message: &str, fields: &Value) -> String {
    let time = format!("{:.3}", jiff::Timestamp::now());
    let line = Line { time, level: level.name(), message, fields };
    // Texts and values have no way to fail.
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'l> {
    time: String,
    level: &'static str,
    message: &'l str,
    #[serde(skip_serializing_if = "Value::is_null")]
    fields: &'l Value,
}

/// A file that lines are appended to, whatever happens to it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Lines that could not be written since one could.
    lost: u64,
    /// The last line is there in part only.
    torn: bool,
}

impl LogFile {
    /// Opens a file to append to, made with mode 0600 if it is not there.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        let state = State { file: open(path)?, lost: 0, torn: false };
        Ok(LogFile { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Appends a line. When the file was renamed or removed, as rotation does, a
    /// new one is made. A line that cannot be written is lost: the work goes on,
    /// and standard error is told once.
    fn append(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.try_append(&mut state, line) {
            state.lost += 1;
            if state.lost == 1 {
                let path = self.path.display();
                to_stderr(format_args!(
                    "warning: cannot write to --log-file {path}: {error}; going on without"
                ));
            }
        }
    }

    fn try_append(&self, state: &mut State, line: &str) -> io::Result<()> {
        if self.is_moved(&state.file) {
            state.file = open(&self.path)?;
            state.torn = false;
        }
        let mut text = String::from(if state.torn { "\n" } else { "" });
        if state.lost > 0 {
            let fields = json!({ "lines": state.lost });
            text.push_str(&self::line(Level::Warn, "lines were lost", &fields));
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        let mut left = text.as_bytes();
        while !left.is_empty() {
            match state.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    state.torn = !left.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        state.lost = 0;
        Ok(())
    }

    fn is_moved(&self, file: &File) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let there = std::fs::metadata(&self.path).map(identity).ok();
        there != file.metadata().map(identity).ok()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // A pipe that nobody reads is an error, not a reason to wait.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn messages(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let message = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["message"].as_str().unwrap().to_owned()
        };
        text.lines().map(message).collect()
    }

    fn log(path: &Path) -> Log {
        let file = Some(Arc::new(LogFile::open(path).unwrap()));
        Log { file, ..Log::PLAIN }
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let parsed: Value =
            serde_json::from_str(&line(Level::Warn, "a\n\"b\"", &json!({ "n": 1 }))).unwrap();
        assert_eq!((&parsed["level"], &parsed["message"]), (&json!("warn"), &json!("a\n\"b\"")));
        assert_eq!(parsed["fields"]["n"], 1);
        let time = parsed["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{time}");
        assert!(!line(Level::Info, "a", &Value::Null).contains("fields"));
    }

    #[test]
    fn lines_go_into_a_private_file_that_may_be_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        log(&path).append(Level::Info, "one", &Value::Null);
        log(&path).append(Level::Info, "two", &Value::Null);
        assert_eq!(messages(&path), ["one", "two"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn after_a_rename_lines_go_into_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = log(&path);
        log.append(Level::Info, "one", &Value::Null);
        fs::rename(&path, &old).unwrap();
        log.append(Level::Info, "two", &Value::Null);
        assert_eq!((messages(&old), messages(&path)), (vec!["one".into()], vec!["two".into()]));
        fs::remove_file(&path).unwrap();
        log.append(Level::Info, "three", &Value::Null);
        assert_eq!(messages(&path), ["three"]);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_of_later() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a/log"), folder.path().join("b"));
        fs::create_dir(folder.path().join("a")).unwrap();
        let log = log(&path);
        fs::rename(folder.path().join("a"), &moved).unwrap();
        log.append(Level::Info, "lost", &Value::Null);
        log.append(Level::Info, "lost", &Value::Null);
        fs::rename(&moved, folder.path().join("a")).unwrap();
        log.append(Level::Info, "there", &Value::Null);
        assert_eq!(messages(&path), ["lines were lost", "there"]);
        assert!(fs::read_to_string(&path).unwrap().contains("\"lines\":2"));
    }
}
