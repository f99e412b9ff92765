//! Apache Kafka, through librdkafka.

mod callbacks;
pub mod client;
pub mod consumer;
pub mod diagnosis;
pub mod producer;
pub mod questions;
pub mod range;
mod topic_id;
pub mod topics;

pub use consumer::{Consumer, Happening, Polled};
