//! The only integration binary: one file a verb, on one stack for the whole run.

mod auth_setup;
mod connections;
mod consume;
mod db_setup;
mod dlq;
mod doctor;
mod exactly_once;
mod produce;
mod route_cities;
mod secrets;
mod seen;
mod stack;
mod status;
mod support;
mod tidy;
mod trace;
mod verify;
