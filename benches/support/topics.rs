//! Fresh topics for every run, so that no run writes behind another's data.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(30);

/// Creates, counts and removes topics.
pub struct Topics {
    admin: AdminClient<DefaultClientContext>,
    consumer: BaseConsumer,
    runtime: Runtime,
}

impl Topics {
    /// Connects.
    ///
    /// # Errors
    /// When a property cannot be understood.
    pub fn new(config: &ClientConfig) -> anyhow::Result<Topics> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Topics { admin: config.create()?, consumer: config.create()?, runtime })
    }

    /// Creates topics and returns once every partition has a leader.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn create(&self, topics: &[&str], partitions: i32) -> anyhow::Result<()> {
        let mut new = Vec::with_capacity(topics.len());
        for topic in topics {
            new.push(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)));
        }
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let results = self.runtime.block_on(self.admin.create_topics(&new, &options))?;
        results.into_iter().try_for_each(|result| {
            result.map(drop).map_err(|(topic, code)| anyhow!("cannot create {topic}: {code}"))
        })?;
        // There is an answer once every partition is led.
        topics.iter().try_for_each(|topic| self.records(topic).map(drop))
    }

    /// How many offsets the topic holds: its records, and the markers that end
    /// transactions. Asks again for a while:
    /// partitions that are new or have just been written in haste may not be known
    /// yet.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn records(&self, topic: &str) -> anyhow::Result<u64> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.count(topic) {
                Ok(records) => return Ok(records),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("cannot count {topic}'s records"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn count(&self, topic: &str) -> anyhow::Result<u64> {
        let metadata = self.consumer.fetch_metadata(Some(topic), LIMIT)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        anyhow::ensure!(partitions > 0, "it is not there yet");
        let mut records = 0;
        for partition in 0..i32::try_from(partitions)? {
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, LIMIT)?;
            records += u64::try_from(high - low)?;
        }
        Ok(records)
    }

    /// Removes topics, so that the disk does not fill up.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn remove(&self, topics: &[&str]) -> anyhow::Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let results = self.runtime.block_on(self.admin.delete_topics(topics, &options))?;
        results.into_iter().try_for_each(|result| {
            result.map(drop).map_err(|(topic, code)| anyhow!("cannot remove {topic}: {code}"))
        })
    }
}
