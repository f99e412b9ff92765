//! Apache Kafka, through librdkafka.

mod callbacks;
pub mod client;
pub mod consumer;
pub mod diagnosis;
pub mod excerpt;
pub mod producer;
pub mod republish;
pub mod topics;

pub use consumer::{Consumer, Happening, Polled};
