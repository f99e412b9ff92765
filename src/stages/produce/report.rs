//! What came of a run, and what must come of it at the other end.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::source::Mark;
use crate::events::Kind;

/// What was handed to the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records handed over.
    pub sent: u64,
    /// Their payloads, in bytes.
    pub bytes: u64,
    /// Records that were sent before.
    pub duplicates: u64,
    /// Events that are certainly rejected.
    pub malformed: u64,
    /// Valid events some days late.
    pub late: u64,
    /// Records of the source that were not sent because they are not valid.
    pub rejected: u64,
}

impl Tally {
    /// Counts one record that was handed over.
    pub fn count(&mut self, mark: Mark, payload_bytes: usize) {
        self.sent += 1;
        self.bytes += payload_bytes as u64;
        match mark {
            Mark::Plain => {}
            Mark::Late => self.late += 1,
            Mark::Duplicate => self.duplicates += 1,
            Mark::Malformed => self.malformed += 1,
        }
    }

    /// Events, each counted once however often it was sent.
    fn events(&self) -> u64 {
        self.sent - self.duplicates
    }
}

/// The result of `produce`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    topic: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    sent: u64,
    acknowledged: u64,
    /// Sent but not acknowledged.
    failed: u64,
    /// Not sent, because not valid.
    rejected: u64,
    bytes: u64,
    seconds: f64,
    /// Acknowledged records a second.
    rate: f64,
    injected: Injected,
}

#[derive(Debug, Serialize)]
struct Injected {
    duplicates: u64,
    malformed: u64,
    late: u64,
}

impl<'a> Report<'a> {
    /// Puts the counts together.
    pub fn new(
        topic: &'a str,
        kind: Kind,
        seed: Option<u64>,
        tally: &Tally,
        acknowledged: u64,
        elapsed: Duration,
    ) -> Report<'a> {
        let seconds = elapsed.as_secs_f64();
        Report {
            topic,
            kind: kind.name(),
            seed,
            sent: tally.sent,
            acknowledged,
            failed: tally.sent.saturating_sub(acknowledged),
            rejected: tally.rejected,
            bytes: tally.bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            rate: (acknowledged as f64 / seconds.max(1e-6)).round(),
            injected: Injected {
                duplicates: tally.duplicates,
                malformed: tally.malformed,
                late: tally.late,
            },
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "topic         {}", self.topic)?;
        writeln!(f, "kind          {}", self.kind)?;
        if let Some(seed) = self.seed {
            writeln!(f, "seed          {seed}")?;
        }
        writeln!(f, "sent          {}", self.sent)?;
        writeln!(f, "acknowledged  {}", self.acknowledged)?;
        writeln!(f, "failed        {}", self.failed)?;
        writeln!(f, "rejected      {}", self.rejected)?;
        let Injected { duplicates, malformed, late } = self.injected;
        if duplicates + malformed + late > 0 {
            writeln!(
                f,
                "injected      {duplicates} duplicates, {malformed} malformed, {late} late"
            )?;
        }
        writeln!(f, "bytes         {}", self.bytes)?;
        writeln!(f, "seconds       {:.3}", self.seconds)?;
        write!(f, "rate          {:.0}/s", self.rate)
    }
}

/// What a run with known faults put into the topic, and what must come of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Manifest {
    seed: u64,
    kind: &'static str,
    topic: String,
    /// Events generated; one that was sent twice counts once.
    num: u64,
    /// Records in the topic.
    sent: u64,
    duplicates: u64,
    malformed: u64,
    late: u64,
    expected: Expected,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Expected {
    /// Rows stored, each with an id of its own.
    rows: u64,
    /// Records skipped because their id is stored already.
    skipped: u64,
    /// Records that become dead letters.
    rejected: u64,
}

impl Manifest {
    /// The manifest of a run in which everything was acknowledged.
    pub fn new(seed: u64, kind: Kind, topic: &str, tally: &Tally) -> Manifest {
        Manifest {
            seed,
            kind: kind.name(),
            topic: topic.to_owned(),
            num: tally.events(),
            sent: tally.sent,
            duplicates: tally.duplicates,
            malformed: tally.malformed,
            late: tally.late,
            expected: Expected {
                rows: tally.events() - tally.malformed,
                skipped: tally.duplicates,
                rejected: tally.malformed,
            },
        }
    }
}

/// A manifest's file: known to be writable before anything is sent, and there
/// as a whole or not at all.
pub struct ManifestFile<'p> {
    path: &'p Path,
    draft: NamedTempFile,
}

impl<'p> ManifestFile<'p> {
    /// Makes a draft beside the file.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn prepare(path: &'p Path) -> anyhow::Result<ManifestFile<'p>> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let draft = tempfile::Builder::new()
            .prefix(".manifest")
            .tempfile_in(parent.unwrap_or(Path::new(".")))
            .and_then(|draft| match path.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(draft),
            })
            .with_context(|| format!("cannot write --manifest {}", path.display()))?;
        Ok(ManifestFile { path, draft })
    }

    /// Puts the manifest in its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let path = self.path;
        let cannot_write = || format!("cannot write --manifest {}", path.display());
        let json = serde_json::to_string_pretty(manifest)?;
        writeln!(self.draft, "{json}").with_context(cannot_write)?;
        // Drafts are private; a manifest holds nothing secret.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        self.draft.as_file().set_permissions(mode).with_context(cannot_write)?;
        self.draft.persist(path).with_context(cannot_write)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for mark in [Mark::Plain, Mark::Late, Mark::Duplicate, Mark::Malformed, Mark::Plain] {
            tally.count(mark, 100);
        }
        tally
    }

    #[test]
    fn a_manifest_tells_what_must_come_of_the_records() {
        let manifest = Manifest::new(7, Kind::Order, "t", &tally());
        assert_eq!((manifest.num, manifest.sent), (4, 5));
        assert_eq!(manifest.expected, Expected { rows: 3, skipped: 1, rejected: 1 });
    }

    #[test]
    fn a_manifest_is_written_whole_into_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        let manifest = Manifest::new(7, Kind::Order, "t", &tally());
        ManifestFile::prepare(&path).unwrap().write(&manifest).unwrap();
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["expected"]["rows"], 3);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert!(ManifestFile::prepare(&folder.path().join("no/m.json")).is_err());
        assert!(ManifestFile::prepare(folder.path()).is_err());
    }

    #[test]
    fn a_report_shows_all_counts_in_both_forms() {
        let elapsed = Duration::from_secs(2);
        let report = Report::new("t", Kind::Order, Some(7), &tally(), 4, elapsed);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((json["sent"].as_u64(), json["failed"].as_u64()), (Some(5), Some(1)));
        assert_eq!(json["rate"], 2.0);
        assert_eq!(json["injected"]["malformed"], 1);
        let table = report.to_string();
        assert!(table.contains("acknowledged  4\nfailed        1\n"), "{table}");
        assert!(table.contains("1 duplicates, 1 malformed, 1 late"), "{table}");
    }
}
