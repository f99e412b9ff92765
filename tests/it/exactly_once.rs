//! Every record once, whatever is killed, cut or stopped meanwhile.
//!
//! The tables have no unique key, so that a record stored twice would be seen.

mod broker;
mod cuts;
mod fencing;
mod kills;
mod links;
mod partitions;
mod rebalances;
mod retention;
mod workers;

use std::time::Duration;

use crate::support::program::Running;
use crate::support::{Asker, Run, Sandbox, eventually, orderctl, sql, stack};

const LIMIT: Duration = Duration::from_secs(90);
/// How long a worker or producer may run: some faults take their time, and more
/// on a busy machine.
const RUN_LIMIT: Duration = Duration::from_secs(300);

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
    sandbox
        .consume("orders")
        .args(["-X", "session.timeout.ms=2000", "-X", "heartbeat.interval.ms=500"])
        .limit(RUN_LIMIT)
}

/// Publishes generated orders while the test goes on, so many a second.
fn producer(sandbox: &Sandbox, number: usize, rate: usize) -> Running {
    let (number, rate) = (number.to_string(), rate.to_string());
    Run::new(["produce", "--topic-name", &sandbox.topic, "--num", &number, "--rate", &rate])
        .limit(LIMIT)
        .spawn()
}

/// Publishes generated orders until it is interrupted, so many a second.
fn endless_producer(sandbox: &Sandbox, rate: usize) -> Run {
    let number = RUN_LIMIT.as_secs() as usize * rate;
    Run::new(["produce", "-o", "json", "--topic-name", &sandbox.topic, "--quiet"])
        .args(["--num", &number.to_string(), "--rate", &rate.to_string()])
        .limit(RUN_LIMIT)
}

/// Ends an endless producer: how many orders there are.
#[track_caller]
fn stop_producing(producer: Running) -> usize {
    producer.interrupt();
    let ended = producer.finish().code(130);
    ended.json()["acknowledged"].as_u64().expect("a number") as usize
}

/// For questions about the sandbox's group.
fn asker(sandbox: &Sandbox) -> Asker {
    Asker::new(&stack().creds, &stack().cert_path, &sandbox.group)
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
