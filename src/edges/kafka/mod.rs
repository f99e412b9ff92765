//! Apache Kafka, through librdkafka.

mod admin;
mod callbacks;
pub mod client;
pub mod consumer;
mod deliveries;
pub mod diagnosis;
mod enqueue;
pub mod excerpt;
pub mod explain;
pub mod groups;
pub mod inspect;
pub mod listing;
pub mod membership;
pub mod murmur2;
pub mod offsets;
pub mod overview;
pub mod producer;
pub mod questions;
pub mod range;
pub mod removal;
pub mod republish;
mod sasl;
pub mod sizes;
mod topic_id;
pub mod topics;
pub mod transaction;
pub mod transaction_settings;
mod wire;

pub use consumer::{Consumer, Happening, Polled};
