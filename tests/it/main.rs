//! The only integration binary: one file a verb, on one stack for the whole run.

mod auth_setup;
mod connections;
mod produce;
mod stack;
mod support;
mod tidy;
