//! One file a verb: its arguments, its wiring, its pure steps.

pub mod consume;
pub mod db_setup;
pub mod stack;
