//! When the loop commits and ends.

use std::time::Duration;

/// When the loop commits and ends.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most records read in one transaction.
    pub records_max: u64,
    /// The most bytes published in one transaction.
    pub bytes_max: usize,
    /// The longest that a record waits for its transaction's commit.
    pub age_max: Duration,
    /// End when every partition was read to where it ended when it was assigned.
    pub until_end: bool,
    /// End when no record came for so long.
    pub idle_exit: Option<Duration>,
}

impl Options {
    /// Whether a transaction with so much in it is to be committed, however young.
    pub(super) fn are_reached(&self, records: u64, bytes: usize) -> bool {
        records >= self.records_max || bytes >= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_due_when_it_has_records_or_bytes_enough() {
        let options = Options {
            records_max: 10,
            bytes_max: 1000,
            age_max: Duration::from_millis(100),
            until_end: false,
            idle_exit: None,
        };
        assert!(!options.are_reached(9, 999));
        assert!(options.are_reached(10, 0));
        assert!(options.are_reached(0, 1000));
    }
}
