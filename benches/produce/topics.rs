//! Fresh topics for every run, so that no run writes behind another's data.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::runtime::Runtime;

const PARTITIONS: i32 = 6;
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

    /// Creates a topic and returns once every partition has a leader.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn create(&self, topic: &str) -> anyhow::Result<()> {
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let results = self.runtime.block_on(self.admin.create_topics([&new], &options))?;
        results.into_iter().try_for_each(|result| {
            result.map(drop).map_err(|(topic, code)| anyhow!("cannot create {topic}: {code}"))
        })?;
        // There is an answer once every partition is led.
        self.records(topic).map(drop)
    }

    /// How many records the topic holds. Asks again for a while: partitions that
    /// are new or have just been written in haste may not be known yet.
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
            // Otherwise the client would go on with what it knows.
            self.consumer.fetch_metadata(Some(topic), LIMIT)?;
        }
    }

    fn count(&self, topic: &str) -> anyhow::Result<u64> {
        let mut records = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, LIMIT)?;
            records += u64::try_from(high - low)?;
        }
        Ok(records)
    }

    /// Removes a topic, so that the disk does not fill up.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn remove(&self, topic: &str) -> anyhow::Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let results = self.runtime.block_on(self.admin.delete_topics(&[topic], &options))?;
        results.into_iter().try_for_each(|result| {
            result.map(drop).map_err(|(topic, code)| anyhow!("cannot remove {topic}: {code}"))
        })
    }
}
