//! Topics that the stages publish to: made together, made again, and bounded.

use std::collections::BTreeSet;

use rdkafka::Message as _;
use serde_json::Value;

use super::{Flow, end, header, key};
use crate::support::{Raw, Run, eventually, kafka, order_with};

/// Publishes an order for each city to partition 0, with its number as the id.
fn publish_cities(flow: &Flow, cities: &[String]) {
    let payload = |(number, city): (usize, &String)| {
        order_with(number.to_string(), "/customer/address/city", city.as_str()).to_string()
    };
    let payloads: Vec<String> = cities.iter().enumerate().map(payload).collect();
    let raw = payloads.iter().map(|payload| Raw {
        partition: Some(0),
        key: None,
        payload: Some(payload.as_bytes()),
    });
    kafka().produce(&flow.sandbox.topic, raw);
}

fn city_topics(flow: &Flow) -> Vec<String> {
    kafka().topics_like(&format!("{}-", flow.sandbox.topic))
}

#[test]
fn ten_thousand_cities_share_one_topic_past_the_bound_and_that_is_said() {
    let flow = Flow::new("relay_many", 1);
    let cities: Vec<String> = (0..10_000).map(|number| format!("City {number}")).collect();
    publish_cities(&flow, &cities);
    let done = flow.route().args(["--until-end", "--max-topics", "3"]).finish().success();
    let summary = done.json();
    assert_eq!((&summary["published"], &summary["rejected"]), (&10_000.into(), &0.into()));
    assert_eq!(summary["counts"]["overflowed"], 9_997, "{summary}");
    assert_eq!(done.stderr.matches("which is --max-topics").count(), 1, "{done}");
    let topics = city_topics(&flow);
    assert_eq!(topics.len(), 4, "{topics:?}");
    let shared: Vec<_> =
        topics.iter().filter(|topic| topic.ends_with("overflow--shared")).collect();
    let records = kafka().read_all(shared[0]);
    let found: BTreeSet<String> = records.iter().map(|record| header(record, "city")).collect();
    assert_eq!((records.len(), found.len()), (9_997, 9_997), "each once, with its city");

    // Who comes later keeps to it, and says it too.
    publish_cities(&flow, &["Elsewhere".to_owned(), cities[0].clone()]);
    let again = flow.route().args(["--until-end", "--max-topics", "3"]).finish().success();
    assert!(again.stderr.contains("which is --max-topics"), "{again}");
    assert_eq!(city_topics(&flow), topics);
}

#[test]
fn two_workers_do_not_exceed_the_bound_together() {
    let flow = Flow::new("relay_bound", 2);
    let run = || flow.worker().args(["--max-topics", "6"]).spawn();
    let cities: Vec<String> = (0..40).map(|number| format!("town{number}")).collect();
    let (few, others) = cities.split_at(5);
    // One has made all but one of the topics before the other comes: two that begin
    // with an empty cluster and many cities make up to twice as many.
    let first = run();
    publish_cities(&flow, few);
    eventually("the first ones have topics", || city_topics(&flow).len() == 5);
    let workers = [first, run()];
    for city in others {
        let order = order_with(city.as_str(), "/customer/address/city", city.as_str()).to_string();
        let partition = Some(i32::from(city.ends_with(['1', '3', '5', '7', '9'])));
        let raw = Raw { partition, key: None, payload: Some(order.as_bytes()) };
        kafka().produce(&flow.sandbox.topic, [raw]);
    }
    eventually("all are routed", || {
        city_topics(&flow).iter().map(|topic| kafka().read_all(topic).len()).sum::<usize>() == 40
    });
    workers.into_iter().for_each(|worker| drop(end(worker)));
    // Each may have created at the same moment what the other did not know of.
    let own = city_topics(&flow).len() - 1;
    assert!((6..=7).contains(&own), "{:?}", city_topics(&flow));
}

#[test]
fn cities_of_any_name_have_topics_of_their_own_and_keep_their_order() {
    let flow = Flow::new("relay_names", 1);
    let long = "Llanfair".repeat(40)[..300].to_owned();
    let names = [
        "Zürich",
        "東京",
        "São Paulo",
        "St. John's",
        "a_b",
        "a.b",
        "",
        &long,
        "..",
        "__consumer_offsets",
    ];
    let cities: Vec<String> = (0..50).map(|number| names[number % 10].to_owned()).collect();
    publish_cities(&flow, &cities);
    // A city is text, and may be empty.
    let done = flow.route().arg("--until-end").finish().success().json();
    assert_eq!(done["rejected"], 0, "{done}");
    let topics = city_topics(&flow);
    assert_eq!(topics.len(), 10, "{topics:?}");
    for topic in &topics {
        let records = kafka().read_all(topic);
        let cities: BTreeSet<String> = records.iter().map(|one| header(one, "city")).collect();
        assert_eq!((records.len(), cities.len()), (5, 1), "{topic}: {cities:?}");
        let ids: Vec<usize> = records.iter().map(|one| key(one).parse().expect("an id")).collect();
        assert!(ids.is_sorted(), "{topic}: {ids:?}");
        let payload: Value = serde_json::from_slice(records[0].payload().expect("a payload"))
            .expect("the order's own JSON");
        assert_eq!(payload["customer"]["address"]["city"], cities.first().unwrap().as_str());
    }
}

#[test]
fn a_topic_deleted_while_its_city_has_orders_is_made_again() {
    let flow = Flow::new("relay_deleted", 1);
    let mut worker = flow.worker().spawn();
    let berlin = format!("{}-berlin", flow.sandbox.topic);
    publish_cities(&flow, &["Berlin".to_owned()]);
    eventually("the first order", || kafka().partitions(&berlin) == 1);
    eventually("its end", || flow.position() == 1);
    kafka().delete_topic(&berlin);
    eventually("it is gone", || kafka().partitions(&berlin) == 0);
    publish_cities(&flow, &["Berlin".to_owned(), "Berlin".to_owned()]);
    eventually("the next orders", || {
        assert!(worker.is_running());
        kafka().partitions(&berlin) == 1 && kafka().read_all(&berlin).len() == 2
    });
    assert_eq!(end(worker)["read"], 3);
}

#[test]
fn replicas_that_the_cluster_has_no_brokers_for_are_refused_with_the_cure() {
    let flow = Flow::new("relay_replicas", 1);
    publish_cities(&flow, &["Berlin".to_owned()]);
    let refused = flow.route().args(["--until-end", "--replication-factor", "3"]).finish().code(1);
    assert!(refused.stderr.contains("lower --replication-factor"), "{refused}");
    assert!(refused.stderr.contains("-berlin"), "{refused}");
    flow.route().arg("--until-end").finish().success();
    assert_eq!(kafka().read_all(&format!("{}-berlin", flow.sandbox.topic)).len(), 1);
}

#[test]
fn loops_are_refused_before_anything_is_read() {
    let flow = Flow::new("relay_loop", 1);
    let topic = flow.sandbox.topic.as_str();
    let refused = |args: [&str; 2]| {
        let run = Run::new(["route-cities", "--until-end", "--from", topic]).args(args);
        run.finish().code(2).stderr
    };
    assert!(refused(["--prefix", &topic[..5]]).contains("choose another --prefix"));
    assert!(refused(["--dead-letter-topic", topic]).contains("name another with"));
    assert!(refused(["--dead-letter-topic", "city-berlin"]).contains("a city could have"));
    assert!(refused(["-X", "isolation.level=read_uncommitted"]).contains("isolation.level"));
}

#[test]
fn a_topic_made_anew_under_a_running_worker_ends_it_and_is_read_from_its_first_record() {
    let flow = Flow::new("relay_anew", 1);
    let route = || flow.route().args(["-X", "session.timeout.ms=45000"]);
    let worker = route().spawn();
    publish_cities(&flow, &vec!["Berlin".to_owned(); 5]);
    eventually("the first topic is read", || flow.position() == 5);
    // Stopped, it sees the topic neither go nor come.
    worker.signal("STOP");
    let sandbox = flow.sandbox.clone().with_topic_anew();
    assert_eq!(sandbox.topic, flow.sandbox.topic);
    publish_cities(&flow, &vec!["Zürich".to_owned(); 20]);
    worker.signal("CONT");
    let ended = worker.finish().code(1);
    assert!(ended.stderr.contains("created again"), "{ended}");
    let done = flow.worker().arg("--until-end").finish().success().json();
    assert_eq!((&done["read"], &done["published"]), (&20.into(), &20.into()));
    let read: Vec<usize> =
        city_topics(&flow).iter().map(|topic| kafka().read_all(topic).len()).collect();
    assert_eq!(read, [5, 20]);
}

#[test]
fn as_many_records_as_were_asked_for_are_in_a_transaction() {
    let flow = Flow::new("relay_bounds", 1);
    publish_cities(&flow, &vec!["Berlin".to_owned(); 100]);
    let bounds = ["--batch-records", "10", "--commit-interval", "5s"];
    let done = flow.route().args(bounds).arg("--until-end").finish().success().json();
    assert_eq!(done["read"], 100);
    assert!(done["commits"].as_u64() >= Some(10), "{done}");
}
