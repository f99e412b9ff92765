//! What readers see: topics, and committed records without the markers that end
//! transactions.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(30);

/// The topics whose names begin so.
///
/// # Errors
/// When the broker does not answer.
pub fn topics(config: &ClientConfig, prefix: &str) -> anyhow::Result<Vec<String>> {
    let reader: BaseConsumer = config.create()?;
    let metadata = reader.fetch_metadata(None, LIMIT)?;
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// How many committed records the topics hold together.
///
/// # Errors
/// When they cannot be read.
pub fn count(config: &ClientConfig, topics: &[&str]) -> anyhow::Result<u64> {
    let reader: BaseConsumer = config
        .clone()
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = reader.fetch_metadata(Some(topic), LIMIT)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
    }
    reader.assign(&list)?;
    let (mut records, mut open) = (0, list.count());
    while open > 0 {
        match reader.poll(LIMIT).context("no more records, and no end")? {
            Ok(_) => records += 1,
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}
