//! Apache Kafka, through librdkafka.

pub mod client;
pub mod diagnosis;
