//! The only integration binary: one file a verb, on one stack for the whole run.

mod auth_setup;
mod completions;
mod confirm;
mod connections;
mod consume;
mod db_setup;
mod dlq;
mod doctor;
mod enrich;
mod exactly_once;
mod menu;
mod notify;
mod produce;
mod relay;
mod route_cities;
mod seating;
mod secrets;
mod seen;
mod stack;
mod status;
mod support;
mod tidy;
mod trace;
mod verify;
