//! Topics that a stage publishes to: made where they are missing.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Admit, Display};
use crate::console::plural;
use crate::edges::kafka::topics::{Readied, Shape, Topics};
use crate::log::Level;

/// How many new topics are named.
const NAMES_SHOWN: usize = 5;

/// Makes sure that topics are there.
///
/// # Errors
/// When the cluster refuses one, with the cure.
pub(super) fn prepare(
    wanted: &BTreeSet<String>,
    topics: &Topics,
    shape: Shape,
    admit: &mut Option<Admit<'_>>,
    display: &Display<'_>,
) -> anyhow::Result<Readied> {
    let existing = match topics.names() {
        Ok(existing) => existing,
        Err(why) => return Ok(Readied::NotYet(why)),
    };
    let mut missing: BTreeSet<String> = wanted.difference(&existing).cloned().collect();
    if let Some(admit) = admit {
        display.line.suspend(|| admit(&existing, &mut missing));
    }
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(Readied::Yes);
    }
    let readied = topics.create(&missing, shape)?;
    if readied == Readied::Yes {
        let fields = json!({ "topics": missing });
        display.say(Level::Info, &created(&missing), &fields);
    }
    Ok(readied)
}

/// What is said of new topics.
pub(super) fn created(topics: &[&str]) -> String {
    let shown = topics.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match topics.len().saturating_sub(NAMES_SHOWN) {
        0 => format!("created {shown}"),
        more => format!("created {shown} and {}", plural(more as u64, "other")),
    }
}
