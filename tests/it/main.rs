//! The only integration binary: one file a verb, on one stack for the whole run.

mod stack;
mod support;
mod tidy;
