//! From settings to a librdkafka configuration.

use rdkafka::ClientConfig;

use crate::config::KafkaSettings;

/// The configuration every client of ours starts from: the settings over our
/// own defaults.
pub fn client_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in &settings.properties {
        config.set(name, value.expose());
    }
    config
}
