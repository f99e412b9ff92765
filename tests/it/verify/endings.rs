//! Runs that come to no result: what is missing is named, and Ctrl-C ends them.

use std::time::Duration;

use super::verify;
use crate::support::{Sandbox, Session, eventually, order, sql};

#[test]
fn a_group_that_has_stored_nothing_is_not_taken_for_fine() {
    let sandbox = Sandbox::new("nothing").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    let refused = verify(&sandbox, "orders").finish().code(1);
    for word in [sandbox.group.as_str(), "orderctl consume", "--group"] {
        assert!(refused.stderr.contains(word), "{word}: {refused}");
    }
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_table_or_topic_that_is_not_there_is_named_with_the_cure() {
    let sandbox = Sandbox::new("absent").with_topic(1);
    let refused = verify(&sandbox, "no_table").finish().code(1);
    assert!(refused.stderr.contains("orderctl db-setup --table-name no_table"), "{refused}");
    sandbox.set_up("orders");
    sandbox.publish(&[order("1")]);
    sandbox.store("orders").finish().success();
    sql(&format!(
        "update orderctl.ledger_position set topic = 'no_{}' where group_name = '{}'",
        sandbox.topic, sandbox.group
    ));
    let gone = Sandbox { topic: format!("no_{}", sandbox.topic), ..sandbox.clone() };
    let refused = verify(&gone, "orders").finish().code(1);
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
    let refused = verify(&sandbox, "orders").finish().code(1);
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
    let run = verify(&sandbox, "orders").limit(Duration::from_secs(40)).spawn();
    eventually("it waits for the table", Duration::from_secs(20), || {
        let waiters = sql(&format!(
            "select from pg_stat_activity where application_name = 'orderctl verify'
             and wait_event_type = 'Lock' and query like '%{}%'",
            sandbox.schema
        ));
        !waiters.is_empty()
    });
    run.interrupt();
    let ended = run.finish().code(130);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("interrupted"), "{ended}");
    holder.run("rollback");
    super::fine(&sandbox);
}
