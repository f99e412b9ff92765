//! PostgreSQL, through tokio-postgres over TLS.

pub mod connect;
pub mod failure;
pub mod source;
