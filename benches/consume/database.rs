//! What the sink's bench needs beside the stack: psql, the sink's command line,
//! and a distant database.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::proxy;
use crate::psql::Psql;
use crate::stack::BenchStack;

/// The stack with its database opened.
#[derive(Debug)]
pub struct Bench {
    /// The stack.
    pub stack: BenchStack,
    /// PostgreSQL's client.
    pub psql: Psql,
    uri: String,
}

/// The database behind a delaying proxy.
#[derive(Debug)]
pub struct Distant {
    /// For `ORDERCTL_POSTGRES_URI`.
    pub uri: String,
    /// For psql.
    pub port: u16,
}

impl Bench {
    /// Finds the database of the stack.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn new(stack: BenchStack) -> anyhow::Result<Bench> {
        let creds = fs::read(stack.folder.join("creds.json")).context("cannot read creds.json")?;
        let creds: serde_json::Value = serde_json::from_slice(&creds)?;
        let uri = creds["postgres"]["uri"].as_str().context("creds.json has no postgres.uri")?;
        let socket_folder = socket_folder(stack.services.database)?;
        let psql = Psql::new(uri, &stack.folder.join("certs/ca.pem"), socket_folder)?;
        Ok(Bench { uri: uri.to_owned(), stack, psql })
    }

    /// The sink with default settings and these flags beside.
    pub fn consume(&self, topic: &str, table: &str, group: &str, flags: &[&str]) -> Command {
        let verb = ["consume", "--until-end", "--topic-name", topic, "--table", table];
        let mut command = self.stack.orderctl(&verb);
        command.args(["--group", group]).args(flags);
        command
    }

    /// The database as if it were so far away.
    ///
    /// # Errors
    /// When the proxy cannot open a port.
    pub fn at_distance(&self, round_trip: Duration) -> anyhow::Result<Distant> {
        let near = self.psql.port;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, near));
        let port = proxy::start(target, round_trip)?.port();
        let uri = self.uri.replacen(&format!(":{near}/"), &format!(":{port}/"), 1);
        Ok(Distant { uri, port })
    }
}

/// Where the superuser's socket is: the fifth line of the server's pid file,
/// which stands in its working directory.
fn socket_folder(server: u32) -> anyhow::Result<PathBuf> {
    let path = format!("/proc/{server}/cwd/postmaster.pid");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let folder = text.lines().nth(4).context("the server has no socket")?;
    Ok(PathBuf::from(folder))
}
