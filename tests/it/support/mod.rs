//! What the tests are made of: one stack for all, a sandbox for each, the built
//! program, and plain ways to look into the database and the topics.

use std::time::Duration;

pub mod asker;
pub mod database;
pub mod kafka;
pub mod killer;
pub mod mailbox;
pub mod orders;
pub mod pooler;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod sandbox;
pub mod server;
pub mod shared_stack;
pub mod smtp;
pub mod terminal;
pub mod turn;

pub use asker::Asker;
pub use database::Database;
pub use kafka::{Kafka, Raw, kafka};
pub use killer::Killer;
pub use mailbox::mailbox;
pub use orders::{drop_role, order, order_with, orders, uri_as, uri_at_port, verified};
pub use pooler::Pooler;
pub use postgres::{Session, query_at, sql, sql_value, try_sql, uri};
pub use program::{Run, eventually, orderctl};
pub use proxy::Proxy;
pub use sandbox::Sandbox;
pub use server::{Server, Shutdown};
pub use shared_stack::stack;
pub use smtp::{Answer, Smtp, Step};
pub use terminal::Terminal;

/// How long a test waits for what has to come. Nothing that the program promises:
/// a machine whose disk stands still for a minute must not fail a test. What has
/// to be quick is measured by the test that says so.
pub const PATIENCE: Duration = Duration::from_secs(180);
