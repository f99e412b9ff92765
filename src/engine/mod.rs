//! The exactly-once loop.
//!
//! Records are polled from Kafka on one thread, which decodes each one straight
//! into the row it will be in the table and appends it to a [`batch::Batch`].
//! Full batches go to writers, each with a database connection of its own and
//! partitions of its own. A writer stores a batch, its dead letters and the
//! partitions' new positions in one transaction; where a worker starts is read
//! from there, never from Kafka. So whatever dies at whatever moment, a record's
//! effect and the position after it are there together or not at all.

pub mod batch;
pub mod checkpoint;
pub mod lanes;
pub mod metrics;
pub mod record;
pub mod relay;
pub mod report;
pub mod run;
