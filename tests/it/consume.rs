//! `consume`: a topic into a table, exactly once.

mod columns;
mod constraints;
mod data_loss;
mod duplicates;
mod endings;
mod oracle;
mod payloads;
mod refusals;
mod tables;
