//! `status`: what is in the cluster, and who is behind.

use std::path::Path;

use serde_json::{Value, json};

use crate::exactly_once::broker::Broker;
use crate::support::{
    Proxy, Raw, Run, Sandbox, eventually, kafka, order, order_with, orderctl, orders, stack,
};

/// `status SECTIONS` with its result as JSON.
fn status(sections: &[&str]) -> Run {
    Run::new(["status", "-o", "json"]).args(sections)
}

/// The sandbox's group once it is as wanted: a worker's last words come late.
#[track_caller]
fn group_that(what: &str, sandbox: &Sandbox, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    eventually(what, || {
        let run = status(&["groups", "--group", &sandbox.group]).finish();
        // There may be no such group yet, or no answer in time.
        found = match run.code {
            Some(0) => run.json()["groups"][0].clone(),
            _ => Value::Null,
        };
        wanted(&found)
    });
    found
}

/// The sandbox's topic once the broker tells its size: it is an extra that is
/// not waited for.
#[track_caller]
fn topic_with_size(sandbox: &Sandbox, run: impl Fn() -> Run) -> Value {
    let mut topic = Value::Null;
    eventually("the size is told", || {
        let shown = run().finish().success().json();
        topic = shown["topics"][0].clone();
        assert_eq!(topic["topic"], *sandbox.topic);
        topic["bytes"].is_number()
    });
    topic
}

#[test]
fn topics_have_their_counts_and_groups_the_lag_of_each_partition() {
    let sandbox = Sandbox::new("status").with_topic(2);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 5));
    sandbox.store("orders").finish().success();
    sandbox.publish(&orders("b", 2));
    group_that("the worker is out", &sandbox, |group| {
        group["state"] == "Empty" && group["lag"] == 2
    });

    let line = ["cluster", "topics", "groups", "--topic-name", &sandbox.topic];
    let shown = status(&line).args(["--group", &sandbox.group]).finish().success().json();
    let broker = &shown["cluster"]["brokers"][0];
    assert_eq!(broker["host"], "127.0.0.1");
    assert_eq!(broker["id"], shown["cluster"]["controller"]);
    assert!(!shown["cluster"]["id"].as_str().unwrap().is_empty());
    assert!(shown.get("city-topics").is_none());

    let topics = shown["topics"].as_array().unwrap();
    let [topic] = topics.as_slice() else { panic!("{topics:?}") };
    assert_eq!(topic["topic"], *sandbox.topic);
    let counts = ["partition_count", "replication_factor", "records"].map(|name| &topic[name]);
    assert_eq!(counts, [&json!(2), &json!(1), &json!(7)]);
    assert_eq!(topic["partitions"][0]["high"], 7);
    assert_eq!(topic["partitions"][1]["records"], 0);
    // The other partition has nothing, not even of a transaction.
    let topic = topic_with_size(&sandbox, || status(&["topics", "--topic-name", &sandbox.topic]));
    let bytes = topic["partitions"][0]["bytes"].as_u64().unwrap();
    assert!(bytes > 7 * 50, "{topic}");
    assert_eq!((&topic["partitions"][1]["bytes"], &topic["bytes"]), (&json!(0), &json!(bytes)));

    let group = &shown["groups"][0];
    assert_eq!((&group["state"], &group["lag"]), (&json!("Empty"), &json!(2)));
    let first = &group["partitions"][0];
    let offsets = ["partition", "committed", "high", "lag"].map(|name| &first[name]);
    assert_eq!(offsets, [&json!(0), &json!(5), &json!(7), &json!(2)]);

    let table = orderctl(["status", "topics", "groups", "--topic-name", &sandbox.topic]).success();
    for words in [vec![&*sandbox.topic, "2", "1", "7"], vec![&sandbox.group, "Empty", "0"]] {
        let has_words =
            |line: &str| line.split_whitespace().collect::<Vec<_>>().starts_with(&words);
        assert!(table.stdout.lines().any(has_words), "{words:?}: {table}");
    }
    assert!(table.stdout.contains("0:2"), "{table}");
}

#[test]
fn a_group_at_work_shows_its_members_and_their_partitions() {
    let sandbox = Sandbox::new("members").with_topic(2);
    sandbox.set_up("orders");
    let worker = sandbox.consume("orders").spawn();
    let found = group_that("the group is stable", &sandbox, |group| group["state"] == "Stable");
    // By its topic it is found too.
    let by_topic = status(&["groups", "--topic-name", &sandbox.topic]).finish().success().json();
    assert_eq!(by_topic["groups"][0]["group"], *sandbox.group);
    assert_eq!((&found["member_count"], &found["protocol"]), (&json!(1), &json!("Classic")));
    let members: Vec<&str> = (found["partitions"].as_array().unwrap().iter())
        .map(|partition| partition["member"].as_str().unwrap())
        .collect();
    assert_eq!(members.len(), 2, "{found}");
    assert!(members[0].starts_with("orderctl ") && members[0].contains("127.0.0.1"), "{found}");
    worker.interrupt();
    worker.finish().code(130);
}

#[test]
fn kafkas_own_topics_are_hidden_unless_asked_for_and_missing_names_are_said() {
    let sandbox = Sandbox::new("hidden").with_topic(1);
    sandbox.set_up("orders");
    // A group makes Kafka keep its topic of offsets.
    sandbox.store("orders").finish().success();
    let names = |all: &[&str]| -> Vec<String> {
        let shown = status(&["topics"]).args(all).finish().success().json();
        let topics = shown["topics"].as_array().unwrap().iter();
        topics.map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect()
    };
    let hidden = names(&[]);
    assert!(hidden.contains(&sandbox.topic));
    assert!(!hidden.iter().any(|name| name.starts_with("__")), "{hidden:?}");
    assert!(names(&["--all"]).contains(&"__consumer_offsets".to_owned()));

    let missing = status(&["topics", "--topic-name", "no_such_topic"]).finish().code(1);
    assert!(missing.stderr.contains("no topic no_such_topic"), "{missing}");
    let missing = status(&["groups", "--group", "no-such-group"]).finish().code(1);
    assert!(missing.stderr.contains("no consumer group no-such-group"), "{missing}");
    status(&["nothing"]).finish().code(2);
    status(&["--watch", "often"]).finish().code(2);
}

#[test]
fn city_topics_are_shown_with_the_cities_as_written_and_the_shared_one_is_named() {
    let sandbox = Sandbox::new("mapping").with_topic(1);
    let prefix = format!("{}-", sandbox.topic);
    let city = |id: &str, city: &str| order_with(id, "/customer/address/city", city);
    let route = |max: &str| {
        Run::new(["route-cities", "--until-end", "--from", &sandbox.topic, "--max-topics", max])
            .args(["--group", &sandbox.group, "--prefix", &prefix])
            .finish()
            .success();
    };
    sandbox.publish(&[city("1", "Zürich"), city("2", "ZÜRICH")]);
    route("1");
    sandbox.publish(&[city("3", "Bern"), city("4", "東京")]);
    route("1");

    let found = status(&["city-topics", "--prefix", &prefix]).finish().success().json();
    let topics = found["city-topics"].as_array().unwrap();
    let [shared, own] = topics.as_slice() else { panic!("{topics:?}") };
    assert_eq!((&own["cities"], &own["shared"]), (&json!(["ZÜRICH", "Zürich"]), &json!(false)));
    assert_eq!(shared["topic"], format!("{prefix}overflow--shared"));
    assert_eq!((&shared["cities"], &shared["shared"]), (&json!(["Bern", "東京"]), &json!(true)));

    assert_eq!((&own["sampled"], &shared["sampled"]), (&json!(false), &json!(false)));

    let table = orderctl(["status", "city-topics", "--prefix", &prefix]).success();
    assert!(table.stdout.contains("(shared by cities beyond --max-topics) Bern, 東京"), "{table}");
    assert!(!table.stdout.contains("others"), "{table}");

    // Of more records than are read nobody knows what cities they name.
    let blank = Raw { payload: Some(b"{}"), ..Raw::default() };
    kafka().produce(own["topic"].as_str().unwrap(), [blank; 100]);
    let line = ["status", "city-topics", "--prefix", &prefix];
    let sample = Run::new(line).arg("-o").arg("json").finish().success().json();
    assert_eq!(sample["city-topics"][1]["sampled"], true, "{sample:#}");
    let table = orderctl(line).success();
    assert!(table.stdout.contains("… perhaps others"), "{table}");
}

#[test]
fn watching_on_a_terminal_draws_one_picture_over_the_other() {
    let sandbox = Sandbox::new("drawn").with_topic(1);
    let line = ["status", "topics", "--topic-name", &sandbox.topic, "--watch", "100ms"];
    let mut terminal = Run::new(line).on_terminal();
    let row = |records: u32| format!("{}  1           1         {records}", sandbox.topic);
    // To the corner, and at the end everything below is cleared.
    terminal.wait_for("\x1b[H");
    terminal.wait_for(&row(0));
    terminal.wait_for("\x1b[J");
    sandbox.publish(&[order("1")]);
    terminal.wait_for(&row(1));
    terminal.signal("INT");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    let pictures: Vec<&str> = screen.split("\x1b[H").skip(1).collect();
    // The last one may not have been read to its end.
    let (_, whole) = pictures.split_last().unwrap();
    let has_both_tables = |picture: &&str| picture.matches(&*sandbox.topic).count() == 2;
    assert!(!whole.is_empty() && whole.iter().all(has_both_tables), "{screen}");
}

fn text_of(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

#[test]
fn watching_waits_out_a_broker_that_is_away_and_ends_on_a_signal() {
    let sandbox = Sandbox::new("watched").with_topic(1);
    let proxy = Proxy::to_broker(stack().kafka_plaintext);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let watch = status(&["topics", "--topic-name", &sandbox.topic, "--watch", "100ms"])
        .env("ORDERCTL_BOOTSTRAP_SERVER", proxy.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .arg("--log-file")
        .arg(&log)
        .spawn();
    // The last of its connections to be made is that for the offsets.
    eventually("it has looked", || proxy.links() > 1 && proxy.bytes() > 2_000);
    proxy.refuse(true);
    proxy.cut();
    eventually("it says so", || text_of(&log).contains("waiting until the cluster answers"));
    sandbox.publish(&[order("1")]);
    proxy.refuse(false);
    eventually("it is back", || text_of(&log).contains("the cluster answers again"));
    watch.interrupt();
    let ended = watch.finish().code(130);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["error"].is_string()), "{ended}");
    let last = lines.iter().rev().find(|line| line["topics"].is_array()).unwrap();
    assert_eq!(last["topics"][0]["records"], 1, "{ended}");
}

#[test]
fn watching_ends_when_nobody_reads_any_more() {
    let sandbox = Sandbox::new("unread").with_topic(1);
    let program = env!("CARGO_BIN_EXE_orderctl");
    let line = format!(
        "'{program}' status topics --topic-name {} --watch 100ms | head -n 3; \
         echo \"${{PIPESTATUS[0]}}\"",
        sandbox.topic
    );
    let ended = std::process::Command::new("bash")
        .args(["-c", &line])
        .env("BOOTSTRAP_SVR", kafka().address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .current_dir(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let stdout = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{stdout}");
    assert!(lines[2].starts_with(&sandbox.topic), "{stdout}");
    assert_eq!(lines[3], "0", "{stdout}");
}

#[test]
fn sizes_are_told_over_every_kind_of_connection() {
    let sandbox = Sandbox::new("sized").with_topic(1);
    sandbox.publish(&[order("1")]);
    let sasl = &stack().creds_sasl;
    for (creds, mechanism) in [
        (&stack().creds, None),
        (sasl, Some("SCRAM-SHA-256")),
        (sasl, Some("SCRAM-SHA-512")),
        (sasl, Some("PLAIN")),
        (&stack().creds_plaintext, None),
    ] {
        let mechanism = mechanism.map(|mechanism| ["--sasl-mechanism", mechanism]);
        let topic = topic_with_size(&sandbox, || {
            let run = status(&["topics", "--topic-name", &sandbox.topic]);
            run.env("ORDERCTL_CREDS", creds).args(mechanism.into_iter().flatten())
        });
        assert_eq!(topic["records"], 1, "{topic}");
        assert!(topic["bytes"].as_u64().unwrap() > 100, "{creds:?}: {topic}");
    }
}

#[test]
fn a_login_that_may_not_describe_the_cluster_sees_no_sizes() {
    let broker = Broker::with_rights_only();
    broker.kafka.create_topic("narrow", 1, &[]);
    broker.grant("--topic", "narrow", &["describe"]);
    let line = "status topics --topic-name narrow -o json";
    let shown = |run: Run| {
        let shown = run.finish().success();
        let counts = ["records", "bytes"].map(|name| shown.json()["topics"][0][name].clone());
        (counts, shown.stderr)
    };
    let run = || Run::bare(line.split_whitespace()).arg("-v");
    let (counts, said) = shown(broker.logged_in(run()));
    assert_eq!(counts, [json!(0), Value::Null]);
    assert!(said.contains("may not describe the cluster"), "{said}");
    eventually("a login that may sees them", || {
        let (counts, _) = shown(broker.used_by(run()));
        counts == [json!(0), json!(0)]
    });
}
