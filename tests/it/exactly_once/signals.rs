//! SIGINT and SIGTERM while something is away or half done. Idle, full stream
//! and silence are in `consume/endings.rs`.

use super::cuts::behind;
use super::workers::held_mid_copy;
use super::{assert_each_once, at_least, sandbox, worker};
use crate::support::{Proxy, Sandbox, eventually, kafka, orders, stack};

const SIGNALS: [&str; 2] = ["INT", "TERM"];

/// The next run stores the rest, and nothing again.
#[track_caller]
fn next_is_right(sandbox: &Sandbox, stored: usize, total: usize) {
    let next = sandbox.store("orders").finish().success().json();
    assert_eq!(next["stored"], total - stored, "{next}");
    assert_each_once(sandbox, total);
}

#[test]
fn a_signal_in_the_middle_of_a_copy_ends_the_run_in_time() {
    for signal in SIGNALS {
        let sandbox = sandbox("mid_batch", 2);
        let proxy = Proxy::to(stack().postgres);
        let (worker, stored) = held_mid_copy(behind(&proxy, &sandbox), &proxy, &sandbox);
        assert_eq!(worker.end_in_time(signal).json()["stored"], stored);
        drop(proxy);
        next_is_right(&sandbox, stored, 5_100);
    }
}

#[test]
fn a_signal_while_a_batch_can_be_finished_finishes_it() {
    for signal in SIGNALS {
        let sandbox = sandbox("finished", 2);
        let proxy = Proxy::to(stack().postgres);
        let (worker, before) = held_mid_copy(behind(&proxy, &sandbox), &proxy, &sandbox);
        worker.signal(signal);
        proxy.silence(false);
        let stored = worker.finish().code(130).json()["stored"].as_u64().expect("a number");
        assert!(stored as usize > before, "the batch in hand is finished");
        assert_eq!(sandbox.count("orders"), stored as usize);
        next_is_right(&sandbox, stored as usize, 5_100);
    }
}

#[test]
fn a_signal_while_the_database_refuses_ends_the_run_in_time() {
    for signal in SIGNALS {
        let sandbox = sandbox("db_away", 2);
        let proxy = Proxy::to(stack().postgres);
        let mut worker = behind(&proxy, &sandbox).args(["--batch-rows", "100"]).spawn();
        sandbox.publish(&orders("a", 100));
        at_least(&sandbox, 100, &mut worker);
        eventually("it knows that they are stored", || {
            kafka().told_sum(&sandbox.group, &sandbox.topic) == 100
        });
        proxy.refuse(true);
        proxy.cut();
        // More than it can hold: its partitions are paused.
        sandbox.publish(&orders("b", 1_000));
        eventually("it tries again", || proxy.refused() >= 6);
        assert_eq!(worker.end_in_time(signal).json()["stored"], 100);
        next_is_right(&sandbox, 100, 1_100);
    }
}

#[test]
fn a_signal_while_the_broker_refuses_ends_the_run_in_time() {
    for signal in SIGNALS {
        let sandbox = sandbox("broker_away", 2);
        let broker = Proxy::to_broker(stack().kafka_plaintext);
        let mut worker = worker(&sandbox)
            .env("ORDERCTL_BOOTSTRAP_SERVER", broker.address.to_string())
            .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
            .spawn();
        sandbox.publish(&orders("a", 100));
        at_least(&sandbox, 100, &mut worker);
        broker.refuse(true);
        broker.cut();
        sandbox.publish(&orders("b", 1_000));
        eventually("it tries again", || broker.refused() >= 3);
        assert_eq!(worker.end_in_time(signal).json()["stored"], 100);
        next_is_right(&sandbox, 100, 1_100);
    }
}
