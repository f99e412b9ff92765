//! How much a bench measures: from the environment and its own arguments.

use anyhow::{Context as _, bail};

/// What to measure, and how often.
#[derive(Debug)]
pub struct Settings {
    /// Orders of a run (ORDERCTL_BENCH_RECORDS).
    pub records: u64,
    /// Rounds of a row; each runs every side once (ORDERCTL_BENCH_ROUNDS).
    pub rounds: u32,
    /// The groups of rows asked for; all when empty.
    chosen: Vec<String>,
}

impl Settings {
    /// Reads the settings; `groups` are the names that may be asked for.
    ///
    /// # Errors
    /// When a number or a group cannot be understood.
    pub fn read(groups: &[&str]) -> anyhow::Result<Settings> {
        // Cargo adds --bench to what the user typed.
        let chosen: Vec<String> =
            std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        if let Some(unknown) = chosen.iter().find(|name| !groups.contains(&name.as_str())) {
            bail!("there are no rows {unknown}; choose among {}", groups.join(", "));
        }
        Ok(Settings {
            records: number("ORDERCTL_BENCH_RECORDS", 1_000_000)?.max(1),
            rounds: u32::try_from(number("ORDERCTL_BENCH_ROUNDS", 5)?.max(1))?,
            chosen,
        })
    }

    /// Whether the rows of this group are to be measured.
    pub fn wants(&self, group: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|name| name == group)
    }
}

fn number(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no whole number")),
        Err(_) => Ok(default),
    }
}
