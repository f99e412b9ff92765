//! What the tests are made of: one stack for all, a sandbox for each, the built
//! program, and plain ways to look into the database and the topics.

pub mod kafka;
pub mod postgres;
pub mod program;
pub mod sandbox;
pub mod shared_stack;

pub use kafka::{Kafka, Raw, kafka};
pub use postgres::{query_at, sql, sql_value, try_sql, uri};
pub use program::{Run, eventually, orderctl};
pub use sandbox::Sandbox;
pub use shared_stack::stack;
