//! Dead-letter topics that Kafka Connect and Spring write.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _};
use serde_json::Value;

use super::{copies, header};
use crate::support::{PATIENCE, Run, Sandbox, kafka, orderctl, sql};

/// A topic with its dead-letter topic: two letters of Connect, one of Spring,
/// one without headers. The first two came from partition 1.
fn with_letters(name: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new(name).with_topic(2);
    sandbox.set_up("orders");
    let letters = format!("{}.DLT", sandbox.topic);
    kafka().create_topic(&letters, 1, &[]);
    let topic = sandbox.topic.as_bytes();
    let connect = |offset: &'static [u8]| {
        headers(&[
            ("trace", b"abc"),
            ("__connect.errors.topic", topic),
            ("__connect.errors.partition", b"1"),
            ("__connect.errors.offset", offset),
            ("__connect.errors.connector.name", b"sink"),
            ("__connect.errors.exception.class.name", b"org.DataException"),
            ("__connect.errors.exception.message", b"\x1b[31mno such field"),
        ])
    };
    let spring = headers(&[
        ("kafka_dlt-original-topic", topic),
        ("kafka_dlt-original-partition", &0_i32.to_be_bytes()),
        ("kafka_dlt-original-offset", &42_i64.to_be_bytes()),
        ("kafka_dlt-original-consumer-group", b"shop"),
        ("kafka_dlt-exception-fqcn", b"org.ListenerException"),
        ("kafka_dlt-exception-message", b"boom"),
    ]);
    produce(&letters, [Some(connect(b"7")), Some(connect(b"8")), Some(spring), None]);
    (sandbox, letters)
}

fn headers(pairs: &[(&str, &[u8])]) -> OwnedHeaders {
    pairs.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
        all.insert(Header { key, value: Some(*value) })
    })
}

fn produce(topic: &str, letters: impl IntoIterator<Item = Option<OwnedHeaders>>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().address.to_string());
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    for (number, headers) in letters.into_iter().enumerate() {
        let payload = format!("{{\"n\":{number}}}");
        let mut record = BaseRecord::to(topic).partition(0).key("key").payload(&payload);
        if let Some(headers) = headers {
            record = record.headers(headers);
        }
        assert!(producer.send(record).is_ok(), "the queue has room");
    }
    producer.flush(PATIENCE).expect("acknowledgements");
}

fn dlq<'a>(subcommand: &str, letters: &str, args: impl IntoIterator<Item = &'a str>) -> Run {
    Run::new(["dlq", subcommand, "--topic", letters, "-o", "json"]).args(args).limit(PATIENCE)
}

#[test]
fn letters_are_listed_by_what_their_headers_say() {
    let (sandbox, letters) = with_letters("foreign_list");
    let listed = dlq("list", &letters, []).finish().success().json();
    assert_eq!(listed["total"], 4);
    let reason = |at: usize| &listed["reasons"][at];
    assert_eq!(
        (&reason(0)["count"], &reason(0)["field"]),
        (&2.into(), &"org.DataException".into())
    );
    let place = |at: usize| {
        let letter = &listed["letters"][at];
        ["id", "topic", "partition", "offset", "group"].map(|name| letter[name].clone())
    };
    let topic = Value::from(sandbox.topic.as_str());
    assert_eq!(place(1), ["0:1".into(), topic.clone(), 1.into(), 8.into(), "sink".into()]);
    assert_eq!(place(2), ["0:2".into(), topic, 0.into(), 42.into(), "shop".into()]);
    let of = |args: &[&str]| {
        dlq("list", &letters, args.iter().copied()).finish().success().json()["total"].clone()
    };
    assert_eq!(of(&["--reason", "BOOM"]), 1);
    assert_eq!(of(&["--group", "sink"]), 2);
    assert_eq!(of(&["--topic-name", "elsewhere"]), 0);
    assert_eq!(of(&["--since", "1h", "--until", "2999-01-01"]), 4);
    let table = orderctl(["dlq", "list", "--topic", &letters]).success();
    assert!(
        !table.stdout.contains('\x1b') && table.stdout.contains("\\u001b[31mno such"),
        "{table}"
    );
}

#[test]
fn a_letter_is_shown_with_its_headers() {
    let (_, letters) = with_letters("foreign_show");
    let shown = dlq("show", &letters, ["0:2"]).finish().success().json();
    assert_eq!((&shown["reason"], &shown["offset"]), (&"boom".into(), &42.into()));
    assert_eq!(shown["payload"], "{\"n\":2}");
    assert_eq!(shown["headers"].as_array().unwrap().len(), 6);
    let raw = orderctl(["dlq", "show", "0:2", "--topic", &letters, "--raw"]).success();
    assert_eq!(raw.stdout, "{\"n\":2}");
}

#[test]
fn letters_go_back_to_where_their_headers_say_once() {
    let (sandbox, letters) = with_letters("foreign_redrive");
    let dry = dlq("redrive", &letters, ["--all", "--dry-run"]).finish().json();
    assert_eq!(dry["chosen"], 4);
    let limited = dlq("redrive", &letters, ["--all", "--dry-run", "--limit", "3"]);
    assert_eq!(limited.finish().json()["chosen"], 3);
    let known = format!("select 1 from orderctl.foreign_letter where topic = '{letters}'");
    assert!(sql(&known).is_empty(), "a dry run notes nothing");
    assert!(copies(&sandbox.topic).is_empty());

    let one = dlq("redrive", &letters, ["0:1"]).finish().success().json();
    assert_eq!((&one["published"], &one["done_before"]), (&1.into(), &0.into()));
    let rest = dlq("redrive", &letters, ["--all"]).finish().code(3).json();
    assert_eq!((&rest["published"], &rest["done_before"]), (&2.into(), &1.into()));
    assert_eq!(rest["refused"], 1, "nothing says where the last one belongs");
    let again = dlq("redrive", &letters, ["--all"]).finish().code(3).json();
    assert_eq!((&again["published"], &again["done_before"]), (&0.into(), &3.into()));

    let copies = copies(&sandbox.topic);
    assert!(copies.len() == 3 && copies.values().all(|count| *count == 1), "{copies:?}");
    let messages = kafka().read_all(&sandbox.topic);
    let partitions: Vec<i32> = messages.iter().map(|message| message.partition()).collect();
    assert_eq!(partitions, [0, 1, 1]);
    assert_eq!(messages[1].payload(), Some(b"{\"n\":1}".as_slice()));
    assert_eq!(header(&messages[1], "trace"), Some(b"abc".as_slice()));
    assert_eq!(header(&messages[1], "__connect.errors.topic"), None);
}

#[test]
fn a_foreign_letter_whose_run_was_killed_after_its_commit_is_found() {
    let (sandbox, letters) = with_letters("foreign_killed");
    dlq("redrive", &letters, ["--all"]).finish().code(3);
    // As a run leaves them that ends between Kafka's commit and the mark.
    let left = sql(&format!(
        "update orderctl.foreign_letter set state = 'redriving' where topic = '{letters}'
             and state = 'redriven' returning id"
    ));
    assert_eq!(left.len(), 3);
    let next = dlq("redrive", &letters, ["--all"]).finish().code(3).json();
    assert_eq!((&next["found_published"], &next["published"]), (&3.into(), &0.into()));
    let copies = copies(&sandbox.topic);
    assert!(copies.len() == 3 && copies.values().all(|count| *count == 1), "{copies:?}");
}
