//! Reading what a topic holds up to given positions, without being a member of
//! its group.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;

use super::consumer::{Consumer, Happening, Polled};
use crate::engine::record::Raw;
use crate::stop::Stop;

/// The longest wait for the next record, so that a stop is noticed.
const SLICE: Duration = Duration::from_millis(100);
/// Whether to stop is asked once in so many records.
const RECORDS_PER_QUESTION: u64 = 256;

/// What is to be read of a partition, in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The low watermark: the first record that there still is.
    pub first: i64,
    /// Records before this one are read.
    pub position: i64,
    /// The high watermark: one more than the last offset given.
    pub end: i64,
}

/// Gives every record before its partition's position to `take`, in the order
/// of offsets within a partition. Says which record comes next at or after the
/// position, for partitions that have one; none when a stop was requested.
///
/// Offsets need not be contiguous, so a partition is read until a record beyond
/// its position comes, or its end. A broker that is away is waited for;
/// `waiting` is told why.
///
/// # Errors
/// When records are removed while they are read, what no wait will cure, and
/// whatever `take` fails with.
pub fn read(
    consumer: &Consumer,
    spans: &BTreeMap<i32, Span>,
    stop: &Stop,
    mut waiting: impl FnMut(&str),
    mut take: impl FnMut(&Raw<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Option<BTreeMap<i32, i64>>> {
    let mut next = BTreeMap::new();
    let holds_records = |(_, span): &(&i32, &Span)| span.first < span.end;
    let mut open: BTreeMap<i32, Span> =
        spans.iter().filter(holds_records).map(|(partition, span)| (*partition, *span)).collect();
    consumer.assign(open.iter().map(|(partition, span)| (*partition, span.first)))?;
    let mut polls = 0u64;
    while !open.is_empty() {
        polls += 1;
        if polls.is_multiple_of(RECORDS_PER_QUESTION) && stop.requested() {
            return Ok(None);
        }
        let finished = match consumer.poll(SLICE) {
            Polled::Record(record) => {
                let raw = record.raw();
                let Some(span) = open.get(&raw.partition) else { continue };
                if raw.offset < span.position {
                    take(&raw)?;
                } else {
                    next.insert(raw.partition, raw.offset);
                }
                (raw.offset >= span.position || raw.offset + 1 >= span.end).then_some(raw.partition)
            }
            Polled::Other(happening) => {
                if stop.requested() {
                    return Ok(None);
                }
                end_of(happening, &mut waiting)?
            }
        };
        if let Some(partition) = finished
            && open.remove(&partition).is_some()
        {
            consumer.pause(std::iter::once(partition))?;
        }
    }
    Ok(Some(next))
}

/// The partition whose end was reached, if that is what happened.
fn end_of(happening: Happening, waiting: &mut impl FnMut(&str)) -> anyhow::Result<Option<i32>> {
    match happening {
        Happening::End(partition) => Ok(Some(partition)),
        Happening::Away(why) => {
            waiting(&why);
            Ok(None)
        }
        Happening::PositionLost => {
            bail!("records were removed by retention while they were being read: run it again")
        }
        Happening::Failed(error) => Err(error),
        // A member of no group is given and loses nothing.
        Happening::Nothing | Happening::Assigned(_) | Happening::Revoked => Ok(None),
    }
}
