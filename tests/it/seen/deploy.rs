//! Dashboard and alert rules in deploy/.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Watched;
use crate::support::{Run, Sandbox, orders};

const DASHBOARD: &str = "grafana/orderctl.json";
const ALERTS: &str = "prometheus/alerts.yml";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).expect("the file")
}

/// Runs promtool, which scripts/setup installs.
fn promtool(args: &[&str], file: Option<&str>, stdin: &str) {
    let mut command = Command::new("promtool");
    command.args(args).args(file.map(deploy)).stdin(Stdio::piped());
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("promtool starts: scripts/setup installs it");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("its end");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {args:?}: {}", String::from_utf8_lossy(&said));
}

/// Names of metrics of ours that a text uses.
fn names_in(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c));
    words.filter(|word| word.starts_with("orderctl_")).collect()
}

#[test]
fn promtool_accepts_the_rules_and_they_say_what_they_are_meant_to() {
    promtool(&["check", "rules"], Some(ALERTS), "");
    promtool(&["test", "rules"], Some("prometheus/alerts_test.yml"), "");
}

#[test]
fn every_metric_of_dashboard_and_rules_is_served() {
    let sandbox = Sandbox::new("served").with_topic(1);
    sandbox.set_up("orders");
    sandbox.publish(&orders("a", 10));
    let consumer = Watched::start(sandbox.consume("orders"));
    consumer.wait_for("ten rows", |seen| {
        seen.0.contains("\norderctl_rows_stored_total 10\n")
            && seen.0.contains("orderctl_partition_lag_records{")
    });
    let producer = Watched::start(
        Run::new(["produce", "--interval", "1s"]).args(["--topic-name", &sandbox.topic]),
    );
    producer.wait_for("a record", |seen| seen.0.contains("orderctl_records_acknowledged_total"));
    let (consumed, produced) = (consumer.scrape(), producer.scrape());
    for scrape in [&consumed, &produced] {
        promtool(&["check", "metrics"], None, &scrape.0);
    }
    let served: BTreeSet<&str> = consumed.names().into_iter().chain(produced.names()).collect();
    for file in [DASHBOARD, ALERTS] {
        let text = text(file);
        let used = names_in(&text);
        assert!(used.len() >= 8, "{file}: {used:?}");
        // What a scrape promises by its type only is no sample.
        let unknown: Vec<&&str> = used.iter().filter(|name| !served.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} uses what is not served: {unknown:?}");
    }
}

#[test]
fn the_dashboard_can_be_imported_into_any_grafana() {
    let dashboard: serde_json::Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert_eq!(variables[0]["type"], "datasource");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        for part in std::iter::once(panel).chain(targets) {
            assert_eq!(part["datasource"]["uid"], "${datasource}", "{part}");
        }
        let words = ["title", "description", "type"];
        assert!(words.iter().all(|word| panel[word].is_string()), "{panel}");
    }
}
