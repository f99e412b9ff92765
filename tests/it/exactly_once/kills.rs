//! Workers that are killed, one after the other, at random moments.

use super::{asker, assert_each_once, endless_producer, sandbox, stop_producing, worker};
use crate::support::Killer;
use orderctl::stop::Stop;

/// Kills workers while orders keep coming, and says what came of it.
fn kill(name: &str, workers: usize, kills: u32) {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let sandbox = sandbox(name, 6);
    let asker = asker(&sandbox);
    let mut killer = Killer::new(seed, workers, asker.clone(), || {
        let running = worker(&sandbox).spawn();
        (running.pid(), running)
    });
    let producer = endless_producer(&sandbox, 3_000).spawn();
    let watch = asker.watch();
    // Every run has kills in the middle of a batch, however the dice fall.
    while killer.kills < kills || killer.kills_mid_batch < 3 {
        killer.await_moment(&Stop::manual());
        killer.kill_one();
    }
    let longest = watch.longest();
    let number = stop_producing(producer);
    assert_each_once(&sandbox, number);
    eprintln!(
        "kills {}, of those {} with a batch open, records {number}, longest pause \
         {longest:.1?}",
        killer.kills, killer.kills_mid_batch
    );
    for worker in killer.workers {
        worker.run.interrupt();
        worker.run.finish().code(130);
    }
    assert_each_once(&sandbox, number);
}

#[test]
fn two_workers_killed_at_random_moments_lose_and_double_nothing() {
    kill("two_killed", 2, 15);
}

#[test]
fn three_workers_killed_at_random_moments_lose_and_double_nothing() {
    kill("three_killed", 3, 15);
}
