//! The exactly-once loop.
