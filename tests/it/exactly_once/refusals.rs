//! A database that is there and refuses: read-only, cancelled, in conflict.

use std::time::Instant;

use super::cuts::{behind, waiting};
use super::workers::backends_mid_copy;
use super::{STAYS, assert_each_once, at_least, note_pause, produce, sandbox, worker};
use crate::support::{
    Proxy, Sandbox, Server, Session, drop_role, eventually, orders, sql, sql_value, stack, uri_as,
};

#[test]
fn a_database_that_is_read_only_is_waited_out() {
    let sandbox = sandbox("read_only", 2);
    let role = sandbox.create_role();
    let proxy = Proxy::to(stack().postgres);
    let uri = uri_as(&role, proxy.address.port());
    let mut worker = worker(&sandbox).env("ORDERCTL_POSTGRES_URI", &uri).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    for (round, rows) in [(1, 200), (2, 300)] {
        sql(&format!("alter role {role} set default_transaction_read_only = on"));
        sandbox.terminate_backends();
        sandbox.publish(&orders(&format!("r{round}-"), 100));
        let links = proxy.links();
        eventually("it tries again and again", || proxy.links() >= links + 6);
        assert!(worker.is_running());
        assert_eq!(sandbox.count("orders"), rows - 100);
        sql(&format!("alter role {role} reset default_transaction_read_only"));
        let cured = Instant::now();
        at_least(&sandbox, rows, &mut worker);
        note_pause("read-only, after it is writable", cured);
    }
    // A claim is a write too.
    sql(&format!("alter role {role} set default_transaction_read_only = on"));
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("read-only transaction (SQLSTATE 25006)"), "{ended}");
    let mut next = super::worker(&sandbox).env("ORDERCTL_POSTGRES_URI", &uri).spawn();
    let links = proxy.links();
    eventually("it tries to claim again and again", || proxy.links() >= links + 6);
    assert!(next.is_running());
    sql(&format!("alter role {role} reset default_transaction_read_only"));
    sandbox.publish(&orders("last", 100));
    at_least(&sandbox, 400, &mut next);
    assert_each_once(&sandbox, 400);
    next.interrupt();
    let ended = next.finish().code(130);
    assert!(ended.stderr.contains("read-only transaction (SQLSTATE 25006)"), "{ended}");
    drop_role(&role);
}

#[test]
fn a_copy_that_the_administrator_cancels_is_done_again() {
    let sandbox = sandbox("cancelled", 2);
    let proxy = Proxy::to(stack().postgres);
    let mut worker = behind(&proxy, &sandbox).args(["--writers", "1"]).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    for round in 1..=5 {
        proxy.silence_after(150_000 * round);
        produce(&sandbox, 5_000);
        eventually("a COPY waits for its data", || !backends_mid_copy(&sandbox).is_empty());
        for backend in backends_mid_copy(&sandbox) {
            assert_eq!(sql_value(&format!("select pg_cancel_backend({backend})")), "t");
        }
        let cancelled = Instant::now();
        // The server looks for it when the next data come.
        proxy.silence(false);
        at_least(&sandbox, 100 + 5_000 * round as usize, &mut worker);
        note_pause("statement cancelled", cancelled);
    }
    assert_each_once(&sandbox, 25_100);
    worker.interrupt();
    let ended = worker.finish().code(130);
    let said = "canceling statement due to user request (SQLSTATE 57014)";
    assert_eq!(ended.stderr.matches(said).count(), 5, "{ended}");
    assert_eq!(ended.json()["stored"], 25_100);
}

#[test]
fn a_serialization_failure_is_tried_again() {
    let sandbox = sandbox("serial", 1);
    let role = sandbox.create_role();
    sql(&format!("alter role {role} set default_transaction_isolation = 'serializable'"));
    let uri = uri_as(&role, stack().postgres.port());
    let run = worker(&sandbox).args(STAYS).env("ORDERCTL_POSTGRES_URI", &uri);
    let mut worker = run.spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    let other = Session::open();
    for round in 1..=5 {
        other.run(&format!("begin; {}", touch(&sandbox)));
        sandbox.publish(&orders(&format!("r{round}-"), 100));
        eventually("the batch waits for it", || waiting(&sandbox, "transactionid") == "1");
        other.run("commit");
        let failed = Instant::now();
        at_least(&sandbox, 100 + 100 * round, &mut worker);
        note_pause("serialization failure", failed);
    }
    assert_each_once(&sandbox, 600);
    worker.interrupt();
    let ended = worker.finish().code(130);
    let said = "could not serialize access due to concurrent update (SQLSTATE 40001";
    assert_eq!(ended.stderr.matches(said).count(), 5, "{ended}");
    assert_eq!(ended.json()["stored"], 600);
    drop_role(&role);
}

#[test]
fn a_deadlock_is_lost_and_tried_again() {
    // On a server of its own, where a session may choose not to be the victim.
    let _server = Server::start("");
    let sandbox = sandbox("deadlock", 1);
    // A batch passes the gate and takes the key, its position in hand.
    sql(&format!(
        "create function pass() returns trigger language plpgsql as $$
         begin perform pg_advisory_xact_lock({GATE}), pg_advisory_xact_lock({KEY}); return null; end $$;
         create trigger pass before insert on {} for each statement execute function pass()",
        sandbox.table("orders")
    ));
    let mut worker = worker(&sandbox).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    let (keeper, other) = (Session::open(), Session::open());
    other.run("set deadlock_timeout = '10min'");
    for round in 1..=3 {
        keeper.run(&format!("select pg_advisory_lock({GATE})"));
        // The key first and the position then: the other way round than a batch.
        other.run(&format!("begin; select pg_advisory_xact_lock({KEY})"));
        sandbox.publish(&orders(&format!("r{round}-"), 100));
        eventually("a batch waits at the gate", || waiting(&sandbox, "advisory") == "1");
        std::thread::scope(|scope| {
            scope.spawn(|| other.run(&format!("{}; commit", touch(&sandbox))));
            eventually("the other waits for the batch", touch_waits);
            keeper.run(&format!("select pg_advisory_unlock({GATE})"));
        });
        let over = Instant::now();
        at_least(&sandbox, 100 + 100 * round, &mut worker);
        note_pause("deadlock", over);
    }
    assert_each_once(&sandbox, 400);
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert_eq!(ended.stderr.matches("deadlock detected (SQLSTATE 40P01").count(), 3, "{ended}");
    assert_eq!(ended.json()["stored"], 400);
}

/// Two advisory locks.
const GATE: i32 = 1;
const KEY: i32 = 2;

/// Locks the group's positions and changes nothing that matters.
fn touch(sandbox: &Sandbox) -> String {
    format!(
        "update orderctl.ledger_position set updated_at = now() where group_name = '{}'",
        sandbox.group
    )
}

/// Whether a [`touch`] waits for somebody's transaction.
fn touch_waits() -> bool {
    let waits = sql("select from pg_stat_activity where wait_event = 'transactionid'
         and query like 'update orderctl.ledger_position set updated_at = now() where%'");
    waits.len() == 1
}
