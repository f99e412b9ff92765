//! Workers that are killed and stopped, and groups that change.

use std::time::{Duration, Instant};

use super::{LIMIT, assert_each_once, at_least, note_pause, produce, producer, sandbox, worker};
use crate::support::{Proxy, Sandbox, eventually, orders, sql, sql_value, stack, uri_at_port};

#[test]
fn workers_that_come_and_go_share_the_partitions() {
    let sandbox = sandbox("shared", 4);
    let mut first = worker(&sandbox).spawn();
    let producer = producer(&sandbox, 20_000, 2_500);
    at_least(&sandbox, 1_000, &mut first);
    let second = worker(&sandbox).spawn();
    eventually("two workers own partitions", LIMIT, || owners(&sandbox).len() == 2);
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

#[test]
fn a_worker_stopped_in_the_middle_of_a_copy_is_replaced_and_stores_nothing_when_it_wakes() {
    let sandbox = sandbox("zombie", 2);
    let proxy = Proxy::to(stack().postgres);
    let uri = uri_at_port(proxy.address.port());
    let mut zombie = worker(&sandbox).env("ORDERCTL_POSTGRES_URI", uri).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut zombie);

    // One batch of about a megabyte, of which the database gets a part.
    proxy.silence_after(200_000);
    produce(&sandbox, 5_000);
    eventually("a COPY waits for its data", LIMIT, || !backends_mid_copy(&sandbox).is_empty());
    let stored_before = sandbox.count("orders");
    zombie.signal("STOP");
    let stopped = Instant::now();
    let mut other = worker(&sandbox).spawn();
    at_least(&sandbox, 5_100, &mut other);
    note_pause("worker stopped in a COPY", stopped);
    assert!(stopped.elapsed() < Duration::from_secs(60), "{:?}", stopped.elapsed());
    assert!(backends_mid_copy(&sandbox).is_empty(), "the new owner ended what was in its way");
    assert_each_once(&sandbox, 5_100);

    proxy.silence(false);
    zombie.signal("CONT");
    let pid = format!(":{}", zombie.pid());
    let is_back = || owners(&sandbox).iter().any(|owner| owner.ends_with(&pid));
    eventually("the woken worker owns a partition again", LIMIT, is_back);
    assert_each_once(&sandbox, 5_100);
    zombie.interrupt();
    let summary = zombie.finish().code(130).json();
    assert_eq!(summary["stored"], stored_before, "the woken worker stored nothing more");
    sandbox.publish(&orders("b", 100));
    assert_each_once(&sandbox, 5_200);
    other.interrupt();
    other.finish().code(130);
}
