//! Kafka's own load generator.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rdkafka::ClientConfig;

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
    /// Takes the jars that the stack's broker runs on, and writes the client
    /// certificate and the properties in Java's form beside
    /// the payloads.
    ///
    /// # Errors
    /// When the broker's command line or the stack's files cannot be read.
    pub fn new(
        stack: &BenchStack,
        payloads: PathBuf,
        records: u64,
    ) -> anyhow::Result<ProducerPerformance> {
        let certs = stack.folder.join("certs");
        let key_store = stack.files.path().join("key-store.pem");
        let key = fs::read_to_string(certs.join("service.key"))?;
        let chain = fs::read_to_string(certs.join("service.cert"))?;
        write_private(&key_store, &(key + &chain))?;
        let properties = stack.files.path().join("client.properties");
        let brokers = brokers(&stack.kafka()?)?;
        fs::write(&properties, properties_text(&brokers, &key_store, &certs.join("ca.pem")))?;
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

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn properties_text(brokers: &str, key_store: &Path, ca: &Path) -> String {
    format!(
        "bootstrap.servers={brokers}\n\
         security.protocol=SSL\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={}\n\
         compression.type=lz4\n\
         acks=all\n\
         enable.idempotence=true\n\
         linger.ms=50\n",
        key_store.display(),
        ca.display()
    )
}

/// The brokers that a configuration names.
fn brokers(config: &ClientConfig) -> anyhow::Result<String> {
    let brokers = config.get("bootstrap.servers").context("no broker is named")?;
    Ok(brokers.to_owned())
}

/// The word after one of the flags on the command line of a running process.
fn argument_after(pid: u32, flags: &[&str]) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    words.find(|word| flags.contains(&word.as_ref()))?;
    words.next().map(|word| word.into_owned())
}
