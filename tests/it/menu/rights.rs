//! A managed service where the login may do a few things and no others.

use super::{ALL_OK, told};
use crate::exactly_once::broker::Broker;
use crate::support::Run;

#[test]
fn a_login_with_rights_on_the_topic_and_the_group_only_is_enough() {
    let broker = Broker::with_rights_only();
    let run = |args: &str| {
        let run = Run::bare(["test"].into_iter().chain(args.split_whitespace()));
        broker.logged_in(run).finish()
    };
    let refused = run("1").code(1);
    assert!(refused.stdout.contains("FAIL  1") && refused.stdout.contains("grant"), "{refused}");

    broker.grant("--topic", "test_topic", &["create", "describe", "read", "write"]);
    broker.grant("--group", "test_topic", &["read"]);
    let report = run("--all -o json").success().json();
    let told: Vec<String> = report["results"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, ALL_OK);

    let kept = run("--clean").code(1);
    assert!(kept.stdout.contains("not removed: topic test_topic"), "{kept}");
    broker.grant("--topic", "test_topic", &["delete"]);
    broker.grant("--group", "test_topic", &["delete"]);
    run("--clean").success();
    assert_eq!(broker.kafka.partitions("test_topic"), 0);
}
