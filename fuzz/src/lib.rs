//! The modules that the fuzz targets drive, from the main crate's own files.
//!
//! A dependency on the crate would compile librdkafka and OpenSSL once more, for
//! minutes, and the parser and the row encoder need neither.

#[path = "../../src/edges/postgres/column.rs"]
pub mod column;
#[path = "../../src/edges/postgres/encode.rs"]
pub mod encode;
#[path = "../../src/edges/postgres/encode_check.rs"]
pub mod encode_check;
#[path = "../../src/events/mod.rs"]
pub mod events;
#[path = "../../src/edges/postgres/identifier.rs"]
pub mod identifier;
#[path = "../../src/edges/postgres/target.rs"]
pub mod target;
