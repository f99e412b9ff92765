//! Groups whose members come and go.

use std::time::Duration;

use super::{Flow, Publishing};

#[test]
fn workers_that_come_and_go_every_second_lose_and_double_nothing() {
    let flow = Flow::new("relay_restless", 6);
    let mut workers: Vec<_> = (0..2).map(|_| flow.worker().spawn()).collect();
    let publishing = Publishing::into(&flow);
    flow.goes_on(1);
    let mut left = Vec::new();
    for _ in 0..6 {
        workers.push(flow.worker().spawn());
        // A change every second is the fault itself.
        std::thread::sleep(Duration::from_secs(1));
        let leaves = workers.remove(0);
        leaves.signal("TERM");
        left.push(leaves);
    }
    flow.goes_on(500);
    let number = publishing.end();
    flow.assert_each_once(number);
    left.extend(workers);
    let assigned: Vec<usize> = left
        .into_iter()
        .map(|worker| {
            worker.interrupt();
            worker.finish().code(130).stderr.matches("assigned").count()
        })
        .collect();
    // Who came later has what another one had to give back.
    let joined = assigned[2..].iter().filter(|times| **times > 0).count();
    assert!(joined >= 1, "the group was rebalanced while they ran: {assigned:?}");
    flow.assert_each_once(number);
}
