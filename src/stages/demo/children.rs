//! The producer and the consumer of the demo, as processes of their own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::TempDir;

use super::{GROUP, TABLE, TOPIC};
use crate::stack::postgres::ThrowAway;
use crate::stack::process::{Signal, send};

/// What `produce -o json` prints, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Published {
    /// Records in the topic.
    pub sent: u64,
    /// Records per second, acknowledged.
    pub rate: f64,
    /// What was planted.
    pub injected: Injected,
}

/// Planted faults.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Injected {
    /// Orders sent a second time.
    pub duplicates: u64,
    /// Records that are no valid orders.
    pub malformed: u64,
}

/// What `consume -o json` prints, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Consumed {
    /// Rows stored.
    pub stored: u64,
    /// Records skipped.
    pub duplicates: u64,
    /// Records that became dead letters.
    pub rejected: u64,
}

/// How children are started: with the demo's services and nothing of the user's.
pub struct Family {
    broker: String,
    uri: String,
    certificates: std::path::PathBuf,
    folder: TempDir,
}

impl Family {
    /// Children of these services, working in an empty folder.
    ///
    /// # Errors
    /// When no temporary folder can be made.
    pub fn new(broker: &str, database: &ThrowAway) -> anyhow::Result<Family> {
        Ok(Family {
            broker: broker.to_owned(),
            uri: database.uri().expose().to_owned(),
            certificates: database.cert_path().to_owned(),
            folder: tempfile::Builder::new().prefix("orderctl-demo-").tempdir()?,
        })
    }

    /// The empty folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `consume`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn consume(&self) -> anyhow::Result<Child> {
        self.start(&["consume", "--table", TABLE, "--topic-name", TOPIC, "--group", GROUP])
    }

    /// Starts `produce` with planted faults.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn produce(&self, num: u64) -> anyhow::Result<Child> {
        let num = num.to_string();
        let faults = "dup=1%,malformed=0.5%";
        self.start(&["produce", "--num", &num, "--topic-name", TOPIC, "--inject", faults])
    }

    fn start(&self, args: &[&str]) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ORDERCTL_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(args)
            .args(["--quiet", "--output", "json", "--security-protocol", "plaintext"])
            .args(["--bootstrap-server", &self.broker, "--cert-path"])
            .arg(&self.certificates)
            .env("ORDERCTL_POSTGRES_URI", &self.uri)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start orderctl {}", args[0]))?;
        Ok(Child { verb: args[0].to_owned(), process: Some(child) })
    }
}

/// A verb at work; ended when dropped.
pub struct Child {
    verb: String,
    process: Option<std::process::Child>,
}

impl Child {
    /// Whether it is still at work.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// The result of a `produce` that has ended.
    ///
    /// # Errors
    /// When it failed; with what it said.
    pub fn published(self) -> anyhow::Result<Published> {
        self.result(&[0])
    }

    /// Stops a `consume` as Ctrl-C does, and gives its summary.
    ///
    /// # Errors
    /// When it failed; with what it said.
    pub fn stop(self) -> anyhow::Result<Consumed> {
        if let Some(process) = &self.process {
            send(process.id() as i32, Signal::Interrupt);
        }
        self.result(&[130])
    }

    fn result<T: for<'a> Deserialize<'a>>(mut self, codes: &[i32]) -> anyhow::Result<T> {
        let process = self.process.take().context("a child is waited for once")?;
        let output = process.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(code) if codes.contains(&code) => serde_json::from_slice(&output.stdout)
                .with_context(|| format!("orderctl {} printed no summary", self.verb)),
            _ => bail!("orderctl {} ended with {}: {}", self.verb, output.status, said.trim()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
