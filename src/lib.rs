//! `orderctl` moves order events exactly once: from generators, files and
//! databases, through Apache Kafka, into PostgreSQL.
//!
//! One way through: [`cli`] → [`stages`] (one file a verb) → [`engine`] (the
//! exactly-once loop) → [`edges`] (the only modules that name a driver).

pub mod cli;
pub mod config;
pub mod console;
pub mod edges;
pub mod engine;
pub mod error;
pub mod events;
pub mod log;
pub mod seen;
pub mod stack;
pub mod stages;
pub mod stop;
