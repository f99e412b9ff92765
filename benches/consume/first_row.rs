//! How long after its start a sink whose group is known stores its first row.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::database::Bench;
use crate::measure::{Run, median};
use crate::settings::Settings;

/// The name by which this row can be chosen.
pub const GROUP: &str = "first-row";

const TOPIC: &str = "bench-first-row";
const TABLE: &str = "bench_first_row";
/// Orders that wait for the sink in each round.
const WAITING: &str = "100";
/// The limit and the aim, in seconds.
const SECONDS_MAX: f64 = 1.0;
const SECONDS_AIM: f64 = 0.3;

/// Measures and prints the row.
///
/// # Errors
/// When a verb fails or no row comes.
pub fn run(bench: &Bench, settings: &Settings) -> anyhow::Result<()> {
    let stack = &bench.stack;
    stack.run(stack.orderctl(&["db-setup", "--kind", "order", "--table-name", TABLE]), 0)?;
    produce(bench, 0)?;
    stack.run(bench.consume(TOPIC, TABLE, TABLE, &[]), 0)?;
    let mut runs = Vec::new();
    for round in 1..=settings.rounds {
        bench.psql.run(&format!("truncate {TABLE}"))?;
        produce(bench, round)?;
        let mut watcher = watch(bench)?;
        let mut sink = bench.consume(TOPIC, TABLE, TABLE, &[]);
        let start = Instant::now();
        let mut sink = sink.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let seen = watcher.wait()?;
        runs.push(Run { seconds: start.elapsed().as_secs_f64(), ..Run::default() });
        ensure!(sink.wait()?.success() && seen.success(), "the sink stored nothing");
    }
    let seconds = median(&runs, |run| run.seconds);
    println!(
        "first row stored {seconds:.3} s after the start of the process, group already known \
         (at most {SECONDS_MAX:.1} s, aim {SECONDS_AIM:.1} s){}",
        if seconds > SECONDS_MAX { "  above the limit" } else { "" }
    );
    Ok(())
}

/// Publishes other orders in each round.
fn produce(bench: &Bench, round: u32) -> anyhow::Result<()> {
    let seed = (1000 + round).to_string();
    let verb = ["produce", "--num", WAITING, "--seed", &seed, "--topic-name", TOPIC];
    let mut command = bench.stack.orderctl(&verb);
    command.args(["--create-topic", "--partitions", "6"]);
    bench.stack.run(command, 0)
}

/// A session that ends as soon as the table holds a row; returns once it
/// watches.
fn watch(bench: &Bench) -> anyhow::Result<Child> {
    let mut psql = bench.psql.as_superuser(&format!(
        "do $$ begin while not exists (select from {TABLE}) loop perform pg_sleep(0.002); \
         end loop; end $$"
    ));
    psql.env("PGAPPNAME", "bench-watch").env("PGOPTIONS", "-c statement_timeout=60s");
    let watcher = psql.spawn()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let watching = "select count(*) from pg_stat_activity \
                    where application_name = 'bench-watch' and query like 'do $$%'";
    while bench.psql.run(watching)? == "0" {
        ensure!(Instant::now() < deadline, "the watching session did not start");
    }
    Ok(watcher)
}
