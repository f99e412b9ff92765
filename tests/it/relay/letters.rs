//! Dead letters of a stage, and what `dlq` does with them.

use rdkafka::Message as _;

use super::{Flow, header, key};
use crate::support::{PATIENCE, Raw, Run, Sandbox, kafka};

fn dlq<'a>(flow: &Flow, subcommand: &str, args: impl IntoIterator<Item = &'a str>) -> Run {
    Run::new(["dlq", subcommand, "--topic", &flow.letters(), "-o", "json"])
        .args(args)
        .limit(PATIENCE)
}

#[test]
fn rejected_records_are_listed_shown_and_moved_back_once() {
    let flow = Flow::new("relay_letters", 2);
    // Where `dlq redrive` keeps what it has moved.
    flow.sandbox.set_up("orders");
    let raw = [Some(&b"{"[..]), Some(&b"\xff\x00"[..]), None];
    let record = |payload| Raw { partition: Some(1), key: Some(b"odd"), payload };
    kafka().produce(&flow.sandbox.topic, raw.map(record));
    flow.publish(0..20);
    let done = flow.route().arg("--until-end").finish().code(3).json();
    assert_eq!((&done["published"], &done["rejected"]), (&18.into(), &5.into()));

    let letters = kafka().read_all(&flow.letters());
    let odd: Vec<_> = letters.iter().filter(|letter| key(letter) == "odd").collect();
    let payloads: Vec<_> = odd.iter().map(|letter| letter.payload()).collect();
    assert_eq!(payloads, raw, "their own bytes, and null stays null");
    assert_eq!(header(odd[2], "__connect.errors.offset"), "2");

    let listed = dlq(&flow, "list", []).finish().success().json();
    assert_eq!(listed["total"], 5);
    let group = dlq(&flow, "list", ["--reason", "quantity"]).finish().success().json();
    assert_eq!(group["total"], 2);
    assert_eq!(group["letters"][0]["topic"], flow.sandbox.topic.as_str());
    let name = group["letters"][0]["id"].as_str().expect("a name").to_owned();
    let shown = dlq(&flow, "show", [&*name]).finish().success().json();
    assert_eq!(shown["field"], "quantity", "{shown}");
    assert!(shown["payload"].as_str().is_some_and(|text| text.contains("\"quantity\":0")));

    let (_, before) = ends(&flow);
    let moved = dlq(&flow, "redrive", ["--all"]).finish().success().json();
    assert_eq!(moved["published"], 5, "{moved}");
    let again = dlq(&flow, "redrive", ["--all"]).finish().success().json();
    assert_eq!((&again["published"], &again["done_before"]), (&0.into(), &5.into()));
    let (records, after) = ends(&flow);
    assert!(after > before && records.len() == 28, "{}", records.len());
    let back: Vec<_> = records.iter().filter(|record| key(record) == "odd").collect();
    assert_eq!(back.len(), 6);
    assert!(back.iter().all(|record| record.partition() == 1));
    assert_eq!(back[5].payload(), None, "a tombstone is one again");
    assert_eq!(header(back[5], "__connect.errors.topic"), "");

    // Nothing is cured: the same records are rejected again, once.
    let next = flow.route().arg("--until-end").finish().code(3).json();
    assert_eq!((&next["read"], &next["rejected"]), (&5.into(), &5.into()));
}

#[test]
fn what_two_stages_rejected_goes_back_for_one_of_them_at_a_time() {
    let flow = Flow::new("relay_both", 1);
    flow.sandbox.set_up("orders");
    flow.publish(0..20);
    flow.route().arg("--until-end").finish().code(3);
    let Sandbox { topic, group, .. } = &flow.sandbox;
    let (to, declined) = (format!("{topic}_to"), format!("{topic}_declined"));
    Run::new(["confirm", "--from", topic, "--to", &to, "--declined-to", &declined])
        .args(["--group", &format!("{group}_confirm"), "--until-end"])
        .finish()
        .code(3);
    let listed = dlq(&flow, "list", []).finish().success().json();
    assert_eq!(listed["total"], 4);
    assert!(listed["letters"].as_array().unwrap().iter().all(|one| one["field"] == "quantity"));
    let refused = dlq(&flow, "redrive", ["--all"]).finish().code(2);
    for word in ["orderctl-confirm", "orderctl-route-cities", "--group"] {
        assert!(refused.stderr.contains(word), "{refused}");
    }
    let one = ["--all", "--group", "orderctl-confirm"];
    assert_eq!(dlq(&flow, "redrive", one).finish().success().json()["published"], 2);
    assert_eq!(kafka().read_all(topic).len(), 22);
}

/// The records of the topic read, and its ends.
fn ends(flow: &Flow) -> (Vec<rdkafka::message::OwnedMessage>, i64) {
    let topic = &flow.sandbox.topic;
    let ends = (0..2).map(|partition| kafka().watermarks(topic, partition).1).sum();
    (kafka().read_all(topic), ends)
}

#[test]
fn what_a_topic_does_not_take_becomes_a_dead_letter_and_stops_nobody() {
    let flow = Flow::new("relay_large", 1);
    // Berlin's topic takes small records only.
    let settings = [("max.message.bytes", "3000")];
    kafka().create_topic(&format!("{}-berlin", flow.sandbox.topic), 1, &settings);
    let (_, small) = super::order(0);
    let large = small.replace("Avenue Street", &"long ".repeat(2_000));
    let record = |key: &'static str, payload: &'static [u8]| Raw {
        partition: Some(0),
        key: Some(key.as_bytes()),
        payload: Some(payload),
    };
    let (small, large): (&[u8], &[u8]) =
        (Vec::leak(small.into_bytes()), Vec::leak(large.into_bytes()));
    let records = [("a", small), ("large", large), ("b", small), ("c", small)];
    kafka().produce(&flow.sandbox.topic, records.map(|(key, payload)| record(key, payload)));
    let done = flow.route().args(["--until-end", "-X", "compression.type=none"]).finish();
    let done = done.code(3).json();
    assert_eq!((&done["published"], &done["rejected"]), (&3.into(), &1.into()));
    let letters = kafka().read_all(&flow.letters());
    assert_eq!((letters.len(), &*key(&letters[0])), (1, "large"));
    let why = header(&letters[0], "__connect.errors.exception.message");
    assert!(why.starts_with("refused by the cluster"), "{why}");
    assert_eq!(kafka().read_all(&format!("{}-berlin", flow.sandbox.topic)).len(), 3);
}

#[test]
fn what_this_client_may_not_send_ends_the_run_by_name_and_condemns_no_other() {
    let flow = Flow::new("relay_unsendable", 1);
    let (_, small) = super::order(0);
    let large = small.replace("Avenue Street", &"long ".repeat(2_000));
    let payloads = [&small, &large, &large];
    flow.sandbox.publish_raw(payloads.map(|payload| Some(payload.as_bytes())));
    let limits = ["-X", "message.max.bytes=5000"];
    let ended = flow.route().args(limits).arg("--until-end").finish().code(1);
    assert!(ended.stderr.contains("partition 0, offset 1 too"), "{ended}");
    assert!(ended.stderr.contains("raise message.max.bytes"), "{ended}");
    // What was sent before the refusal is in the log, aborted.
    assert_eq!(flow.counts().0, 0, "nothing is committed");
    let done = flow.route().arg("--until-end").finish().success().json();
    assert_eq!(done["published"], 3, "{done}");
}
