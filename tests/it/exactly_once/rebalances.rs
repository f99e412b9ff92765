//! Groups that hardly come to rest.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::{asker, assert_each_once, endless_producer, sandbox, stop_producing, worker};
use crate::support::{PATIENCE, Sandbox, eventually};

/// The least number of times that a partition was taken over.
fn rebalances(sandbox: &Sandbox) -> i64 {
    sandbox.epochs().iter().map(|(_, epoch)| *epoch).min().unwrap_or(0)
}

#[test]
fn a_group_whose_members_change_every_second_makes_progress_and_stores_each_once() {
    let sandbox = sandbox("restless", 6);
    let asker = asker(&sandbox);
    let mut workers: Vec<_> = (0..3).map(|_| worker(&sandbox).spawn()).collect();
    let producer = endless_producer(&sandbox, 2_000).spawn();
    eventually("records are stored", || asker.position() > 0);
    let (position, epoch, began) = (asker.position(), rebalances(&sandbox), Instant::now());
    let watch = asker.watch();
    let (mut changes, mut asked_to_end) = (0, Vec::new());
    while changes < 12 || rebalances(&sandbox) < epoch + 5 || asker.position() < position + 5_000 {
        assert!(began.elapsed() < PATIENCE, "{changes} changes, {} stored", asker.position());
        // Not the newest one, which may not listen to signals yet.
        let leaves = workers.remove(rand::rng().random_range(0..workers.len() - 1));
        // A killed one keeps the group waiting for longer than until the next change.
        if rand::rng().random_range(0..3) > 0 {
            leaves.signal("TERM");
            asked_to_end.push(leaves);
        } else {
            assert_eq!(leaves.kill().code, None);
        }
        workers.push(worker(&sandbox).spawn());
        changes += 1;
        // A change every second is the fault itself.
        std::thread::sleep(Duration::from_secs(1));
    }
    eprintln!(
        "members changed {changes} times in {:.0?}, rebalances {}, stored meanwhile {}, longest \
         pause {:.1?}",
        began.elapsed(),
        rebalances(&sandbox) - epoch,
        asker.position() - position,
        watch.longest()
    );
    let number = stop_producing(producer);
    assert_each_once(&sandbox, number);
    for worker in asked_to_end {
        worker.finish().code(130);
    }
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
    assert_each_once(&sandbox, number);
}
