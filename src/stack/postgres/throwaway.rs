//! A server for one run: temporary folder, no Kafka, no Java, gone at the end.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Runner, SYSTEM, Server, binaries};
use crate::config::Secret;
use crate::console::Console;
use crate::log;
use crate::stack::certificates::Certificates;
use crate::stack::{ports, random};
use crate::stop::Stop;

/// A running server that ends, and whose data go, when it is dropped.
#[derive(Debug)]
pub struct ThrowAway {
    server: Server,
    certificates: Certificates,
    password: Secret,
    // Its drop removes what the server left.
    directory: TempDir,
}

impl ThrowAway {
    /// Starts a server with TLS on a free port and waits until it answers.
    /// Nothing must be installed; root is as welcome as a user.
    ///
    /// # Errors
    /// [`crate::stack::Interrupted`]; when the programs cannot be downloaded
    /// (first use) or the server does not start.
    pub fn start(console: &Console, stop: &Stop) -> anyhow::Result<ThrowAway> {
        let runner = Runner::find()?;
        let programs = binaries::obtain(&runner, console, stop)?;
        let directory = tempfile::Builder::new().prefix("orderctl-").tempdir()?;
        let base = match runner {
            Runner::Ourselves => directory.path().join("postgres"),
            // The temporary folder may be closed to the database's account.
            Runner::Other(_) => Path::new(SYSTEM).join(super::short_hash(directory.path())),
        };
        let server = Server {
            base,
            log: directory.path().join("postgres.log"),
            pid_file: directory.path().join("postgres.pid"),
            port: ports::any_free()?,
            runner,
        };
        let certificates =
            Certificates::ensure(directory.path().join("certs"), directory.path().join("tls"))?;
        let password = Secret::new(random::text(32)?);
        let started = ThrowAway { server, certificates, password, directory };
        // From here on a failure drops it, which ends and removes all there is.
        started.bring_up(&programs, console, stop)?;
        Ok(started)
    }

    fn bring_up(&self, programs: &Path, console: &Console, stop: &Stop) -> anyhow::Result<()> {
        self.server.prepare(programs, &self.certificates, console, stop)?;
        console.note("postgres: starting");
        self.server.start(programs)?;
        self.server.wait_until_ready(&self.certificates, self.password.expose(), stop)
    }

    /// The connection string of a role that owns a database, with its password.
    pub fn uri(&self) -> Secret {
        self.server.uri(self.password.expose())
    }

    /// The CA that signed the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.certificates.ca()
    }

    /// The directory with ca.pem and a client certificate, for `--cert-path`.
    pub fn cert_path(&self) -> &Path {
        &self.certificates.client
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Ends the server and removes its data.
    ///
    /// # Errors
    /// When the server cannot be ended or something cannot be removed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.take_down()
    }

    fn take_down(&self) -> anyhow::Result<()> {
        // Not to be interrupted: what is left behind now is never looked for.
        self.server.end(&Stop::manual())?;
        self.server.clear()
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            let directory = self.directory.path().display();
            log::to_stderr(format_args!(
                "warning: the throw-away database in {directory} stays: {error:#}"
            ));
        }
    }
}
