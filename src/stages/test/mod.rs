//! `test`: the menu of tests that people pick from, and the same tests for
//! scripts.
//!
//! Every test takes the ways of the other verbs: what passes here works there.
//! Each judges what it did itself, by counts before and after and by ids that
//! nobody used before, so that what an earlier run left cannot make it lie. They
//! need rights on one topic, one group and one table only.

mod clean;
mod entry;
mod limit;
mod menu;
mod messages;
mod trial;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::console::{Console, OutputFormat, escaped, plural};
use crate::edges::postgres::Identifier;
use crate::error::{Outcome, Usage};
use crate::stop::Stop;
use clean::{Cleaned, clean};
use entry::Entry;
use limit::within;
use trial::Trial;

/// How long one test may take: the other verbs wait out whatever is away.
const LIMIT: Duration = Duration::from_secs(120);

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Entries:
  1 publish messages    4 consume and store   7 exit
  2 create the table    5 data is stored      8 messages in the topic are valid
  3 table exists        6 run all tests       9 a duplicate ticket id is refused

Examples:
  orderctl test                          the menu: arrow keys and Enter, or a digit
  orderctl test 1 2 4                    these, one after the other
  orderctl test --all -o json
  printf '1\\n3\\n7\\n' | orderctl test
  orderctl test --all --clean            and remove what they made
  orderctl test --clean                  only remove it

They publish movie tickets to topic test_topic and store them in table test_table,
as group test_topic: rights on these are all they need, and the right to delete
topic and group for --clean.
Exit codes: 0 all passed, 1 one failed, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// Entries of the menu, 1 to 9 [default: the menu, or lines of standard input]
    #[arg(value_name = "ENTRY", value_parser = Entry::parse, allow_negative_numbers = true)]
    entries: Vec<Entry>,

    /// Run all tests
    #[arg(long, conflicts_with = "entries")]
    all: bool,

    /// Remove topic, group, table and ledger rows of the tests, after them if there are any
    #[arg(long)]
    clean: bool,

    /// Topic of the tests; its name begins with test_ or test-
    #[arg(long, value_name = "TOPIC", default_value = "test_topic", value_parser = parse_topic)]
    topic_name: String,

    /// Table of the tests; its name begins with test_ or test-
    #[arg(long, visible_alias = "table", value_name = "TABLE", default_value = "test_table",
          value_parser = parse_table)]
    table_name: Identifier,

    /// Schema of the table [default: the search path's first]
    #[arg(long, value_name = "SCHEMA")]
    schema: Option<Identifier>,

    /// Consumer group of the tests; its name begins with test_ or test- [default: the topic's name]
    #[arg(long, value_name = "GROUP", value_parser = parse_own)]
    group: Option<String>,
}

fn parse_topic(text: &str) -> Result<String, String> {
    parse_topic_name(text).and_then(|name| parse_own(&name))
}

fn parse_table(text: &str) -> Result<Identifier, String> {
    parse_own(text)?.parse()
}

/// Takes only names that cannot be those of anything but tests.
fn parse_own(text: &str) -> Result<String, String> {
    match text.starts_with("test_") || text.starts_with("test-") {
        true => Ok(text.to_owned()),
        false => Err("names of tests begin with test_ or test-, because --clean deletes what \
                      has them"
            .into()),
    }
}

/// What the tests work on.
#[derive(Debug)]
pub struct Names {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: Identifier,
    /// Its schema; none for the search path's.
    pub schema: Option<Identifier>,
    /// The consumer group.
    pub group: String,
}

/// What one test came to.
#[derive(Debug, Serialize)]
struct Tested {
    /// Its number in the menu.
    entry: usize,
    name: &'static str,
    /// What was done, or tried.
    done: String,
    passed: bool,
    /// Why it failed; none when it passed.
    reason: Option<String>,
    seconds: f64,
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tested { entry, done, seconds, .. } = self;
        let word = match self.passed {
            true => ::console::style("PASS").green(),
            false => ::console::style("FAIL").red(),
        };
        write!(f, "{word}  {entry}  {} ({seconds:.1} s)", escaped(done))?;
        match &self.reason {
            Some(reason) => write!(f, "\n         {}", escaped(reason)),
            None => Ok(()),
        }
    }
}

/// The result of `test` for scripts.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    results: Vec<Tested>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cleaned: Vec<Cleaned>,
}

/// What comes after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next entry.
    GoOn,
    /// The user chose to leave.
    Exit,
    /// A stop was requested.
    Stopped,
}

/// Tests run one after the other, and what they came to.
struct Session<'n> {
    trial: Trial<'n>,
    console: Console,
    stop: Stop,
    results: Vec<Tested>,
}

impl Session<'_> {
    /// Runs the tests of an entry and shows what each came to.
    ///
    /// # Errors
    /// When settings are wrong, so that no test can be run.
    fn run(&mut self, entry: Entry) -> anyhow::Result<Next> {
        for test in entry.tests() {
            let tested = self.test(test)?;
            if self.stop.requested() {
                return Ok(Next::Stopped);
            }
            match self.console.output {
                OutputFormat::Table => self.console.result(&tested)?,
                OutputFormat::Json => self.console.note(&tested),
            }
            self.results.push(tested);
        }
        Ok(if entry == Entry::Exit { Next::Exit } else { Next::GoOn })
    }

    fn test(&mut self, test: Entry) -> anyhow::Result<Tested> {
        let started = Instant::now();
        let title = test.title(self.trial.names);
        let line = self.console.live_line();
        line.set_message(title.clone());
        let (done, is_late) = within(LIMIT, &self.stop, |stop| {
            self.trial.context.stop = stop.clone();
            self.trial.run(test)
        });
        line.finish_and_clear();
        let seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let (done, reason) = match done {
            Ok(done) => (done, None),
            Err(error) if error.is::<Usage>() => return Err(error),
            Err(_) if is_late => (title, Some(too_late())),
            Err(error) => (title, Some(format!("{error:#}"))),
        };
        let passed = reason.is_none();
        Ok(Tested { entry: test.number(), name: test.name(), done, passed, reason, seconds })
    }
}

fn too_late() -> String {
    format!("not done within {} s: `orderctl doctor` says what is away", LIMIT.as_secs())
}

/// Runs the entries asked for, or serves the menu, and cleans up when told so.
///
/// # Errors
/// When a test fails or something cannot be removed, an entry is unknown, or
/// settings are wrong.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let names = Names {
        topic: args.topic_name.clone(),
        table: args.table_name.clone(),
        schema: args.schema.clone(),
        group: args.group.clone().unwrap_or_else(|| args.topic_name.clone()),
    };
    let mut session = Session {
        trial: Trial::new(&names, context),
        console: context.console.clone(),
        stop: context.stop.clone(),
        results: Vec::new(),
    };
    let (next, unknown) = match (args.all, args.entries.as_slice(), args.clean) {
        (true, _, _) => (session.run(Entry::All)?, 0),
        (false, [], true) => (Next::Exit, 0),
        (false, [], false) => menu::serve(&mut session, &names)?,
        (false, entries, _) => (run_each(&mut session, entries)?, 0),
    };
    let cleaned = match (args.clean, next) {
        (false, _) => Vec::new(),
        (true, Next::Stopped) => {
            context
                .console
                .note("interrupted, so nothing was removed: run `orderctl test --clean`");
            Vec::new()
        }
        (true, _) => clean(&names, context),
    };
    conclude(session.results, cleaned, next, unknown, context)
}

fn run_each(session: &mut Session<'_>, entries: &[Entry]) -> anyhow::Result<Next> {
    for entry in entries {
        match session.run(*entry)? {
            Next::GoOn => {}
            next => return Ok(next),
        }
    }
    Ok(Next::GoOn)
}

/// Says what came of all.
fn conclude(
    results: Vec<Tested>,
    cleaned: Vec<Cleaned>,
    next: Next,
    unknown: u64,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let (tests, failed) = (results.len(), results.iter().filter(|one| !one.passed).count());
    let things = cleaned.len();
    let left = cleaned.iter().filter(|one| one.reason.is_some()).count();
    let ok = failed + left == 0 && unknown == 0 && next != Next::Stopped;
    match context.console.output {
        OutputFormat::Json => context.console.result(&Report { ok, results, cleaned })?,
        OutputFormat::Table => {
            for one in &cleaned {
                context.console.result(one)?;
            }
        }
    }
    if next == Next::Stopped || context.stop.requested() {
        return Ok(Outcome::Interrupted);
    }
    let mut wrong = Vec::new();
    if failed > 0 {
        wrong.push(format!("{failed} of {} failed", plural(tests as u64, "test")));
    }
    if left > 0 {
        wrong.push(format!("{left} of {things} things could not be removed"));
    }
    match (wrong.is_empty(), unknown) {
        (false, _) => bail!("{}", wrong.join("; ")),
        (true, 0) => Ok(Outcome::Done),
        (true, _) => Err(Usage(format!("{} not understood", plural(unknown, "line"))).into()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.results {
            writeln!(f, "{one}")?;
        }
        Ok(())
    }
}
