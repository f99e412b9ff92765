//! What a person or a script sees: results on stdout, everything else on
//! stderr, progress bars only where stderr is a terminal.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::log::{self, Level, Log, LogFormat};

/// A text that may come from anywhere, made safe for a terminal: control
/// characters and those that change the direction of writing are shown as
/// `\u001b`, as JSON may write them too. Line feeds and tabs stay.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => safe.push(character),
            // The marks of Unicode's bidirectional algorithm (UAX #9), line
            // separators and the byte order mark; all have four digits.
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => push_escape(&mut safe, character),
            _ if character.is_control() => push_escape(&mut safe, character),
            _ => safe.push(character),
        }
    }
    safe
}

/// The same for a text that is to stay on one line.
pub fn one_line(text: &str) -> String {
    escaped(text).replace('\n', "\\u000a").replace('\t', "\\u0009")
}

fn push_escape(safe: &mut String, character: char) {
    safe.push_str(&format!("\\u{:04x}", u32::from(character)));
}

/// A number with its unit: `1 day`, `2 days`, `2 batches`.
pub fn plural(number: u64, unit: &str) -> String {
    let ending = match number {
        1 => "",
        _ if unit.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{number} {unit}{ending}")
}

/// A time in milliseconds since 1970 as RFC 3339 in UTC, with milliseconds; none
/// when it is beyond all calendars.
pub fn rfc3339(time_ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(time_ms).ok().map(|time| format!("{time:.3}"))
}

/// Rows as aligned columns, the first row as their headings.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The form of results on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON document, for scripts.
    Json,
}

/// What is drawn now: a verb that does two things at once shows two lines.
static SHOWN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)));

/// Where a verb says what it does and what came of it.
#[derive(Debug, Clone)]
pub struct Console {
    /// The form of results.
    pub output: OutputFormat,
    /// No notes and no progress, only results and errors.
    pub quiet: bool,
    /// How much detail `-v` asked for; 0 is none.
    pub verbosity: u8,
    /// The form of messages, and the file that has them too.
    pub log: Log,
}

impl Console {
    /// Prints a verb's result to stdout in the form asked for. A reader that has
    /// gone away (`| head -1`) is no failure of the verb.
    ///
    /// # Errors
    /// When the result cannot be written.
    pub fn result<T: Serialize + Display>(&self, result: &T) -> anyhow::Result<()> {
        let text = match self.output {
            OutputFormat::Table => result.to_string(),
            OutputFormat::Json => escaped(&serde_json::to_string_pretty(result)?),
        };
        match writeln!(std::io::stdout().lock(), "{text}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("cannot write to standard output")
            }
            _ => Ok(()),
        }
    }

    /// Says on stderr what is going on, unless `-q`.
    pub fn note(&self, text: impl Display) {
        self.event(Level::Info, text, &Value::Null);
    }

    /// Says on stderr what to look at, unless `-q`.
    pub fn warn(&self, text: impl Display) {
        self.event(Level::Warn, text, &Value::Null);
    }

    /// Says on stderr what only `-v` wants to know.
    pub fn detail(&self, text: impl Display) {
        self.event(Level::Debug, text, &Value::Null);
    }

    /// Says something on stderr, unless `-q`, or without `-v` what is a detail; the
    /// log file has it in any case. As text it is without its fields, which are an
    /// object or null.
    pub fn event(&self, level: Level, text: impl Display, fields: &Value) {
        let is_shown = !self.quiet && (level != Level::Debug || self.verbosity > 0);
        if is_shown || self.log.file.is_some() {
            let text = text.to_string();
            if is_shown {
                say(self.log.format, level, &text, fields);
            }
            self.log.append(level, &text, fields);
        }
    }

    /// Whether progress may be drawn: stderr is a terminal for people and not
    /// `-q`.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && self.log.format == LogFormat::Text && std::io::stderr().is_terminal()
    }

    /// A bar over a known number of steps with rate and time left; hidden where
    /// no progress may be drawn.
    pub fn bar(&self, length: u64, unit: &str) -> ProgressBar {
        let template = format!(
            "{{bar:30}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} eta {{eta}} {{msg}}"
        );
        self.draw(ProgressBar::new(length), &template)
    }

    /// A count of something whose end is not known, with its rate; hidden where
    /// no progress may be drawn.
    pub fn counter(&self, unit: &str) -> ProgressBar {
        let template = format!("{{spinner}} {{human_pos}} {unit} {{per_sec}} {{msg}}");
        self.draw(ProgressBar::new_spinner(), &template)
    }

    /// One live line whose text is set by the caller; hidden where no progress
    /// may be drawn.
    pub fn live_line(&self) -> ProgressBar {
        self.draw(ProgressBar::new_spinner(), "{spinner} {msg}")
    }

    fn draw(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        if !self.shows_progress() {
            return ProgressBar::hidden();
        }
        let bar = SHOWN.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        // Drawn at once: what is over before the ticker's thread runs is seen too.
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Says on stderr why the verb failed.
pub fn say_error(format: LogFormat, error: &anyhow::Error) {
    say(format, Level::Error, &format!("{error:#}"), &Value::Null);
}

fn say(format: LogFormat, level: Level, text: &str, fields: &Value) {
    match (format, level) {
        (LogFormat::Json, _) => log::to_stderr(log::line(level, text, fields)),
        (LogFormat::Text, Level::Warn) => log::to_stderr(format!("warning: {}", escaped(text))),
        (LogFormat::Text, Level::Error) => log::to_stderr(format!("error: {}", escaped(text))),
        (LogFormat::Text, Level::Info | Level::Debug) => log::to_stderr(escaped(text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_direction_marks_are_shown_and_other_text_stays() {
        assert_eq!(
            escaped("a\u{1b}[31m\u{9b}b\u{202e}c\rd"),
            "a\\u001b[31m\\u009bb\\u202ec\\u000dd"
        );
        assert_eq!(escaped("Zürich\t東京\n"), "Zürich\t東京\n");
    }

    #[test]
    fn a_text_for_one_line_begins_no_other() {
        assert_eq!(one_line("a\nPASS\r\tb"), "a\\u000aPASS\\u000d\\u0009b");
        assert_eq!(columns(&[vec!["a\nb".into(), "c".into()]]), "a\\u000ab  c");
    }

    #[test]
    fn one_is_singular() {
        let counts = [0, 1, 2].map(|number| plural(number, "batch"));
        assert_eq!(counts, ["0 batches", "1 batch", "2 batches"]);
        assert_eq!((plural(1, "day"), plural(21, "day")), ("1 day".into(), "21 days".into()));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["id".into(), "é".into()], vec!["100".into(), "xy".into()]];
        assert_eq!(columns(&rows), "id   é\n100  xy");
    }

    proptest! {
        #[test]
        fn nothing_escaped_can_steer_a_terminal(text in any::<String>()) {
            let safe = escaped(&text);
            prop_assert!(!safe.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }

        #[test]
        fn escaped_json_means_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), text);
        }
    }
}
