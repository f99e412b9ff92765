//! SIGINT and SIGTERM while a worker is idle, in the middle of a transaction, or
//! without a broker.

use super::Flow;
use crate::support::{Proxy, eventually, stack};

#[test]
fn a_signal_to_an_idle_worker_ends_it_in_time() {
    let flow = Flow::new("relay_idle", 2);
    let worker = flow.worker().spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    let summary = worker.end_in_time("TERM").json();
    assert_eq!((&summary["read"], &summary["interrupted"]), (&100.into(), &true.into()));
}

#[test]
fn a_signal_in_the_middle_of_a_transaction_commits_what_is_in_hand() {
    let flow = Flow::new("relay_mid", 2);
    let worker = flow.worker().args(["--commit-interval", "5s"]).spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    let held = flow.stop_in_a_transaction(&worker, 100);
    worker.signal("CONT");
    let read = worker.end_in_time("INT").json()["read"].as_i64().expect("a number");
    assert!(read > held as i64, "what it had in hand is committed");
    eventually("the position is told", || flow.position() == read);
    flow.route().arg("--until-end").finish();
    flow.assert_each_once(held + 100);
}

#[test]
fn a_signal_while_the_broker_is_away_ends_the_run_in_time_and_the_next_one_is_right() {
    let flow = Flow::new("relay_away", 2);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let worker = behind(&flow, &proxy).args(["--commit-interval", "5s"]).spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    let held = flow.stop_in_a_transaction(&worker, 100);
    proxy.refuse(true);
    proxy.cut();
    worker.signal("CONT");
    eventually("it tries again", || proxy.refused() >= 3);
    assert_eq!(worker.end_in_time("TERM").json()["read"], held);
    let next = flow.worker().arg("--until-end").finish().code(3).json();
    assert_eq!(next["read"], 100, "{next}");
    flow.assert_each_once(held + 100);
}

#[test]
fn a_signal_while_the_broker_is_silent_ends_the_run_in_time() {
    let flow = Flow::new("relay_mute", 2);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let worker = behind(&flow, &proxy).spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    proxy.silence(true);
    flow.publish(100..200);
    assert_eq!(worker.end_in_time("TERM").json()["read"], 100);
}

/// A worker that reaches the broker through a proxy.
pub(super) fn behind(flow: &Flow, proxy: &Proxy) -> crate::support::Run {
    flow.worker()
        .env("ORDERCTL_BOOTSTRAP_SERVER", proxy.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
}
