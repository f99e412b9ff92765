//! Breaks things for a long time, then proves that nothing was lost or doubled:
//!
//! ```text
//! scripts/soak                 200 kills and 2,000,000 records
//! scripts/soak 50 100000       fewer
//! scripts/soak 10m             for ten minutes, and until 2,000,000 records are stored
//! ```
//!
//! A stack of its own; a producer that plants duplicates and malformed events and
//! writes down what must come of them; three workers of which one after the other
//! is killed, and whose connections to the database are ended now and then. When
//! there was enough of it, what is left is stored, and `orderctl verify` has the
//! last word. The table has no unique key unless asked for, so that a record
//! stored twice would be seen.

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use orderctl::config::{Connections, KafkaSettings, PostgresSettings, duration};
use orderctl::console::{Console, OutputFormat};
use orderctl::edges::kafka::topics;
use orderctl::edges::postgres::{application_name, connect::connect};
use orderctl::log::Log;
use orderctl::stack::{self, Stack, UpOptions, ports::PortFlags, process};
use orderctl::stop::Stop;

#[path = "../../tests/it/support/asker.rs"]
mod asker;
#[path = "../../tests/it/support/killer.rs"]
mod killer;

use asker::Asker;
use killer::Killer;

const TELLING: Console =
    Console { output: OutputFormat::Table, quiet: false, verbosity: 0, log: Log::PLAIN };
const TOPIC: &str = "soak";
const TABLE: &str = "orders";
const GROUP: &str = "soak";
const PARTITIONS: u32 = 6;
const WORKERS: usize = 3;
/// All connections are ended, too, before one in so many kills.
const CUT_EVERY: usize = 6;
/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long storing what is left may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// Kills workers for a long time, then verifies that nothing was lost or doubled
#[derive(Debug, clap::Parser)]
#[command(
    name = "scripts/soak",
    bin_name = "scripts/soak",
    after_help = "\
Examples:
  scripts/soak
  scripts/soak 50 100000
  scripts/soak 10m
What the stack, the producer and the workers say is kept in target/soak.
Exit codes: 0 nothing missing, duplicated or extra, 1 something is, 130 interrupted."
)]
struct Args {
    /// How many kills, or for how long: 200, 90s, 10m, 2h
    #[arg(value_name = "KILLS|TIME", default_value = "200", value_parser = Enough::parse)]
    enough: Enough,

    /// How many records have to be stored, too
    #[arg(default_value_t = 2_000_000)]
    records: u32,

    /// How many records are published each second
    #[arg(long, default_value_t = 5_000)]
    rate: u32,

    /// Store into a table with a unique key, which skips repeated events
    #[arg(long)]
    unique_key: bool,

    /// Repeat the random choices of a run; the moments differ all the same
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Enough {
    Kills(u32),
    Time(Duration),
}

impl Enough {
    fn parse(text: &str) -> Result<Enough, String> {
        match text.parse() {
            Ok(kills) => Ok(Enough::Kills(kills)),
            Err(_) => duration::parse(text).map(Enough::Time).map_err(|error| {
                format!("write a number of kills, as 200, or a time, as 10m ({error})")
            }),
        }
    }

    fn is_reached(self, kills: u32, elapsed: Duration) -> bool {
        match self {
            Enough::Kills(enough) => kills >= enough,
            Enough::Time(enough) => elapsed >= enough,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<process::Interrupted>() { 130 } else { 1 })
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    let soak = Soak::up(&stop)?;
    soak.prepare(args.unique_key)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    say(format_args!("seed {seed}"));
    let asker = Asker::new(&soak.stack.creds, &soak.stack.cert_path, GROUP);
    let mut killer = Killer::new(seed, WORKERS, asker.clone(), || soak.worker());
    let producer = soak.producer(args.rate)?;
    let watch = asker.watch();
    let cuts = soak.break_things(args, &mut killer, &asker)?;
    let longest = watch.longest();
    let sent = soak.sent(producer)?;
    soak.drain(&asker, sent)?;
    let (kills, mid_batch) = (killer.kills, killer.kills_mid_batch);
    killer.workers.into_iter().try_for_each(|worker| worker.run.end())?;
    let verdict = soak.verify()?;
    println!(
        "kills {kills} ({mid_batch} of them in the middle of a batch), connections ended {cuts}, \
         records {sent}, missing {}, duplicated {}, longest pause {:.1} s",
        verdict.missing,
        verdict.duplicated,
        longest.as_secs_f64()
    );
    Ok(ExitCode::from(verdict.exit_code))
}

fn say(text: impl Display) {
    eprintln!("{text}");
}

/// A program that runs; ended with this.
struct Running(Child);

impl Running {
    /// Asks it to end and waits until it has.
    fn end(mut self) -> anyhow::Result<()> {
        process::send(i32::try_from(self.0.id())?, process::Signal::Interrupt);
        let status = self.0.wait()?;
        ensure!(status.code() == Some(130), "orderctl ended with {status}: see target/soak");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `verify` found.
struct Verdict {
    exit_code: u8,
    missing: u64,
    duplicated: u64,
}

/// The stack and the files of a run; the stack goes down with it.
struct Soak {
    folder: PathBuf,
    stack: Stack,
    stop: Stop,
}

impl Soak {
    fn up(stop: &Stop) -> anyhow::Result<Soak> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
        fs::create_dir_all(&folder)?;
        for log in ["producer.log", "workers.log"] {
            File::create(folder.join(log))?;
        }
        let options =
            UpOptions { dir: folder.join("stack"), clean: true, ports: PortFlags::default() };
        let stack = stack::up(&options, &TELLING, stop)?;
        Ok(Soak { folder, stack, stop: stop.clone() })
    }

    fn go_on(&self) -> anyhow::Result<()> {
        if self.stop.requested() { Err(process::Interrupted.into()) } else { Ok(()) }
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    fn connections(&self) -> Connections {
        Connections {
            creds: Some(self.stack.creds.clone()),
            cert_path: Some(self.stack.cert_path.clone()),
            ..Connections::default()
        }
    }

    /// The built program, which a Ctrl-C at the terminal does not reach.
    fn orderctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderctl"));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
            .env("ORDERCTL_CREDS", &self.stack.creds)
            .env("ORDERCTL_CERT_PATH", &self.stack.cert_path)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn start(&self, mut command: Command, log: &str) -> anyhow::Result<Running> {
        let log = File::options().append(true).open(self.folder.join(log))?;
        Ok(Running(command.stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    /// Creates topic, table and ledger.
    fn prepare(&self, unique_key: bool) -> anyhow::Result<()> {
        let settings = KafkaSettings::resolve(&self.connections())?;
        let shape = topics::Shape { partitions: Some(PARTITIONS), replication_factor: None };
        topics::create(&settings, TOPIC, shape, &TELLING, &self.stop)?;
        if !unique_key {
            self.set_up("with_key")?;
            let settings = PostgresSettings::resolve(&self.connections())?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = connect(&settings, "soak").await?;
                let sql = format!("create table {TABLE} as table with_key");
                client.batch_execute(&sql).await.context("cannot create the table")
            })?;
        }
        self.set_up(TABLE)
    }

    fn set_up(&self, table: &str) -> anyhow::Result<()> {
        let output = self.orderctl(&["db-setup", "--table-name", table]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "db-setup: {}", said.trim());
        Ok(())
    }

    /// Starts a worker that is missed soon when it is gone.
    fn worker(&self) -> (u32, Running) {
        let mut command = self.orderctl(&["consume", "--table", TABLE, "--group", GROUP]);
        command.args(["--topic-name", TOPIC]);
        command.args(["-X", "session.timeout.ms=3000", "-X", "heartbeat.interval.ms=500"]);
        let running = self.start(command, "workers.log").expect("a worker");
        (running.0.id(), running)
    }

    fn producer(&self, rate: u32) -> anyhow::Result<Running> {
        let mut command = self.orderctl(&["produce", "--topic-name", TOPIC, "--manifest"]);
        command.arg(self.manifest());
        // Until it is told to end.
        command.args(["--num", &u32::MAX.to_string(), "--rate", &rate.to_string()]);
        command.args(["--inject", "dup=1%,malformed=0.5%"]);
        self.start(command, "producer.log")
    }

    /// Kills workers and ends connections until there was enough of it; how many
    /// connections it ended.
    fn break_things<S: FnMut() -> (u32, Running)>(
        &self,
        args: &Args,
        killer: &mut Killer<S, Running>,
        asker: &Asker,
    ) -> anyhow::Result<i64> {
        let (began, mut told, mut cuts) = (Instant::now(), Instant::now(), 0);
        loop {
            let stored = asker.position();
            let is_enough = args.enough.is_reached(killer.kills, began.elapsed());
            if is_enough && stored >= i64::from(args.records) {
                return Ok(cuts);
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                say(format_args!(
                    "{:4} s: {} kills, {cuts} connections ended, {stored} records stored",
                    began.elapsed().as_secs(),
                    killer.kills
                ));
            }
            if killer.below(CUT_EVERY) == 0 {
                cuts += asker.number(&format!(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where application_name = '{}'",
                    application_name(GROUP)
                ));
            }
            if !killer.await_moment(&self.stop) {
                bail!(process::Interrupted);
            }
            killer.kill_one();
        }
    }

    /// Ends the producer; how many records it has sent.
    fn sent(&self, producer: Running) -> anyhow::Result<u64> {
        producer.end()?;
        let manifest = fs::read(self.manifest()).context("no manifest: see target/soak")?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
        manifest["sent"].as_u64().context("a manifest names what was sent")
    }

    /// Waits until every record that was sent is stored.
    fn drain(&self, asker: &Asker, sent: u64) -> anyhow::Result<()> {
        say(format_args!("storing what is left of {sent} records"));
        let began = Instant::now();
        while u64::try_from(asker.position())? < sent {
            self.go_on()?;
            ensure!(began.elapsed() < DRAIN_LIMIT, "still at {}", asker.position());
            self.stop.wait_for(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Has `verify` compare the topic, the table and the manifest, and shows what
    /// it says.
    fn verify(&self) -> anyhow::Result<Verdict> {
        let verify = |format: &str| {
            let mut command = self.orderctl(&["verify", "--table", TABLE, "--group", GROUP]);
            command.args(["--topic-name", TOPIC, "-o", format, "--manifest"]);
            command.arg(self.manifest());
            command
        };
        let status = verify("table").status()?;
        self.go_on()?;
        let output = verify("json").stderr(Stdio::inherit()).output()?;
        let found: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("verify could not find it out")?;
        let total = |name: &str| {
            found["totals"][name].as_u64().with_context(|| format!("verify tells no {name}"))
        };
        Ok(Verdict {
            exit_code: if status.success() && output.status.success() { 0 } else { 1 },
            missing: total("missing")?,
            duplicated: total("duplicated")?,
        })
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // A failed run's logs and data stay for a look until the next run.
        let down = stack::down(&self.folder.join("stack"), false, &TELLING, &Stop::manual());
        if let Err(error) = down {
            eprintln!("warning: the stack in target/soak/stack may still run: {error:#}");
        }
    }
}
