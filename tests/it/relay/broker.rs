//! A broker that is ended and killed under load, and started again.

use std::time::{Duration, Instant};

use orderctl::stack::process::Signal;

use super::Flow;
use crate::exactly_once::broker::Broker;
use crate::support::turn::Load;
use crate::support::{Sandbox, eventually};

#[test]
fn a_broker_restarted_and_killed_under_load_is_waited_for() {
    let broker = Broker::up();
    let sandbox = Sandbox::new("relay_broker").in_turn(Load::Heavy);
    broker.kafka.create_topic(&sandbox.topic, 4, &[]);
    let flow = Flow { kafka: broker.kafka, sandbox };
    // Small transactions, so that there is time to end the broker between them.
    let worker = || broker.used_by(flow.worker()).args(["--batch-records", "100"]).spawn();
    let workers = [worker(), worker()];
    let mut published = 0;
    for signal in [Signal::Terminate, Signal::Kill] {
        let before = flow.position();
        flow.publish(published..published + 20_000);
        published += 20_000;
        eventually("records flow", || flow.position() > before);
        let position = flow.position();
        broker.end(signal);
        assert!(position < published as i64, "{signal:?}: all was done already");
        // Time without a broker is the fault itself.
        std::thread::sleep(Duration::from_secs(1));
        broker.start();
        let back = Instant::now();
        eventually("all is done", || flow.position() == published as i64);
        eprintln!("{signal:?}: all was done {:.1?} after it was back", back.elapsed());
    }
    for worker in workers {
        worker.interrupt();
        let ended = worker.finish().code(130);
        assert!(ended.stderr.contains("waiting: "), "it was said: {ended}");
    }
    flow.assert_each_once(published);
}
