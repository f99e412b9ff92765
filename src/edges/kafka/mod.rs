//! Apache Kafka, through librdkafka.

pub mod client;
pub mod diagnosis;
pub mod producer;
pub mod topics;
