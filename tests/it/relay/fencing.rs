//! Workers that are taken for dead, and ids that two producers have.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::signals::behind;
use super::{Flow, Publishing, end};
use crate::support::{PATIENCE, Proxy, eventually, stack};

/// Takes a worker's transactional id, as a worker on another host would.
fn fence(flow: &Flow, id: &str) {
    let twin: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", flow.kafka.address.to_string())
        .set("transactional.id", id)
        .create()
        .expect("a producer");
    twin.init_transactions(PATIENCE).expect("a transactional producer");
}

#[test]
fn a_worker_stopped_in_a_transaction_is_replaced_and_publishes_nothing_when_it_wakes() {
    let flow = Flow::new("relay_zombie", 2);
    let zombie = flow.worker().args(["--commit-interval", "5s"]).spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    // How many orders there are, and how many of them it did itself.
    let (mut published, mut own) = (100, 100);
    for sleeps_on in [false, true] {
        let held = flow.stop_in_a_transaction(&zombie, published);
        own += held - published;
        let other = flow.worker().spawn();
        eventually("another one does its work", || flow.position() >= held as i64 + 100);
        if sleeps_on {
            eventually("its transaction is given up", || !flow.has_open_transaction());
        }
        zombie.signal("CONT");
        flow.assert_each_once(held + 100);
        end(other);
        flow.publish(held + 100..held + 200);
        published = held + 200;
        own += 100;
        flow.assert_each_once(published);
    }
    let summary = end(zombie);
    assert_eq!(summary["read"], own, "what it did itself: {summary}");
    assert!(summary["aborts"].as_u64() >= Some(2), "{summary}");
    flow.assert_each_once(published);
}

#[test]
fn two_workers_of_one_host_with_one_name_are_told_before_they_start() {
    let flow = Flow::new("relay_named", 2);
    let first = flow.worker().args(["--instance", "a"]).spawn();
    flow.publish(0..100);
    flow.assert_each_once(100);
    let second = flow.worker().args(["--instance", "a"]).finish().code(1);
    assert!(second.stderr.contains("--instance"), "{second}");
    flow.publish(100..200);
    flow.assert_each_once(200);
    end(first);
    flow.worker().args(["--instance", "a", "--until-end"]).finish().success();
}

#[test]
fn a_worker_whose_id_another_producer_takes_goes_on_or_says_so_and_nothing_is_doubled() {
    let flow = Flow::new("relay_twins", 2);
    let id = format!("{}-route-cities-twin", flow.sandbox.group);
    let mut worker = flow.worker().args(["--instance", "twin"]).spawn();
    let publishing = Publishing::into(&flow);
    flow.goes_on(1);
    fence(&flow, &id);
    flow.goes_on(500);
    assert!(worker.is_running(), "once may be a transaction that took too long");
    eventually("it gives up", || {
        fence(&flow, &id);
        !worker.is_running()
    });
    let ended = worker.finish().code(1);
    assert!(ended.stderr.contains("--instance") && ended.stderr.contains(&id), "{ended}");
    let number = publishing.end();
    flow.worker().args(["--instance", "twin", "--until-end"]).finish().code(3);
    flow.assert_each_once(number);
}

#[test]
fn what_was_read_while_a_commit_failed_is_read_again() {
    const ORDERS: usize = 30_000;
    let flow = Flow::new("relay_early", 2);
    let id = format!("{}-route-cities-early", flow.sandbox.group);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    flow.publish(0..ORDERS);
    // A commit takes seconds, and far more records than those that are looked at for
    // new topics after it, and read again anyway, are read meanwhile.
    proxy.delay(Duration::from_millis(150));
    let worker = behind(&flow, &proxy)
        .args(["--instance", "early", "--batch-records", "3000", "--commit-interval", "2s"])
        .spawn();
    eventually("it goes on slowly", || flow.position() >= 3_000);
    fence(&flow, &id);
    proxy.delay(Duration::ZERO);
    assert!(flow.position() < ORDERS as i64 - 6_000, "too little was left to read");
    eventually("all is done", || flow.position() == ORDERS as i64);
    flow.assert_each_once(ORDERS);
    let summary = end(worker);
    assert!(summary["aborts"].as_u64() >= Some(1), "{summary}");
}

#[test]
fn of_two_workers_with_one_id_one_ends_with_the_cure_and_nothing_is_doubled() {
    let flow = Flow::new("relay_same", 2);
    // Too long for the name that workers of one host tell each other by.
    let name = "n".repeat(150);
    let worker = || flow.worker().args(["--instance", &name]).spawn();
    let mut workers = vec![worker(), worker()];
    let publishing = Publishing::into(&flow);
    eventually("one gives up", || workers.iter_mut().any(|one| !one.is_running()));
    let (left, mut ended): (Vec<_>, Vec<_>) =
        workers.into_iter().map(|mut one| (one.is_running(), one)).partition(|(is, _)| *is);
    let ended = ended.remove(0).1.finish().code(1);
    assert!(ended.stderr.contains("give each a name of its own with --instance"), "{ended}");
    flow.goes_on(300);
    let number = publishing.end();
    flow.assert_each_once(number);
    left.into_iter().for_each(|(_, worker)| drop(end(worker)));
    flow.assert_each_once(number);
}
