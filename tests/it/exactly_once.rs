//! Every record once, whatever is killed, cut or stopped meanwhile.
//!
//! The tables have no unique key, so that a record stored twice would be seen.

mod cuts;
mod fencing;
mod workers;

use std::time::Duration;

use crate::support::program::Running;
use crate::support::{Run, Sandbox, eventually, orderctl, sql};

const LIMIT: Duration = Duration::from_secs(90);

/// A topic of so many partitions, and a table that takes a record twice.
fn sandbox(name: &str, partitions: i32) -> Sandbox {
    let sandbox = Sandbox::new(name).with_topic(partitions);
    sandbox.set_up("model");
    let (table, model) = (sandbox.table("orders"), sandbox.table("model"));
    sql(&format!("create table {table} as table {model}"));
    sandbox.set_up("orders");
    sandbox
}

/// A worker that is found out soon when it is gone.
fn worker(sandbox: &Sandbox) -> Run {
    sandbox.consume("orders").args(["-X", "session.timeout.ms=6000"]).limit(LIMIT)
}

/// Publishes generated orders while the test goes on, so many a second.
fn producer(sandbox: &Sandbox, number: usize, rate: usize) -> Running {
    let (number, rate) = (number.to_string(), rate.to_string());
    Run::new(["produce", "--topic-name", &sandbox.topic, "--num", &number, "--rate", &rate])
        .limit(LIMIT)
        .spawn()
}

/// Publishes generated orders and waits for them.
fn produce(sandbox: &Sandbox, number: usize) {
    orderctl(["produce", "--topic-name", &sandbox.topic, "--num", &number.to_string()]).success();
}

/// Waits until so many rows are there, then asserts that each order is there
/// once and that the ledger stands at the ends of the topic.
#[track_caller]
fn assert_each_once(sandbox: &Sandbox, number: usize) {
    eventually(&format!("{number} rows"), LIMIT, || sandbox.count("orders") >= number);
    let distinct = sandbox.column("orders", "count(*) || ' ' || count(distinct order_id)");
    assert_eq!(distinct, [format!("{number} {number}")]);
    sandbox.assert_read_to_the_end();
    assert!(sandbox.dead().is_empty());
}

/// Waits until so many rows are there while a worker runs.
#[track_caller]
fn at_least(sandbox: &Sandbox, rows: usize, worker: &mut Running) {
    sandbox.wait_for_rows("orders", rows, worker);
}
