//! No secret is shown: a mark in every one of them, and a search for it in all
//! that the program prints and writes.

mod failures;
mod files;
mod marked;
mod verbs;
