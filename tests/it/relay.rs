//! The stages from Kafka to Kafka, shown with `route-cities`: what comes of each
//! record is there once for who reads committed records, whatever is killed, cut
//! or stopped meanwhile.

mod broker;
mod fencing;
mod kills;
mod letters;
mod links;
mod rebalances;
mod seen;
mod signals;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};

use crate::support::program::Running;
use crate::support::turn::Load;
use crate::support::{Kafka, PATIENCE, Raw, Run, Sandbox, eventually, kafka, order_with};

/// How long a worker may run: as long as its test.
const RUN_LIMIT: Duration = Duration::from_secs(360);
/// Where the orders go, in turn.
const CITIES: [&str; 3] = ["Berlin", "Zürich", "東京"];
/// One in so many orders is rejected.
const REJECTED: usize = 10;
/// How many orders are published at a time.
const PIECE: usize = 100;

/// A topic and a group, on some broker.
#[derive(Debug, Clone)]
struct Flow {
    kafka: Kafka,
    sandbox: Sandbox,
}

impl Flow {
    /// On the shared broker.
    fn new(name: &str, partitions: i32) -> Flow {
        let sandbox = Sandbox::new(name).in_turn(Load::Light).with_topic(partitions);
        Flow { kafka: kafka(), sandbox }
    }

    /// `route-cities` of the topic.
    fn route(&self) -> Run {
        let Sandbox { topic, group, .. } = &self.sandbox;
        Run::new(["route-cities", "--from", topic, "--group", group, "-o", "json"])
            .args(["--prefix", &format!("{topic}-"), "-v"])
            .limit(RUN_LIMIT)
    }

    /// A worker that is found out soon when it is gone.
    fn worker(&self) -> Run {
        self.route().args(["-X", "session.timeout.ms=2000", "-X", "heartbeat.interval.ms=500"])
    }

    /// Publishes the orders with these numbers to all partitions.
    fn publish(&self, numbers: std::ops::Range<usize>) {
        let orders: Vec<(String, String)> = numbers.map(order).collect();
        let raw = orders.iter().map(|(key, payload)| Raw {
            partition: None,
            key: Some(key.as_bytes()),
            payload: Some(payload.as_bytes()),
        });
        self.kafka.produce(&self.sandbox.topic, raw);
    }

    /// How many records the group has done with.
    fn position(&self) -> i64 {
        self.kafka.told_sum(&self.sandbox.group, &self.sandbox.topic)
    }

    /// Waits until the group has done with so many records more.
    #[track_caller]
    fn goes_on(&self, records: i64) {
        let before = self.position();
        eventually("the group goes on", || self.position() >= before + records);
    }

    /// Where the orders went, and the rejected ones.
    fn outputs(&self) -> Vec<String> {
        let mut topics = self.kafka.topics_like(&format!("{}-", self.sandbox.topic));
        topics.push(self.letters());
        topics
    }

    fn letters(&self) -> String {
        format!("{}_dead_letters", self.sandbox.topic)
    }

    /// How many records the outputs have, for who reads only committed ones, and
    /// for who reads all.
    fn counts(&self) -> (usize, usize) {
        let outputs = self.outputs();
        let committed = outputs.iter().map(|topic| self.kafka.read_all(topic).len()).sum();
        let all = outputs.iter().map(|topic| self.kafka.read_uncommitted(topic).len()).sum();
        (committed, all)
    }

    /// Waits until a worker has published something that is not committed.
    /// Publishes a hundred orders, the next ones after `published`, and stops the
    /// worker (SIGSTOP) with a transaction open that has them. Where it was faster
    /// than the test, a hundred more are published. How many are committed.
    #[track_caller]
    fn stop_in_a_transaction(&self, worker: &Running, mut published: usize) -> usize {
        loop {
            self.publish(published..published + 100);
            let is_through = || self.position() >= published as i64 + 100;
            eventually("a transaction", || self.has_open_transaction() || is_through());
            worker.signal("STOP");
            if self.has_open_transaction() && self.position() == published as i64 {
                return published;
            }
            worker.signal("CONT");
            published += 100;
            eventually("they are committed", || self.position() == published as i64);
        }
    }

    fn has_open_transaction(&self) -> bool {
        self.kafka.has_open_transaction(&format!("{}-berlin", self.sandbox.topic))
    }

    /// Waits until what comes of so many orders is there, and asserts that it is
    /// there once: each order in the topic of its city, the rejected ones with
    /// their places in the dead letters, and nothing else anywhere.
    #[track_caller]
    fn assert_each_once(&self, number: usize) {
        // What is still open is given up after 10 s.
        let since = Instant::now();
        while since.elapsed() < PATIENCE && self.counts().0 < number {
            std::thread::yield_now();
        }
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for topic in self.outputs() {
            for record in self.kafka.read_all(&topic) {
                let what = match topic == self.letters() {
                    true => {
                        let place = ["partition", "offset"]
                            .map(|name| header(&record, &format!("__connect.errors.{name}")));
                        assert!(place.iter().all(|part| !part.is_empty()), "{record:?}");
                        "rejected".to_owned()
                    }
                    false => header(&record, "city"),
                };
                *found.entry(format!("{} {what}", key(&record))).or_default() += 1;
            }
        }
        let expected = (0..number).map(|number| {
            let what = if is_good(number) { city(number) } else { "rejected" };
            (format!("{number} {what}"), 1)
        });
        let expected: BTreeMap<String, usize> = expected.collect();
        let wrong: Vec<_> =
            found.iter().filter(|(what, count)| expected.get(*what) != Some(*count)).collect();
        assert!(wrong.is_empty(), "too often, or in the wrong place: {wrong:?}");
        let missing: Vec<_> = expected.keys().filter(|what| !found.contains_key(*what)).collect();
        let (committed, all) = self.counts();
        assert!(
            missing.is_empty(),
            "missing of {number}: {missing:?}; {committed} committed of {all}"
        );
    }
}

fn is_good(number: usize) -> bool {
    number % REJECTED != REJECTED - 1
}

fn city(number: usize) -> &'static str {
    CITIES[number % CITIES.len()]
}

/// The order with a number: its key and payload.
fn order(number: usize) -> (String, String) {
    let mut order = order_with(number.to_string(), "/customer/address/city", city(number));
    if !is_good(number) {
        order["quantity"] = 0.into();
    }
    (number.to_string(), order.to_string())
}

fn key(record: &OwnedMessage) -> String {
    String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned()
}

/// A header's text; empty when there is none.
fn header(record: &OwnedMessage, name: &str) -> String {
    let mut headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let found = headers.find(|header| header.key == name).and_then(|header| header.value);
    String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
}

/// Orders published on a thread of their own until a test has seen enough.
struct Publishing {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Publishing {
    fn into(flow: &Flow) -> Publishing {
        let enough = Arc::new(AtomicBool::new(false));
        let (flow, asked) = (flow.clone(), Arc::clone(&enough));
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !asked.load(SeqCst) {
                flow.publish(number..number + PIECE);
                number += PIECE;
                // Slower than a worker, so that it always has something to do.
                std::thread::sleep(Duration::from_millis(50));
            }
            number
        });
        Publishing { enough, thread }
    }

    /// Ends it: how many orders there are.
    fn end(self) -> usize {
        self.enough.store(true, SeqCst);
        self.thread.join().expect("the publishing thread")
    }
}

/// Ends a worker that is to run still.
#[track_caller]
fn end(worker: Running) -> serde_json::Value {
    worker.interrupt();
    worker.finish().code(130).json()
}
