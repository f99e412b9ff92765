//! Letters back to their topic: whole, once, and only those that were chosen.

use rdkafka::Message as _;

use super::{
    assert_each_redriven_once, copies, dlq, header, ids, lock_of, make_marks_wait, number, redrive,
    rejected, states, waiting_for,
};
use crate::support::{
    Pooler, Raw, Run, Sandbox, Session, eventually, kafka, orderctl, sql, uri_at_port,
};

#[test]
fn a_letter_goes_back_whole_to_its_partition_and_names_its_origin() {
    let sandbox = Sandbox::new("whole").with_topic(3);
    sandbox.set_up("orders");
    let bad = [
        Raw { partition: Some(2), key: Some(b"\x00\xff"), payload: Some(b"\xfe{") },
        Raw { partition: Some(1), key: None, payload: None },
    ];
    kafka().produce(&sandbox.topic, bad);
    sandbox.store("orders").finish().code(3);
    let done = redrive(&sandbox).finish().success().json();
    assert_eq!((&done["chosen"], &done["published"]), (&2.into(), &2.into()));
    let messages = kafka().read_all(&sandbox.topic);
    let again: Vec<_> =
        messages.iter().filter(|one| header(one, "orderctl-redrive").is_some()).collect();
    assert_eq!(again.len(), 2);
    for (message, bad) in again.iter().rev().zip(&bad) {
        assert_eq!(Some(message.partition()), bad.partition);
        assert_eq!((message.key(), message.payload()), (bad.key, bad.payload));
        assert_eq!(header(message, "orderctl-origin-topic"), Some(sandbox.topic.as_bytes()));
        let partition = message.partition().to_string();
        assert_eq!(header(message, "orderctl-origin-partition"), Some(partition.as_bytes()));
        assert_eq!(header(message, "orderctl-origin-offset"), Some(b"0".as_slice()));
        assert!(header(message, "orderctl-origin-time").is_some());
    }
    sandbox.store("orders").finish().code(3);
    assert_eq!(states(&sandbox), "open 2, redriven 2", "rejected anew, at another offset");
}

#[test]
fn run_twice_it_moves_nothing_twice() {
    let sandbox = rejected("twice", 3);
    redrive(&sandbox).finish().success();
    let again = redrive(&sandbox).finish().success().json();
    assert_eq!((&again["chosen"], &again["published"]), (&0.into(), &0.into()));
    let by_id = dlq(&sandbox, "redrive", ids(&sandbox).iter().map(String::as_str));
    let by_id = by_id.finish().success().json();
    assert_eq!((&by_id["done_before"], &by_id["published"]), (&3.into(), &0.into()));
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn a_dry_run_moves_nothing() {
    let sandbox = rejected("dry", 3);
    let before = kafka().watermarks(&sandbox.topic, 0);
    for to in ["topic", "table"] {
        let dry = dlq(&sandbox, "redrive", ["--all", "--dry-run", "--to", to]);
        let dry = dry.finish().success().json();
        assert_eq!((&dry["chosen"], &dry["published"]), (&3.into(), &0.into()));
        let moves = dry["moves"].as_object().unwrap();
        assert_eq!(moves.values().next().unwrap()["count"], 3);
    }
    assert_eq!(kafka().watermarks(&sandbox.topic, 0), before);
    assert_eq!(states(&sandbox), "open 3");
    assert_eq!(sandbox.count("orders"), 1);
}

#[test]
fn only_the_letters_that_were_chosen_are_moved() {
    let sandbox = rejected("chosen", 3);
    let ids = ids(&sandbox);
    orderctl(["dlq", "redrive", &ids[1]]).success();
    assert_eq!(states(&sandbox), "open 2, redriven 1");
    dlq(&sandbox, "redrive", ["--reason", "no such reason"]).finish().success();
    assert_eq!(states(&sandbox), "open 2, redriven 1");
    let limited = dlq(&sandbox, "redrive", ["--all", "--limit", "1", "--dry-run"]);
    assert_eq!(limited.finish().success().json()["chosen"], 1);
    let marks: Vec<String> = copies(&sandbox.topic).into_keys().collect();
    assert!(marks.len() == 1 && marks[0].ends_with(&format!("/own/{}", ids[1])), "{marks:?}");
}

#[test]
fn more_letters_than_a_transaction_takes_are_all_moved_once() {
    let sandbox = rejected("many", 1_203);
    let done = redrive(&sandbox).finish().success().json();
    assert_eq!(done["published"], 1_203);
    assert_each_redriven_once(&sandbox, 1_203);
}

#[test]
fn two_at_once_move_each_letter_once() {
    let sandbox = rejected("at_once", 1_500);
    let runs: Vec<_> = (0..2).map(|_| redrive(&sandbox).spawn()).collect();
    for run in runs {
        let ended = run.finish();
        // Whoever was overtaken says so.
        let says = ["took over", "took what is left"];
        let overtaken =
            ended.code == Some(1) && says.iter().any(|words| ended.stderr.contains(words));
        assert!(ended.code == Some(0) || overtaken, "{ended}");
    }
    redrive(&sandbox).finish().success();
    assert_each_redriven_once(&sandbox, 1_500);
}

#[test]
fn a_second_run_finds_what_the_first_has_published_and_not_marked_yet() {
    let sandbox = rejected("overtaken", 3);
    make_marks_wait();
    let holder = Session::open();
    holder.run(&format!("select pg_advisory_lock{}", lock_of(&sandbox, "redriven")));
    let first = redrive(&sandbox).spawn();
    eventually("the first one marks", || waiting_for(&sandbox, "redriven").len() == 1);
    assert_eq!(copies(&sandbox.topic).len(), 3, "its transaction is committed");
    let mut second = redrive(&sandbox).spawn();
    let first_backend = waiting_for(&sandbox, "redriven").remove(0);
    let behind = format!(
        "select 1 from pg_stat_activity where application_name = 'orderctl dlq'
             and {first_backend} = any(pg_blocking_pids(pid))"
    );
    eventually("the second one waits behind it", || !sql(&behind).is_empty());
    assert!(second.is_running());
    holder.run(&format!("select pg_advisory_unlock{}", lock_of(&sandbox, "redriven")));
    assert_eq!(first.finish().success().json()["published"], 3);
    let second = second.finish().success().json();
    assert_eq!((&second["found_published"], &second["published"]), (&3.into(), &0.into()));
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn a_letter_that_the_topic_refuses_stays_open_and_the_others_go() {
    let sandbox = Sandbox::new("large").with_topic(1);
    sandbox.set_up("orders");
    let large = [b"{".as_slice(), &[b'x'; 50_000]].concat();
    sandbox.publish_raw([Some(b"{".as_slice()), Some(&large), Some(b"[")]);
    sandbox.store("orders").finish().code(3);
    kafka().delete_topic(&sandbox.topic);
    eventually("the topic is gone", || kafka().partitions(&sandbox.topic) == 0);
    kafka().create_topic(&sandbox.topic, 1, &[("max.message.bytes", "20000")]);
    let args = ["-X", "compression.type=none"];
    let done = redrive(&sandbox).args(args).finish().code(3);
    assert!(done.stderr.contains("is refused by topic"), "{done}");
    let json = done.json();
    assert_eq!((number(&json["published"]), number(&json["refused"])), (2, 1));
    assert_eq!(states(&sandbox), "open 1, redriven 2");
    let copies = copies(&sandbox.topic);
    assert!(copies.len() == 2 && copies.values().all(|count| *count == 1), "{copies:?}");
}

#[test]
fn it_works_through_a_transaction_mode_pooler() {
    let sandbox = rejected("pooled", 3);
    let pooler = Pooler::start(2);
    let through = |run: Run| run.env("ORDERCTL_POSTGRES_URI", uri_at_port(pooler.port));
    let ids = ids(&sandbox);
    through(dlq(&sandbox, "redrive", [ids[0].as_str()])).finish().success();
    let again = through(dlq(&sandbox, "redrive", ["--all", "--to", "table"])).finish();
    assert_eq!(again.code(3).json()["refused"], 2);
    through(redrive(&sandbox)).finish().success();
    assert_each_redriven_once(&sandbox, 3);
}
