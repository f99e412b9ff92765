//! Runs that come to no result: what is missing is named, and Ctrl-C ends them.

use crate::support::{Proxy, Run, Sandbox, Session, eventually, order, orders, sql, stack};

#[test]
fn a_group_that_has_stored_nothing_is_not_taken_for_fine() {
    let sandbox = Sandbox::new("nothing").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    let refused = sandbox.verify("orders").finish().code(1);
    for word in [sandbox.group.as_str(), "orderctl consume", "--group"] {
        assert!(refused.stderr.contains(word), "{word}: {refused}");
    }
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_table_or_topic_that_is_not_there_is_named_with_the_cure() {
    let sandbox = Sandbox::new("absent").with_topic(1);
    let refused = sandbox.verify("no_table").finish().code(1);
    assert!(refused.stderr.contains("orderctl db-setup --table-name no_table"), "{refused}");
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    sandbox.store("orders").finish().success();
    sql(&format!(
        "update orderctl.ledger_position set topic = 'no_{}' where group_name = '{}'",
        sandbox.topic, sandbox.group
    ));
    let gone = Sandbox { topic: format!("no_{}", sandbox.topic), ..sandbox.clone() };
    let refused = gone.verify("orders").finish().code(1);
    assert!(refused.stderr.contains(&format!("there is no topic {}", gone.topic)), "{refused}");
}

#[test]
fn a_topic_that_was_created_again_is_not_taken_for_the_old_one() {
    let sandbox = Sandbox::new("verify_anew").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("1"), order("2")]);
    sandbox.store("orders").finish().success();
    let sandbox = sandbox.with_topic_anew();
    sandbox.publish(&[order("1"), order("2")]);
    let refused = sandbox.verify("orders").finish().code(1);
    for word in ["deleted and created again", "--on-data-loss earliest", "--group"] {
        assert!(refused.stderr.contains(word), "{word}: {refused}");
    }
    sandbox.store("orders").args(["--on-data-loss", "earliest"]).finish().success();
    let report = super::fine(&sandbox);
    assert_eq!(super::counts(&report["totals"], ["read", "stored"]), [2, 2]);
}

#[test]
fn interrupted_it_ends_soon_and_claims_nothing() {
    let sandbox = Sandbox::new("interrupted").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    sandbox.store("orders").finish().success();
    let holder = Session::open();
    holder.run(&format!("begin; lock table {} in access exclusive mode", sandbox.table("orders")));
    let run = sandbox.verify("orders").spawn();
    eventually("it waits for the table", || {
        let waiters = sql(&format!(
            "select from pg_stat_activity where application_name = 'orderctl verify'
             and wait_event_type = 'Lock' and query like '%{}%'",
            sandbox.schema
        ));
        !waiters.is_empty()
    });
    let ended = run.end_in_time("INT");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("interrupted"), "{ended}");
    holder.run("rollback");
    super::fine(&sandbox);
}

/// `verify` that asks the broker through a proxy, a few records at a time.
fn through(broker: &Proxy, sandbox: &Sandbox) -> Run {
    sandbox
        .verify("orders")
        .env("ORDERCTL_BOOTSTRAP_SERVER", broker.address.to_string())
        .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
        .args(["-X", "fetch.message.max.bytes=4000"])
}

/// Runs it with a broker that falls silent after so many bytes, and asserts that
/// it ends soon after a signal then.
#[track_caller]
fn assert_ends_in_silence_after(bytes: i64, signal: &str, sandbox: &Sandbox) {
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    broker.silence_after(bytes);
    let mut run = through(&broker, sandbox).spawn();
    eventually("the broker is silent", || {
        assert!(run.is_running(), "it ended before {bytes} bytes");
        !broker.is_due()
    });
    let ended = run.end_in_time(signal);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("interrupted"), "{ended}");
}

/// How many bytes a whole run sends to the broker.
fn bytes_of_a_run(sandbox: &Sandbox) -> i64 {
    let broker = Proxy::to_broker(stack().kafka_plaintext);
    through(&broker, sandbox).finish().success();
    broker.bytes()
}

#[test]
fn a_signal_while_a_broker_leaves_any_question_open_ends_the_run_in_time() {
    let sandbox = Sandbox::new("silent_questions").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    sandbox.store("orders").finish().success();
    // One record is read with hardly a byte: what goes up are the questions.
    let bytes = bytes_of_a_run(&sandbox);
    // Behind the last question a run needs no more answers.
    for part in 0..6 {
        let signal = ["INT", "TERM"][part % 2];
        assert_ends_in_silence_after(bytes * part as i64 / 8, signal, &sandbox);
    }
}

#[test]
fn a_signal_while_a_broker_is_silent_in_the_middle_of_the_topic_ends_the_run_in_time() {
    let sandbox = Sandbox::new("silent_reading").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 1));
    sandbox.store("orders").finish().success();
    let questions = bytes_of_a_run(&sandbox);
    // Each piece is fetched by a request of its own.
    for piece in 0..80 {
        sandbox.publish(&orders(&format!("b{piece}-"), 30));
    }
    sandbox.store("orders").finish().success();
    let bytes = bytes_of_a_run(&sandbox);
    assert!(bytes / 2 > questions, "half of {bytes} is beyond the {questions} of the questions");
    for (place, signal) in [(2, "INT"), (3, "TERM")] {
        assert_ends_in_silence_after(bytes * place / 4, signal, &sandbox);
    }
}
