//! Apache Kafka, through librdkafka.

mod callbacks;
pub mod client;
pub mod consumer;
pub mod diagnosis;
pub mod explain;
pub mod inspect;
pub mod producer;
pub mod questions;
mod topic_id;
pub mod topics;

pub use consumer::{Consumer, Happening, Polled};
