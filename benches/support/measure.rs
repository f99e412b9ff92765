//! Runs programs to their end and says what that took.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::processes;

/// How often the peak memory of a running program is read. It only grows, so
/// at most what the program allocates in its last moments is missed.
const MEMORY_PERIOD: Duration = Duration::from_millis(10);

/// The services whose CPU time is part of the price.
#[derive(Debug, Clone, Copy)]
pub struct Services {
    /// The Kafka broker.
    pub broker: u32,
    /// The PostgreSQL server; its backends are its children.
    pub database: u32,
}

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// From the start of the first program to the end of the last.
    pub seconds: f64,
    /// Peak memory of the programs together.
    pub peak_bytes: u64,
    /// CPU seconds of the programs.
    pub client_cpu: f64,
    /// CPU seconds of the broker.
    pub broker_cpu: f64,
    /// CPU seconds of the database with all its backends.
    pub database_cpu: f64,
    /// Share of the machine's cores that went to anything else, 0 to 1.
    pub others_share: f64,
}

/// CPU seconds up to a moment.
struct Meter {
    start: Instant,
    own: f64,
    reaped: f64,
    broker: f64,
    database: f64,
    machine: f64,
}

impl Meter {
    fn read(services: Services) -> Meter {
        let (own, reaped) = processes::own_and_reaped_seconds();
        Meter {
            start: Instant::now(),
            own,
            reaped,
            broker: processes::tree_seconds(services.broker),
            database: processes::tree_seconds(services.database),
            machine: processes::machine_busy_seconds(),
        }
    }

    /// What went by from `self` to `end`, for a run of `seconds`.
    fn run_until(&self, end: &Meter, seconds: f64, peak_bytes: u64) -> Run {
        let client_cpu = end.reaped - self.reaped;
        let broker_cpu = end.broker - self.broker;
        let database_cpu = end.database - self.database;
        let ours = client_cpu + broker_cpu + database_cpu + (end.own - self.own);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let capacity = cores * (end.start - self.start).as_secs_f64();
        let others_share = ((end.machine - self.machine - ours) / capacity).clamp(0.0, 1.0);
        Run { seconds, peak_bytes, client_cpu, broker_cpu, database_cpu, others_share }
    }
}

/// Runs the programs side by side to their ends and returns what that took,
/// with the output of each.
///
/// # Errors
/// When a program cannot be started or ends with an exit code other than
/// `accepted`; the text holds what it said on stderr.
pub fn run(
    services: Services,
    commands: Vec<Command>,
    accepted: i32,
) -> anyhow::Result<(Run, Vec<Output>)> {
    let before = Meter::read(services);
    let children = commands.into_iter().map(start).collect::<anyhow::Result<Vec<Child>>>()?;
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    let (outputs, ended, peak_bytes) = wait(children, &pids)?;
    let seconds = (ended - before.start).as_secs_f64();
    let run = before.run_until(&Meter::read(services), seconds, peak_bytes);
    for output in &outputs {
        if output.status.code() != Some(accepted) {
            bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok((run, outputs))
}

fn start(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// Waits for all children on threads of their own, so that their ends are seen
/// at once, and watches their memory meanwhile.
fn wait(children: Vec<Child>, pids: &[u32]) -> anyhow::Result<(Vec<Output>, Instant, u64)> {
    let (sender, receiver) = channel();
    let waiting: Vec<_> = children
        .into_iter()
        .map(|child| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let output = child.wait_with_output();
                // The receiver lives until every sender is gone.
                let _ = sender.send(Instant::now());
                output
            })
        })
        .collect();
    drop(sender);
    let mut peaks = vec![0; pids.len()];
    let mut ended = Instant::now();
    loop {
        match receiver.recv_timeout(MEMORY_PERIOD) {
            Ok(moment) => ended = moment,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for (peak, &pid) in peaks.iter_mut().zip(pids) {
            *peak = processes::peak_memory_bytes(pid).unwrap_or(*peak);
        }
    }
    let mut outputs = Vec::new();
    for thread in waiting {
        let output = thread.join().map_err(|_| anyhow::anyhow!("a waiting thread panicked"))?;
        outputs.push(output.context("cannot wait for a program")?);
    }
    Ok((outputs, ended, peaks.iter().sum()))
}

/// The median of one figure over the runs of a side; 0 for no runs.
pub fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
