//! The result of `verify`.

use std::fmt;

use serde::Serialize;

use super::compare::TableCounts;
use super::findings::{Counts, Finding};
use super::manifest::Deviation;
use crate::console::plural;

/// One partition.
#[derive(Debug, Serialize)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The offset of the first record that Kafka has.
    pub first: i64,
    /// The ledger's position; none when the group has stored nothing of it.
    pub position: Option<i64>,
    /// One more than the last offset that was given.
    pub end: i64,
    /// What became of its records.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The topic.
    pub topic: String,
    /// The table, with its schema.
    pub table: String,
    /// The consumer group.
    pub group: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Each partition of the topic.
    pub partitions: Vec<Partition>,
    /// Rows, and those that belong to no partition.
    pub rows: TableCounts,
    /// Everything together.
    pub totals: Counts,
    /// What is wrong, by name; of each fault as many as `--show` says.
    pub findings: Vec<Finding>,
    /// Findings that are not among these.
    pub findings_left_out: u64,
    /// What is wrong with positions.
    pub problems: Vec<String>,
    /// What the manifest promised and is not so; none without a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviations: Option<Vec<Deviation>>,
    /// What limits the judgement.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// Records read a second.
    pub records_per_second: f64,
}

impl Report {
    /// What is wrong in one line; none when nothing is.
    pub fn verdict(&self) -> Option<String> {
        let Counts { missing, duplicated, extra, .. } = self.totals;
        let mut wrong = Vec::new();
        if missing + duplicated + extra > 0 {
            wrong.push(format!("{missing} missing, {duplicated} duplicated, {extra} extra"));
        }
        if !self.problems.is_empty() {
            wrong.push("positions that the topic does not have".to_owned());
        }
        if self.deviations.iter().flatten().next().is_some() {
            wrong.push("counts other than the manifest's".to_owned());
        }
        (!wrong.is_empty()).then(|| format!("{} does not match: {}", self.table, wrong.join("; ")))
    }
}

const COLUMNS: [&str; 10] = [
    "partition",
    "read",
    "stored",
    "duplicates",
    "rejected",
    "missing",
    "duplicated",
    "extra",
    "behind",
    "unknown",
];

fn cells(name: String, counts: &Counts) -> [String; 10] {
    let Counts { read, stored, duplicates, rejected, .. } = counts;
    let Counts { missing, duplicated, extra, behind, unknown, .. } = counts;
    let numbers = [read, stored, duplicates, rejected, missing, duplicated, extra, behind, unknown];
    let mut numbers = numbers.into_iter().map(u64::to_string);
    let mut name = Some(name);
    std::array::from_fn(|_| name.take().or_else(|| numbers.next()).unwrap_or_default())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "topic  {}", self.topic)?;
        writeln!(f, "table  {}, {}", self.table, plural(self.rows.rows, "row"))?;
        writeln!(f, "group  {}", self.group)?;
        writeln!(f)?;
        let mut lines = vec![COLUMNS.map(str::to_owned)];
        lines.extend(
            self.partitions.iter().map(|one| cells(one.partition.to_string(), &one.counts)),
        );
        let TableCounts { extra, unknown, .. } = self.rows;
        if extra + unknown > 0 {
            let counts = Counts { extra, unknown, ..Counts::default() };
            lines.push(cells("rows alone".to_owned(), &counts));
        }
        lines.push(cells("total".to_owned(), &self.totals));
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        for line in &lines {
            write!(f, "{:<width$}", line[0], width = width(0))?;
            for (column, cell) in line.iter().enumerate().skip(1) {
                write!(f, "  {cell:>width$}", width = width(column))?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        self.write_words(f)?;
        write!(f, "{:.1} s, {:.0} records/s", self.seconds, self.records_per_second)
    }
}

impl Report {
    fn write_words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.findings_left_out > 0 {
            writeln!(f, "and {} more: see them with --show N", self.findings_left_out)?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for Deviation { count, promised, found } in self.deviations.iter().flatten() {
            writeln!(f, "manifest: {count} should be {promised}, is {found}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        match (self.ok, self.totals.unknown) {
            (true, 0) => writeln!(f, "nothing is missing, duplicated or extra"),
            (true, unknown) => writeln!(
                f,
                "nothing is missing, duplicated or extra as far as can be judged; {unknown} unknown"
            ),
            (false, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(totals: Counts) -> Report {
        let counts = totals;
        let position = Some(totals.read as i64);
        Report {
            topic: "t".into(),
            table: "s.t".into(),
            group: "g".into(),
            ok: false,
            partitions: vec![Partition { partition: 0, first: 0, position, end: 9, counts }],
            rows: TableCounts::default(),
            totals,
            findings: Vec::new(),
            findings_left_out: 0,
            problems: Vec::new(),
            deviations: None,
            notes: Vec::new(),
            seconds: 1.0,
            records_per_second: 9.0,
        }
    }

    #[test]
    fn only_missing_duplicated_extra_positions_and_promises_are_wrong() {
        let fine = Counts {
            read: 9,
            stored: 5,
            duplicates: 2,
            rejected: 2,
            behind: 4,
            unknown: 3,
            ..Counts::default()
        };
        assert_eq!(report(fine).verdict(), None);
        for wrong in [
            Counts { missing: 1, ..fine },
            Counts { duplicated: 1, ..fine },
            Counts { extra: 1, ..fine },
        ] {
            assert!(report(wrong).verdict().is_some(), "{wrong:?}");
        }
        let problems = vec!["position".into()];
        assert!(Report { problems, ..report(fine) }.verdict().is_some());
        assert_eq!(Report { deviations: Some(Vec::new()), ..report(fine) }.verdict(), None);
        let deviation = Deviation { count: "read", promised: 1, found: 2 };
        assert!(Report { deviations: Some(vec![deviation]), ..report(fine) }.verdict().is_some());
    }

    #[test]
    fn the_table_has_a_line_for_each_partition_and_the_total() {
        let text = report(Counts { read: 1_000_000, ..Counts::default() }).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[4].starts_with("partition     read"), "{text}");
        assert!(lines[5].starts_with("0          1000000"), "{text}");
        assert!(lines[6].starts_with("total      1000000"), "{text}");
    }

    #[test]
    fn what_is_unknown_is_not_called_fine() {
        let said = |unknown| {
            let counts = Counts { unknown, ..Counts::default() };
            let text = Report { ok: true, ..report(counts) }.to_string();
            text.lines().rev().nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(said(0), "nothing is missing, duplicated or extra");
        assert!(said(4).contains("as far as can be judged; 4 unknown"), "{}", said(4));
    }
}
