//! The only integration binary: one file a verb, on one stack for the whole run.

mod consume;
mod db_setup;
mod exactly_once;
mod stack;
mod support;
mod tidy;
