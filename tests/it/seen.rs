//! What is to be seen of a run from outside: metrics, health, log file.

mod deploy;
mod log_file;
mod metrics;
mod stderr;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::program::Running;
use crate::support::{PATIENCE, Proxy, Run, eventually};

/// A run that serves metrics and keeps a log file.
pub struct Watched {
    /// The run.
    pub running: Running,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Watched {
    /// Starts it, and waits until it says where metrics are.
    pub fn start(run: Run) -> Watched {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let run = run.arg("--log-file").arg(&path).args(["--metrics-listen", "127.0.0.1:0"]);
        let mut running = run.spawn();
        let mut address = None;
        eventually("it says where metrics are", || {
            assert!(running.is_running(), "it ended early");
            let found = lines(&path).into_iter().find_map(|line| {
                line["fields"]["address"].as_str().map(|text| text.parse().expect("an address"))
            });
            address = address.or(found);
            address.is_some()
        });
        Watched { running, address: address.expect("found"), folder }
    }

    /// Runs on while it cannot reach what is behind the proxy for so long, and ends
    /// by itself afterwards.
    pub fn outlives(mut self, proxy: &Proxy, away: Duration) {
        self.wait_for_ready(200);
        proxy.refuse(true);
        proxy.cut();
        self.wait_for_ready(503);
        // Time without it is the fault itself.
        std::thread::sleep(away);
        assert!(self.running.is_running());
        proxy.refuse(false);
        self.running.finish().success();
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Status and body of what a path answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).expect("an answer")
    }

    /// As [`Watched::get`], for when it may be turned away.
    fn try_get(&self, path: &str) -> io::Result<(u16, String)> {
        ask(self.address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// What is served at `/metrics`.
    pub fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Scrape(text)
    }

    /// Waits until the metrics are so.
    #[track_caller]
    pub fn wait_for(&self, what: &str, holds: impl Fn(&Scrape) -> bool) {
        eventually(what, || holds(&self.scrape()));
    }

    /// The answer of `/readyz`, once it has this status.
    #[track_caller]
    pub fn wait_for_ready(&self, expected: u16) -> String {
        let mut body = String::new();
        eventually(&format!("/readyz answers {expected}"), || {
            let (status, text) = self.get("/readyz");
            body = text;
            status == expected
        });
        body
    }
}

/// Metrics as they were served.
pub struct Scrape(pub String);

impl Scrape {
    /// The sum of a metric's samples, those with labels too.
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) {
                return None;
            }
            Some(rest.rsplit_once(' ')?.1.parse::<f64>().expect("a number"))
        });
        let samples: Vec<f64> = samples.collect();
        assert!(!samples.is_empty(), "no {name} in\n{}", self.0);
        samples.iter().sum()
    }

    /// The value of one sample with its labels.
    fn sample(&self, sample: &str) -> f64 {
        let found = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let found = found.unwrap_or_else(|| panic!("no {sample} in\n{}", self.0));
        found.parse().expect("a number")
    }

    /// The names of all samples.
    fn names(&self) -> Vec<&str> {
        let samples = self.0.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.split(['{', ' ']).next().expect("a name")).collect()
    }
}

fn ask(address: SocketAddr, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    Ok((status, body.to_owned()))
}

/// The lines of a log file that are whole; none while there is no file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(parsed).collect()
}

#[track_caller]
fn parsed(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for name in ["time", "level", "message"] {
        assert!(value[name].is_string(), "no {name}: {line}");
    }
    value
}
