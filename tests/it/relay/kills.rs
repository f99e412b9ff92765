//! Workers that are killed, one after the other.

use std::time::Duration;

use rand::RngExt as _;

use super::{Flow, Publishing, end};

#[test]
fn two_workers_killed_in_a_loop_lose_and_double_nothing() {
    let flow = Flow::new("relay_kills", 4);
    // Long enough open for most kills to hit one.
    let worker = || flow.worker().args(["--commit-interval", "300ms"]).spawn();
    let mut workers = vec![worker(), worker()];
    let publishing = Publishing::into(&flow);
    flow.goes_on(1);
    for kill in 0..12 {
        if kill % 3 == 0 {
            flow.goes_on(1);
        }
        // At any moment, be it in the middle of a rebalance.
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..700)));
        assert_eq!(workers.remove(0).kill().code, None);
        workers.push(worker());
    }
    flow.goes_on(1);
    let number = publishing.end();
    flow.assert_each_once(number);
    let (committed, all) = flow.counts();
    assert!(all > committed, "no kill hit an open transaction");
    eprintln!("orders {number}, records of transactions that came to nothing {}", all - committed);
    workers.into_iter().for_each(|worker| drop(end(worker)));
    flow.assert_each_once(number);
}
