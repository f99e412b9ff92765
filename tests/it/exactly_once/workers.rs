//! Workers that are killed and stopped, and groups that change.

use std::time::Instant;

use super::cuts::{behind, end};
use super::{assert_each_once, at_least, note_pause, produce, producer, sandbox, worker};
use crate::support::program::Running;
use crate::support::{Proxy, Run, Sandbox, eventually, orders, sql, sql_value, stack};

#[test]
fn workers_that_come_and_go_share_the_partitions() {
    let sandbox = sandbox("shared", 4);
    let mut first = worker(&sandbox).spawn();
    let producer = producer(&sandbox, 20_000, 2_500);
    at_least(&sandbox, 1_000, &mut first);
    let second = worker(&sandbox).spawn();
    eventually("two workers own partitions", || owners(&sandbox).len() == 2);
    first.interrupt();
    first.finish().code(130);
    let third = worker(&sandbox).spawn();
    producer.finish().success();
    assert_each_once(&sandbox, 20_000);
    for worker in [second, third] {
        worker.interrupt();
        worker.finish().code(130);
    }
}

/// Who owns partitions, as host and process.
pub(super) fn owners(sandbox: &Sandbox) -> Vec<String> {
    let owners = sql_value(&format!(
        "select string_agg(distinct owner, ' ') from orderctl.ledger_position
         where group_name = '{}'",
        sandbox.group
    ));
    owners.split_whitespace().map(str::to_owned).collect()
}

/// Backends of the group that are in the middle of a COPY, waiting for its
/// data, and have advanced a position already; their process ids.
pub(super) fn backends_mid_copy(sandbox: &Sandbox) -> Vec<String> {
    let rows = sql(&format!(
        "select pid from pg_stat_activity a where application_name = '{}'
             and query like 'copy %' and state = 'active' and wait_event = 'ClientRead'
             and exists (select from pg_locks l where l.pid = a.pid and l.mode = 'RowExclusiveLock'
                 and l.relation = 'orderctl.ledger_position'::regclass)",
        sandbox.application()
    ));
    rows.into_iter().flatten().flatten().collect()
}

/// A worker that has stored 100 orders through a proxy and is held in the middle
/// of a COPY: one batch of about a megabyte, of which the database gets a part.
/// There are 5,100 orders in all. With it comes how many are stored.
pub(super) fn held_mid_copy(worker: Run, proxy: &Proxy, sandbox: &Sandbox) -> (Running, usize) {
    // Of several writers one could be waiting for the answer to its COMMIT.
    let mut worker = worker.args(["--writers", "1"]).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(sandbox, 100, &mut worker);
    proxy.silence_after(200_000);
    produce(sandbox, 5_000);
    eventually("a COPY waits for its data", || !backends_mid_copy(sandbox).is_empty());
    (worker, sandbox.count("orders"))
}

/// Stops a worker held in the middle of a COPY, and has another one do its work.
pub(super) fn replace(zombie: &Running, other: Run, sandbox: &Sandbox, fault: &str) -> Running {
    zombie.signal("STOP");
    let stopped = Instant::now();
    let mut other = other.spawn();
    at_least(sandbox, 5_100, &mut other);
    note_pause(fault, stopped);
    other
}

#[test]
fn a_worker_stopped_in_the_middle_of_a_copy_is_replaced_and_stores_nothing_when_it_wakes() {
    let sandbox = sandbox("zombie", 2);
    let proxy = Proxy::to(stack().postgres);
    let (zombie, stored_before) = held_mid_copy(behind(&proxy, &sandbox), &proxy, &sandbox);
    let other = replace(&zombie, worker(&sandbox), &sandbox, "worker stopped in a COPY");
    assert!(backends_mid_copy(&sandbox).is_empty(), "the new owner ended what was in its way");
    assert_each_once(&sandbox, 5_100);

    proxy.silence(false);
    zombie.signal("CONT");
    let pid = format!(":{}", zombie.pid());
    let is_back = || owners(&sandbox).iter().any(|owner| owner.ends_with(&pid));
    eventually("the woken worker owns a partition again", is_back);
    assert_each_once(&sandbox, 5_100);
    assert_eq!(end(zombie)["stored"], stored_before, "the woken worker stored nothing more");
    sandbox.publish(&orders("b", 100));
    assert_each_once(&sandbox, 5_200);
    end(other);
}
