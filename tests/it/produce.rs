//! `produce`: what it says it published is in the topic.

mod url;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use orderctl::events::Kind;
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;

use crate::support::{Kafka, Run, Sandbox, eventually, kafka, orderctl, sql};

const USER: &str = r#"{"user_id":"u1","full_name":"Ann","email":"ann@example.com"}"#;

fn produce(sandbox: &Sandbox, flags: &str) -> Run {
    let verb = ["produce", "-o", "json", "--topic-name", &sandbox.topic];
    flags.split_whitespace().fold(Run::new(verb), |run, flag| run.arg(flag))
}

fn payload(message: &OwnedMessage) -> &[u8] {
    message.payload().expect("no tombstone")
}

/// Key and payload of each record, sorted.
fn contents(topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let owned = |message: &OwnedMessage| {
        (message.key().unwrap_or_default().to_vec(), payload(message).to_vec())
    };
    let mut all: Vec<_> = kafka().read_all(topic).iter().map(owned).collect();
    all.sort();
    all
}

#[test]
fn a_hundred_valid_orders_keyed_by_their_id_are_published_unless_told_otherwise() {
    let sandbox = Sandbox::new("produce_default").with_topic(3);
    let report = produce(&sandbox, "").finish().success().json();
    assert_eq!((&report["sent"], &report["acknowledged"]), (&100.into(), &100.into()));
    assert_eq!((&report["failed"], &report["rejected"]), (&0.into(), &0.into()));
    let mut ids = HashSet::new();
    for (key, payload) in contents(&sandbox.topic) {
        let order = Kind::Order.parse(&payload).expect("a valid order");
        assert_eq!(order.id().as_bytes(), key);
        ids.insert(key);
    }
    assert_eq!(ids.len(), 100);
}

#[test]
fn each_kind_is_published_as_its_own() {
    for (kind, name) in [(Kind::MovieTicket, "movie-ticket"), (Kind::User, "user")] {
        let sandbox = Sandbox::new("produce_kind").with_topic(1);
        produce(&sandbox, &format!("--num 20 --kind {name}")).finish().success();
        let all = contents(&sandbox.topic);
        assert!(all.len() == 20 && all.iter().all(|(_, payload)| kind.parse(payload).is_ok()));
    }
}

#[test]
fn the_same_seed_publishes_the_same_bytes() {
    let [first, second, other] = [7, 7, 8].map(|seed| {
        let sandbox = Sandbox::new("produce_seed").with_topic(2);
        produce(&sandbox, &format!("--seed {seed} --num 500")).finish().success();
        contents(&sandbox.topic)
    });
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn the_manifest_tells_what_is_in_the_topic() {
    let sandbox = Sandbox::new("produce_manifest").with_topic(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.json");
    let flags = "--seed 7 --num 5000 --inject dup=2%,malformed=1%,late=5% --manifest";
    let report = produce(&sandbox, flags).arg(&path).finish().success().json();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut partitions: HashMap<Vec<u8>, HashSet<i32>> = HashMap::new();
    let (mut stored, mut skipped, mut rejected) = (HashSet::new(), 0, 0);
    let all = kafka().read_all(&sandbox.topic);
    for message in &all {
        let key = message.key().expect("a key").to_vec();
        partitions.entry(key).or_default().insert(message.partition());
        match Kind::Order.parse(payload(message)) {
            Ok(order) if !stored.insert(order.id().to_owned()) => skipped += 1,
            Ok(_) => {}
            Err(_) => rejected += 1,
        }
    }
    assert_eq!(manifest["num"], 5000);
    assert_eq!(manifest["sent"], all.len());
    assert_eq!(manifest["expected"]["rows"], stored.len());
    assert_eq!(manifest["expected"]["skipped"], skipped);
    assert_eq!(manifest["expected"]["rejected"], rejected);
    assert!(skipped > 50 && rejected > 20, "{skipped} skipped, {rejected} rejected");
    assert_eq!(report["injected"]["late"], manifest["late"]);
    assert!(partitions.values().all(|of_key| of_key.len() == 1), "a repeat changed partition");
}

#[test]
fn a_missing_topic_is_refused_with_the_cure_or_created() {
    let sandbox = Sandbox::new("produce_topic");
    let refused = produce(&sandbox, "").finish().code(1);
    assert!(refused.stderr.contains("--create-topic --partitions N"), "{refused}");
    assert_eq!((kafka().partitions(&sandbox.topic), refused.stdout.as_str()), (0, ""));
    let create = "--num 5 --create-topic --partitions 4 --replication-factor";
    let refused = produce(&sandbox, create).arg("9").finish().code(1);
    assert!(refused.stderr.contains("lower --replication-factor"), "{refused}");
    produce(&sandbox, create).arg("1").finish().success();
    assert_eq!(kafka().partitions(&sandbox.topic), 4);
    let again = produce(&sandbox, "--num 5 --create-topic --partitions 2").finish().success();
    assert!(again.stderr.contains("with 4 partitions and stays as it is"), "{again}");
    assert_eq!(contents(&sandbox.topic).len(), 10);
}

#[test]
fn lines_of_a_file_are_published_but_for_the_invalid_ones() {
    let sandbox = Sandbox::new("produce_file").with_topic(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.jsonl");
    std::fs::write(&path, format!("{USER}\r\n\n{{\"user_id\":2}}\nnonsense\n{USER}")).unwrap();
    let source = "--kind user --source";
    let run = produce(&sandbox, source).arg(&path).finish().code(3);
    assert!(run.stderr.contains("line 3 not sent: full_name: is missing"), "{run}");
    assert!(run.stderr.contains("line 4 not sent: not JSON"), "{run}");
    let report = run.json();
    assert_eq!((&report["sent"], &report["rejected"]), (&2.into(), &2.into()));
    let expected = (b"u1".to_vec(), USER.as_bytes().to_vec());
    assert_eq!(contents(&sandbox.topic), [expected.clone(), expected]);

    let raw = produce(&sandbox, source).arg(&path).arg("--raw").finish().success().json();
    assert_eq!((&raw["sent"], &raw["rejected"]), (&4.into(), &0.into()));
    let payloads: Vec<_> =
        contents(&sandbox.topic).into_iter().map(|(_, payload)| payload).collect();
    assert!(payloads.contains(&b"nonsense".to_vec()));
}

#[test]
fn an_unreadable_source_is_refused_before_anything_is_contacted() {
    for (source, word) in [("/no/such/file", "cannot read"), ("/", "directory")] {
        let run = Run::bare(["produce", "--source", source]).finish().code(2);
        assert!(run.stderr.contains(word), "{run}");
    }
}

#[test]
fn standard_input_is_published_line_by_line() {
    let sandbox = Sandbox::new("produce_stdin").with_topic(1);
    let lines = format!("{USER}\n").repeat(30);
    let flags = "--kind user --source - --num 25";
    let report = produce(&sandbox, flags).stdin(lines).finish().success().json();
    assert_eq!(report["acknowledged"], 25);
    assert_eq!(contents(&sandbox.topic).len(), 25);
}

#[test]
fn rows_of_a_query_become_events() {
    let sandbox = Sandbox::new("produce_rows").with_topic(2);
    let table = sandbox.table("people");
    sql(&format!(
        "create table {table} (id bigint primary key, name text, email text, dob date);
         insert into {table} select n, 'Name ' || n, case when n = 7 then null else 'e' || n end,
         date '1990-01-01' + n::int from generate_series(1, 2500) n"
    ));
    let query = format!("postgres:select * from {table} order by id; ");
    let run = produce(&sandbox, "--kind user --source").arg(query).finish().code(3);
    assert!(run.stderr.contains("row 7 not sent: email"), "{run}");
    assert_eq!(run.json()["acknowledged"], 2499);
    let all = contents(&sandbox.topic);
    let (key, payload) = all.iter().find(|(key, _)| key == b"2500").expect("the last row");
    let user = Kind::User.parse(payload).unwrap();
    assert_eq!(user.id().as_bytes(), key);
    assert!(String::from_utf8_lossy(payload).contains(r#""full_name":"Name 2500""#));
    for (query, word) in [("select 1 from nowhere", "nowhere"), ("delete from x", "syntax")] {
        let source = format!("postgres:{query}");
        let run = produce(&sandbox, "--kind user --source").arg(source).finish().code(1);
        assert!(run.stderr.contains(word), "{run}");
    }
}

#[test]
fn a_dry_run_prints_the_payloads_and_contacts_nothing() {
    let dry = |flags: &[&str]| {
        let run = Run::bare(["produce", "--dry-run", "--num", "50"]);
        flags.iter().fold(run, |run, flag| run.arg(flag)).finish().success().stdout
    };
    let seeded = dry(&["--seed", "7"]);
    assert_eq!(seeded.lines().count(), 50);
    assert!(seeded.lines().all(|line| Kind::Order.parse(line.as_bytes()).is_ok()));
    assert_eq!(seeded, dry(&["--seed", "7"]));
    assert_ne!(dry(&[]), dry(&[]));
}

#[test]
fn events_come_at_the_rate_asked_for() {
    let sandbox = Sandbox::new("produce_rate").with_topic(1);
    for flags in ["--num 10 --rate 20", "--num 10 --interval 50ms"] {
        let report = produce(&sandbox, flags).finish().success().json();
        let seconds = report["seconds"].as_f64().unwrap();
        assert!((0.45..20.0).contains(&seconds), "{flags}: {seconds} s");
    }
}

#[test]
fn a_stop_flushes_what_was_queued_and_tells_true_counts() {
    let sandbox = Sandbox::new("produce_stop").with_topic(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.json");
    // As fast as it can, but with no more in its queue than is sent in the time that
    // it has for its end.
    let full_speed = "-X queue.buffering.max.messages=2000";
    for (rate, signal) in [("--rate 1000", "INT"), (full_speed, "TERM")] {
        let flags = format!("--num 1000000000 {rate} --manifest");
        let before = contents(&sandbox.topic).len();
        let started = || (0..2).map(|p| kafka().watermarks(&sandbox.topic, p).1).sum::<i64>();
        let run = produce(&sandbox, &flags).arg(&path).spawn();
        eventually("something is published", || started() > i64::try_from(before).unwrap());
        run.signal(signal);
        let report = run.finish().code(130).json();
        assert_eq!(report["sent"], report["acknowledged"]);
        assert_eq!(report["sent"], contents(&sandbox.topic).len() - before);
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(manifest["expected"]["rows"], report["sent"]);
    }
}

#[test]
fn a_stop_while_waiting_for_standard_input_ends_at_once() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_orderctl"))
        .args(["produce", "--dry-run", "--kind", "user", "--source", "-", "--interval", "1ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, format!("{USER}\n{USER}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), USER);
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
}

/// A cluster inside the test, whose only broker can be taken away.
struct Mock {
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    kafka: Kafka,
}

impl Mock {
    fn new(topic: &str) -> Mock {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic(topic, 1, 1).expect("a topic");
        let address = cluster.bootstrap_servers().parse().expect("one address");
        Mock { cluster, kafka: Kafka { address } }
    }

    fn produce(&self, topic: &str, flags: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderctl"));
        command.args(["produce", "-o", "json", "--topic-name", topic]);
        command.args(["--bootstrap-server", &self.kafka.address.to_string()]);
        command.args(flags.split_whitespace()).current_dir("/");
        command.env_remove("ORDERCTL_CREDS").env_remove("ORDERCTL_CERT_PATH");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn json(output: &std::process::Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("a report")
}

#[test]
fn a_cluster_that_goes_away_is_waited_for_and_this_is_said_once() {
    let mock = Mock::new("away");
    let mut child = mock.produce("away", "--num 20000 --rate 2000").spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    eventually("something is published", || mock.kafka.watermarks("away", 0).1 > 0);
    mock.cluster.broker_down(1).unwrap();
    let first = said.recv_timeout(Duration::from_secs(60)).expect("a word about it");
    assert!(first.starts_with("waiting for the cluster: "), "{first}");
    mock.cluster.broker_up(1).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    assert_eq!((&report["sent"], &report["acknowledged"]), (&20_000.into(), &20_000.into()));
    assert_eq!(said.iter().collect::<Vec<_>>(), ["the cluster is back"]);
}

#[test]
fn a_stop_ends_within_ten_seconds_although_the_cluster_is_away() {
    let mock = Mock::new("gone");
    let child = mock.produce("gone", "--num 1000000000 --rate 5000").spawn().unwrap();
    eventually("something is published", || mock.kafka.watermarks("gone", 0).1 > 0);
    mock.cluster.broker_down(1).unwrap();
    let asked = Instant::now();
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(130));
    let report = json(&output);
    assert!(report["acknowledged"].as_u64() > Some(0), "{report}");
    let (sent, failed) = (report["sent"].as_u64().unwrap(), report["failed"].as_u64().unwrap());
    assert_eq!(report["acknowledged"].as_u64(), Some(sent - failed));
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_soon() {
    let started = Instant::now();
    let run = Run::bare(["produce", "--bootstrap-server", "127.0.0.1:1"]).finish().code(1);
    assert!(run.stderr.contains("127.0.0.1:1") && run.stdout.is_empty(), "{run}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn contradicting_flags_are_wrong_usage() {
    for flags in [
        &["--num", "0"][..],
        &["--num", "-5"],
        &["--rate", "0"],
        &["--kind", "cart"],
        &["--interval", "1s", "--rate", "5"],
        &["--source", "-", "--seed", "1"],
        &["--source", "https://u:p@example.com"],
    ] {
        orderctl([&["produce"], flags].concat()).code(2);
    }
}

#[test]
fn a_topic_that_is_deleted_meanwhile_ends_the_run_with_the_counts() {
    let sandbox = Sandbox::new("produce_deleted").with_topic(1);
    let flags = "--num 1000000000 --rate 200 -X topic.metadata.propagation.max.ms=100";
    let run = produce(&sandbox, flags).spawn();
    eventually("something is published", || kafka().watermarks(&sandbox.topic, 0).1 > 0);
    kafka().delete_topic(&sandbox.topic);
    let run = run.finish().code(1);
    let report = run.json();
    assert!(report["failed"].as_u64() > Some(0), "{run}");
    assert!(run.stderr.contains("the topic is not there any more"), "{run}");
}
