//! Partitions that are added to a topic that is being read.

use std::time::Instant;

use super::{assert_each_once, at_least, sandbox, worker};
use crate::support::{Raw, eventually, kafka, orders};

#[test]
fn running_workers_read_new_partitions_from_their_beginning_within_half_a_minute() {
    let sandbox = sandbox("extended", 2);
    // The choice is about positions that are gone, not about partitions that are
    // new; and nobody is missed by the group while it stands still below.
    let flags = ["--on-data-loss", "latest", "-X", "session.timeout.ms=30000"];
    let worker = || worker(&sandbox).args(flags).spawn();
    let mut workers = [worker(), worker()];
    sandbox.scatter(&orders("before", 100));
    at_least(&sandbox, 100, &mut workers[0]);
    eventually("both own partitions", || super::workers::owners(&sandbox).len() == 2);

    workers.iter().for_each(|worker| worker.signal("STOP"));
    kafka().extend_topic(&sandbox.topic, 5);
    let added = Instant::now();
    eventually("the new ones are there", || kafka().partitions(&sandbox.topic) == 5);
    for partition in 2..5 {
        let payloads: Vec<_> =
            orders(&format!("p{partition}-"), 50).iter().map(ToString::to_string).collect();
        kafka().produce(
            &sandbox.topic,
            payloads.iter().map(|payload| Raw {
                partition: Some(partition),
                key: None,
                payload: Some(payload.as_bytes()),
            }),
        );
    }
    assert_eq!(sandbox.positions().len(), 2, "records are there before anybody reads them");
    workers.iter().for_each(|worker| worker.signal("CONT"));
    eventually("the new ones are read", || sandbox.positions().len() == 5);
    eprintln!("new partitions read after {:.1?}", added.elapsed());
    assert_each_once(&sandbox, 250);
    for mut worker in workers {
        assert!(worker.is_running(), "without a restart");
        worker.interrupt();
        worker.finish().code(130);
    }
}
