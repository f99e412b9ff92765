//! The names of topics, groups and tables, asked for while a shell waits.

use std::sync::mpsc;
use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches as _};

use crate::config::{Connections, KafkaSettings, PostgresSettings};
use crate::console::{Console, OutputFormat};
use crate::edges::kafka::{client, listing};
use crate::edges::postgres::connect::connect;
use crate::edges::postgres::{inspect, runtime};
use crate::log::Log;
use crate::stop::Stop;

/// How long the shell waits; later answers are dropped.
const LIMIT: Duration = Duration::from_millis(900);
/// A console that says nothing.
const SILENT: Console =
    Console { output: OutputFormat::Table, quiet: true, verbosity: 0, log: Log::PLAIN };

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Topics of the cluster.
    Topics,
    /// Consumer groups of the cluster.
    Groups,
    /// Tables of the database.
    Tables,
}

/// What there is, as the connection flags among the words reach it; nothing when
/// it cannot be found out within a second.
pub fn names(listed: Listed, words: Vec<String>) -> Vec<String> {
    let (sender, answer) = mpsc::channel();
    // What still waits for an answer then ends with the process.
    std::thread::spawn(move || {
        // The receiver is gone when it took too long.
        let _ = sender.send(list(listed, &words));
    });
    let answer = answer.recv_timeout(LIMIT).ok();
    let mut names = answer.and_then(Result::ok).unwrap_or_default();
    names.sort();
    names
}

fn list(listed: Listed, words: &[String]) -> anyhow::Result<Vec<String>> {
    let connections = connections(words)?;
    match listed {
        Listed::Topics => {
            let settings = KafkaSettings::resolve(&connections)?;
            let cluster = client::probe(&settings, &SILENT, &Stop::manual(), LIMIT)?;
            Ok(cluster.topics.into_iter().map(|(name, _)| name).collect())
        }
        Listed::Groups => listing::groups(&KafkaSettings::resolve(&connections)?, &SILENT, LIMIT),
        Listed::Tables => {
            let settings = PostgresSettings::resolve(&connections)?;
            let schema = value_of("--schema", words);
            runtime()?.block_on(async {
                let client = connect(&settings, "orderctl completions").await?;
                Ok(inspect::table_names(&client, schema).await?)
            })
        }
    }
}

/// The word after a flag, or after its `=`, which some shells make a word.
fn value_of<'w>(flag: &str, words: &'w [String]) -> Option<&'w str> {
    let mut words = words.iter().filter(|word| *word != "=").map(String::as_str);
    while let Some(word) = words.next() {
        if word == flag {
            return words.next();
        }
        if let Some(value) = word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

/// The connection flags among the words; what is to be read from standard input
/// is left out.
fn connections(words: &[String]) -> anyhow::Result<Connections> {
    let command = Connections::augment_args(Command::new("orderctl"));
    let mut kept = vec!["orderctl".to_owned()];
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let flag = format!("--{flag}");
        if let Some(value) = value_of(&flag, words).filter(|value| *value != "-") {
            kept.push(format!("{flag}={value}"));
        }
    }
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.strip_prefix("-X") {
            Some("") => kept.extend(rest.next().map(|value| format!("-X{value}"))),
            Some(_) => kept.push(word.clone()),
            None => {}
        }
    }
    Ok(Connections::from_arg_matches(&command.try_get_matches_from(kept)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn connection_flags_are_found_however_the_shell_cuts_the_line() {
        for line in [
            "orderctl consume --creds a.json -X k=v --topic-name or",
            "orderctl --creds=a.json consume -Xk=v --table",
            "orderctl consume --creds = a.json -X k=v --group =",
        ] {
            let found = connections(&words(line)).unwrap();
            assert_eq!(found.creds.as_deref(), Some("a.json".as_ref()), "{line}");
            assert_eq!(found.property.len(), 1, "{line}");
        }
    }

    #[test]
    fn standard_input_is_not_read() {
        let found = connections(&words("orderctl consume --postgres-uri - --table")).unwrap();
        assert!(found.postgres_uri.is_none_or(|uri| uri.expose() != "-"));
    }

    #[test]
    fn nothing_reachable_is_nothing_listed() {
        let line = words("orderctl consume --bootstrap-server 127.0.0.1:1 --topic-name");
        assert_eq!(names(Listed::Topics, line), Vec::<String>::new());
    }
}
