//! `route-cities`: each order in the topic of its city, once.

use std::collections::BTreeMap;

use rdkafka::Message as _;
use rdkafka::message::Headers as _;

use crate::support::{Run, Sandbox, kafka, order_with};

fn route(sandbox: &Sandbox) -> Run {
    let prefix = format!("{}-", sandbox.topic);
    Run::new(["route-cities", "--until-end", "-o", "json", "--from", &sandbox.topic]).args([
        "--group",
        &sandbox.group,
        "--prefix",
        &prefix,
    ])
}

fn order_of(id: &str, city: &str) -> serde_json::Value {
    order_with(id, "/customer/address/city", city)
}

#[test]
fn orders_go_to_the_topics_of_their_cities_with_the_city_as_it_was_written() {
    let sandbox = Sandbox::new("cities").with_topic(2);
    let cities = ["Berlin", "BERLIN", "Zürich", "東京"];
    let events: Vec<_> = cities.iter().map(|city| order_of(city, city)).collect();
    sandbox.publish(&events);
    sandbox.publish(&[order_with("bad", "/quantity", 0)]);

    let done = route(&sandbox).finish().code(3).json();
    let written = kafka().topics_like(&format!("{}-", sandbox.topic));
    let open: Vec<_> = written.iter().filter(|topic| kafka().has_open_transaction(topic)).collect();
    assert!(open.is_empty(), "what was published can be read when the program ends: {open:?}");
    assert_eq!(
        (&done["read"], &done["published"], &done["rejected"]),
        (&5.into(), &4.into(), &1.into())
    );

    let found: BTreeMap<String, Vec<String>> = kafka()
        .topics_like(&format!("{}-", sandbox.topic))
        .into_iter()
        .map(|topic| {
            let records = kafka().read_all(&topic);
            let city = |record: &rdkafka::message::OwnedMessage| {
                let headers = record.headers().expect("headers");
                let value = headers.get(0).value.expect("a value");
                String::from_utf8(value.to_vec()).expect("UTF-8")
            };
            let mut cities: Vec<String> = records.iter().map(city).collect();
            cities.sort();
            (topic, cities)
        })
        .collect();
    let found: Vec<Vec<String>> = found.into_values().collect();
    assert_eq!(
        found,
        [vec!["BERLIN".to_owned(), "Berlin".into()], vec!["東京".into()], vec!["Zürich".into()]]
    );
    assert_eq!(kafka().read_all(&format!("{}_dead_letters", sandbox.topic)).len(), 1);

    let again = route(&sandbox).finish().success().json();
    assert_eq!((&again["read"], &again["published"]), (&0.into(), &0.into()));
}
