//! The far ends: the only modules (with [`crate::stack`]) that name a driver.

pub mod handshake;
pub mod http;
pub mod kafka;
pub mod postgres;
pub mod search;
pub mod smtp;
pub mod tls;
pub mod trust;
