//! What `produce --manifest` promised, against what was found.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::findings::Counts;
use crate::error::Usage;

/// The counts of a manifest that can be looked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The topic it is about.
    pub topic: String,
    /// The kind of its events.
    pub kind: String,
    /// Records in the topic.
    sent: u64,
    expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Expected {
    rows: u64,
    skipped: u64,
    rejected: u64,
}

/// A count that is not what the manifest promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// Which count: `read`, `stored`, `duplicates` or `rejected`.
    pub count: &'static str,
    /// What the manifest says.
    pub promised: u64,
    /// What was found.
    pub found: u64,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// A [`Usage`] error when the file is not one.
    pub fn read(path: &Path) -> anyhow::Result<Manifest> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read --manifest {}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let path = path.display();
            let text = format!("{path} is not what `produce --manifest {path}` writes: {error}");
            Usage(text).into()
        })
    }

    /// Refuses a manifest of other events than those that are looked at.
    ///
    /// # Errors
    /// A [`Usage`] error that names both.
    pub fn check(&self, topic: &str, kind: &str) -> Result<(), Usage> {
        if self.topic == topic && self.kind == kind {
            return Ok(());
        }
        Err(Usage(format!(
            "the manifest is of {} events in topic {}, not of {kind} events in topic {topic}: \
             name them with --kind and --topic-name, or another manifest",
            self.kind, self.topic
        )))
    }

    /// The counts that differ. Without a unique key a repeated event is a row of
    /// its own; with `consume --on-duplicate reject` it is a dead letter.
    pub fn deviations(&self, found: &Counts, unique: bool) -> Vec<Deviation> {
        let Expected { rows, skipped, rejected } = self.expected;
        let rejects_repeated = found.duplicates == 0 && found.rejected == rejected + skipped;
        let promised = match (unique, rejects_repeated) {
            (false, _) => [rows + skipped, 0, rejected],
            (true, true) => [rows, 0, rejected + skipped],
            (true, false) => [rows, skipped, rejected],
        };
        let [rows, skipped, rejected] = promised;
        [
            ("read", self.sent, found.read),
            ("stored", rows, found.stored),
            ("duplicates", skipped, found.duplicates),
            ("rejected", rejected, found.rejected),
        ]
        .into_iter()
        .filter(|(_, promised, found)| promised != found)
        .map(|(count, promised, found)| Deviation { count, promised, found })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let expected = Expected { rows: 90, skipped: 7, rejected: 3 };
        Manifest { topic: "t".into(), kind: "order".into(), sent: 100, expected }
    }

    fn counts(stored: u64, duplicates: u64, rejected: u64) -> Counts {
        Counts { read: 100, stored, duplicates, rejected, ..Counts::default() }
    }

    #[test]
    fn a_promise_that_was_kept_has_no_deviation_whatever_becomes_of_repeated_events() {
        assert_eq!(manifest().deviations(&counts(90, 7, 3), true), []);
        assert_eq!(manifest().deviations(&counts(90, 0, 10), true), [], "rejected");
        assert_eq!(manifest().deviations(&counts(97, 0, 3), false), [], "rows of their own");
    }

    #[test]
    fn each_count_that_differs_is_named() {
        let names = |found: &Counts, unique| -> Vec<&str> {
            manifest().deviations(found, unique).iter().map(|one| one.count).collect()
        };
        assert_eq!(names(&counts(89, 8, 3), true), ["stored", "duplicates"]);
        assert_eq!(names(&counts(90, 6, 4), true), ["duplicates", "rejected"]);
        assert_eq!(names(&counts(90, 7, 3), false), ["stored", "duplicates"]);
        assert_eq!(names(&Counts { read: 99, ..counts(90, 7, 3) }, true), ["read"]);
    }

    #[test]
    fn a_manifest_of_other_events_is_refused() {
        assert!(manifest().check("t", "order").is_ok());
        assert!(manifest().check("other", "order").unwrap_err().to_string().contains("topic t"));
        assert!(manifest().check("t", "user").is_err());
    }
}
