//! A database that goes away and comes back, or has room for nothing more.

use std::time::Instant;

use super::{Publishing, STAYS, assert_each_once, at_least, note_pause, sandbox, worker};
use crate::support::{Sandbox, Server, Session, Shutdown, eventually, kafka, orders, uri_as};

/// How many records the topic has.
fn published(sandbox: &Sandbox) -> i64 {
    let partitions = kafka().partitions(&sandbox.topic) as i32;
    (0..partitions).map(|partition| kafka().watermarks(&sandbox.topic, partition).1).sum()
}

/// Backends of the group.
#[test]
fn a_database_that_is_restarted_again_and_again_loses_and_doubles_nothing() {
    let mut server = Server::start("");
    let sandbox = sandbox("restarted", 3);
    let mut worker = worker(&sandbox).args(STAYS).spawn();
    let publishing = Publishing::into(&sandbox);
    let restarts = [Shutdown::Fast, Shutdown::Immediate].repeat(3);
    let mut rows = 0;
    for how in &restarts {
        at_least(&sandbox, rows + 300, &mut worker);
        eventually("its writers to be connected", || sandbox.backends() >= 2);
        let stopped = Instant::now();
        server.stop(*how);
        let before = published(&sandbox);
        eventually("records to come in meanwhile", || published(&sandbox) > before + 300);
        assert!(worker.is_running());
        server.start_again();
        rows = sandbox.count("orders");
        at_least(&sandbox, rows + 1, &mut worker);
        note_pause(&format!("PostgreSQL restarted ({how:?})"), stopped);
    }
    let number = publishing.end();
    assert_each_once(&sandbox, number);
    let recoveries = server.log().matches("database system was not properly shut down").count();
    assert_eq!(recoveries, 3);
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert_eq!(ended.json()["stored"], number);
    assert!(ended.stderr.matches("waiting: ").count() >= restarts.len(), "{ended}");
    assert!(ended.stderr.matches("back again").count() >= restarts.len(), "{ended}");
}

#[test]
fn a_disk_that_is_full_is_waited_out() {
    let server = Server::start("");
    let sandbox = sandbox("full", 1);
    server.set_full(&sandbox.table("orders"), true);
    // Rows of less than a page, which the server writes as it would its last one.
    let mut worker = worker(&sandbox).args(["--batch-rows", "10"]).spawn();
    sandbox.publish(&orders("a", 500));
    let full = || server.log().matches("No space left on device").count();
    eventually("it tries again and again", || full() >= 5);
    assert_eq!(sandbox.positions(), [(0, 0)], "not a step forward");
    assert!(worker.is_running());
    server.set_full(&sandbox.table("orders"), false);
    let cured = Instant::now();
    at_least(&sandbox, 10, &mut worker);
    note_pause("disk full, after there is room", cured);
    assert_each_once(&sandbox, 500);
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("No space left on device (SQLSTATE 53100"), "{ended}");
    assert_eq!(ended.json()["stored"], 500);
}

#[test]
fn a_server_that_has_no_connection_left_is_waited_out() {
    let server = Server::start("max_connections = 12\nsuperuser_reserved_connections = 3");
    let sandbox = sandbox("crowded", 1);
    let role = sandbox.create_role();
    let uri = uri_as(&role, server.port);
    let mut worker = worker(&sandbox).env("ORDERCTL_POSTGRES_URI", &uri).spawn();
    sandbox.publish(&orders("a", 10));
    at_least(&sandbox, 10, &mut worker);
    let mut others = Vec::new();
    eventually("others have every connection", || {
        sandbox.terminate_backends();
        while let Ok(other) = Session::open_at(&uri) {
            others.push(other);
        }
        sandbox.backends() == 0 && others.len() == 9
    });
    sandbox.publish(&orders("b", 10));
    let refused = || server.log().matches("remaining connection slots are reserved").count();
    let before = refused();
    eventually("it tries again and again", || refused() >= before + 4);
    assert!(worker.is_running());
    assert_eq!(sandbox.count("orders"), 10);
    drop(others);
    let cured = Instant::now();
    at_least(&sandbox, 20, &mut worker);
    note_pause("no connection left, after there is one", cured);
    assert_each_once(&sandbox, 20);
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("no connection left"), "{ended}");
    assert!(ended.stderr.contains("SQLSTATE 53300"), "{ended}");
}
