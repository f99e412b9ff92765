//! Runs that end in the middle: killed, cut off, overtaken by another.

use super::{
    assert_each_redriven_once, copies, dlq, ids, lock_of, make_marks_wait, redrive, rejected,
    rejected_in, states, waiting_for,
};
use crate::support::program::Running;
use crate::support::{
    PATIENCE, Proxy, Run, Sandbox, Session, eventually, kafka, order_with, sql, stack,
};

/// Kills a run after Kafka has committed and before the ledger knows.
fn kill_between_publish_and_mark(sandbox: &Sandbox, number: usize) {
    make_marks_wait();
    let holder = Session::open();
    holder.run(&format!("select pg_advisory_lock{}", lock_of(sandbox, "redriven")));
    let run = redrive(sandbox).spawn();
    eventually("it marks", || waiting_for(sandbox, "redriven").len() == 1);
    assert_eq!(copies(&sandbox.topic).len(), number, "its transaction is committed");
    let backend = waiting_for(sandbox, "redriven").remove(0);
    assert_eq!(run.kill().code, None);
    // Else the server would do what nobody awaits any more.
    sql(&format!("select pg_terminate_backend({backend})"));
    eventually("its backend ends", || waiting_for(sandbox, "redriven").is_empty());
    holder.run(&format!("select pg_advisory_unlock{}", lock_of(sandbox, "redriven")));
    assert_eq!(states(sandbox), format!("redriving {number}"));
}

/// A run that has taken its letters and cannot reach the broker to publish them.
fn stuck_before_publish(sandbox: &Sandbox, broker: &Proxy, number: usize) -> Running {
    make_marks_wait();
    let holder = Session::open();
    holder.run(&format!("select pg_advisory_lock{}", lock_of(sandbox, "redriving")));
    let run = through(broker, redrive(sandbox)).spawn();
    eventually("it takes letters", || waiting_for(sandbox, "redriving").len() == 1);
    broker.silence(true);
    holder.run(&format!("select pg_advisory_unlock{}", lock_of(sandbox, "redriving")));
    let taken = format!("redriving {number}");
    eventually("they are taken", || states(sandbox) == taken);
    run
}

fn through(broker: &Proxy, run: Run) -> Run {
    run.env("ORDERCTL_BOOTSTRAP_SERVER", broker.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
}

#[test]
fn killed_between_publishing_and_marking_the_next_run_finds_them_published() {
    let sandbox = rejected("after", 3);
    kill_between_publish_and_mark(&sandbox, 3);
    let next = redrive(&sandbox).finish().success().json();
    assert_eq!((&next["found_published"], &next["published"]), (&3.into(), &0.into()));
    assert_eq!(next["left"], 0);
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn killed_before_publishing_the_next_run_publishes_them() {
    let sandbox = rejected("before", 3);
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    let run = stuck_before_publish(&sandbox, &broker, 3);
    assert_eq!(run.kill().code, None);
    drop(broker);
    assert!(copies(&sandbox.topic).is_empty());
    let next = redrive(&sandbox).finish().success().json();
    assert_eq!((&next["found_published"], &next["published"]), (&0.into(), &3.into()));
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn a_run_that_comes_back_after_another_took_over_publishes_nothing() {
    let sandbox = rejected("zombie", 3);
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    let zombie = stuck_before_publish(&sandbox, &broker, 3);
    let next = redrive(&sandbox).finish().success().json();
    assert_eq!(next["published"], 3);
    broker.silence(false);
    let ended = zombie.finish().code(1);
    assert!(ended.stderr.contains("took over"), "{ended}");
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn interrupted_in_the_middle_it_ends_soon_and_the_next_run_finishes() {
    let sandbox = rejected("interrupted", 3);
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    let run = stuck_before_publish(&sandbox, &broker, 3);
    let ended = run.end_in_time("INT");
    assert_eq!(ended.json()["interrupted"], true, "{ended}");
    drop(broker);
    redrive(&sandbox).finish().success();
    assert_each_redriven_once(&sandbox, 3);
}

#[test]
fn what_retention_has_taken_is_named_as_unknown_and_left_to_the_user() {
    let sandbox = rejected("unknown", 2);
    kill_between_publish_and_mark(&sandbox, 2);
    let end = kafka().watermarks(&sandbox.topic, 0).1;
    kafka().remove_before(&sandbox.topic, end);
    for _ in 0..2 {
        let left = redrive(&sandbox).finish().code(1);
        assert_eq!(left.json()["unknown"], 2);
        assert!(left.stderr.contains("--if-unknown"), "{left}");
        assert_eq!(states(&sandbox), "redriving 2");
    }
    let again = dlq(&sandbox, "redrive", ["--all", "--if-unknown", "again"]);
    assert_eq!(again.finish().success().json()["published"], 2);
    assert_each_redriven_once(&sandbox, 2);
}

#[test]
fn what_compaction_may_have_taken_is_named_as_unknown_and_what_is_found_is_not() {
    let sandbox = Sandbox::new("compacted");
    kafka().create_topic(&sandbox.topic, 2, &[("cleanup.policy", "compact")]);
    let sandbox = rejected_in(sandbox, 2);
    kill_between_publish_and_mark(&sandbox, 2);
    let found = redrive(&sandbox).finish().success().json();
    assert_eq!((&found["found_published"], &found["unknown"]), (&2.into(), &0.into()));
    // As a run leaves one that ends before it publishes.
    let id = &ids(&sandbox)[0];
    sql(&format!(
        "update orderctl.dead_letter set state = 'redriving', redrive_id =
             (select max(id) from orderctl.redrive where topic = '{}') where id = {id}",
        sandbox.topic
    ));
    let next = redrive(&sandbox).finish().code(1);
    assert_eq!((&next.json()["unknown"], &next.json()["published"]), (&1.into(), &0.into()));
    for words in ["is compacted", "--if-unknown"] {
        assert!(next.stderr.contains(words), "{words}: {next}");
    }
    let copies = copies(&sandbox.topic);
    assert!(copies.len() == 2 && copies.values().all(|count| *count == 1), "{copies:?}");
    let again = dlq(&sandbox, "redrive", ["--all", "--if-unknown", "again"]);
    assert_eq!(again.finish().success().json()["published"], 1);
}

#[test]
fn letters_that_an_earlier_run_had_published_do_not_hide_one_that_was_chosen() {
    let sandbox = rejected("others", 2);
    kill_between_publish_and_mark(&sandbox, 2);
    sandbox.publish(&[order_with("late", "/quantity", 0)]);
    sandbox.store("orders").finish().code(3);
    let late = ids(&sandbox).pop().expect("a letter");
    let next = dlq(&sandbox, "redrive", [late.as_str()]).limit(PATIENCE).finish().success();
    let count = |name: &str| next.json()[name].clone();
    assert_eq!([count("chosen"), count("published"), count("left")], [1, 1, 0]);
    assert_eq!([count("found_published"), count("others_found_published")], [0, 2]);
}

#[test]
fn what_was_in_a_topic_that_is_made_anew_is_named_as_unknown() {
    let sandbox = rejected("anew", 2);
    kill_between_publish_and_mark(&sandbox, 2);
    kafka().delete_topic(&sandbox.topic);
    eventually("the topic is gone", || kafka().partitions(&sandbox.topic) == 0);
    kafka().create_topic(&sandbox.topic, 2, &[]);
    // Beyond where the killed run began, so that no offset tells.
    sandbox.publish_raw((0..20).map(|_| Some(b"{".as_slice())));
    assert_eq!(redrive(&sandbox).finish().code(1).json()["unknown"], 2);
    let done = dlq(&sandbox, "redrive", ["--all", "--if-unknown", "done"]);
    assert_eq!(done.finish().success().json()["found_published"], 2);
    assert_eq!(states(&sandbox), "redriven 2");
    assert!(copies(&sandbox.topic).is_empty());
}

#[test]
fn an_open_transaction_of_somebody_else_hides_nothing() {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

    let sandbox = rejected("hidden", 2);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().address.to_string());
    config.set("transactional.id", &sandbox.topic).set("transaction.timeout.ms", "600000");
    let other: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    other.init_transactions(PATIENCE).expect("a transactional producer");
    other.begin_transaction().expect("a transaction");
    let record = BaseRecord::<(), [u8]>::to(&sandbox.topic).partition(0).payload(b"{");
    assert!(other.send(record).is_ok(), "the queue has room");
    other.flush(PATIENCE).expect("acknowledgements");

    make_marks_wait();
    let holder = Session::open();
    holder.run(&format!("select pg_advisory_lock{}", lock_of(&sandbox, "redriven")));
    let run = redrive(&sandbox).spawn();
    eventually("it marks", || waiting_for(&sandbox, "redriven").len() == 1);
    let backend = waiting_for(&sandbox, "redriven").remove(0);
    run.kill();
    sql(&format!("select pg_terminate_backend({backend})"));
    eventually("its backend ends", || waiting_for(&sandbox, "redriven").is_empty());
    holder.run(&format!("select pg_advisory_unlock{}", lock_of(&sandbox, "redriven")));
    assert!(copies(&sandbox.topic).is_empty(), "hidden behind the open transaction");

    let next = redrive(&sandbox).spawn();
    let begun = format!("select 1 from orderctl.redrive where topic = '{}'", sandbox.topic);
    eventually("the next run has begun", || sql(&begun).len() == 2);
    other.commit_transaction(PATIENCE).expect("the end of the transaction");
    assert_eq!(next.finish().success().json()["found_published"], 2);
    assert_each_redriven_once(&sandbox, 2);
}

#[test]
fn a_run_that_is_not_the_topics_owner_any_more_takes_no_more_letters() {
    // More than one portion.
    let sandbox = rejected("owner", 700);
    make_marks_wait();
    let holder = Session::open();
    holder.run(&format!("select pg_advisory_lock{}", lock_of(&sandbox, "redriven")));
    let run = redrive(&sandbox).spawn();
    eventually("it marks its first portion", || waiting_for(&sandbox, "redriven").len() == 1);
    // As another run does at its beginning.
    sql(&format!(
        "update orderctl.redrive_owner set redrive_id = redrive_id + 1000000 where topic = '{}'",
        sandbox.topic
    ));
    holder.run(&format!("select pg_advisory_unlock{}", lock_of(&sandbox, "redriven")));
    let ended = run.finish().code(1);
    let left = ended.json();
    assert_eq!((&left["published"], &left["left"]), (&500.into(), &200.into()));
    assert!(ended.stderr.contains("took what is left"), "{ended}");
    assert_eq!(redrive(&sandbox).finish().success().json()["published"], 200);
    assert_each_redriven_once(&sandbox, 700);
}
