//! The stack that a bench runs on: its own, fresh, and gone at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use orderctl::config::{Connections, KafkaSettings};
use orderctl::edges::kafka::client::client_config;
use orderctl::stop::Stop;
use rdkafka::ClientConfig;
use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::measure::Services;

/// Bytes of memory that are plenty for a stack's data.
const ROOM: u64 = 12 << 30;

/// A running stack; dropping it ends it and removes its data.
#[derive(Debug)]
pub struct BenchStack {
    /// Its folder, with creds.json and certs.
    pub folder: PathBuf,
    /// Around it, removed at the end.
    _around: TempDir,
    /// A folder for files of the bench, removed at the end.
    pub files: TempDir,
    /// Its processes.
    pub services: Services,
    stop: Stop,
}

impl BenchStack {
    /// Brings up a fresh stack. From then on Ctrl-C ends the bench in an orderly
    /// way, so that the stack goes down with it; a second one ends it at once.
    ///
    /// # Errors
    /// When the stack does not come up.
    pub fn up() -> anyhow::Result<BenchStack> {
        let stop = Stop::install()?;
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let around =
            tempfile::Builder::new().prefix("orderctl-bench-").tempdir_in(room(&target))?;
        let folder = around.path().join("stack");
        let files = tempfile::Builder::new().prefix("bench-files-").tempdir_in(&target)?;
        let services = Services { broker: 0, database: 0 };
        let mut stack = BenchStack { folder, _around: around, files, services, stop };
        let status = stack.stack_verb("up").arg("--clean").stdout(Stdio::null()).status()?;
        if !status.success() {
            bail!("the stack did not come up");
        }
        let output = stack.stack_verb("status").args(["-o", "json"]).output()?;
        let status = serde_json::from_slice(&output.stdout)?;
        stack.services =
            Services { broker: pid(&status, "kafka")?, database: pid(&status, "postgres")? };
        Ok(stack)
    }

    /// The built binary with the stack's credentials and these arguments.
    pub fn orderctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderctl"));
        command
            .env("ORDERCTL_CREDS", self.folder.join("creds.json"))
            .env("ORDERCTL_CERT_PATH", self.folder.join("certs"))
            .args(arguments);
        command
    }

    /// Fails once the user asked to stop.
    ///
    /// # Errors
    /// When a stop was requested.
    pub fn go_on(&self) -> anyhow::Result<()> {
        ensure!(!self.stop.requested(), "interrupted");
        Ok(())
    }

    /// Runs a program that is not measured to its end.
    ///
    /// # Errors
    /// When it ends with another exit code, of which the text tells what it said;
    /// or when a stop was requested.
    pub fn run(&self, mut command: Command, accepted: i32) -> anyhow::Result<()> {
        self.go_on()?;
        let output = command.output()?;
        if output.status.code() != Some(accepted) {
            bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// How clients of the bench reach the broker: as the binary does.
    ///
    /// # Errors
    /// When the stack's files cannot be read.
    pub fn kafka(&self) -> anyhow::Result<ClientConfig> {
        let connections = Connections {
            creds: Some(self.folder.join("creds.json")),
            cert_path: Some(self.folder.join("certs")),
            ..Connections::default()
        };
        Ok(client_config(&KafkaSettings::resolve(&connections)?))
    }

    fn stack_verb(&self, verb: &str) -> Command {
        let mut command = self.orderctl(&["stack", verb, "--dir"]);
        command.arg(&self.folder);
        command
    }
}

impl Drop for BenchStack {
    fn drop(&mut self) {
        let down = self.stack_verb("down").arg("--clean").stdout(Stdio::null()).status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("warning: the stack in {} may still run", self.folder.display());
        }
    }
}

/// Where the stack's data are: in memory where there is plenty, else in `target`.
/// On the disks of shared machines a broker can need three times the processor
/// time for the same records, and need it when the disk wants.
fn room(target: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_space = statvfs(memory).is_ok_and(|space| space.f_bavail * space.f_frsize >= ROOM);
    match has_space && available_memory() >= ROOM {
        true => memory.to_owned(),
        false => target.to_owned(),
    }
}

/// Bytes that programs may take before others are in want of them.
fn available_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.unwrap_or(0_u64) * 1024
}

/// The process id of a service in what `stack status` prints.
fn pid(status: &serde_json::Value, service: &str) -> anyhow::Result<u32> {
    let services = status["services"].as_array().context("stack status shows no services")?;
    let found = services.iter().find(|entry| entry["service"] == service);
    let pid = found.and_then(|entry| entry["pid"].as_u64());
    Ok(u32::try_from(pid.with_context(|| format!("{service} does not run"))?)?)
}
