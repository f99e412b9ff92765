//! Links that break, backends that are ended, services that are away.

use std::time::{Duration, Instant};

use super::{STAYS, assert_each_once, at_least, producer, sandbox, without_takeover, worker};
use crate::support::program::Running;
use crate::support::{
    Proxy, Sandbox, Session, drop_role, eventually, kafka, orders, sql, sql_value, stack, uri_as,
    uri_at_port,
};

/// A worker that reaches the database through a proxy.
pub(super) fn behind(proxy: &Proxy, sandbox: &Sandbox) -> crate::support::Run {
    worker(sandbox).env("ORDERCTL_POSTGRES_URI", uri_at_port(proxy.address.port()))
}

#[track_caller]
pub(super) fn end(worker: Running) -> serde_json::Value {
    worker.interrupt();
    worker.finish().code(130).json()
}

#[test]
fn backends_ended_again_and_again_lose_and_double_nothing() {
    let sandbox = sandbox("ended", 3);
    let worker = worker(&sandbox).args(["--batch-rows", "500"]).args(STAYS).spawn();
    for round in 0..25 {
        sandbox.scatter(&orders(&format!("r{round}-"), 1_000));
        // Whatever it does just then, even nothing: no state may matter. Those that
        // pass in a moment are held still, and then ended, in cases of their own
        // (COMMIT and claim below, COPY in `commits`).
        eventually("a backend to end", || sandbox.terminate_backends() > 0);
    }
    assert_each_once(&sandbox, 25_000);
    assert_eq!(end(worker)["stored"], 25_000);
}

#[test]
fn a_link_to_the_database_that_is_cut_at_any_byte_loses_and_doubles_nothing() {
    let sandbox = sandbox("cut_db", 3);
    let proxy = Proxy::to(stack().postgres);
    let worker = behind(&proxy, &sandbox).args(["--batch-rows", "500"]).args(STAYS).spawn();
    let producer = producer(&sandbox, 30_000, 3_000);
    let mut bytes = 1;
    for _ in 0..25 {
        // Spread over the bytes of some batches: in handshakes, COPY and COMMIT.
        bytes = (bytes * 7_919 + 104_729) % 150_000;
        proxy.cut_after(bytes);
        eventually("the cut", || !proxy.is_due());
    }
    producer.finish().success();
    assert_each_once(&sandbox, 30_000);
    assert_eq!(end(worker)["stored"], 30_000);
}

#[test]
fn a_link_to_kafka_that_is_cut_and_refused_loses_and_doubles_nothing() {
    let sandbox = sandbox("cut_kafka", 3);
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    let mut worker = worker(&sandbox)
        .env("ORDERCTL_BOOTSTRAP_SERVER", broker.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .spawn();
    let producer = producer(&sandbox, 20_000, 2_500);
    for round in 1..=6 {
        at_least(&sandbox, round * 1_000, &mut worker);
        let links = broker.links();
        broker.refuse(round % 2 == 0);
        broker.cut();
        if round % 2 == 0 {
            let refused = broker.refused();
            eventually("it tries again", || broker.refused() > refused + 2);
            broker.refuse(false);
        }
        eventually("it is back", || broker.links() > links);
    }
    producer.finish().success();
    assert_each_once(&sandbox, 20_000);
    assert_eq!(end(worker)["stored"], 20_000);
}

/// Makes every COMMIT of the table wait while somebody holds the lock of the
/// sandbox's name.
pub(super) fn make_commits_wait(sandbox: &Sandbox) {
    sql(&format!(
        "create function {0}.wait() returns trigger language plpgsql as $$
         begin perform pg_advisory_xact_lock_shared(hashtext('{0}')); return null; end $$;
         create constraint trigger wait after insert on {1} deferrable initially deferred
         for each row execute function {0}.wait()",
        sandbox.schema,
        sandbox.table("orders")
    ));
}

/// Backends of the group that wait for a lock of this kind.
pub(super) fn waiting(sandbox: &Sandbox, kind: &str) -> String {
    sql_value(&format!(
        "select count(*) from pg_stat_activity where application_name = '{}'
             and wait_event_type = 'Lock' and wait_event = '{kind}'",
        sandbox.application()
    ))
}

/// Publishes orders and holds the COMMIT that stores them.
pub(super) fn hold_commit(holder: &Session, sandbox: &Sandbox, orders: &[serde_json::Value]) {
    holder.run(&format!("select pg_advisory_lock(hashtext('{}'))", sandbox.schema));
    sandbox.publish(orders);
    eventually("the COMMIT waits", || waiting(sandbox, "advisory") == "1");
}

/// Waits until whoever comes next waits for the COMMIT that is held, and has that
/// one done, or ends its backend.
pub(super) fn let_commit_end(holder: &Session, sandbox: &Sandbox, is_done: bool) {
    let is_awaited = || waiting(sandbox, "transactionid") == "1";
    eventually("the next try or claim waits for it", is_awaited);
    if !is_done {
        let ended = sql(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = '{}' and wait_event = 'advisory'",
            sandbox.application()
        ));
        assert_eq!(ended.len(), 1);
    }
    holder.run(&format!("select pg_advisory_unlock(hashtext('{}'))", sandbox.schema));
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_out_to_be_done_or_not() {
    let sandbox = sandbox("in_doubt", 1);
    make_commits_wait(&sandbox);
    let proxy = Proxy::to(stack().postgres);
    let worker = behind(&proxy, &sandbox).args(STAYS).spawn();
    let holder = Session::open();
    for (round, is_done) in [(1, true), (2, false), (3, true), (4, false)] {
        hold_commit(&holder, &sandbox, &orders(&format!("r{round}-"), 100));
        proxy.cut();
        let_commit_end(&holder, &sandbox, is_done);
        assert_each_once(&sandbox, 100 * round);
    }
    assert_eq!(end(worker)["stored"], 400, "each counted once");
}

#[test]
fn a_claim_that_is_cut_off_is_made_again() {
    let sandbox = sandbox("claim", 1);
    sandbox.publish(&orders("a", 100));
    sandbox.store("orders").finish().success();
    let holder = Session::open();
    holder.run(&format!(
        "begin; select from orderctl.ledger_position where group_name = '{}' for update",
        sandbox.group
    ));
    let proxy = Proxy::to(stack().postgres);
    let worker = behind(&proxy, &sandbox).spawn();
    eventually("the claim waits", || waiting(&sandbox, "transactionid") == "1");
    proxy.cut();
    // Behind the first one, whose backend has not noticed that nobody is there.
    eventually("it is made again", || waiting(&sandbox, "tuple") == "1");
    holder.run("rollback");
    sandbox.publish(&orders("b", 100));
    assert_each_once(&sandbox, 200);
    assert_eq!(end(worker)["stored"], 100);
}

#[test]
fn a_database_that_lets_nobody_in_is_waited_out_without_leaving_the_group() {
    let sandbox = sandbox("refused", 2);
    let proxy = Proxy::to(stack().postgres);
    // Whoever does not poll for so long is put out of the group.
    let mut worker = behind(&proxy, &sandbox)
        .args(["-X", "max.poll.interval.ms=6000", "-X", "session.timeout.ms=6000"])
        .args(["--batch-rows", "100"])
        .spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    let mut number = 100;
    without_takeover(&sandbox, || {
        let refused = proxy.refused();
        proxy.refuse(true);
        proxy.cut();
        let away = Instant::now();
        sandbox.publish(&orders(&format!("b{number}-"), 3_000));
        number += 3_000;
        eventually("it goes on trying for 30 s", || {
            away.elapsed() >= Duration::from_secs(30) && proxy.refused() >= refused + 8
        });
        proxy.refuse(false);
        assert_each_once(&sandbox, number);
    });
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("waiting: ") && ended.stderr.contains("back again"), "{ended}");
    assert!(!ended.stderr.contains("password"), "{ended}");
}

#[test]
fn a_role_that_has_no_connection_left_is_waited_out() {
    let sandbox = sandbox("limited", 1);
    let role = sandbox.create_role();
    let proxy = Proxy::to(stack().postgres);
    let own = uri_as(&role, proxy.address.port());
    let mut worker = worker(&sandbox).env("ORDERCTL_POSTGRES_URI", own).spawn();
    sandbox.publish(&orders("a", 10));
    at_least(&sandbox, 10, &mut worker);
    eventually("it knows that they are stored", || {
        kafka().told_position(&sandbox.group, &sandbox.topic) == Some(10)
    });
    sql(&format!("alter role {role} connection limit 0"));
    sandbox.terminate_backends();
    eventually("they have ended", || sandbox.backends() == 0);
    sandbox.publish(&orders("b", 10));
    let links = proxy.links();
    eventually("it tries again", || proxy.links() >= links + 4);
    assert_eq!(sandbox.count("orders"), 10);
    assert!(worker.is_running());
    sql(&format!("alter role {role} connection limit -1"));
    assert_each_once(&sandbox, 20);
    worker.interrupt();
    let ended = worker.finish().code(130);
    assert!(ended.stderr.contains("no connection left"), "{ended}");
    drop_role(&role);
}

#[test]
fn a_worker_whose_database_was_away_during_a_rebalance_reads_on() {
    let sandbox = sandbox("away", 2);
    let proxy = Proxy::to(stack().postgres);
    let mut first = behind(&proxy, &sandbox).args(["--batch-rows", "100"]).spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut first);
    proxy.refuse(true);
    proxy.cut();
    // More than a batch in hand and one waiting: its partitions are paused.
    sandbox.publish(&orders("b", 2_000));
    eventually("it tries again", || proxy.refused() >= 5);
    let mut second = worker(&sandbox).spawn();
    let joined = || sandbox.epochs().iter().any(|(_, epoch)| *epoch >= 2);
    eventually("the other one owns a partition", joined);
    proxy.refuse(false);
    assert_each_once(&sandbox, 2_100);
    assert!(second.is_running());
    end(second);
    super::produce(&sandbox, 1_000);
    assert_each_once(&sandbox, 3_100);
    end(first);
}
