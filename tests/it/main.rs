//! The only integration binary: one file a verb, on one stack for the whole run.

mod produce;
mod stack;
mod support;
mod tidy;
