//! How a run ends: by itself, by a signal, and what the next one finds.

use std::time::{Duration, Instant};

use crate::support::{
    Proxy, Run, Sandbox, Session, eventually, kafka, order, orderctl, orders, stack, verified,
};

#[test]
fn max_messages_is_exact_and_the_next_run_goes_on_behind_it() {
    let sandbox = Sandbox::new("most").with_topic(3);
    sandbox.set_up("orders");
    orderctl(["produce", "--num", "1000", "--topic-name", &sandbox.topic]).success();
    let mut stored = 0;
    for most in [1, 299, 300] {
        let run = sandbox.consume("orders").args(["--max-messages", &most.to_string()]);
        let summary = run.args(["--batch-rows", "70"]).finish().success().json();
        assert_eq!(summary["read"], most);
        stored += most;
        assert_eq!(sandbox.count("orders"), stored);
        let read: i64 = sandbox.positions().iter().map(|(_, offset)| offset).sum();
        assert_eq!(read, stored as i64);
    }
    sandbox.store("orders").finish().success();
    assert_eq!(sandbox.count("orders"), 1000);
}

#[test]
fn max_messages_counts_bad_records_too() {
    let sandbox = Sandbox::new("most_bad").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order(""), order("1"), order(""), order("2")]);
    let run = sandbox.consume("orders").args(["--max-messages", "3"]);
    let summary = run.finish().code(3).json();
    assert_eq!((&summary["stored"], &summary["rejected"]), (&1.into(), &2.into()));
}

#[test]
fn until_end_of_an_empty_topic_ends_at_once() {
    let sandbox = Sandbox::new("empty").with_topic(2);
    sandbox.set_up("orders");
    let summary = sandbox.store("orders").finish().success().json();
    assert_eq!(summary["read"], 0);
    assert_eq!(sandbox.positions(), [(0, 0), (1, 0)]);
}

#[test]
fn time_spent_on_joining_is_not_idle() {
    let sandbox = Sandbox::new("slow_join").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("o", 100));
    sandbox.consume("orders").args(["--max-messages", "1"]).finish().success();
    let holder = Session::open();
    holder.run(&format!(
        "begin; select from orderctl.ledger_position where group_name = '{}' for update",
        sandbox.group
    ));
    let worker = sandbox.consume("orders").args(["--idle-exit", "5s"]).spawn();
    eventually("the claim waits", || sandbox.lock_waiters() == 1);
    // Longer than the run may be idle.
    std::thread::sleep(Duration::from_millis(5_500));
    holder.run("rollback");
    assert_eq!(worker.finish().success().json()["stored"], 99);
}

#[test]
fn idle_exit_counts_from_the_last_record() {
    let sandbox = Sandbox::new("idle").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("o", 100));
    let limit = Duration::from_secs(10);
    let mut worker = sandbox.consume("orders").args(["--idle-exit", "10s"]).spawn();
    sandbox.wait_for_rows("orders", 100, &mut worker);
    let (begun, mut rows) = (Instant::now(), 100);
    while begun.elapsed() < limit + limit / 5 {
        sandbox.publish(&orders(&format!("more{rows}-"), 10));
        rows += 10;
        sandbox.wait_for_rows("orders", rows, &mut worker);
    }
    let idle = Instant::now();
    worker.finish().success();
    assert!(idle.elapsed() > limit / 2, "{:?}", idle.elapsed());
    assert_eq!(sandbox.count("orders"), rows);
}

#[test]
fn a_worker_that_waits_for_records_ends_within_seconds_of_a_signal() {
    for signal in ["INT", "TERM"] {
        let sandbox = Sandbox::new("signal").with_topic(1);
        sandbox.set_up("orders");
        let mut worker = sandbox.consume("orders").spawn();
        sandbox.publish(&[order("1")]);
        sandbox.wait_for_rows("orders", 1, &mut worker);
        let ended = worker.end_in_time(signal);
        assert_eq!(
            (&ended.json()["interrupted"], &ended.json()["stored"]),
            (&true.into(), &1.into())
        );
        sandbox.publish(&[order("2")]);
        let next = sandbox.store("orders").finish().success().json();
        assert_eq!((&next["stored"], &next["duplicates"]), (&1.into(), &0.into()));
        assert_eq!(verified(sandbox.verify("orders"), 0), "stored 2");
    }
}

#[test]
fn a_worker_in_full_stream_ends_in_time_and_the_next_one_goes_on_rightly() {
    let sandbox = Sandbox::new("stream").with_topic(3);
    sandbox.set_up("model");
    // Without a key, a record stored twice would be seen.
    let (model, table) = (sandbox.table("model"), sandbox.table("orders"));
    crate::support::sql(&format!("create table {table} as table {model}"));
    orderctl(["produce", "--num", "60000", "--topic-name", &sandbox.topic]).success();
    for (signal, rows) in [("INT", 1), ("TERM", 20_000)] {
        let mut worker = sandbox.consume("orders").args(["--batch-rows", "300"]).spawn();
        sandbox.wait_for_rows("orders", rows, &mut worker);
        worker.end_in_time(signal);
    }
    assert!(sandbox.count("orders") < 60_000, "stopped in the middle");
    sandbox.store("orders").finish().success();
    assert_eq!(sandbox.count("orders"), 60_000);
    assert_eq!(sandbox.column("orders", "count(distinct order_id)"), ["60000"]);
    sandbox.assert_read_to_the_end();
    assert_eq!(verified(sandbox.verify("orders"), 0), "stored 60000");
}

#[test]
fn a_worker_whose_database_is_silent_ends_in_time_and_loses_nothing() {
    for signal in ["INT", "TERM"] {
        let sandbox = Sandbox::new("silent_db").with_topic(1);
        sandbox.set_up("orders");
        let proxy = Proxy::to(stack().postgres);
        let uri = crate::support::uri_at_port(proxy.address.port());
        let mut worker = sandbox.consume("orders").env("ORDERCTL_POSTGRES_URI", uri).spawn();
        sandbox.publish(&orders("a", 100));
        sandbox.wait_for_rows("orders", 100, &mut worker);
        // Else the answer to the first batch may be kept, and no other is sent.
        eventually("it knows that they are stored", || {
            kafka().told_position(&sandbox.group, &sandbox.topic) == Some(100)
        });
        proxy.silence(true);
        let bytes = proxy.bytes();
        sandbox.publish(&orders("b", 100));
        eventually("the batch is sent", || proxy.bytes() > bytes);
        worker.end_in_time(signal);
        drop(proxy);
        let next = sandbox.store("orders").finish().success().json();
        assert_eq!((&next["stored"], &next["duplicates"]), (&100.into(), &0.into()));
        assert_eq!(sandbox.count("orders"), 200);
        assert_eq!(verified(sandbox.verify("orders"), 0), "stored 200");
    }
}

#[test]
fn a_worker_whose_broker_is_silent_ends_in_time_and_loses_nothing() {
    for signal in ["INT", "TERM"] {
        let sandbox = Sandbox::new("silent_broker").with_topic(2);
        sandbox.set_up("orders");
        let broker = Proxy::to_broker(stack().kafka_plaintext);
        let mut worker = sandbox
            .consume("orders")
            .env("ORDERCTL_BOOTSTRAP_SERVER", broker.address.to_string())
            .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
            .spawn();
        sandbox.publish(&orders("a", 100));
        sandbox.wait_for_rows("orders", 100, &mut worker);
        broker.silence(true);
        let summary = worker.end_in_time(signal).json();
        assert_eq!(summary["stored"], 100);
        drop(broker);
        let next = sandbox.store("orders").finish().success().json();
        assert_eq!(next["read"], 0);
        assert_eq!(verified(sandbox.verify("orders"), 0), "stored 100");
    }
}

#[test]
fn a_start_that_waits_for_a_silent_service_ends_in_time_after_a_signal() {
    let sandbox = Sandbox::new("silent_start").with_topic(1);
    sandbox.set_up("orders");
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    let database = Proxy::to(stack().postgres);
    let address = broker.address.to_string();
    let uri = crate::support::uri_at_port(database.address.port());
    let with_broker = |run: Run| {
        run.env("ORDERCTL_BOOTSTRAP_SERVER", &address)
            .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
    };
    broker.silence(true);
    database.silence(true);
    for run in [
        with_broker(sandbox.consume("orders")),
        sandbox.consume("orders").env("ORDERCTL_POSTGRES_URI", &uri),
    ] {
        let links = broker.links() + database.links();
        let worker = run.spawn();
        eventually("it connects", || broker.links() + database.links() > links);
        worker.end_in_time("INT");
    }
}
