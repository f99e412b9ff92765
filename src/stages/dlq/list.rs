//! `dlq list`: letters counted by reason, and the first of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::Serialize;

use super::{Desk, Where, foreign, look_at, text};
use crate::cli::Context;
use crate::config::args::parse_topic_name;
use crate::console::{columns, plural, rfc3339};
use crate::edges::postgres::letters::{self, Counts, Letter, State};
use crate::error::{Outcome, Usage};

/// How many reasons are told apart.
const REASONS_MAX: usize = 20;
/// How many reasons of a topic are counted apart in memory.
const REASONS_KEPT_MAX: usize = 10_000;
/// The shortest word in a reason that is taken for an id.
const ID_BYTES_MIN: usize = 16;
/// Characters of a key and of a reason in a table.
const KEY_CHARS: usize = 24;
const REASON_CHARS: usize = 80;

/// Arguments of `dlq list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orderctl dlq list
  orderctl dlq list --table orders --reason priority --since 2h
  orderctl dlq list --state all --limit 1000 -o json
  orderctl dlq list --topic connect-orders-dlq")]
pub struct Args {
    #[command(flatten)]
    which: Where,

    /// In this state; all for every one [default: open and redriving]
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<StateChoice>,

    /// Most letters shown, the oldest first; all are counted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: u32,

    /// Read this dead-letter topic of Kafka Connect or Spring instead of the ledger
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic_name)]
    topic: Option<String>,
}

/// A state, or any.
#[derive(Debug, Clone, Copy)]
enum StateChoice {
    One(State),
    All,
}

impl ValueEnum for StateChoice {
    fn value_variants<'a>() -> &'a [StateChoice] {
        use StateChoice::{All, One};
        &[
            One(State::Open),
            One(State::Redriving),
            One(State::Redriven),
            One(State::Stored),
            One(State::Purged),
            All,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            StateChoice::One(state) => state.to_possible_value(),
            StateChoice::All => Some(PossibleValue::new("all").help("Any")),
        }
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    /// Letters that were found, shown or not.
    total: u64,
    /// Letters in each state under the same filters.
    states: BTreeMap<&'static str, u64>,
    reasons: Vec<Reason>,
    other_reasons: u64,
    letters: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Reason {
    field: String,
    reason: String,
    count: u64,
}

/// A letter as one line.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    time: Option<String>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    key: Option<String>,
    field: String,
    reason: String,
    state: Option<&'static str>,
    group: Option<String>,
    table: Option<String>,
    payload_bytes: Option<u64>,
}

impl From<Letter> for Shown {
    fn from(letter: Letter) -> Shown {
        Shown {
            id: letter.id.to_string(),
            time: Some(letter.rejected_at),
            topic: Some(letter.topic),
            partition: Some(letter.partition),
            offset: Some(letter.offset),
            key: letter.key.as_deref().map(text::key),
            field: letter.field,
            reason: letter.reason,
            state: Some(letter.state.name()),
            group: Some(letter.group),
            table: Some(format!("{}.{}", letter.schema, letter.table)),
            payload_bytes: letter.payload_bytes.map(|bytes| bytes.unsigned_abs().into()),
        }
    }
}

impl Shown {
    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".into());
        vec![
            self.id.clone(),
            or_dash(self.time.as_deref()),
            format!(
                "{}/{}/{}",
                or_dash(self.topic.as_deref()),
                number(self.partition.map(|partition| partition.to_string())),
                number(self.offset.map(|offset| offset.to_string()))
            ),
            self.key.as_deref().map_or_else(|| "-".into(), |key| text::short(key, KEY_CHARS)),
            text::short(&self.field, KEY_CHARS),
            text::short(&self.reason, REASON_CHARS),
            or_dash(self.state),
        ]
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plural(self.total, "dead letter"))?;
        let states: Vec<String> =
            self.states.iter().map(|(state, count)| format!("{state} {count}")).collect();
        if !states.is_empty() {
            write!(f, " (of all: {})", states.join(", "))?;
        }
        if self.total == 0 {
            return Ok(());
        }
        let mut rows = vec![["count", "field", "reason"].map(str::to_owned).to_vec()];
        rows.extend(self.reasons.iter().map(|one| {
            vec![
                one.count.to_string(),
                text::short(&one.field, KEY_CHARS),
                text::short(&one.reason, REASON_CHARS),
            ]
        }));
        if self.other_reasons > 0 {
            rows.push(vec![self.other_reasons.to_string(), String::new(), "(others)".into()]);
        }
        write!(f, "\n\n{}", columns(&rows))?;
        let heading = ["id", "time", "topic/partition/offset", "key", "field", "reason", "state"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.letters.iter().map(Shown::cells));
        match self.letters.as_slice() {
            [] => Ok(()),
            _ => write!(f, "\n\n{}", columns(&rows)),
        }
    }
}

/// Counts and shows letters.
///
/// # Errors
/// When the ledger or the topic cannot be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let listed = match &args.topic {
        Some(topic) => of_topic(args, topic, context)?,
        None => of_ledger(args, context)?,
    };
    context.console.result(&listed)?;
    Ok(Outcome::Done)
}

fn of_ledger(args: &Args, context: &Context) -> anyhow::Result<Listed> {
    let desk = Desk::open(context, &args.which)?;
    let mut filter = args.which.filter();
    filter.states = match args.state {
        None => State::UNFINISHED.to_vec(),
        Some(StateChoice::One(state)) => vec![state],
        Some(StateChoice::All) => State::ALL.to_vec(),
    };
    let (client, ledger) = (&desk.client, &desk.ledger);
    let Counts { states, reasons, other_reasons } =
        desk.ask(letters::counts(client, ledger, &filter, REASONS_MAX))?;
    let shown = desk.ask(letters::select(client, ledger, &filter, args.limit))?;
    Ok(Listed {
        total: reasons.iter().map(|(_, _, count)| count).sum::<u64>() + other_reasons,
        states: states.into_iter().map(|(state, count)| (state.name(), count)).collect(),
        reasons: (reasons.into_iter())
            .map(|(field, reason, count)| Reason { field, reason, count })
            .collect(),
        other_reasons,
        letters: shown.into_iter().map(Shown::from).collect(),
    })
}

fn of_topic(args: &Args, topic: &str, context: &Context) -> anyhow::Result<Listed> {
    if args.state.is_some() || args.which.table.is_some() || args.which.schema.is_some() {
        return Err(Usage(
            "a dead-letter topic has no states and tables: leave --state, --table and --schema out"
                .into(),
        )
        .into());
    }
    let kafka = context.kafka()?;
    let now = look_at(&kafka, topic, context)?;
    let progress = context.console.counter("records");
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut letters = Vec::new();
    let (mut total, mut uncounted) = (0, 0);
    let filter = args.which.filter();
    foreign::read(&now.excerpt, &now.spans, &filter, None, &context.stop, |record, origin| {
        total += 1;
        progress.inc(1);
        let raw = record.raw();
        let reason = (
            origin.field.clone().or_else(|| origin.class.clone()).unwrap_or_default(),
            origin.reason.clone().unwrap_or_else(|| "(no header says why)".into()),
        );
        let kind = (reason.0.clone(), without_ids(&reason.1));
        match counts.len() < REASONS_KEPT_MAX || counts.contains_key(&kind) {
            true => *counts.entry(kind).or_default() += 1,
            false => uncounted += 1,
        }
        if letters.len() < args.limit as usize {
            letters.push(Shown {
                id: format!("{}:{}", raw.partition, raw.offset),
                time: raw.time_ms.and_then(rfc3339),
                topic: origin.topic,
                partition: origin.partition,
                offset: origin.offset,
                key: raw.key.map(text::key),
                field: reason.0,
                reason: reason.1,
                state: None,
                group: origin.group,
                table: None,
                payload_bytes: raw.payload.map(|payload| payload.len() as u64),
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    progress.finish_and_clear();
    let mut reasons: Vec<Reason> = (counts.into_iter())
        .map(|((field, reason), count)| Reason { field, reason, count })
        .collect();
    reasons.sort_by_key(|one| std::cmp::Reverse(one.count));
    let told = REASONS_MAX.min(reasons.len());
    let others: u64 = reasons.drain(told..).map(|one| one.count).sum();
    let other_reasons = others + uncounted;
    Ok(Listed { total, states: BTreeMap::new(), reasons, other_reasons, letters })
}

/// A reason with `…` for each id in it, as of a payment, so that letters of one kind
/// are counted together: a word of 16 and more letters and digits, some of each.
fn without_ids(reason: &str) -> String {
    let is_id = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() >= ID_BYTES_MIN && digits >= 4
    };
    let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let words = reason.split_inclusive(ends);
    words.fold(String::with_capacity(reason.len()), |text, part| {
        let word = part.trim_end_matches(ends);
        text + if is_id(word) { "…" } else { word } + &part[word.len()..]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_by_an_id_only_are_one() {
        let payment = |id: &str| without_ids(&format!("no answer for payment {id}; redrive it"));
        let first = payment("pay_b84147314f683f78a5a3c2d9e8ee7da9");
        assert_eq!(first, "no answer for payment …; redrive it");
        assert_eq!(first, payment("01941f29-7c00-7000-863b-891f4c0abd4f"));
        for plain in
            ["expected a whole number of at least 1", "é", "", "extraordinarily-long words"]
        {
            assert_eq!(without_ids(plain), plain);
        }
    }
}
