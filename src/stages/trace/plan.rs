//! Which parts of a topic are read to find one id.

use crate::edges::kafka::excerpt::Span;
use crate::edges::kafka::murmur2;

/// What is known of a partition, in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The partition.
    pub partition: i32,
    /// The first record that there still is.
    pub low: i64,
    /// One more than the last.
    pub high: i64,
    /// The first record that is not older than the id, or than `--since`; `high`
    /// when all are.
    pub since: Option<i64>,
}

/// Where the time that reading begins at comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// None is known: the newest records are read.
    Unknown,
    /// The id has one (RFC 9562, UUIDv7): its record is near that, so the oldest
    /// from there on are read.
    OfId,
    /// The user gave it: the newest records are read, and none before it.
    OfUser,
}

/// Parts of a topic's partitions, and how much of the same partitions is not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is read.
    pub spans: Vec<Span>,
    /// Offsets before and after what is read, now or before.
    pub left_out: u64,
}

/// The partition that the id's key belongs to, from its time on; at most
/// `records_max` offsets.
pub fn by_key(bounds: &[Bounds], id: &str, time: Time, records_max: i64) -> Plan {
    let partition = murmur2::partition(id.as_bytes(), bounds.len());
    let mut plan = Plan::default();
    for one in bounds.iter().filter(|one| Some(one.partition) == partition) {
        let from = one.since.unwrap_or(one.low).max(one.low);
        let span = match time {
            Time::OfId => {
                Span { end: one.high.min(from.saturating_add(records_max)), ..one.whole(from) }
            }
            Time::Unknown | Time::OfUser => newest(one.whole(from), records_max),
        };
        plan.add(one, span, 0);
    }
    plan
}

/// The newest records of all that `by_key` does not read, so many in all; none
/// before a time that the user gave.
pub fn the_rest(bounds: &[Bounds], read: &Plan, time: Time, records_max: i64) -> Plan {
    let share = (records_max / i64::try_from(bounds.len().max(1)).unwrap_or(1)).max(1);
    let mut plan = Plan::default();
    for one in bounds {
        let from = match time {
            Time::OfUser => one.since.unwrap_or(one.low).max(one.low),
            Time::OfId | Time::Unknown => one.low,
        };
        // Of the key's own partition what is before; what is after is younger than
        // the bound on records let it be.
        let done = read.spans.iter().find(|span| span.partition == one.partition);
        let end = done.map_or(one.high, |span| span.from);
        let span = newest(Span { end: end.max(from), ..one.whole(from) }, share);
        plan.add(one, span, done.map_or(0, |span| span.end - span.from));
    }
    plan
}

impl Bounds {
    fn whole(&self, from: i64) -> Span {
        Span { partition: self.partition, from: from.min(self.high), end: self.high }
    }
}

impl Plan {
    fn add(&mut self, bounds: &Bounds, span: Span, read_before: i64) {
        let left_out = (bounds.high - bounds.low) - (span.end - span.from) - read_before;
        self.left_out += u64::try_from(left_out).unwrap_or(0);
        self.spans.push(span);
    }

    /// How many offsets are read.
    pub fn records(&self) -> u64 {
        let lengths = self.spans.iter().map(|span| span.end - span.from);
        lengths.map(|length| u64::try_from(length).unwrap_or(0)).sum()
    }
}

fn newest(span: Span, records_max: i64) -> Span {
    Span { from: span.from.max(span.end.saturating_sub(records_max)), ..span }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "abc";
    /// Where [`ID`] belongs among three partitions: 479470107 % 3.
    const HOME: i32 = 0;

    fn bounds(since: Option<i64>) -> Vec<Bounds> {
        (0..3).map(|partition| Bounds { partition, low: 10, high: 110, since }).collect()
    }

    fn span(partition: i32, from: i64, end: i64) -> Span {
        Span { partition, from, end }
    }

    #[test]
    fn only_the_keys_partition_is_read_first() {
        let plan = by_key(&bounds(None), ID, Time::Unknown, 1000);
        assert_eq!(plan, Plan { spans: vec![span(HOME, 10, 110)], left_out: 0 });
        let newest = by_key(&bounds(None), ID, Time::Unknown, 30);
        assert_eq!(newest, Plan { spans: vec![span(HOME, 80, 110)], left_out: 70 });
    }

    #[test]
    fn an_id_with_a_time_is_sought_from_then_on_and_the_users_time_from_the_end() {
        let of_id = by_key(&bounds(Some(50)), ID, Time::OfId, 20);
        assert_eq!(of_id, Plan { spans: vec![span(HOME, 50, 70)], left_out: 80 });
        let of_user = by_key(&bounds(Some(50)), ID, Time::OfUser, 20);
        assert_eq!(of_user.spans, [span(HOME, 90, 110)]);
        let younger_than_all = by_key(&bounds(Some(110)), ID, Time::OfId, 20);
        assert_eq!((younger_than_all.records(), younger_than_all.left_out), (0, 100));
    }

    #[test]
    fn the_rest_is_all_else_but_never_before_the_users_time() {
        let read = by_key(&bounds(Some(50)), ID, Time::OfId, 1000);
        let rest = the_rest(&bounds(Some(50)), &read, Time::OfId, 3000);
        assert_eq!(rest.spans, [span(0, 10, 50), span(1, 10, 110), span(2, 10, 110)]);
        assert_eq!(rest.left_out, 0);
        let read = by_key(&bounds(Some(50)), ID, Time::OfUser, 1000);
        let rest = the_rest(&bounds(Some(50)), &read, Time::OfUser, 3000);
        assert_eq!(rest.spans, [span(0, 50, 50), span(1, 50, 110), span(2, 50, 110)]);
    }

    #[test]
    fn a_topic_without_partitions_needs_no_reading() {
        let read = by_key(&[], ID, Time::Unknown, 10);
        assert_eq!((read.records(), the_rest(&[], &read, Time::Unknown, 10).records()), (0, 0));
    }

    proptest! {
        #[test]
        fn nothing_outside_of_the_topic_is_read_nor_anything_twice(
            low in 0i64..50, length in 0i64..100, since in prop::option::of(0i64..200),
            most in 1i64..300, id in "[a-z]{1,8}", user in any::<bool>(),
        ) {
            let high = low + length;
            let since = since.map(|since| since.min(high));
            let time = match (since, user) {
                (None, _) => Time::Unknown,
                (Some(_), true) => Time::OfUser,
                (Some(_), false) => Time::OfId,
            };
            let bounds: Vec<Bounds> =
                (0..4).map(|partition| Bounds { partition, low, high, since }).collect();
            let read = by_key(&bounds, &id, time, most);
            let rest = the_rest(&bounds, &read, time, most);
            prop_assert!(read.records() <= most as u64);
            prop_assert!(rest.records() <= most.max(4) as u64);
            for span in read.spans.iter().chain(&rest.spans) {
                prop_assert!(low <= span.from && span.from <= span.end && span.end <= high);
            }
            for one in &read.spans {
                let same = rest.spans.iter().find(|span| span.partition == one.partition).unwrap();
                prop_assert!(same.end <= one.from || same.from == same.end);
            }
        }
    }
}
