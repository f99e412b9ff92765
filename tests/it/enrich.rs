//! `enrich`: each user once in each of the three topics, then in the table.

mod deploy;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _};
use serde_json::{Value, json};

use crate::seen::Watched;
use crate::support::{PATIENCE, Raw, Run, Sandbox, eventually, kafka, orderctl, sql};

/// A sandbox whose topic is where users come from.
struct Users(Sandbox);

impl Users {
    fn new(name: &str) -> Users {
        Users(Sandbox::new(name).with_topic(2))
    }

    fn via(&self) -> String {
        format!("{}_via", self.0.topic)
    }

    fn to(&self) -> String {
        format!("{}_to", self.0.topic)
    }

    fn enrich(&self, flags: &str) -> Run {
        let Sandbox { topic, group, .. } = &self.0;
        let run = Run::new(["enrich", "-o", "json", "--from", topic, "--group", group]).args([
            "--via",
            &self.via(),
            "--to",
            &self.to(),
        ]);
        flags.split_whitespace().fold(run, |run, flag| run.arg(flag))
    }

    /// Publishes users by their ids, each with a field that we do not know.
    fn publish(&self, ids: std::ops::Range<u32>) {
        let user = |id: u32| {
            let email = format!("u{id}@example.com");
            let user = json!({"user_id": format!("u{id}"), "full_name": "Ann", "email": email,
                              "shoe_size": id});
            (format!("u{id}"), user.to_string())
        };
        let users: Vec<(String, String)> = ids.map(user).collect();
        let raw = users.iter().map(|(key, payload)| Raw {
            partition: None,
            key: Some(key.as_bytes()),
            payload: Some(payload.as_bytes()),
        });
        kafka().produce(&self.0.topic, raw);
    }

    /// The users of a topic by their ids; no id is there twice, and each is its
    /// record's key.
    #[track_caller]
    fn read(topic: &str) -> BTreeMap<String, Value> {
        let mut users = BTreeMap::new();
        for record in kafka().read_all(topic) {
            let user: Value = serde_json::from_slice(record.payload().expect("a payload")).unwrap();
            let id = user["user_id"].as_str().expect("an id").to_owned();
            assert_eq!(record.key(), Some(id.as_bytes()), "{user}");
            assert!(users.insert(id, user).is_none(), "twice in {topic}");
        }
        users
    }

    /// Fails the test unless the users up to this number are in both topics once,
    /// with the same time in both and all that they had.
    #[track_caller]
    fn assert_enriched(&self, number: u32) {
        let (timed, tagged) = (Users::read(&self.via()), Users::read(&self.to()));
        assert_eq!((timed.len(), tagged.len()), (number as usize, number as usize));
        for (id, mut user) in tagged {
            let fields = user.as_object_mut().unwrap();
            for tag in ["major", "hobby"] {
                let tag = fields.remove(tag).expect("a tag");
                assert!(tag.as_str().is_some_and(|tag| !tag.is_empty()), "{id}: {tag}");
            }
            assert_eq!(timed[&id], user);
            assert_eq!(user["shoe_size"].to_string(), id[1..]);
            assert!(user["enriched_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{user}");
        }
    }
}

#[test]
fn users_pass_through_the_three_topics_into_the_table() {
    let users = Users::new("enrich_whole");
    users.publish(0..20);
    users.0.publish(&[json!({"user_id": "bad", "full_name": "Bob"})]);
    let done = users.enrich("--until-end").finish().code(3).json();
    let counts =
        |step: &str| [&done[step]["read"], &done[step]["published"], &done[step]["rejected"]];
    assert_eq!(counts("timestamp").map(Value::to_string), ["21", "20", "1"]);
    assert_eq!(counts("tags").map(Value::to_string), ["20", "20", "0"]);
    users.assert_enriched(20);
    assert_eq!((kafka().partitions(&users.via()), kafka().partitions(&users.to())), (2, 2));
    assert_eq!(kafka().read_all(&format!("{}_dead_letters", users.0.topic)).len(), 1);

    let again = users.enrich("--until-end").finish().success().json();
    assert_eq!((&again["timestamp"]["read"], &again["tags"]["read"]), (&0.into(), &0.into()));

    let schema = &users.0.schema;
    orderctl(["db-setup", "--kind", "user", "--schema", schema, "--table-name", "users"]).success();
    orderctl(
        ["consume", "--kind", "user", "--topic-name", &users.to(), "--table", "users"]
            .into_iter()
            .chain(["--schema", schema, "--group", &users.0.group, "--until-end"]),
    )
    .success();
    let rows = sql(&format!(
        "select count(*), count(enriched_at), count(major), count(hobby) from {schema}.users"
    ));
    assert_eq!(
        rows,
        [[Some("20".to_owned()), Some("20".into()), Some("20".into()), Some("20".into())]]
    );
}

#[test]
fn one_process_and_two_take_over_from_each_other() {
    let users = Users::new("enrich_switch");
    users.publish(0..5);
    users.enrich("--step timestamp --until-end").finish().success();
    users.publish(5..10);
    let both = users.enrich("--until-end").finish().success().json();
    assert_eq!((&both["timestamp"]["read"], &both["tags"]["read"]), (&5.into(), &10.into()));
    users.publish(10..15);
    let one = users.enrich("--step timestamp --until-end").finish().success().json();
    assert_eq!((&one["timestamp"]["read"], &one["tags"]), (&5.into(), &Value::Null));
    let two = users.enrich("--step tags --until-end").finish().success().json();
    assert_eq!((&two["tags"]["read"], &two["timestamp"]), (&5.into(), &Value::Null));
    users.assert_enriched(15);
}

#[test]
fn a_process_that_is_killed_is_followed_by_two_without_loss_or_doubles() {
    let users = Users::new("enrich_kill");
    users.enrich("--until-end").finish().success();
    let both = users.enrich("--instance w").spawn();
    users.publish(0..300);
    let some = || !kafka().read_all(&users.to()).is_empty();
    eventually("the first users are enriched", some);
    users.publish(300..600);
    both.kill();
    let steps = ["timestamp", "tags"]
        .map(|step| users.enrich(&format!("--step {step} --instance w")).spawn());
    users.publish(600..700);
    let all = || kafka().read_all(&users.to()).len() >= 700;
    eventually("all users are enriched", all);
    for step in steps {
        step.interrupt();
        step.finish().code(130);
    }
    users.assert_enriched(700);
}

#[test]
fn after_a_pause_the_second_step_ends_only_when_nothing_is_left() {
    let users = Users::new("enrich_idle");
    users.publish(0..50);
    let done = users.enrich("--idle-exit 4s").finish().success().json();
    assert_eq!((&done["timestamp"]["read"], &done["tags"]["read"]), (&50.into(), &50.into()));
    users.assert_enriched(50);
}

#[test]
fn until_the_end_means_behind_an_open_transaction_too() {
    let users = Users::new("enrich_open");
    let topic = users.0.topic.as_str();
    // Its last user is committed while the transaction before is open.
    let open: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().address.to_string())
        .set("transactional.id", topic)
        .set("transaction.timeout.ms", "600000")
        .create()
        .expect("a producer");
    open.init_transactions(PATIENCE).expect("a transactional producer");
    open.begin_transaction().expect("a transaction");
    let user = |id: &str| json!({"user_id": id, "full_name": "Ann", "email": "a@b.c"}).to_string();
    let lost = user("lost");
    let record = BaseRecord::to(topic).partition(0).key("lost").payload(&lost);
    assert!(open.send(record).is_ok());
    open.flush(PATIENCE).expect("an acknowledgement");
    users.0.publish(&[serde_json::from_str(&user("u1")).expect("JSON")]);
    let mut run = users.enrich("--step timestamp --until-end").spawn();
    eventually("it is in the group", || kafka().partitions(&users.via()) == 2);
    // Longer than it takes to read what is stable.
    std::thread::sleep(Duration::from_secs(5));
    assert!(run.is_running(), "a user is still to come");
    open.abort_transaction(PATIENCE).expect("an abort");
    assert_eq!(run.finish().success().json()["timestamp"]["read"], 1);
    assert_eq!(Users::read(&users.via()).into_keys().collect::<Vec<_>>(), ["u1"]);
}

#[test]
fn a_replay_gives_the_same_tags_and_the_lists_may_be_ones_own() {
    let users = Users::new("enrich_replay");
    users.publish(0..30);
    let folder = tempfile::tempdir().unwrap();
    let lists = folder.path().join("tags.json");
    std::fs::write(&lists, r#"{"majors":["Law","Art"],"hobbies":["Chess","Go"]}"#).unwrap();
    let run = |suffix: &str| {
        let to = format!("{}{suffix}", users.to());
        let group = format!("{}{suffix}", users.0.group);
        let via = users.via();
        let place = ["--from", &users.0.topic, "--via", &via, "--to", &to, "--group", &group];
        // Only the tags anew: the first step goes its own way.
        let step = if suffix.is_empty() { &[][..] } else { &["--step", "tags"] };
        Run::new(["enrich", "--until-end", "--seed", "7"])
            .args(place)
            .args(step)
            .arg("--tags")
            .arg(&lists)
            .finish()
            .success();
        Users::read(&to)
    };
    let first = run("");
    assert_eq!(first, run("_again"));
    let tags: std::collections::BTreeSet<_> =
        first.values().map(|user| (user["major"].to_string(), user["hobby"].to_string())).collect();
    assert_eq!(tags.len(), 4, "{tags:?}");
}

#[test]
fn both_steps_show_their_figures_and_the_process_is_ready_when_both_are() {
    let users = Users::new("enrich_seen");
    users.publish(0..5);
    let watched = Watched::start(users.enrich(""));
    eventually("five users have passed both steps", || {
        let metrics = watched.get("/metrics").1;
        ["enrich-timestamp", "enrich-tags"].iter().all(|stage| {
            let line = format!("orderctl_records_published_total{{stage=\"{stage}\"}} 5");
            metrics.lines().any(|found| found == line)
        })
    });
    watched.wait_for_ready(200);
    watched.running.interrupt();
    let log = watched.log();
    watched.running.finish().code(130);
    let last = std::fs::read_to_string(log).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(
        (
            &last["fields"]["enrich-timestamp"]["published"],
            &last["fields"]["enrich-tags"]["published"]
        ),
        (&5.into(), &5.into()),
        "{last}"
    );
}

#[test]
fn what_cannot_work_is_refused_with_the_cure() {
    let users = Users::new("enrich_refused");
    let folder = tempfile::tempdir().unwrap();
    let lists = folder.path().join("tags.json");
    std::fs::write(&lists, r#"{"majors":[]}"#).unwrap();
    let refused = users.enrich("--until-end").arg("--tags").arg(&lists).finish().code(2);
    assert!(
        refused.stderr.contains("hobbies") && refused.stderr.contains("tags.json"),
        "{refused}"
    );
    let refused = users.enrich("").args(["--to", &users.via()]).finish();
    assert_eq!(refused.code, Some(2), "{refused}");
    let missing = Run::new(["enrich", "--from", &format!("{}_no", users.0.topic)]).finish().code(1);
    assert!(missing.stderr.contains("orderctl produce --kind user"), "{missing}");
}
