//! What the demo shows at its end.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::children::{Consumed, Published};
use crate::console::columns;
use crate::edges::postgres::progress::Contents;

/// Counts of both sides, a few rows, and whether they agree.
#[derive(Debug, Serialize)]
pub struct Report {
    produced: u64,
    planted_duplicates: u64,
    planted_malformed: u64,
    stored: u64,
    duplicates_skipped: u64,
    rejected: u64,
    missing: u64,
    doubled: u64,
    /// Whether the consumer's own counts agree with the database's.
    counts_agree: bool,
    connections_cut: u64,
    seconds: f64,
    rows_per_second: f64,
    produced_per_second: f64,
    rows: Vec<Vec<String>>,
    dead_letters: Vec<Vec<String>>,
}

impl Report {
    /// Compares what was sent with what the database holds now.
    pub fn new(
        published: Published,
        consumed: Consumed,
        found: Contents,
        connections_cut: u64,
        took: Duration,
        rows: Vec<Vec<String>>,
        dead_letters: Vec<Vec<String>>,
    ) -> Report {
        let planted = published.injected;
        let valid = published.sent - planted.duplicates - planted.malformed;
        let seconds = took.as_secs_f64();
        Report {
            produced: published.sent,
            planted_duplicates: planted.duplicates,
            planted_malformed: planted.malformed,
            stored: found.rows,
            duplicates_skipped: consumed.duplicates,
            rejected: found.dead,
            missing: (valid + planted.malformed).saturating_sub(found.ids + found.dead),
            doubled: found.rows.saturating_sub(valid) + found.rows.saturating_sub(found.ids),
            counts_agree: consumed.stored == found.rows && consumed.rejected == found.dead,
            connections_cut,
            seconds,
            rows_per_second: found.rows as f64 / seconds.max(0.001),
            produced_per_second: published.rate,
            rows,
            dead_letters,
        }
    }

    /// Whether every record is there once, as a row or as a dead letter.
    pub fn is_exact(&self) -> bool {
        self.missing == 0
            && self.doubled == 0
            && self.counts_agree
            && self.rejected == self.planted_malformed
            && self.duplicates_skipped == self.planted_duplicates
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nTable orders, the first rows")?;
        write_table(f, &self.rows)?;
        writeln!(f, "\nDead letters, the first ones")?;
        write_table(f, &self.dead_letters)?;
        writeln!(f, "\nproduced    {:>8} records", self.produced)?;
        writeln!(f, "stored      {:>8} rows", self.stored)?;
        writeln!(
            f,
            "duplicates  {:>8} skipped ({} planted)",
            self.duplicates_skipped, self.planted_duplicates
        )?;
        writeln!(
            f,
            "rejected    {:>8} dead letters ({} planted)",
            self.rejected, self.planted_malformed
        )?;
        writeln!(f, "missing     {:>8}", self.missing)?;
        writeln!(f, "doubled     {:>8}", self.doubled)?;
        writeln!(
            f,
            "all there {:.1} s after the first; the consumer's {} database connections were cut \
             on the way ({:.0} rows/s all the same)",
            self.seconds, self.connections_cut, self.rows_per_second
        )?;
        write!(f, "{NEXT}")
    }
}

const NEXT: &str = "
What next
  a real Kafka and PostgreSQL on this machine (needs Java 17 and Maven):
    eval \"$(orderctl stack up)\"
    orderctl db-setup
    orderctl produce --num 100
    orderctl consume --table orders --until-end
  your managed ones, with the provider's certificates in certs/:
    orderctl auth-setup --kafka-hostname HOST --kafka-portnumber PORT --postgres-uri -
    orderctl db-setup
    orderctl produce --num 100
    orderctl consume --table orders";

fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    columns(rows).lines().try_for_each(|line| writeln!(f, "  {line}"))
}

#[cfg(test)]
mod tests {
    use super::super::children::Injected;
    use super::*;

    fn report(found: Contents) -> Report {
        let injected = Injected { duplicates: 10, malformed: 5 };
        let published = Published { sent: 1_010, rate: 1.0, injected };
        let consumed = Consumed { stored: found.rows, duplicates: 10, rejected: found.dead };
        let took = Duration::from_secs(1);
        Report::new(published, consumed, found, 3, took, Vec::new(), Vec::new())
    }

    #[test]
    fn all_there_once_is_exact() {
        assert!(report(Contents { rows: 995, ids: 995, dead: 5 }).is_exact());
    }

    #[test]
    fn a_lost_row_is_missing_and_a_doubled_one_is_doubled() {
        let lost = report(Contents { rows: 994, ids: 994, dead: 5 });
        assert_eq!((lost.missing, lost.is_exact()), (1, false));
        let doubled = report(Contents { rows: 996, ids: 995, dead: 5 });
        assert!(doubled.doubled > 0 && !doubled.is_exact());
        let undead = report(Contents { rows: 995, ids: 995, dead: 4 });
        assert_eq!((undead.missing, undead.is_exact()), (1, false));
    }
}
