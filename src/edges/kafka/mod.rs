//! Apache Kafka, through librdkafka.

pub mod client;
