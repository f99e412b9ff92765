//! Apache Kafka, through librdkafka.

pub mod client;
pub mod consumer;
pub mod diagnosis;

pub use consumer::{Consumer, Happening, Polled};
