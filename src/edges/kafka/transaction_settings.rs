//! The settings of producers that publish in transactions.

use std::time::Duration;

use rdkafka::ClientConfig;

use super::client::client_config;
use super::transaction::{CALL, END_LIMIT};
use crate::config::KafkaSettings;

/// Our defaults, each under all its names: what the user set under any of them
/// stays.
const DEFAULTS: &[(&[&str], &str)] = &[
    (&["compression.type", "compression.codec"], "lz4"),
    (&["partitioner"], "murmur2_random"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "10000"),
    // Whether a record is too large is for the topic to say.
    (&["message.max.bytes"], "67108864"),
];
/// What exactly once rests on; not the user's to change.
pub const OWN: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("delivery.report.only.error", "true"),
    ("allow.auto.create.topics", "false"),
];
/// What a killed worker left open keeps readers waiting no longer than this, or
/// than a live one may take.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_secs(10);
/// How long records wait for others of their partition: many topics are cheap for
/// the broker only in large batches.
const LINGER_MAX: Duration = Duration::from_millis(50);
/// The names that has.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];

/// The configuration of a producer whose transactions are ended at this age at the
/// latest.
pub(super) fn config(
    settings: &KafkaSettings,
    transactional_id: &str,
    age_max: Duration,
) -> ClientConfig {
    let mut config = client_config(settings);
    if config.get("transaction.timeout.ms").is_none() {
        let timeout = TIMEOUT_MIN.max(age_max + END_LIMIT + CALL);
        config.set("transaction.timeout.ms", timeout.as_millis().to_string());
    }
    if LINGER.iter().all(|name| config.get(name).is_none()) {
        // Before each commit the last ones are waited for.
        let linger = LINGER_MAX.min(age_max / 2);
        config.set(LINGER[0], linger.as_millis().to_string());
    }
    for (names, value) in DEFAULTS {
        if names.iter().all(|name| config.get(name).is_none()) {
            config.set(names[0], *value);
        }
    }
    for (name, value) in OWN {
        config.set(*name, *value);
    }
    config.set("transactional.id", transactional_id);
    config
}
