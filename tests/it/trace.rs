//! `trace`: everywhere that one order is.

use orderctl::edges::kafka::murmur2::partition;
use serde_json::{Value, json};

use crate::support::{Database, Raw, Run, Sandbox, kafka, order, order_with, stack, uri};

/// A UUIDv7 made so many milliseconds from now.
fn uuid_v7(from_now_ms: i64) -> String {
    let time = jiff::Timestamp::now().as_millisecond() + from_now_ms;
    format!("{:08x}-{:04x}-735c-a1d2-eca869d1edc1", time >> 16, time & 0xffff)
}

/// `trace ID` in the sandbox's topics, with its result as JSON.
fn trace(sandbox: &Sandbox, id: &str) -> Run {
    let topics = format!("{0},{0}_dead_letters", sandbox.topic);
    Run::new(["trace", id, "-o", "json", "--topics", &topics, "--schema", &sandbox.schema])
}

/// Publishes events as `produce` does, so that keys are where they belong.
fn produce(sandbox: &Sandbox, events: &[Value]) {
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    Run::new(["produce", "--source", "-", "--topic-name", &sandbox.topic])
        .stdin(lines.join("\n"))
        .finish()
        .success();
}

fn stages(trace: &Value) -> Vec<&str> {
    let places = trace["places"].as_array().unwrap().iter();
    places.map(|place| place["stage"].as_str().unwrap()).collect()
}

fn place<'t>(trace: &'t Value, stage: &str) -> &'t Value {
    let places = trace["places"].as_array().unwrap();
    places.iter().find(|place| place["stage"] == stage).unwrap_or_else(|| panic!("{trace:#}"))
}

fn looked<'t>(trace: &'t Value, topic: &str) -> &'t Value {
    let looked = trace["looked"].as_array().unwrap();
    looked.iter().find(|one| one["topic"] == topic).unwrap_or_else(|| panic!("{trace:#}"))
}

#[test]
fn an_order_is_found_at_every_stage_by_its_key() {
    let sandbox = Sandbox::new("trace").with_topic(5);
    let database = Database::new(&sandbox.schema);
    let prefix = format!("{}-", sandbox.topic);
    let uuid = uuid_v7(0);
    let events = [
        order_with(90123, "/customer/address/city", "Zürich"),
        order_with(uuid.as_str(), "/customer/address/city", "Bern"),
    ];
    produce(&sandbox, &events);
    database.run(&["db-setup"]).success();
    database.run(&["consume", "--topic-name", &sandbox.topic, "--until-end"]).success();
    let route = ["route-cities", "--until-end", "--from", &sandbox.topic, "--prefix", &prefix];
    database.run(&[&route[..], &["--group", &sandbox.group]].concat()).success();
    database.sql(
        "insert into orderctl.mail (group_name, kind, order_id, recipient, state, message_id,
             details, sent_at)
         values ('g', 'order', '90123', 'james@example.com', 'sent', 'm', '{}',
             now() + interval '1 second')",
    );

    for (id, city) in [("90123", "Zürich"), (&*uuid, "Bern")] {
        let line = ["trace", id, "-o", "json", "--topics", &sandbox.topic, "--prefix", &prefix];
        let found = database.run(&line).success().json();
        let mut expected = vec!["record", "row", "city"];
        if id == "90123" {
            expected.push("mail");
            let mail = "order to james@example.com, sent";
            assert_eq!(place(&found, "mail")["detail"], mail);
        }
        assert_eq!(stages(&found), expected, "{found:#}");
        assert_eq!(place(&found, "city")["detail"], city);
        assert!(place(&found, "city")["after_ms"].as_i64().unwrap() >= 0, "{found:#}");
        assert_eq!(place(&found, "row")["table"], "public.orders");
        assert!(place(&found, "row")["after_ms"].as_i64().unwrap() >= 0, "{found:#}");
        // The ledger knows where the row came from.
        let unnamed = database.run(&["trace", id, "-o", "json", "--prefix", &prefix]).success();
        assert!(stages(&unnamed.json()).contains(&"record"), "{unnamed}");
        let looked = looked(&found, &sandbox.topic);
        assert_eq!((&looked["by_key"], &looked["partition_count"]), (&json!(true), &json!(5)));
        assert_eq!(looked["partitions"], json!([place(&found, "record")["partition"]]));
        assert_eq!(looked["since"].is_string(), id == uuid);
        assert!(found["not_looked"].to_string().contains("--all-partitions"), "{found:#}");
    }
    let all = ["trace", "90123", "--topics", &sandbox.topic, "--all-partitions", "-o", "json"];
    let found = database.run(&all).success().json();
    assert_eq!(stages(&found), ["record", "row", "mail"]);
    assert_eq!(looked(&found, &sandbox.topic)["records_read"], 2, "each once: {found:#}");
}

#[test]
fn what_was_rejected_is_found_in_the_ledger_and_in_the_topic_of_dead_letters() {
    let sandbox = Sandbox::new("rejected").with_topic(2);
    produce(&sandbox, &[order("good")]);
    let bad = order_with("bad", "/quantity", 0).to_string();
    let raw = Raw { partition: None, key: Some(b"bad"), payload: Some(bad.as_bytes()) };
    kafka().produce(&sandbox.topic, [raw]);
    sandbox.set_up("orders");
    sandbox.store("orders").finish().code(3);
    let prefix = format!("{}-", sandbox.topic);
    Run::new(["route-cities", "--until-end", "--from", &sandbox.topic, "--prefix", &prefix])
        .args(["--group", &format!("{}_router", sandbox.group)])
        .finish()
        .code(3);

    let found = trace(&sandbox, "bad").finish().success().json();
    let letters: Vec<&Value> = (found["places"].as_array().unwrap().iter())
        .filter(|place| place["stage"] == "dead-letter")
        .collect();
    assert_eq!(letters.len(), 2, "{found:#}");
    let in_ledger = letters.iter().find(|place| place["letter"].is_number()).unwrap();
    let in_topic = letters.iter().find(|place| place["letter"].is_null()).unwrap();
    assert_eq!(in_ledger["topic"], *sandbox.topic);
    assert_eq!(in_topic["topic"], format!("{}_dead_letters", sandbox.topic));
    for letter in [in_ledger, in_topic] {
        assert!(letter["detail"].as_str().unwrap().starts_with("quantity"), "{found:#}");
    }
    let line = ["trace", "good", "--topics", &sandbox.topic, "--schema", &sandbox.schema];
    let table = Run::new(line).finish().success();
    assert!(table.stdout.contains(&format!("{}.orders", sandbox.schema)), "{table}");
}

#[test]
fn a_record_elsewhere_is_found_by_a_bounded_scan_that_says_what_it_left_out() {
    let sandbox = Sandbox::new("elsewhere").with_topic(1);
    sandbox.set_up("orders");
    let now = jiff::Timestamp::now().as_millisecond();
    let day = 24 * 3_600_000;
    let at = |time_ms: i64, id: i64| {
        let order = order(format!("elsewhere-{id}"));
        kafka().produce_at(&sandbox.topic, time_ms, order.to_string().as_bytes());
    };
    at(now - 3 * day, 1);
    at(now - 2 * day, 2);
    at(now, 3);

    let found = trace(&sandbox, "elsewhere-1").finish().success().json();
    assert_eq!(place(&found, "record")["offset"], 0);
    let recent = trace(&sandbox, "elsewhere-1").args(["--since", "60h"]).finish().code(1);
    assert!(recent.stderr.contains("elsewhere-1 is nowhere that was looked"), "{recent}");
    assert_eq!(looked(&recent.json(), &sandbox.topic)["records_read"], 2);
    assert_eq!(looked(&recent.json(), &sandbox.topic)["not_looked_at"], 1);
    trace(&sandbox, "elsewhere-2").args(["--since", "60h"]).finish().success();
    // The newest ones: two of three by key, and the rest of them in the second place.
    let bounded = trace(&sandbox, "none").args(["--scan-max", "1"]).finish().code(1).json();
    assert_eq!(bounded["found"], false);
    assert_eq!(looked(&bounded, &sandbox.topic)["not_looked_at"], 1);
    trace(&sandbox, "").finish().code(2);
}

#[test]
fn a_record_whose_key_belongs_elsewhere_is_found_by_its_payload() {
    let sandbox = Sandbox::new("misplaced").with_topic(4);
    sandbox.set_up("orders");
    let uuid = uuid_v7(0);
    let event = order(uuid.as_str()).to_string();
    for partition in 0..4 {
        let payload = Some(event.as_bytes());
        let raw = Raw { partition: Some(partition), key: Some(b"other"), payload };
        kafka().produce(&sandbox.topic, [raw]);
    }
    // The key's own partition has it too; the others are left alone unless asked for.
    assert_eq!(stages(&trace(&sandbox, &uuid).finish().success().json()).len(), 1);
    let all = trace(&sandbox, &uuid).arg("--all-partitions").finish().success().json();
    assert_eq!(stages(&all).len(), 4, "{all:#}");

    // Made by a clock that is ahead of the brokers'.
    let ahead = uuid_v7(3_600_000);
    sandbox.publish(&[order(ahead.as_str())]);
    let found = trace(&sandbox, &ahead).finish().success().json();
    assert_eq!(stages(&found).len(), 1, "{found:#}");
    assert_eq!(looked(&found, &sandbox.topic)["by_key"], false);
}

#[test]
fn a_source_of_another_partitioner_is_sought_though_others_have_it_by_its_key() {
    let sandbox = Sandbox::new("partitioner").with_topic(4);
    let letters = format!("{}_dead_letters", sandbox.topic);
    kafka().create_topic(&letters, 1, &[]);
    let event = order("misplaced").to_string();
    let home = partition(b"misplaced", 4).unwrap();
    let publish = |topic: &str, partition: i32| {
        let (key, payload) = (Some(&b"misplaced"[..]), Some(event.as_bytes()));
        kafka().produce(topic, [Raw { partition: Some(partition), key, payload }]);
    };
    publish(&letters, 0);
    publish(&sandbox.topic, (home + 1) % 4);

    let found = trace(&sandbox, "misplaced").finish().success().json();
    let mut stages = stages(&found);
    stages.sort_unstable();
    assert_eq!(stages, ["dead-letter", "record"], "{found:#}");
    assert_eq!(looked(&found, &sandbox.topic)["by_key"], false);
    assert_eq!(looked(&found, &letters)["by_key"], true);
}

#[test]
fn the_topics_of_the_stages_are_looked_into_unless_others_are_named() {
    // Other tests may use the topics too: these events are known by their ids.
    let sandbox = Sandbox::new("stages").with_topic(2);
    let [paid, refused, user] =
        ["paid", "refused", "user"].map(|name| format!("{}_{name}", sandbox.topic));
    let mut unpaid = order(refused.as_str());
    unpaid["payment"] = json!({"card_token": "tok_chargeDeclined", "card_last4": "0002"});
    produce(&sandbox, &[order(paid.as_str()), unpaid]);
    let confirm = ["confirm", "--until-end", "--from", &sandbox.topic, "--group", &sandbox.group];
    Run::new(confirm).finish().success();
    let event = json!({"user_id": user, "full_name": "Ann", "email": "ann@example.com"});
    Run::new(["produce", "--kind", "user", "--source", "-", "--create-topic"])
        .stdin(event.to_string())
        .finish()
        .success();
    let enrich = ["enrich", "--until-end", "--group", &sandbox.group];
    let enriched = Run::new(enrich).finish();
    assert!(matches!(enriched.code, Some(0 | 3)), "{enriched}");

    for (id, expected) in [
        (&paid, &["analysis", "confirmed"][..]),
        (&refused, &["declined"]),
        (&user, &["enriched", "enriched", "source"]),
    ] {
        let line = ["trace", id, "-o", "json", "--schema", &sandbox.schema];
        let found = Run::new(line).finish().success().json();
        let mut stages = stages(&found);
        stages.sort_unstable();
        assert_eq!(stages, expected, "{found:#}");
    }
    let line = ["trace", &refused, "-o", "json", "--schema", &sandbox.schema];
    let found = Run::new(line).finish().success().json();
    let detail = place(&found, "declined")["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("declined, "), "{detail}");
}

#[test]
fn the_progress_of_a_scan_is_drawn_on_a_terminal_and_its_result_stands_below() {
    let sandbox = Sandbox::new("drawn").with_topic(1);
    sandbox.publish(&[order("1"), order("2")]);
    let line = ["trace", "2", "--topics", &sandbox.topic, "--schema", &sandbox.schema];
    let mut terminal = Run::new(line).on_terminal();
    terminal.wait_for("/2 records");
    terminal.wait_for(&format!("{}/0/1", sandbox.topic));
    assert_eq!(terminal.finish().0, Some(0));
}

#[test]
fn one_of_the_services_is_enough_and_the_other_is_said_to_be_left_out() {
    let sandbox = Sandbox::new("half").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("half-1")]);
    sandbox.store("orders").finish().success();
    let folder = tempfile::tempdir().unwrap();
    let line = ["trace", "half-1", "-o", "json", "--topics", &sandbox.topic];
    let bare = || Run::bare(line).directory(folder.path());

    let kafka_only = bare()
        .env("ORDERCTL_BOOTSTRAP_SERVER", kafka().address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .finish()
        .success()
        .json();
    assert_eq!(stages(&kafka_only), ["record"]);
    assert!(kafka_only["not_looked"].to_string().contains("no database is named"));

    let database_only = bare()
        .env("ORDERCTL_POSTGRES_URI", uri(&stack().creds))
        .env("ORDERCTL_CERT_PATH", &stack().cert_path)
        .args(["--schema", &sandbox.schema])
        .finish()
        .success()
        .json();
    assert_eq!(stages(&database_only), ["row"]);
    assert!(database_only["not_looked"].to_string().contains("no Kafka broker is named"));

    let neither = bare().finish().code(1);
    assert!(neither.stderr.contains("no database is named"), "{neither}");
}
