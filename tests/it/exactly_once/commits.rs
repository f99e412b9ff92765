//! Workers killed at the one moment that matters: around COMMIT.

use std::time::Instant;

use super::cuts::{behind, end, hold_commit, let_commit_end, make_commits_wait};
use super::workers::backends_mid_copy;
use super::{STAYS, assert_each_once, at_least, note_pause, sandbox, worker};
use crate::support::{Proxy, Sandbox, Session, eventually, order_with, orders, sql_value, stack};

/// Bytes of the longest text in a [`long_order`].
const LONG: usize = 300_000;

/// An order whose row takes some hundred kilobytes, so that the middle of a
/// COPY is wide; one order, so that it is one batch always.
fn long_order(id: &str) -> Vec<serde_json::Value> {
    vec![order_with(id, "/product_name", "x".repeat(LONG))]
}

/// How many bytes of a COPY into the table the server has.
fn received(sandbox: &Sandbox) -> usize {
    let table = sandbox.table("orders");
    let bytes = sql_value(&format!(
        "select bytes_processed from pg_stat_progress_copy where relid = '{table}'::regclass"
    ));
    bytes.parse().expect("a number")
}

#[test]
fn a_worker_killed_before_its_commit_is_sent_leaves_nothing_of_the_batch() {
    let sandbox = sandbox("before", 1);
    let one_writer = |proxy: &Proxy| behind(proxy, &sandbox).args(["--writers", "1"]);
    // How many bytes it takes to start and to store one batch, of which COMMIT
    // is the last.
    let proxy = Proxy::to(stack().postgres);
    let mut first = one_writer(&proxy).args(STAYS).spawn();
    sandbox.publish(&long_order("first"));
    at_least(&sandbox, 1, &mut first);
    let total = proxy.bytes();
    end(first);
    // Right before COMMIT, in the middle of the row, and at its beginning.
    let moments = [total - 40, total / 2, total - 40, total / 10, total - 40];
    for (rows, bytes) in (1..).zip(moments) {
        let proxy = Proxy::to(stack().postgres);
        proxy.silence_after(bytes);
        sandbox.publish(&long_order(&format!("row-{rows}")));
        let worker = one_writer(&proxy).spawn();
        eventually("the silence", || !proxy.is_due());
        eventually("a COPY waits for its data", || backends_mid_copy(&sandbox).len() == 1);
        if bytes == total - 40 {
            eventually("the server has the whole row", || received(&sandbox) > LONG);
        }
        assert_eq!(worker.kill().code, None);
        let killed = Instant::now();
        let mut next = super::worker(&sandbox).spawn();
        assert_eq!(sandbox.count("orders"), rows);
        drop(proxy);
        at_least(&sandbox, rows + 1, &mut next);
        note_pause("worker killed before COMMIT", killed);
        assert_each_once(&sandbox, rows + 1);
        assert_eq!(end(next)["stored"], 1);
    }
}

#[test]
fn a_worker_killed_between_its_commit_and_the_answer_is_followed_by_one_that_sees_the_outcome() {
    let sandbox = sandbox("between", 1);
    make_commits_wait(&sandbox);
    let holder = Session::open();
    let mut worker = worker(&sandbox).spawn();
    for (round, is_done) in [(1, true), (2, false), (3, true), (4, false)] {
        hold_commit(&holder, &sandbox, &orders(&format!("r{round}-"), 100));
        assert_eq!(sandbox.count("orders"), 100 * (round - 1), "not committed");
        assert_eq!(worker.kill().code, None);
        let killed = Instant::now();
        worker = super::worker(&sandbox).spawn();
        let_commit_end(&holder, &sandbox, is_done);
        at_least(&sandbox, 100 * round, &mut worker);
        note_pause("worker killed between COMMIT and its answer", killed);
        assert_each_once(&sandbox, 100 * round);
    }
    let stored = end(worker)["stored"].clone();
    assert_eq!(stored, 100, "what the killed worker's COMMIT did is not done again");
}
