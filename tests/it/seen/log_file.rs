//! `--log-file` and `--log-format`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::{Watched, lines, parsed};
use crate::support::{Run, Sandbox, drop_role, eventually, orders, sql, stack, uri_as};

fn message(line: &Value) -> &str {
    line["message"].as_str().expect("a text")
}

#[test]
fn a_history_begins_with_the_settings_and_has_figures_every_second() {
    let sandbox = Sandbox::new("history").with_topic(2);
    sandbox.set_up("orders");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    sandbox.publish(&orders("a", 100));
    let run = sandbox.consume("orders").args(["--max-messages", "120"]).arg("--log-file");
    let mut running = run.arg(&path).spawn();
    sandbox.wait_for_rows("orders", 100, &mut running);
    let figures = |line: &Value| message(line) == "figures" && line["fields"]["read"] == 100;
    eventually("two lines of figures", || {
        lines(&path).iter().filter(|line| figures(line)).count() >= 2
    });
    sandbox.publish(&orders("b", 20));
    let summary = running.finish().success().json();
    let lines = lines(&path);
    assert_eq!((message(&lines[0]), &lines[0]["fields"]["verb"]), ("started", &"consume".into()));
    let settings = lines.iter().find(|line| message(line).starts_with("consuming ")).expect("it");
    assert_eq!(settings["fields"]["topic"], sandbox.topic.as_str());
    assert_eq!(settings["fields"]["group"], sandbox.group.as_str());
    assert_eq!(settings["fields"]["max_messages"], 120);
    let last = lines.last().expect("a line");
    assert_eq!((message(last), &last["fields"]["exit_code"]), ("done", &0.into()));
    assert_eq!((&last["fields"]["read"], &last["fields"]["lag"]), (&summary["read"], &0.into()));
    assert_eq!(fs::metadata(&path).expect("it").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_history_of_publishing_has_figures_every_second_and_the_totals_of_the_summary() {
    let sandbox = Sandbox::new("published").with_topic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    // Ten seconds' worth.
    let run = Run::new(["produce", "--topic-name", &sandbox.topic, "-o", "json"]).args([
        "--num",
        "2000",
        "--rate",
        "200",
        "--log-file",
    ]);
    let summary = run.arg(&path).finish().success().json();
    let lines = lines(&path);
    assert_eq!((message(&lines[0]), &lines[0]["fields"]["verb"]), ("started", &"produce".into()));
    let figures: Vec<&Value> = lines
        .iter()
        .filter(|line| message(line) == "figures")
        .map(|line| &line["fields"])
        .collect();
    assert!(figures.len() >= 2, "{lines:?}");
    let count = |fields: &Value, name: &str| fields[name].as_u64().expect("a count");
    for fields in &figures {
        let [sent, acknowledged, failed, in_flight] =
            ["sent", "acknowledged", "failed", "in_flight"].map(|name| count(fields, name));
        assert_eq!(failed, 0, "{fields}");
        assert!(acknowledged + in_flight <= sent && sent <= 2_000, "{fields}");
        assert!(fields["records_per_second"].as_f64().expect("a rate") >= 0.0, "{fields}");
    }
    assert!(figures.is_sorted_by_key(|fields| count(fields, "acknowledged")), "{figures:?}");
    assert!(count(figures[0], "acknowledged") < 2_000, "seen while it went on: {figures:?}");
    let last = lines.last().expect("a line");
    assert_eq!((message(last), &last["fields"]["exit_code"]), ("done", &0.into()));
    assert_eq!(summary["acknowledged"], 2_000);
    for name in ["sent", "acknowledged", "failed", "rejected", "bytes"] {
        assert_eq!(last["fields"][name], summary[name], "{name}: {last}");
    }
    assert_eq!(last["fields"]["in_flight"], 0);
}

#[test]
fn the_next_run_appends() {
    let sandbox = Sandbox::new("append").with_topic(1);
    sandbox.set_up("orders");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    for _ in 0..2 {
        sandbox.store("orders").arg("--log-file").arg(&path).finish().success();
    }
    let lines = lines(&path);
    let count = |text: &str| lines.iter().filter(|line| message(line) == text).count();
    assert_eq!((count("started"), count("done")), (2, 2));
}

#[test]
fn lines_go_on_in_a_new_file_after_rotation() {
    let sandbox = Sandbox::new("rotation").with_topic(1);
    sandbox.set_up("orders");
    let watched = Watched::start(sandbox.consume("orders"));
    let (path, old) = (watched.log(), watched.folder.path().join("log.1"));
    watched.wait_for_ready(200);
    fs::rename(&path, &old).expect("a rotation");
    eventually("a new file", || !lines(&path).is_empty());
    let before = lines(&old).len();
    watched.running.interrupt();
    let Watched { running, folder, .. } = watched;
    running.finish().code(130);
    assert_eq!(lines(&old).len(), before, "the old file is left alone");
    assert_eq!(message(lines(&path).last().expect("a line")), "interrupted");
    assert_eq!(fs::metadata(&path).expect("it").permissions().mode() & 0o777, 0o600);
    drop(folder);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_any_work() {
    let sandbox = Sandbox::new("no_file").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 1));
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().join("no/log"), folder.path().to_owned()] {
        let ended = sandbox.store("orders").arg("--log-file").arg(&path).finish().code(2);
        let expected = format!("cannot write to --log-file {}", path.display());
        assert!(ended.stderr.contains(&expected), "{ended}");
    }
    assert_eq!(sandbox.count("orders"), 0);
}

#[test]
fn a_full_disk_is_told_once_and_does_not_stop_the_work() {
    let sandbox = Sandbox::new("full_disk").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 100));
    let ended = sandbox.store("orders").args(["--log-file", "/dev/full"]).finish().success();
    assert_eq!(ended.json()["stored"], 100);
    assert_eq!(ended.stderr.matches("No space left on device").count(), 1, "{ended}");
}

#[test]
fn messages_on_standard_error_are_json_if_asked_for() {
    let sandbox = Sandbox::new("json").with_topic(1);
    sandbox.set_up("orders");
    let ended = sandbox.store("orders").args(["--log-format", "json", "-v"]).finish().success();
    assert!(ended.stderr.lines().map(parsed).any(|line| message(&line).starts_with("consuming ")));
    let failed = Run::new(["consume", "--table", "no_such_table"])
        .args(["--log-format", "json"])
        .finish()
        .code(1);
    let last = parsed(failed.stderr.lines().last().expect("a line"));
    assert_eq!(last["level"], "error");
    assert!(message(&last).contains("no_such_table"), "{failed}");
}

#[test]
fn no_secret_is_in_log_or_metrics() {
    let sandbox = Sandbox::new("secrets").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 10));
    let (role, schema) = (format!("{}_role", sandbox.schema), &sandbox.schema);
    // uri_as gives the role the password `pw-ROLE`.
    let secret = format!("pw-{role}");
    sql(&format!(
        "create role {role} login password '{secret}';
         grant usage on schema {schema}, orderctl to {role};
         grant all on all tables in schema {schema}, orderctl to {role};
         grant all on all sequences in schema orderctl to {role}"
    ));
    let uri = uri_as(&role, stack().postgres.port());
    let loud = ["--log-format", "json", "-v", "-v", "-X", "debug=all"];
    let sasl = "sasl-sentinel";
    let watched = Watched::start(
        sandbox
            .consume("orders")
            .args(loud)
            .env("ORDERCTL_POSTGRES_URI", &uri)
            // Not used by this listener, and a secret all the same.
            .env("ORDERCTL_SASL_PASSWORD", sasl)
            .env("ORDERCTL_SECURITY_PROTOCOL", "ssl"),
    );
    watched.wait_for("ten rows", |seen| seen.0.contains("\norderctl_rows_stored_total 10\n"));
    let mut texts = vec![watched.scrape().0];
    let log = watched.log();
    watched.running.interrupt();
    let ended = watched.running.finish().code(130);
    texts.push(fs::read_to_string(&log).expect("the log"));
    texts.push(ended.to_string());
    // One that does not get in.
    let wrong = uri.replace(&secret, "wrong-sentinel");
    let refused = sandbox.store("orders").args(loud).env("ORDERCTL_POSTGRES_URI", &wrong);
    let refused = refused.arg("--log-file").arg(&log).finish().code(1);
    assert!(refused.stderr.contains("refuses the password"), "{refused}");
    texts.push(fs::read_to_string(&log).expect("the log"));
    texts.push(refused.to_string());
    for text in &texts {
        for secret in [secret.as_str(), sasl, "wrong-sentinel"] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
    }
    assert!(texts[3].contains("\"failed\""), "the history says that it failed");
    drop_role(&role);
}
