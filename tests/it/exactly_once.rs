//! Every record once, whatever is killed, cut or stopped meanwhile.
//!
//! The tables have no unique key, so that a record stored twice would be seen.

pub mod broker;
mod commits;
mod cuts;
mod database;
mod fencing;
mod kills;
mod links;
mod partitions;
mod pooler;
mod rebalances;
mod refusals;
mod retention;
mod signals;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::program::Running;
use crate::support::turn::Load;
use crate::support::{Asker, Run, Sandbox, eventually, orderctl, orders, sql, stack};

/// How long a worker or producer may run: as long as its test, which waits for
/// many things one after the other.
const RUN_LIMIT: Duration = Duration::from_secs(360);

/// A topic of so many partitions, and a table that takes a record twice.
fn sandbox(name: &str, partitions: i32) -> Sandbox {
    let sandbox = Sandbox::new(name).in_turn(Load::Heavy).with_topic(partitions);
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

/// For a worker that a broker with other work must not put out of its group, where
/// a test counts what it did itself.
const STAYS: [&str; 2] = ["-X", "session.timeout.ms=30000"];

/// Does a fault to a group until its partitions were not taken over for once. A
/// broker that stands still for some seconds, as on a busy machine, puts members out
/// of their groups too, but not each time.
#[track_caller]
fn without_takeover(sandbox: &Sandbox, mut fault: impl FnMut()) {
    const TRIES_MAX: usize = 5;
    for _ in 0..TRIES_MAX {
        let epochs = sandbox.epochs();
        fault();
        if sandbox.epochs() == epochs {
            return;
        }
        eprintln!("taken over: {epochs:?} became {:?}", sandbox.epochs());
    }
    panic!("the partitions were taken over {TRIES_MAX} times in a row");
}

/// Publishes generated orders while the test goes on, so many a second.
fn producer(sandbox: &Sandbox, number: usize, rate: usize) -> Running {
    let (number, rate) = (number.to_string(), rate.to_string());
    Run::new(["produce", "--topic-name", &sandbox.topic, "--num", &number, "--rate", &rate])
        .limit(RUN_LIMIT)
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

/// Orders published on a thread of their own until a test has seen enough: a
/// few at a time, however slow the machine is.
struct Publishing {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Publishing {
    fn into(sandbox: &Sandbox) -> Publishing {
        let enough = Arc::new(AtomicBool::new(false));
        let (sandbox, asked) = (sandbox.clone(), Arc::clone(&enough));
        let thread = std::thread::spawn(move || {
            let mut pieces = 0;
            while !asked.load(SeqCst) {
                sandbox.scatter(&orders(&format!("p{pieces}-"), PIECE));
                pieces += 1;
                // Slower than a worker, so that it always has something to do.
                std::thread::sleep(Duration::from_millis(50));
            }
            pieces * PIECE
        });
        Publishing { enough, thread }
    }

    /// Ends it: how many orders there are.
    fn end(self) -> usize {
        self.enough.store(true, SeqCst);
        self.thread.join().expect("the publishing thread")
    }
}

/// How many orders are published at a time.
const PIECE: usize = 100;

/// Publishes generated orders and waits for them.
fn produce(sandbox: &Sandbox, number: usize) {
    orderctl(["produce", "--topic-name", &sandbox.topic, "--num", &number.to_string()]).success();
}

/// Waits until so many rows are there, then asserts that each order is there
/// once and that the ledger stands at the ends of the topic.
#[track_caller]
fn assert_each_once(sandbox: &Sandbox, number: usize) {
    eventually(&format!("{number} rows"), || sandbox.count("orders") >= number);
    let distinct = sandbox.column("orders", "count(*) || ' ' || count(distinct order_id)");
    assert_eq!(distinct, [format!("{number} {number}")]);
    sandbox.assert_read_to_the_end();
    assert!(sandbox.dead().is_empty());
    assert_verified(sandbox.verify("orders"), number);
}

/// Asserts that `verify` finds so many rows, and that nothing is missing,
/// doubled, too much, or beyond its judgement.
#[track_caller]
fn assert_verified(verify: Run, number: usize) {
    let report = verify.finish().success().json();
    let totals = &report["totals"];
    let counts = ["stored", "duplicates", "rejected", "missing", "duplicated", "extra", "unknown"];
    let found: Vec<u64> = counts.iter().filter_map(|count| totals[count].as_u64()).collect();
    assert_eq!(found, [number as u64, 0, 0, 0, 0, 0, 0], "{report}");
}

/// Waits until so many rows are there while a worker runs.
#[track_caller]
fn at_least(sandbox: &Sandbox, rows: usize, worker: &mut Running) {
    sandbox.wait_for_rows("orders", rows, worker);
}

/// Notes how long no row came because of a fault, for the README's table:
/// `scripts/test exactly_once -- --nocapture`.
fn note_pause(fault: &str, since: Instant) {
    eprintln!("pause: {:5.1} s  {fault}", since.elapsed().as_secs_f64());
}
