//! Where many partitions begin and end, and where a time is in them, asked with
//! one request a broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ClientLog, describe};
use crate::stop::Stop;

/// How many partitions are asked for at once: librdkafka looks each up in a list.
const ASKED_AT_ONCE: usize = 1000;
/// The longest wait for one answer, so that a stop is noticed.
const SLICE: Duration = Duration::from_secs(4);
/// How long the cluster may take in all.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a partition is given to find its leader before it is asked about again.
const PAUSE: Duration = Duration::from_millis(250);

/// Topic and partition.
pub type Place = (String, i32);

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The first record that there still is.
    First,
    /// One more than the last record's offset that the client's isolation level
    /// lets it see.
    End,
    /// The first record of this time or later, in milliseconds since 1970 UTC.
    Since(i64),
}

/// The offset in each partition; those that have none, or that nobody can be asked
/// about at the moment, are left out.
///
/// # Errors
/// When the cluster does not answer for 20 s, or refuses; a stop is an error too,
/// the caller asks `stop` which it was.
pub(super) fn ask(
    consumer: &BaseConsumer<ClientLog>,
    places: &[Place],
    moment: Moment,
    stop: &Stop,
) -> anyhow::Result<BTreeMap<Place, i64>> {
    let mut found = BTreeMap::new();
    for some in places.chunks(ASKED_AT_ONCE) {
        let answer = ask_patiently(consumer, some, moment, stop)?;
        for element in answer.elements() {
            if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
                found.insert((element.topic().to_owned(), element.partition()), offset);
            }
        }
    }
    Ok(found)
}

fn ask_patiently(
    consumer: &BaseConsumer<ClientLog>,
    places: &[Place],
    moment: Moment,
    stop: &Stop,
) -> anyhow::Result<TopicPartitionList> {
    let since = Instant::now();
    loop {
        let error = match ask_once(consumer, places, moment) {
            Ok(answer) => return Ok(answer),
            // None of them is there any more.
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition) =>
            {
                return Ok(TopicPartitionList::new());
            }
            Err(error) => error,
        };
        if stop.wait_for(PAUSE) {
            bail!("stopped before an answer came");
        }
        if since.elapsed() > LIMIT {
            let why = consumer.context().failure().map(|failure| failure.text);
            bail!("cannot ask for offsets: {}", why.unwrap_or_else(|| describe(&error)));
        }
    }
}

fn ask_once(
    consumer: &BaseConsumer<ClientLog>,
    places: &[Place],
    moment: Moment,
) -> Result<TopicPartitionList, KafkaError> {
    // ListOffsets has -2 and -1 for the ends, as librdkafka's offsets have.
    let asked = match moment {
        Moment::First => Offset::Beginning,
        Moment::End => Offset::End,
        Moment::Since(time_ms) => Offset::Offset(time_ms.max(0)),
    };
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, asked)?;
    }
    match places {
        [] => Ok(list),
        _ => consumer.offsets_for_times(list, SLICE),
    }
}
