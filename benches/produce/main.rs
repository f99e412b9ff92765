//! `produce` against Kafka's ProducerPerformance sending the same orders from a
//! file, over mutual TLS, with lz4, acks=all, idempotence and a linger of 50 ms:
//!
//! ```text
//! cargo bench --bench produce          every row
//! cargo bench --bench produce -- base  only this
//! ```
//!
//! orderctl is measured from the start of the process to its end and has to
//! make its orders; the reference by the rate that it reports itself, without
//! the start of the virtual machine and the reading of the file. Its rate from
//! start to end is printed beside. ORDERCTL_BENCH_RECORDS and
//! ORDERCTL_BENCH_ROUNDS change the size.

mod reference;

#[path = "../support/java.rs"]
mod java;
#[path = "../support/measure.rs"]
mod measure;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/report.rs"]
mod report;
#[path = "../support/settings.rs"]
mod settings;
#[path = "../support/stack.rs"]
mod stack;
#[path = "../support/topics.rs"]
mod topics;

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use measure::median;
use reference::{ProducerPerformance, reported_rate};
use report::{Bar, Row, Side};
use settings::Settings;
use stack::BenchStack;
use topics::Topics;

/// One comparison.
struct Case {
    group: &'static str,
    name: &'static str,
    bar: Option<Bar>,
    /// The reference's `batch.size` where it is not its default of 16 KiB.
    batch_bytes: Option<u32>,
}

const CASES: [Case; 2] = [
    Case {
        group: "base",
        name: "generated orders",
        bar: Some(Bar { at_least: 1.0, aim: 1.4, megabytes_max: 200.0 }),
        batch_bytes: None,
    },
    Case {
        group: "large-batches",
        name: "reference: batches of 1 MB",
        bar: None,
        batch_bytes: Some(1_000_000),
    },
];

fn main() -> anyhow::Result<()> {
    let settings = Settings::read(&CASES.map(|case| case.group))?;
    let stack = BenchStack::up()?;
    let payloads = write_payloads(&stack, settings.records)?;
    let reference = ProducerPerformance::new(&stack, payloads, settings.records)?;
    let topics = Topics::new(&stack.kafka()?)?;
    report::print_header("reference/s", "from start");
    let mut all_quiet = true;
    for case in CASES.iter().filter(|case| settings.wants(case.group)) {
        all_quiet &= measure_case(&stack, &settings, case, &reference, &topics)?;
    }
    report::print_footer(all_quiet);
    Ok(())
}

/// The orders of the seed as a file, one a line.
fn write_payloads(stack: &BenchStack, records: u64) -> anyhow::Result<PathBuf> {
    let path = stack.files.path().join("orders.jsonl");
    let mut command = stack.orderctl(&["produce", "--dry-run", "--seed", "7"]);
    command.args(["--num", &records.to_string()]).stdout(File::create(&path)?);
    stack.run(command, 0)?;
    Ok(path)
}

fn measure_case(
    stack: &BenchStack,
    settings: &Settings,
    case: &Case,
    reference: &ProducerPerformance,
    topics: &Topics,
) -> anyhow::Result<bool> {
    let records = settings.records;
    let mut ours = Side::new(records);
    let mut theirs = Side::new(records);
    let mut reported = Vec::new();
    for round in 0..settings.rounds {
        let topic = format!("bench-{}-{round}-orderctl", case.group);
        let number = records.to_string();
        let verb = ["produce", "--num", &number, "--seed", "7", "--topic-name", &topic];
        measure_side(stack, topics, &topic, &mut ours, stack.orderctl(&verb))?;
        let topic = format!("bench-{}-{round}-reference", case.group);
        let command = reference.command(&topic, case.batch_bytes);
        let stdout = measure_side(stack, topics, &topic, &mut theirs, command)?;
        // As a run, so that its median is taken like the others'.
        let seconds = records as f64 / reported_rate(&stdout, records)?;
        reported.push(measure::Run { seconds, ..measure::Run::default() });
    }
    Ok(report::print_row(&Row {
        name: case.name.to_owned(),
        bar: case.bar,
        reference_rate: records as f64 / median(&reported, |run| run.seconds),
        beside: Some(theirs.rate()),
        ours,
        reference: theirs,
    }))
}

/// One run to a fresh topic; fails unless exactly the records expected are
/// there afterwards. Returns what the program printed.
fn measure_side(
    stack: &BenchStack,
    topics: &Topics,
    topic: &str,
    side: &mut Side,
    command: Command,
) -> anyhow::Result<Vec<u8>> {
    stack.go_on()?;
    topics.create(&[topic], 6)?;
    let (run, outputs) = measure::run(stack.services, vec![command], 0)?;
    let stored = topics.records(topic)?;
    ensure!(stored == side.rows, "{topic} holds {stored} records, not {}", side.rows);
    topics.remove(&[topic])?;
    side.runs.push(run);
    Ok(outputs.into_iter().flat_map(|output| output.stdout).collect())
}
