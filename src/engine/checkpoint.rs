//! Positions as values: what was claimed, and how a batch advances them.
//!
//! | ledger says                      | a batch `from → to` of epoch `e` is |
//! |----------------------------------|-------------------------------------|
//! | next = from, epoch = e           | not yet written: write it           |
//! | next = to, epoch = e             | written: go on                      |
//! | anything else                    | no longer ours: drop it and rejoin  |

use std::collections::BTreeMap;

/// A partition as taken over from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The partition's number.
    pub partition: i32,
    /// The offset of the first record not yet stored.
    pub next_offset: i64,
    /// The ownership that batches must name; each claim counts it up.
    pub epoch: i64,
}

/// The identity of a topic, as Kafka's tools print it: a topic that was deleted
/// and created again under the same name has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicId(pub String);

/// What Kafka has of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The topic's identity; none when the brokers give no ids.
    pub topic_id: Option<TopicId>,
    /// The partitions asked for.
    pub partitions: Vec<(i32, Log)>,
}

/// What Kafka has of a partition: offsets from `first` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The low watermark.
    pub first: i64,
    /// The high watermark.
    pub end: i64,
}

/// What one batch does to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The partition's number.
    pub partition: i32,
    /// The position the batch starts from.
    pub from: i64,
    /// One more than the last offset in the batch; offsets need not be
    /// contiguous.
    pub to: i64,
    /// The epoch the partition was claimed with.
    pub epoch: i64,
}

/// What the ledger says of a batch whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not written; it may be written now.
    NotYet,
    /// Its transaction was committed.
    Written,
    /// Another worker owns at least one of its partitions.
    Fenced,
}

/// Looks a batch up in the ledger's positions. A batch is written whole or not
/// at all, so partitions that disagree mean that someone else was there.
pub fn standing(advances: &[Advance], ledger: &[Claim]) -> Standing {
    let ledger: BTreeMap<i32, Claim> =
        ledger.iter().map(|claim| (claim.partition, *claim)).collect();
    let of = |advance: &Advance| match ledger.get(&advance.partition) {
        Some(claim) if claim.epoch != advance.epoch => Standing::Fenced,
        Some(claim) if claim.next_offset == advance.from => Standing::NotYet,
        Some(claim) if claim.next_offset == advance.to => Standing::Written,
        _ => Standing::Fenced,
    };
    let mut found = advances.iter().map(of);
    let Some(first) = found.next() else { return Standing::NotYet };
    if found.all(|other| other == first) { first } else { Standing::Fenced }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(partition: i32, next_offset: i64, epoch: i64) -> Claim {
        Claim { partition, next_offset, epoch }
    }

    fn batch() -> Vec<Advance> {
        let advance = |partition, from, to| Advance { partition, from, to, epoch: 7 };
        vec![advance(0, 10, 20), advance(3, 5, 9)]
    }

    #[test]
    fn positions_at_the_start_mean_not_yet_written() {
        let ledger = [claim(0, 10, 7), claim(3, 5, 7), claim(4, 1, 1)];
        assert_eq!(standing(&batch(), &ledger), Standing::NotYet);
    }

    #[test]
    fn positions_at_the_end_mean_written() {
        assert_eq!(standing(&batch(), &[claim(0, 20, 7), claim(3, 9, 7)]), Standing::Written);
    }

    #[test]
    fn another_epoch_position_or_no_row_means_fenced() {
        for ledger in [
            vec![claim(0, 10, 8), claim(3, 5, 7)],
            vec![claim(0, 20, 8), claim(3, 9, 8)],
            vec![claim(0, 15, 7), claim(3, 5, 7)],
            vec![claim(0, 20, 7), claim(3, 5, 7)],
            vec![claim(0, 10, 7)],
        ] {
            assert_eq!(standing(&batch(), &ledger), Standing::Fenced, "{ledger:?}");
        }
    }
}
