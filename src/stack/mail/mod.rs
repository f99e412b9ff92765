//! GreenMail: a mail server that takes every mail and keeps it in memory, until
//! it ends, for whoever looks into the mailboxes.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::certificates::{Certificates, write_pkcs12};
use super::files::{create_private_directory, write_private};
use super::folder::{Folder, State};
use super::jars::{self, Jars};
use super::process::{self, Signal, Starting};
use super::{LOGIN, Service};
use crate::console::Console;
use crate::stop::Stop;

/// The signal for an orderly end.
pub const END: Signal = Signal::Terminate;

/// How long a start or an orderly end may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How long a probe waits for the greeting.
const GREETING_LIMIT: Duration = Duration::from_millis(500);

/// The server in one file.
const JARS: Jars = Jars {
    service: "mail",
    title: "GreenMail",
    version: "2.1.13",
    megabytes: 11,
    pom: include_str!("pom.xml"),
};

/// Whose certificate it shows. A stack of an earlier version has none for mail,
/// and the CA's key is gone; all of them are for the same host.
const CERTIFICATE: &str = "kafka";

/// What the server is started with.
#[derive(Debug)]
pub struct Tools {
    java: PathBuf,
    jars: PathBuf,
}

/// What the server runs with: this Java and the jar, which is downloaded on
/// first use.
///
/// # Errors
/// When Maven is missing, or nothing can be downloaded.
pub fn tools(java: &Path, console: &Console, stop: &Stop) -> anyhow::Result<Tools> {
    let jars = jars::obtain(&JARS, console, stop)?;
    Ok(Tools { java: java.to_owned(), jars })
}

/// SMTP with TLS from the first byte.
pub fn tls_address(state: &State) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, state.ports.mail.tls).into()
}

/// SMTP without TLS.
pub fn plaintext_address(state: &State) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, state.ports.mail.plaintext).into()
}

/// The HTTP API that shows the mailboxes.
pub fn mailboxes_address(state: &State) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, state.ports.mail.mailboxes).into()
}

/// Writes the configuration and the key store anew.
///
/// # Errors
/// When the folder cannot be written.
pub fn prepare(folder: &Folder, state: &State, certificates: &Certificates) -> anyhow::Result<()> {
    let home = folder.mail();
    create_private_directory(&home)?;
    write_pkcs12(certificates, CERTIFICATE, &state.mail_password, &home.join("keystore.p12"))?;
    // By a file: the list of processes is for everyone to read.
    write_private(&home.join("options"), &options(state))
}

/// Options for `java @options`, which are read relative to the server's folder.
fn options(state: &State) -> String {
    let (ports, password) = (&state.ports.mail, &state.mail_password);
    let limit_ms = LIMIT.as_millis();
    let mut options = format!(
        "-Dgreenmail.users={LOGIN}:{password}@example.com
-Dgreenmail.tls.keystore.file=keystore.p12
-Dgreenmail.tls.keystore.password={password}
-Dgreenmail.startup.timeout={limit_ms}
"
    );
    for (service, port) in
        [("smtps", ports.tls), ("smtp", ports.plaintext), ("api", ports.mailboxes)]
    {
        options.push_str(&format!(
            "-Dgreenmail.{service}.hostname=127.0.0.1\n-Dgreenmail.{service}.port={port}\n"
        ));
    }
    options
}

/// Starts the server; it is not ready yet. It is kept small: it is there beside
/// a broker and a database, and mails are few and short.
///
/// # Errors
/// When the process cannot be started.
pub fn start(tools: &Tools, folder: &Folder) -> anyhow::Result<()> {
    let mut command = Command::new(&tools.java);
    command.current_dir(folder.mail()).args([
        "-Xmx96m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+PerfDisableSharedMem",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        "@options",
    ]);
    let jar = OsString::from(format!("greenmail-standalone-{}.jar", JARS.version));
    command.arg("-jar").arg(tools.jars.join(jar));
    process::start_daemon(command, &folder.log(Service::Mail), &folder.pid_file(Service::Mail))
}

/// Waits until the server greets and its API listens, which is started when both
/// of the server's doors are open.
///
/// # Errors
/// [`super::Interrupted`]; when the server ends or does not answer in time.
pub fn wait_until_ready(folder: &Folder, state: &State, stop: &Stop) -> anyhow::Result<()> {
    let (pid_file, log) = (folder.pid_file(Service::Mail), folder.log(Service::Mail));
    let server = Starting { name: "mail", pid_file: &pid_file, log: &log, limit: LIMIT };
    process::wait_until_ready(server, stop, || {
        await_greeting(plaintext_address(state))?;
        connect(mailboxes_address(state)).map(drop)
    })
}

fn await_greeting(address: SocketAddr) -> anyhow::Result<()> {
    let stream = connect(address)?;
    stream.set_read_timeout(Some(GREETING_LIMIT))?;
    let mut greeting = String::new();
    BufReader::new(stream).read_line(&mut greeting).context("no greeting yet")?;
    ensure!(greeting.starts_with("220"), "it greets with {}", greeting.trim());
    Ok(())
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    TcpStream::connect(address).with_context(|| format!("no answer from {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_has_the_version_that_names_the_cache() {
        let version = format!("<version>{}</version>", JARS.version);
        assert_eq!(JARS.pom.matches(&version).count(), 1);
    }
}
