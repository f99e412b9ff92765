//! The far ends: the only modules (with [`crate::stack`]) that name a driver.

pub mod http;
pub mod kafka;
pub mod postgres;
pub mod tls;
