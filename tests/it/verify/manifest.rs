//! What `produce --inject` promised.

use std::path::Path;

use serde_json::Value;

use super::{fine, for_people, wrong};
use crate::support::{Run, Sandbox, sql};

/// Orders with known faults, published and stored; their manifest is in a
/// folder.
fn with_manifest(name: &str, folder: &Path, consume: &[&str]) -> (Sandbox, String) {
    let sandbox = Sandbox::new(name).with_topic(2);
    sandbox.set_up("orders");
    let path = folder.join("m.json").to_string_lossy().into_owned();
    Run::new(["produce", "--topic-name", &sandbox.topic, "--num", "2000", "--manifest", &path])
        .args(["--inject", "dup=2%,malformed=1%,late=2%", "--seed", "11"])
        .finish()
        .success();
    sandbox.store("orders").args(consume).finish().code(3);
    (sandbox, path)
}

fn deviations(report: &Value) -> Vec<String> {
    let name = |one: &Value| one["count"].as_str().expect("a count").to_owned();
    report["deviations"].as_array().expect("deviations").iter().map(name).collect()
}

#[test]
fn a_promise_that_was_kept_is_found_kept_whatever_is_done_with_duplicates() {
    for policy in ["skip", "update", "reject"] {
        let folder = tempfile::tempdir().unwrap();
        let consume = ["--on-duplicate", policy];
        let (sandbox, path) = with_manifest("promise", folder.path(), &consume);
        let run = sandbox.verify("orders").args(["--manifest", &path]);
        let report = run.finish().success().json();
        assert!(deviations(&report).is_empty(), "{policy}: {report}");
        let manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(report["totals"]["read"], manifest["sent"]);
        assert_eq!(report["totals"]["stored"], manifest["expected"]["rows"]);
    }
}

#[test]
fn a_promise_that_was_not_kept_is_a_failure_even_when_topic_and_table_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, path) = with_manifest("broken", folder.path(), &[]);
    Run::new(["produce", "--topic-name", &sandbox.topic, "--num", "5"]).finish().success();
    sandbox.store("orders").finish().success();
    fine(&sandbox);
    let run = sandbox.verify("orders").args(["--manifest", &path]).finish().code(1);
    assert!(run.stderr.contains("manifest"), "{run}");
    assert_eq!(deviations(&run.json()), ["read", "stored"]);

    sql(&format!(
        "delete from {} where order_id = (select min(order_id) from {0})",
        sandbox.table("orders")
    ));
    assert_eq!(wrong(&sandbox)["totals"]["missing"], 1);
    let run = for_people(&sandbox, "orders").args(["--manifest", &path]).finish();
    assert!(run.code(1).stdout.contains("manifest: read should be"));
}

#[test]
fn a_manifest_of_another_topic_or_of_nothing_is_a_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, path) = with_manifest("another", folder.path(), &[]);
    let other = Sandbox::new("not_this").with_topic(1);
    let moved = Sandbox { topic: other.topic.clone(), ..sandbox.clone() };
    let refused = moved.verify("orders").args(["--manifest", &path]).finish().code(2);
    assert!(refused.stderr.contains(&sandbox.topic), "{refused}");
    let nothing = folder.path().join("n.json");
    std::fs::write(&nothing, "{}").unwrap();
    let run = sandbox.verify("orders").arg("--manifest").arg(&nothing).finish().code(2);
    assert!(run.stderr.contains("produce --manifest"), "{run}");
    let run = sandbox.verify("orders").args(["--manifest", "/nowhere.json"]).finish().code(1);
    assert!(run.stderr.contains("/nowhere.json"), "{run}");
}
