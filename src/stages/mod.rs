//! One file a verb: its arguments, its wiring, its pure steps.

pub mod agreement;
pub mod auth_setup;
pub mod completions;
pub mod confirm;
pub mod consume;
pub mod db_setup;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod enrich;
pub mod notify;
pub mod produce;
pub mod relay;
pub mod route_cities;
pub mod stack;
pub mod status;
pub mod test;
pub mod trace;
pub mod verify;
