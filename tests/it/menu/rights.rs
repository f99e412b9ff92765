//! A managed service where the login may do a few things and no others.

use std::path::Path;
use std::process::Command;

use super::{ALL_OK, told};
use crate::exactly_once::broker::Broker;
use crate::support::Run;

/// The name in the client's certificate.
const LOGIN: &str = "O=orderctl local stack,CN=orderctl";
/// The plaintext listener is the service's own way in.
const AUTHORIZER: &str = "
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
";

/// Lets the login do these things to a topic or group of this name.
fn grant(broker: &Broker, what: &str, name: &str, operations: &[&str]) {
    let jars = jars(broker.dir());
    let mut tool = Command::new("java");
    tool.args(["-cp", &jars, "org.apache.kafka.tools.AclCommand", "--add", "--force"])
        .args(["--bootstrap-server", &broker.kafka.address.to_string()])
        .args(["--allow-principal", &format!("User:{LOGIN}"), what, name]);
    tool.args(operations.iter().flat_map(|operation| ["--operation", operation]));
    let done = tool.output().expect("Kafka's tool");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Kafka's classes, where the broker has them from.
fn jars(stack: &Path) -> String {
    let pid = std::fs::read_to_string(stack.join("run/kafka.pid")).expect("it runs");
    let pid = pid.split(' ').next().expect("a number");
    let argv = std::fs::read(format!("/proc/{pid}/cmdline")).expect("its command line");
    let argv = String::from_utf8(argv).expect("text");
    let mut argv = argv.split('\0').skip_while(|argument| *argument != "-cp");
    argv.nth(1).expect("a class path").to_owned()
}

#[test]
fn a_login_with_rights_on_the_topic_and_the_group_only_is_enough() {
    let broker = Broker::up();
    broker.restart_with(AUTHORIZER);
    let run = |args: &str| {
        Run::bare(["test"].into_iter().chain(args.split_whitespace()))
            .directory(broker.dir())
            .env("ORDERCTL_CREDS", broker.dir().join("creds.json"))
            .finish()
    };
    let refused = run("1").code(1);
    assert!(refused.stdout.contains("FAIL  1") && refused.stdout.contains("grant"), "{refused}");

    grant(&broker, "--topic", "test_topic", &["create", "describe", "read", "write"]);
    grant(&broker, "--group", "test_topic", &["read"]);
    let report = run("--all -o json").success().json();
    let told: Vec<String> = report["results"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, ALL_OK);

    let kept = run("--clean").code(1);
    assert!(kept.stdout.contains("not removed: topic test_topic"), "{kept}");
    grant(&broker, "--topic", "test_topic", &["delete"]);
    grant(&broker, "--group", "test_topic", &["delete"]);
    run("--clean").success();
    assert_eq!(broker.kafka.partitions("test_topic"), 0);
}
