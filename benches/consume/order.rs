//! The order in which a consumer sees a topic.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

/// Longer than any pause of a local broker.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads the topic from its beginning to its end, all partitions at once as the
/// sink does, and writes the keys to `path`, one a line, as they come.
///
/// # Errors
/// When the broker cannot be read or the file not be written.
pub fn write_keys(
    mut config: ClientConfig,
    topic: &str,
    partitions: i32,
    path: &Path,
) -> anyhow::Result<()> {
    config.set("group.id", "bench-order").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut file = BufWriter::new(File::create(path)?);
    let mut open = partitions;
    while open > 0 {
        match consumer.poll(SILENCE_MAX) {
            Some(Ok(message)) => {
                file.write_all(message.key().context("a record has no key")?)?;
                file.write_all(b"\n")?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the broker sent nothing for {} s", SILENCE_MAX.as_secs()),
        }
    }
    file.flush().context("cannot write the order of the keys")
}
