//! Beside workers, and after each way of treating duplicates.

use super::{counts, fine};
use crate::support::{Run, Sandbox, eventually, order, orders};

#[test]
fn it_runs_beside_workers_and_finds_each_moment_consistent() {
    let sandbox = Sandbox::new("beside").with_topic(3);
    sandbox.set_up("orders");
    let run = || sandbox.consume("orders").args(["--batch-rows", "200"]);
    let mut workers = [run().spawn(), run().spawn()];
    let flags = ["--num", "10000000", "--rate", "1500", "--inject", "dup=3%,malformed=1%"];
    let producer = Run::new(["produce", "--topic-name", &sandbox.topic]).args(flags).spawn();
    sandbox.wait_for_rows("orders", 1_000, &mut workers[0]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let before = sandbox.count("orders");
        eventually("more is stored", || sandbox.count("orders") > before);
        let [read, stored] = counts(&fine(&sandbox)["totals"], ["read", "stored"]);
        assert!(stored > 0 && stored < read, "{stored} of {read}");
        seen.push(read);
    }
    assert!(seen.is_sorted() && seen[0] < seen[4], "while records came in: {seen:?}");
    producer.interrupt();
    producer.finish().code(130);
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
    // Exit code 0 or 3, by whether the last records had rejects among them.
    sandbox.store("orders").finish();
    let report = fine(&sandbox);
    let totals = counts(&report["totals"], ["read", "stored", "duplicates", "rejected", "behind"]);
    let [read, stored, duplicates, rejected, behind] = totals;
    assert_eq!(read, stored + duplicates + rejected);
    assert!(duplicates > 0 && rejected > 0 && behind == 0, "{report}");
}

#[test]
fn updated_and_rejected_duplicates_are_in_order() {
    for (policy, code, wanted) in [("update", 0, [5, 3, 0]), ("reject", 3, [5, 0, 3])] {
        let sandbox = Sandbox::new(policy).with_topic(1);
        sandbox.set_up("orders");
        sandbox.publish(&[orders("a", 5), orders("a", 2), vec![order("a0")]].concat());
        let run = sandbox.store("orders").args(["--on-duplicate", policy, "--batch-rows", "3"]);
        run.finish().code(code);
        let report = fine(&sandbox);
        assert_eq!(counts(&report["totals"], ["stored", "duplicates", "rejected"]), wanted);
    }
}
