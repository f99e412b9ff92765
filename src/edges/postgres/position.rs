//! Whether Kafka still has the position that the ledger names.
//!
//! | topic id            | position  | Kafka refused it | verdict                    |
//! |---------------------|-----------|------------------|----------------------------|
//! | another than stored | anywhere  | either           | lost: made anew            |
//! | stored, not told    | anywhere  | either           | untold: ask again          |
//! | any other case      | too early | either           | lost: retention            |
//! | any other case      | too late  | either           | lost: truncated            |
//! | any other case      | within    | yes              | lost: truncated, and grown |
//! | any other case      | within    | no               | kept                       |

use super::ledger::Owner;
use crate::engine::checkpoint::{Claim, Log, TopicId};

/// What is known of a position that was claimed.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The position as the ledger has it.
    pub claim: Claim,
    /// The topic it is of; none when that was never known.
    pub stored_of: Option<&'k TopicId>,
    /// What Kafka has of the partition.
    pub log: Log,
    /// The topic that is there now; none when the cluster did not tell.
    pub topic_id: Option<&'k TopicId>,
    /// Whether Kafka refused to read on in the partition since the last claim.
    pub was_refused: bool,
}

/// What became of a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Kafka has it.
    Kept,
    /// It is not known whether the topic is still the same, and why not.
    Untold(String),
    /// Kafka does not have it any more, and why not.
    Lost(String),
}

/// Judges a position of `owner`.
pub fn judge(owner: &Owner, known: &Known<'_>) -> Verdict {
    let Owner { group, topic, .. } = owner;
    let Known { claim: Claim { partition, next_offset, .. }, log: Log { first, end }, .. } = *known;
    match (known.stored_of, known.topic_id) {
        (Some(stored_of), Some(topic_id)) if stored_of != topic_id => {
            return Verdict::Lost(format!(
                "topic {topic} was deleted and created again: group {group} stored up to offset \
                 {next_offset} of partition {partition} of the old one (id {}), and the one there \
                 now (id {}) has {first} to {end}",
                stored_of.0, topic_id.0
            ));
        }
        (Some(stored_of), None) => {
            return Verdict::Untold(format!(
                "the cluster does not tell the id of topic {topic}, and group {group} stored \
                 records of the one with id {}; if it is another cluster, start over under another \
                 --group",
                stored_of.0
            ));
        }
        _ => {}
    }
    let what = if next_offset < first {
        "records were removed by retention before they were read"
    } else if next_offset > end {
        "the topic was truncated, or deleted and created again"
    } else if known.was_refused {
        "it refused to read on a moment ago, so the topic was truncated, or deleted and created \
         again, and has grown since: records are lost, or others are in their place"
    } else {
        return Verdict::Kept;
    };
    Verdict::Lost(format!(
        "group {group} goes on at offset {next_offset} of {topic} partition {partition}, but Kafka \
         has {first} to {end}: {what}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(next_offset: i64, ids: (Option<&str>, Option<&str>), was_refused: bool) -> Verdict {
        let owner = Owner { group: "g".into(), topic: "t".into(), worker: "w".into() };
        let id = |text: Option<&str>| text.map(|text| TopicId(text.into()));
        let (stored_of, topic_id) = (id(ids.0), id(ids.1));
        let known = Known {
            claim: Claim { partition: 3, next_offset, epoch: 1 },
            stored_of: stored_of.as_ref(),
            log: Log { first: 10, end: 20 },
            topic_id: topic_id.as_ref(),
            was_refused,
        };
        judge(&owner, &known)
    }

    #[track_caller]
    fn assert_lost(verdict: &Verdict, words: &str) {
        let Verdict::Lost(why) = verdict else { panic!("{verdict:?}") };
        assert!(why.contains(words) && why.contains("partition 3"), "{why}");
    }

    const SAME: (Option<&str>, Option<&str>) = (Some("a"), Some("a"));

    #[test]
    fn a_position_from_the_first_record_to_the_end_is_kept() {
        for ids in [SAME, (None, Some("a")), (None, None)] {
            for next_offset in [10, 15, 20] {
                assert_eq!(judged(next_offset, ids, false), Verdict::Kept);
            }
        }
    }

    #[test]
    fn what_was_removed_or_truncated_has_its_own_words_whether_reading_failed_or_not() {
        for was_refused in [false, true] {
            assert_lost(&judged(9, SAME, was_refused), "retention");
            assert_lost(&judged(21, SAME, was_refused), "truncated, or deleted");
            assert_lost(&judged(15, (Some("a"), Some("b")), was_refused), "created again");
        }
    }

    #[test]
    fn a_position_that_was_refused_is_lost_though_it_is_within_the_log_again() {
        for next_offset in [10, 15, 20] {
            assert_lost(&judged(next_offset, SAME, true), "grown since");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_kept_or_lost_while_the_cluster_does_not_tell_which_topic_it_is(
            next_offset in 0..40_i64,
            was_refused: bool,
        ) {
            let verdict = judged(next_offset, (Some("a"), None), was_refused);
            prop_assert!(matches!(verdict, Verdict::Untold(_)), "{:?}", verdict);
        }
    }
}
