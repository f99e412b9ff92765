//! `verify`: Kafka against table against dead letters, and that it can fail.

mod columns;
mod endings;
mod faults;
mod manifest;
mod unknown;
mod workers;

use serde_json::Value;

use crate::support::{Run, Sandbox};

/// As [`Sandbox::verify`], with the report as a table.
fn for_people(sandbox: &Sandbox, table: &str) -> Run {
    let Sandbox { schema, topic, group, .. } = sandbox;
    Run::new(["verify", "--schema", schema, "--table", table, "--topic-name", topic])
        .args(["--group", group])
}

/// The report of a run that finds nothing wrong.
#[track_caller]
fn fine(sandbox: &Sandbox) -> Value {
    let report = sandbox.verify("orders").finish().success().json();
    for count in ["missing", "duplicated", "extra"] {
        assert_eq!(report["totals"][count], 0, "{report}");
    }
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
    report
}

/// The report of a run that finds something wrong.
#[track_caller]
fn wrong(sandbox: &Sandbox) -> Value {
    let run = sandbox.verify("orders").finish().code(1);
    assert!(run.stderr.contains("does not match"), "{run}");
    let report = run.json();
    assert_eq!(report["ok"], false, "{report}");
    report
}

/// What was found, in short: `missing a3 0/3`.
fn found(report: &Value) -> Vec<String> {
    let words = |finding: &Value| {
        let fault = finding["fault"].as_str().expect("a fault");
        let id = finding["id"].as_str().unwrap_or("-");
        let offset = &finding["offset"];
        format!("{fault} {id} {}/{offset}", finding["partition"])
    };
    report["findings"].as_array().expect("findings").iter().map(words).collect()
}

/// Some counts of the totals, or of one partition.
fn counts<const N: usize>(counts: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| counts[name].as_u64().unwrap_or_else(|| panic!("{name} of {counts}")))
}
