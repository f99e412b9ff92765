//! Records that Kafka removes before a running worker has read them.

use super::{at_least, produce, sandbox, worker};
use crate::support::program::Running;
use crate::support::{Proxy, Sandbox, eventually, kafka, orders, stack, uri_at_port, verified};

/// How many records there are, and how many of them are left.
const RECORDS: usize = 60_000;
const LEFT: usize = 500;

/// A worker that was held up by its database while Kafka removed more than it
/// had fetched, and that goes on now.
fn overtaken(name: &str, choice: &str) -> (Sandbox, Running, Proxy) {
    let sandbox = sandbox(name, 1);
    let proxy = Proxy::to(stack().postgres);
    let mut worker = worker(&sandbox)
        .env("ORDERCTL_POSTGRES_URI", uri_at_port(proxy.address.port()))
        .args(["--batch-rows", "100", "--on-data-loss", choice])
        .spawn();
    sandbox.publish(&orders("a", 100));
    at_least(&sandbox, 100, &mut worker);
    proxy.refuse(true);
    proxy.cut();
    produce(&sandbox, RECORDS - 100);
    let refused = proxy.refused();
    eventually("it waits for the database", || proxy.refused() > refused);
    kafka().remove_before(&sandbox.topic, (RECORDS - LEFT) as i64);
    assert_eq!(sandbox.positions(), [(0, 100)], "nothing of it is stored");
    proxy.refuse(false);
    (sandbox, worker, proxy)
}

#[test]
fn a_worker_overtaken_by_retention_stores_what_it_has_and_stops_with_the_choices_named() {
    let (sandbox, worker, _proxy) = overtaken("overtaken", "stop");
    let stopped = worker.finish().code(1);
    let position = sandbox.positions()[0].1;
    assert!((100..(RECORDS - LEFT) as i64).contains(&position), "{position}");
    assert_eq!(sandbox.count("orders") as i64, position, "none skipped, none doubled");
    for words in [
        "--on-data-loss earliest",
        "--on-data-loss latest",
        &format!("offset {position}"),
        &format!("{} to {RECORDS}", RECORDS - LEFT),
        "retention",
    ] {
        assert!(stopped.stderr.contains(words), "{words}: {stopped}");
    }
    // Neither what was removed nor the rows of it can be judged any more.
    let unknown = (RECORDS - LEFT) as i64 + position;
    let expected = format!("behind {LEFT}, unknown {unknown}");
    assert_eq!(verified(sandbox.verify("orders"), 0), expected);
}

#[test]
fn a_worker_overtaken_by_retention_goes_on_with_what_is_left_when_told_so() {
    let (sandbox, worker, _proxy) = overtaken("overtaken_on", "earliest");
    eventually("it reads on", || sandbox.positions() == [(0, RECORDS as i64)]);
    let rows = sandbox.column("orders", "count(*) || ' ' || count(distinct order_id)");
    let stored = sandbox.count("orders");
    assert_eq!(rows, [format!("{stored} {stored}")]);
    assert!((100 + LEFT..RECORDS).contains(&stored), "{stored}");
    worker.interrupt();
    worker.finish().code(130);
    let unknown = RECORDS - LEFT + stored - LEFT;
    let expected = format!("stored {LEFT}, unknown {unknown}");
    assert_eq!(verified(sandbox.verify("orders"), 0), expected);
}
