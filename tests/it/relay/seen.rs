//! What is to be seen of a stage from outside.

use std::time::Duration;

use super::{Flow, end};
use crate::seen::Watched;
use crate::support::{Proxy, stack};

#[test]
fn figures_equal_the_summary_and_lag_goes_to_zero() {
    let flow = Flow::new("relay_figures", 3);
    let watched = Watched::start(flow.worker());
    flow.publish(0..1_000);
    watched.wait_for("all is done", |seen| {
        seen.0.contains("orderctl_relay_info{stage=\"route-cities\"")
            && seen.sum("orderctl_records_read_total") == 1_000.0
            && seen.sum("orderctl_partitions_assigned") == 3.0
            && seen.sum("orderctl_partition_lag_records") == 0.0
    });
    assert_eq!(watched.wait_for_ready(200), "ready\n");
    let seen = watched.scrape();
    let summary = end(watched.running);
    for (metric, name) in [
        ("orderctl_records_read_total", "read"),
        ("orderctl_records_published_total", "published"),
        ("orderctl_records_rejected_total", "rejected"),
        ("orderctl_transactions_total", "commits"),
        ("orderctl_commit_duration_seconds_count", "commits"),
        ("orderctl_event_to_commit_seconds_count", "read"),
    ] {
        assert_eq!(seen.sum(metric), summary[name].as_f64().expect("a number"), "{metric}");
    }
    assert_eq!((&summary["published"], &summary["rejected"]), (&900.into(), &100.into()));
    assert!(seen.0.contains("orderctl_records_rejected_total{reason=\"invalid\"} 100"));
}

#[test]
fn a_worker_that_waits_for_its_broker_is_not_ready_and_says_why() {
    let flow = Flow::new("relay_unready", 1);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let watched = Watched::start(super::signals::behind(&flow, &proxy));
    watched.wait_for_ready(200);
    proxy.refuse(true);
    proxy.cut();
    // Refused, or closed at once: in the words of the connection.
    let why = watched.wait_for_ready(503);
    assert!(why.starts_with("waiting: ") && why.contains("the connection"), "{why}");
    proxy.refuse(false);
    flow.publish(0..100);
    flow.assert_each_once(100);
    watched.wait_for_ready(200);
    end(watched.running);
}

#[test]
fn time_without_the_broker_is_not_idle() {
    let flow = Flow::new("relay_idle_away", 1);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let run = super::signals::behind(&flow, &proxy).args(["--idle-exit", "5s"]);
    Watched::start(run).outlives(&proxy, Duration::from_secs(8));
}
