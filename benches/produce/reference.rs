//! Kafka's own load generator.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::java;
use crate::stack::BenchStack;

/// ProducerPerformance with the settings of `produce`.
#[derive(Debug)]
pub struct ProducerPerformance {
    classpath: String,
    properties: PathBuf,
    payloads: PathBuf,
    records: u64,
}

impl ProducerPerformance {
    /// Takes the jars that the stack's broker runs on.
    ///
    /// # Errors
    /// When the broker's command line or the stack's files cannot be read.
    pub fn new(
        stack: &BenchStack,
        payloads: PathBuf,
        records: u64,
    ) -> anyhow::Result<ProducerPerformance> {
        let properties = java::write_properties(
            stack,
            "client.properties",
            "compression.type=lz4\nacks=all\nenable.idempotence=true\nlinger.ms=50\n",
        )?;
        let classpath = argument_after(stack.services.broker, &["-cp", "-classpath"])
            .context("cannot tell the broker's class path from its command line")?;
        Ok(ProducerPerformance { classpath, properties, payloads, records })
    }

    /// The program, for one run to a topic.
    pub fn command(&self, topic: &str, batch_bytes: Option<u32>) -> Command {
        let mut java = Command::new("java");
        // The tool holds all payloads in memory before it sends the first.
        java.args(["-Xms2g", "-Xmx2g", "-cp", &self.classpath])
            .arg("org.apache.kafka.tools.ProducerPerformance")
            .args(["--topic", topic, "--throughput", "-1"])
            .args(["--num-records", &self.records.to_string()])
            .arg("--payload-file")
            .arg(&self.payloads)
            .arg("--command-config")
            .arg(&self.properties);
        if let Some(bytes) = batch_bytes {
            java.args(["--command-property", &format!("batch.size={bytes}")]);
        }
        java
    }
}

/// The rate that ProducerPerformance itself reports in its last line, in
/// records a second: without the start of the virtual machine and without the
/// reading of the payloads.
///
/// # Errors
/// When the output has no such line, or not all records were sent.
pub fn reported_rate(stdout: &[u8], records: u64) -> anyhow::Result<f64> {
    let text = String::from_utf8_lossy(stdout);
    let begin = format!("{records} records sent, ");
    let line = text.lines().rev().find_map(|line| line.strip_prefix(&begin));
    let line = line.with_context(|| format!("ProducerPerformance did not finish: {text}"))?;
    let number = line.split(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("cannot understand its line: {line}"))
}

/// The word after one of the flags on the command line of a running process.
fn argument_after(pid: u32, flags: &[&str]) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    words.find(|word| flags.contains(&word.as_ref()))?;
    words.next().map(|word| word.into_owned())
}
