//! One file a verb: its arguments, its wiring, its pure steps.

pub mod db_setup;
pub mod produce;
pub mod stack;
