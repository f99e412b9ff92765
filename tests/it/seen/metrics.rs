//! `--metrics-listen`: figures, liveness and readiness over HTTP.

use std::net::TcpListener;

use super::{Watched, ask, lines};
use crate::support::{
    Proxy, Sandbox, eventually, kafka, orderctl, orders, sql, stack, uri_at_port,
};

/// A member that a broker with other work does not put out of its group.
const STAYS: [&str; 2] = ["-X", "session.timeout.ms=60000"];

#[test]
fn figures_equal_the_summary_and_lag_goes_to_zero() {
    let sandbox = Sandbox::new("figures").with_topic(3);
    sandbox.set_up("orders");
    let produce = ["produce", "--num", "3000", "--inject", "dup=2%,malformed=2%", "--seed", "5"];
    let produced =
        orderctl(produce.into_iter().chain(["--topic-name", &sandbox.topic, "-o", "json"]));
    let produced = produced.success().json();
    let sent = produced["sent"].as_f64().expect("a number");
    let watched =
        Watched::start(sandbox.consume("orders").args(["--batch-rows", "500"]).args(STAYS));
    watched.wait_for("all is read", |seen| {
        seen.0.contains("orderctl_records_read_total")
            && seen.sum("orderctl_records_read_total") == sent
    });
    watched.wait_for("no lag", |seen| {
        seen.sum("orderctl_partitions_assigned") == 3.0
            && seen.sum("orderctl_partition_lag_records") == 0.0
    });
    assert_eq!(watched.get("/readyz"), (200, "ready\n".into()));
    assert_eq!(watched.get("/healthz"), (200, "alive\n".into()));
    let seen = watched.scrape();
    let log = watched.log();
    watched.running.interrupt();
    let summary = watched.running.finish().code(130).json();
    let last = lines(&log).pop().expect("a line");
    for (metric, name) in [
        ("orderctl_records_read_total", "read"),
        ("orderctl_rows_stored_total", "stored"),
        ("orderctl_duplicates_skipped_total", "duplicates"),
        ("orderctl_records_rejected_total", "rejected"),
        ("orderctl_batches_total", "batches"),
    ] {
        assert_eq!(seen.sum(metric), summary[name].as_f64().expect("a number"), "{metric}");
        assert_eq!(last["fields"][name], summary[name], "{last}");
    }
    assert_eq!(
        seen.sum("orderctl_read_bytes_total"),
        produced["bytes"].as_f64().expect("a number")
    );
    assert_eq!(seen.sum("orderctl_event_to_row_seconds_count"), sent);
    assert_eq!(
        seen.sum("orderctl_commit_duration_seconds_count"),
        seen.sum("orderctl_batches_total")
    );
    assert_eq!(seen.sum("orderctl_rebalances_total"), 1.0);
}

#[test]
fn dead_letters_are_counted_by_their_reason() {
    let sandbox = Sandbox::new("reasons").with_topic(1);
    sandbox.set_up("orders");
    let missing = crate::support::order("1").as_object().cloned().map(|mut order| {
        order.remove("priority");
        serde_json::Value::Object(order).to_string()
    });
    let missing = missing.expect("an object");
    sandbox.publish_raw([
        None,
        Some(b"{\"sentinel-in-payload\":".as_slice()),
        Some(missing.as_bytes()),
    ]);
    let watched = Watched::start(sandbox.consume("orders"));
    watched.wait_for("all is read", |seen| seen.0.contains("\norderctl_records_read_total 3\n"));
    let seen = watched.scrape();
    for (reason, number) in
        [("tombstone", 1.0), ("not_json", 1.0), ("missing", 1.0), ("invalid", 0.0)]
    {
        let sample = format!("orderctl_records_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(seen.sample(&sample), number, "{reason}");
    }
    assert!(!seen.0.contains("sentinel"), "{}", seen.0);
}

#[test]
fn a_run_is_not_ready_while_its_database_is_away_and_its_lag_grows() {
    let sandbox = Sandbox::new("away").with_topic(1);
    sandbox.set_up("orders");
    let proxy = Proxy::to(stack().postgres);
    let run = sandbox
        .consume("orders")
        .args(["--batch-rows", "10"])
        .env("ORDERCTL_POSTGRES_URI", uri_at_port(proxy.address.port()));
    let watched = Watched::start(run);
    sandbox.publish(&orders("a", 10));
    watched.wait_for("ten rows", |seen| seen.0.contains("\norderctl_rows_stored_total 10\n"));
    assert_eq!(watched.wait_for_ready(200), "ready\n");
    proxy.refuse(true);
    proxy.cut();
    sandbox.publish(&orders("b", 500));
    let why = watched.wait_for_ready(503);
    assert!(why.starts_with("the database cannot be reached: "), "{why}");
    assert_eq!(watched.get("/healthz").0, 200);
    watched
        .wait_for("lag of what came", |seen| seen.sum("orderctl_partition_lag_records") == 500.0);
    // Nothing is fetched any more, and the lag grows all the same.
    sandbox.publish(&orders("c", 200));
    watched.wait_for("lag of all", |seen| seen.sum("orderctl_partition_lag_records") == 700.0);
    let seen = watched.scrape();
    assert!(seen.sample("orderctl_retries_total{cause=\"connection\"}") > 0.0);
    assert_eq!(seen.sum("orderctl_ready"), 0.0);
    proxy.refuse(false);
    assert_eq!(watched.wait_for_ready(200), "ready\n");
    watched.wait_for("no lag", |seen| seen.sum("orderctl_partition_lag_records") == 0.0);
    let messages: Vec<String> = lines(&watched.log())
        .iter()
        .map(|line| line["message"].as_str().expect("a text").to_owned())
        .collect();
    let at = |start: &str| {
        let found = messages.iter().position(|message| message.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {messages:?}"))
    };
    assert!(at("waiting: ") < at("back again"), "{messages:?}");
}

#[test]
fn markers_of_transactions_are_no_lag() {
    let sandbox = Sandbox::new("markers").with_topic(1);
    sandbox.set_up("orders");
    kafka().produce_transaction(&sandbox.topic, &orders("a", 5), true);
    let watched = Watched::start(sandbox.consume("orders"));
    watched.wait_for("five rows", |seen| seen.0.contains("\norderctl_rows_stored_total 5\n"));
    watched.wait_for("no lag", |seen| {
        seen.0.contains("orderctl_partition_lag_records{")
            && seen.sum("orderctl_partition_lag_records") == 0.0
    });
    assert_eq!(kafka().watermarks(&sandbox.topic, 0).1, 6, "a marker is behind the records");
}

#[test]
fn workers_show_the_partitions_that_each_has() {
    let sandbox = Sandbox::new("shares").with_topic(4);
    sandbox.set_up("orders");
    let has = |partitions: f64| {
        move |seen: &super::Scrape| {
            seen.0.contains("orderctl_partitions_assigned")
                && seen.sum("orderctl_partitions_assigned") == partitions
        }
    };
    let first = Watched::start(sandbox.consume("orders").args(STAYS));
    first.wait_for("all partitions", has(4.0));
    let second = Watched::start(sandbox.consume("orders").args(STAYS));
    second.wait_for("half of them", has(2.0));
    first.wait_for("the other half", has(2.0));
    assert_eq!(first.scrape().sum("orderctl_rebalances_total"), 2.0);
    let rebalances = lines(&first.log());
    let assigned = |line: &&serde_json::Value| line["fields"]["partitions"].is_array();
    assert_eq!(rebalances.iter().filter(assigned).count(), 2);
}

#[test]
fn a_producer_shows_what_is_sent_and_acknowledged() {
    let sandbox = Sandbox::new("sent").with_topic(1);
    let run = crate::support::Run::new(["produce", "--interval", "50ms", "--num", "100000"])
        .args(["--topic-name", &sandbox.topic]);
    let watched = Watched::start(run);
    watched.wait_for("ten acknowledged", |seen| {
        seen.0.contains("orderctl_records_acknowledged_total")
            && seen.sum("orderctl_records_acknowledged_total") >= 10.0
    });
    assert_eq!(watched.get("/readyz"), (200, "ready\n".into()));
    let seen = watched.scrape();
    let in_flight = seen.sum("orderctl_records_in_flight");
    let acknowledged = seen.sum("orderctl_records_acknowledged_total");
    assert_eq!(seen.sum("orderctl_records_sent_total"), acknowledged + in_flight);
    assert_eq!(seen.sum("orderctl_records_failed_total"), 0.0);
    let log = watched.log();
    watched.running.interrupt();
    let ended = watched.running.finish().code(130);
    let last = lines(&log).pop().expect("a line");
    let told = format!("acknowledged  {}\n", last["fields"]["acknowledged"]);
    assert!(ended.stdout.contains(&told), "{last}\n{ended}");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let sandbox = Sandbox::new("paths").with_topic(1);
    sandbox.set_up("orders");
    let watched = Watched::start(sandbox.consume("orders"));
    assert_eq!(watched.get("/").0, 404);
    assert_eq!(watched.get("/metrics/x").0, 404);
    for (request, status) in [("POST /metrics HTTP/1.1\r\n\r\n", 405), ("nonsense\r\n\r\n", 400)] {
        assert_eq!(ask(watched.address, request).expect("an answer").0, status, "{request}");
    }
}

#[test]
fn silent_scrapers_do_not_hinder_the_run() {
    let sandbox = Sandbox::new("silent_scrape").with_topic(1);
    sandbox.set_up("orders");
    let mut watched = Watched::start(sandbox.consume("orders"));
    let connect = |_| std::net::TcpStream::connect(watched.address).expect("a connection");
    let silent: Vec<_> = (0..100).map(connect).collect();
    sandbox.publish(&orders("a", 1000));
    sandbox.wait_for_rows("orders", 1000, &mut watched.running);
    drop(silent);
    eventually("it answers again", || {
        watched.try_get("/healthz").is_ok_and(|(status, _)| status == 200)
    });
}

#[test]
fn a_port_in_use_is_refused_before_any_work() {
    let sandbox = Sandbox::new("in_use").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 1));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let ended = sandbox.store("orders").args(["--metrics-listen", &address]).finish().code(2);
    let expected = format!("cannot listen on {address} for --metrics-listen");
    assert!(ended.stderr.contains(&expected) && ended.stderr.contains("in use"), "{ended}");
    assert_eq!(sandbox.count("orders"), 0);
    assert!(
        sql(&format!(
            "select from orderctl.ledger_position where group_name = '{}'",
            sandbox.group
        ))
        .is_empty()
    );
}
