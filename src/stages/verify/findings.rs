//! What was counted, and what was found wrong, by name.

use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;

/// What became of records; each that was read is one of stored, duplicates,
/// rejected and missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records read, those before the ledger's position.
    pub read: u64,
    /// Records that are rows.
    pub stored: u64,
    /// Records whose id an earlier record had stored.
    pub duplicates: u64,
    /// Records that are dead letters.
    pub rejected: u64,
    /// Records that are neither.
    pub missing: u64,
    /// Rows and dead letters beyond one for a record.
    pub duplicated: u64,
    /// Rows and dead letters of which there is no record.
    pub extra: u64,
    /// Offsets from the next record that is not stored yet to the end.
    pub behind: u64,
    /// What cannot be judged: offsets whose records Kafka no longer has, and
    /// rows that may have come from such or from another group's work.
    pub unknown: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.read += other.read;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.extra += other.extra;
        self.behind += other.behind;
        self.unknown += other.unknown;
    }
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// A record without effect.
    Missing,
    /// A record with more than one effect.
    Duplicated,
    /// An effect without a record.
    Extra,
}

/// One thing that is wrong. The derived order is that of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// The partition of the record or dead letter; none for a row alone.
    pub partition: Option<i32>,
    /// Its offset there.
    pub offset: Option<i64>,
    /// The id, where there is one.
    pub id: Option<String>,
    /// What was found.
    pub detail: String,
}

/// The findings that are to be shown; the others are only counted.
#[derive(Debug)]
pub struct Findings {
    shown_max: usize,
    kept: [Vec<Finding>; 3],
    found: u64,
}

impl Findings {
    /// None yet; of each fault so many are kept.
    pub fn new(shown_max: usize) -> Findings {
        Findings { shown_max, kept: Default::default(), found: 0 }
    }

    /// Takes one in; it is only put into words when it will be shown.
    pub fn add(&mut self, fault: Fault, words: impl FnOnce() -> Finding) {
        self.found += 1;
        let kept = &mut self.kept[fault as usize];
        if kept.len() < self.shown_max {
            kept.push(words());
        }
    }

    /// Those kept, in order, and how many were not.
    pub fn into_sorted(self) -> (Vec<Finding>, u64) {
        let mut kept = self.kept.concat();
        kept.sort_unstable();
        let left_out = self.found - kept.len() as u64;
        (kept, left_out)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fault {
            Fault::Missing => "missing",
            Fault::Duplicated => "duplicated",
            Fault::Extra => "extra",
        })?;
        if let Some(id) = &self.id {
            // Quoted, because an id may hold anything.
            write!(f, "  id {id:?}")?;
        }
        if let (Some(partition), Some(offset)) = (self.partition, self.offset) {
            write!(f, "  partition {partition} offset {offset}")?;
        }
        write!(f, "  {}", self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(fault: Fault, offset: i64) -> Finding {
        let (partition, offset) = (Some(0), Some(offset));
        Finding { fault, partition, offset, id: None, detail: String::new() }
    }

    #[test]
    fn each_fault_keeps_its_share_and_the_others_are_counted() {
        let mut findings = Findings::new(2);
        for offset in [9, 3, 7] {
            findings.add(Fault::Extra, || finding(Fault::Extra, offset));
        }
        findings.add(Fault::Missing, || finding(Fault::Missing, 5));
        let (kept, left_out) = findings.into_sorted();
        let wanted =
            [finding(Fault::Missing, 5), finding(Fault::Extra, 3), finding(Fault::Extra, 9)];
        assert_eq!((kept.as_slice(), left_out), (&wanted[..], 1));
    }

    #[test]
    fn an_id_is_shown_without_its_control_characters() {
        let id = Some("a\u{1b}[31m".to_owned());
        let text = Finding { id, ..finding(Fault::Missing, 4) }.to_string();
        assert_eq!(text, "missing  id \"a\\u{1b}[31m\"  partition 0 offset 4  ");
    }
}
