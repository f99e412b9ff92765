//! The ledger's epoch: who does not know it writes nothing.

use super::{STAYS, assert_each_once, at_least, producer, sandbox, worker};
use crate::support::{Sandbox, eventually, orders, sql, verified};

/// Takes all partitions over, as another worker's claim would.
fn bump(sandbox: &Sandbox) {
    sql(&format!(
        "update orderctl.ledger_position set owner_epoch = owner_epoch + 1 where group_name = '{}'",
        sandbox.group
    ));
}

#[test]
fn a_worker_whose_partitions_were_taken_over_rejoins_and_goes_on_from_the_ledger() {
    let sandbox = sandbox("epochs", 3);
    let mut worker = worker(&sandbox).args(["--batch-rows", "300"]).spawn();
    let producer = producer(&sandbox, 20_000, 2_500);
    for round in 1..=4 {
        at_least(&sandbox, round * 2_000, &mut worker);
        bump(&sandbox);
    }
    producer.finish().success();
    assert_each_once(&sandbox, 20_000);
    assert!(sandbox.epochs().iter().all(|(_, epoch)| *epoch > 5), "{:?}", sandbox.epochs());
    worker.interrupt();
    assert_eq!(worker.finish().code(130).json()["stored"], 20_000);
}

#[test]
fn a_batch_of_an_old_epoch_or_position_leaves_no_trace() {
    let sandbox = sandbox("trace", 1);
    let mut worker = worker(&sandbox).args(STAYS).spawn();
    sandbox.publish(&orders("a", 10));
    at_least(&sandbox, 10, &mut worker);
    // Somebody else has stored, as far as the ledger tells, what comes next; a
    // worker that did not look would store it again.
    sql(&format!(
        "update orderctl.ledger_position set next_offset = 15, owner_epoch = owner_epoch + 1
         where group_name = '{}'",
        sandbox.group
    ));
    sandbox.publish(&orders("b", 10));
    eventually("it reads on from the ledger's position", || sandbox.positions() == [(0, 20)]);
    let ids = sandbox.column("orders", "order_id");
    assert_eq!(ids.len(), 15, "{ids:?}");
    assert!(!ids.contains(&"b4".to_owned()) && ids.contains(&"b5".to_owned()), "{ids:?}");
    worker.interrupt();
    worker.finish().code(130);
    // What was said to be stored, and was not.
    assert_eq!(verified(sandbox.verify("orders"), 1), "stored 15, missing 5");
}
