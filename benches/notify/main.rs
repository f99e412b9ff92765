//! How many mails a second `notify` sends to a local server over TLS:
//!
//! ```text
//! cargo bench --bench notify
//! ```
//!
//! Every mail goes through the ledger (three commits each) and to one recipient;
//! each connection logs in once. At least 200 a second are asked for with the
//! default number of connections. ORDERCTL_BENCH_MAILS changes the size.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use orderctl::console::{Console, OutputFormat};
use orderctl::log::Log;
use orderctl::stack::{self, Stack, UpOptions, ports::PortFlags};
use orderctl::stop::Stop;
use serde_json::Value;

const QUIET: Console =
    Console { output: OutputFormat::Table, quiet: true, verbosity: 0, log: Log::PLAIN };
const ROUNDS: usize = 5;
const CONNECTIONS: [u32; 3] = [1, 4, 8];
/// What the default number of connections has to reach, in mails a second.
const LEAST: f64 = 200.0;

fn main() -> anyhow::Result<()> {
    let mails = match std::env::var("ORDERCTL_BENCH_MAILS") {
        Ok(text) => text.parse().context("ORDERCTL_BENCH_MAILS is no whole number")?,
        Err(_) => 1_000_u32,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-stack");
    let options = UpOptions { dir: folder.clone(), clean: true, ports: PortFlags::default() };
    let stack = stack::up(&options, &QUIET, &Stop::manual())?;
    let measured = measure(&stack, mails);
    stack::down(&folder, true, &QUIET, &Stop::manual())?;
    measured
}

fn measure(stack: &Stack, mails: u32) -> anyhow::Result<()> {
    run(stack, &["db-setup", "-q"], 0)?;
    let orders = stack.folder.join("orders.jsonl");
    write_orders(stack, mails, &orders)?;
    let orders = orders.to_str().context("the folder's name is UTF-8")?;
    run(stack, &["produce", "-q", "--source", orders, "--topic-name", "m", "--create-topic"], 0)?;
    println!("{:<12} {:>8} {:>8} {:>10}", "connections", "mails/s", "logins", "at least");
    for connections in CONNECTIONS {
        let mut rates = Vec::new();
        let mut logins = 0;
        for round in 0..ROUNDS {
            let (group, count) = (format!("g-{connections}-{round}"), connections.to_string());
            let line = ["notify", "-o", "json", "--until-end", "--from", "m", "--group", &group];
            let line = [&line[..], &["--connections", &count]].concat();
            let done: Value = serde_json::from_slice(&run(stack, &line, 0)?)?;
            let sent = done["sent"].as_f64().context("notify tells how many it sent")?;
            ensure!(sent == f64::from(mails), "{sent} of {mails} mails were sent");
            rates.push(sent / done["seconds"].as_f64().context("notify tells its time")?);
            logins = done["logins"].as_u64().context("notify tells its logins")?;
            ensure!(logins <= u64::from(connections), "{logins} logins: one a connection");
            empty_mailboxes(stack)?;
        }
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        let bar = match connections {
            4 if rate < LEAST => format!("{LEAST}  below the bar"),
            4 => LEAST.to_string(),
            _ => "-".to_owned(),
        };
        println!("{connections:<12} {rate:>8.0} {logins:>8} {bar:>10}");
    }
    println!("median of {ROUNDS}, {mails} mails each, from the start of the process to its end");
    Ok(())
}

/// Generated orders, every one of them urgent.
fn write_orders(stack: &Stack, mails: u32, path: &Path) -> anyhow::Result<()> {
    let number = mails.to_string();
    let lines = run(stack, &["produce", "--dry-run", "-q", "--seed", "7", "--num", &number], 0)?;
    let mut orders = String::new();
    for line in String::from_utf8(lines)?.lines() {
        let mut order: Value = serde_json::from_str(line)?;
        order["priority"] = "high".into();
        orders.push_str(&format!("{order}\n"));
    }
    Ok(fs::write(path, orders)?)
}

/// The server keeps mails in memory.
fn empty_mailboxes(stack: &Stack) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(stack.mailboxes)?;
    stream.write_all(b"POST /api/mail/purge HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "the mailboxes are not emptied: {answer}");
    Ok(())
}

fn run(stack: &Stack, arguments: &[&str], accepted: i32) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(env!("CARGO_BIN_EXE_orderctl"))
        .env("ORDERCTL_CREDS", &stack.creds)
        .env("ORDERCTL_CERT_PATH", &stack.cert_path)
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(accepted), "{arguments:?}: {}: {said}", output.status);
    Ok(output.stdout)
}
