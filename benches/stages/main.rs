//! The stages from Kafka to Kafka against Kafka Streams with exactly_once_v2,
//! which does the same to the same orders, commits as often, and publishes to
//! topics of the same kind, over mutual TLS, with lz4:
//!
//! ```text
//! cargo bench --bench stages           every row
//! cargo bench --bench stages -- route  only these
//! ```
//!
//! orderctl is measured from the start of the process to its end; the reference
//! by the rate from its first record to its last, without the start of the
//! virtual machine and without its last commit. Its rate from start to end is
//! printed beside. In each row a round that is not counted goes before the others,
//! in which the fresh broker compiles its own code. ORDERCTL_BENCH_RECORDS and
//! ORDERCTL_BENCH_ROUNDS change the size. Needs a Java compiler and Maven.

mod published;
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

use std::process::Command;

use anyhow::ensure;

use measure::median;
use reference::{Streams, reported_rate};
use report::{Bar, Row, Side};
use settings::Settings;
use stack::BenchStack;
use topics::Topics;

/// Where all runs read.
const FROM: &str = "bench-orders";
const PARTITIONS: i32 = 6;
/// Of each city's topic.
const PARTITIONS_A_CITY: i32 = 1;

/// What is done to each order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Route,
    Confirm,
}

/// One comparison.
struct Case {
    group: &'static str,
    name: &'static str,
    step: Step,
    /// Threads of the reference; orderctl has one loop.
    threads: u32,
    bar: Option<Bar>,
}

const BAR: Option<Bar> = Some(Bar { at_least: 2.0, aim: 2.7, megabytes_max: 150.0 });

const CASES: [Case; 4] = [
    Case { group: "confirm", name: "confirm", step: Step::Confirm, threads: 1, bar: BAR },
    Case {
        group: "confirm",
        name: "confirm, 2 threads there",
        step: Step::Confirm,
        threads: 2,
        bar: None,
    },
    Case { group: "route", name: "route-cities", step: Step::Route, threads: 1, bar: BAR },
    Case {
        group: "route",
        name: "route, 2 threads there",
        step: Step::Route,
        threads: 2,
        bar: None,
    },
];

/// What the rounds share.
struct Bench {
    stack: BenchStack,
    streams: Streams,
    topics: Topics,
    /// The ends of the names of the cities' topics.
    cities: Vec<String>,
    records: u64,
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::read(&["confirm", "route"])?;
    let stack = BenchStack::up()?;
    let streams = Streams::build(&stack)?;
    let topics = Topics::new(&stack.kafka()?)?;
    topics.create(&[FROM], PARTITIONS)?;
    let number = settings.records.to_string();
    let publish = ["produce", "--num", &number, "--seed", "7", "--topic-name", FROM];
    stack.run(stack.orderctl(&publish), 0)?;
    let mut bench = Bench { stack, streams, topics, cities: Vec::new(), records: settings.records };
    bench.cities = bench.cities()?;
    report::print_header("reference/s", "from start");
    let mut all_quiet = true;
    for case in CASES.iter().filter(|case| settings.wants(case.group)) {
        all_quiet &= bench.measure_case(case, settings.rounds)?;
    }
    report::print_footer(all_quiet);
    Ok(())
}

impl Bench {
    /// Routes the orders once, to learn the topics of their cities.
    fn cities(&self) -> anyhow::Result<Vec<String>> {
        let verb = ["route-cities", "--from", FROM, "--until-end", "--prefix", "learn-"];
        self.stack.run(self.stack.orderctl(&verb), 0)?;
        let topics = published::topics(&self.stack.kafka()?, "learn-")?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.topics.remove(&topics)?;
        Ok(topics.iter().map(|topic| topic["learn-".len()..].to_owned()).collect())
    }

    fn measure_case(&self, case: &Case, rounds: u32) -> anyhow::Result<bool> {
        let mut ours = Side::new(self.records);
        let mut theirs = Side::new(self.records);
        let mut reported = Vec::new();
        for round in 0..=rounds {
            // The first one is not counted: the broker compiles its own code meanwhile.
            if round == 1 {
                ours.runs.clear();
                theirs.runs.clear();
                reported.clear();
            }
            let id = format!("{}-{}-{round}", case.group, case.threads);
            let to = format!("ours-{id}-");
            self.measure_side(case, &to, &mut ours, self.orderctl(case.step, &id, &to))?;
            let to = format!("streams-{id}-");
            let records = self.records.to_string();
            let step = if case.step == Step::Route { "route" } else { "confirm" };
            let arguments = [step, FROM, &to, &records];
            let command = self.streams.command(&self.stack, &id, case.threads, &arguments)?;
            let stdout = self.measure_side(case, &to, &mut theirs, command)?;
            // As a run, so that its median is taken like the others'.
            let seconds = self.records as f64 / reported_rate(&stdout)?;
            reported.push(measure::Run { seconds, ..measure::Run::default() });
        }
        Ok(report::print_row(&Row {
            name: case.name.to_owned(),
            bar: case.bar,
            reference_rate: self.records as f64 / median(&reported, |run| run.seconds),
            beside: Some(theirs.rate()),
            ours,
            reference: theirs,
        }))
    }

    fn orderctl(&self, step: Step, id: &str, to: &str) -> Command {
        let verb: &[&str] = match step {
            Step::Route => &["route-cities", "--prefix", to],
            Step::Confirm => &["confirm", "--to", to],
        };
        let mut command = self.stack.orderctl(verb);
        command.args(["--from", FROM, "--group", &format!("bench-{id}"), "--until-end"]);
        command
    }

    /// One run to fresh topics; fails unless exactly the records expected are
    /// there afterwards. Returns what the program printed.
    fn measure_side(
        &self,
        case: &Case,
        to: &str,
        side: &mut Side,
        command: Command,
    ) -> anyhow::Result<Vec<u8>> {
        self.stack.go_on()?;
        let (topics, partitions) = match case.step {
            Step::Route => {
                let topics = self.cities.iter().map(|city| format!("{to}{city}"));
                (topics.collect(), PARTITIONS_A_CITY)
            }
            Step::Confirm => (vec![to.to_owned()], PARTITIONS),
        };
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.topics.create(&topics, partitions)?;
        let (run, outputs) = measure::run(self.stack.services, vec![command], 0)?;
        let published = published::count(&self.stack.kafka()?, &topics)?;
        ensure!(published == side.rows, "{to} holds {published} records, not {}", side.rows);
        self.topics.remove(&topics)?;
        side.runs.push(run);
        Ok(outputs.into_iter().flat_map(|output| output.stdout).collect())
    }
}
