//! PostgreSQL's own client: the reference, and the bench's way to look into
//! the database.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use tokio_postgres::config::Host;

/// How psql reaches the stack's database.
#[derive(Debug)]
pub struct Psql {
    login: Vec<(&'static str, String)>,
    socket_folder: PathBuf,
    /// The server's port.
    pub port: u16,
}

impl Psql {
    /// From the URI of creds.json, the certificate of the authority, and the
    /// folder of the superuser's socket.
    ///
    /// # Errors
    /// When the URI names no host, user or database.
    pub fn new(uri: &str, ca: &Path, socket_folder: PathBuf) -> anyhow::Result<Psql> {
        // The driver does not know sslmode=verify-full; it is set below.
        let address = uri.split('?').next().unwrap_or(uri);
        let config: tokio_postgres::Config =
            address.parse().ok().context("cannot understand the URI in creds.json")?;
        let Some(Host::Tcp(host)) = config.get_hosts().first() else {
            bail!("the URI in creds.json names no host");
        };
        let port = *config.get_ports().first().unwrap_or(&5432);
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
        let login = vec![
            ("PGHOST", host.clone()),
            ("PGPORT", port.to_string()),
            ("PGUSER", config.get_user().unwrap_or_default().to_owned()),
            ("PGPASSWORD", password.into_owned()),
            ("PGDATABASE", config.get_dbname().unwrap_or_default().to_owned()),
            // Costs what verify-full costs, and psql before version 15 knows no
            // certificates for addresses.
            ("PGSSLMODE", "verify-ca".to_owned()),
            ("PGSSLROOTCERT", ca.to_string_lossy().into_owned()),
        ];
        Ok(Psql { login, socket_folder, port })
    }

    /// One command of psql's over TLS with the password, as the sink connects;
    /// through another port where a proxy stands between.
    pub fn over_tls(&self, port: Option<u16>, command: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command", command]);
        psql.envs(self.login.iter().map(|(name, value)| (*name, value)));
        if let Some(port) = port {
            psql.env("PGPORT", port.to_string());
        }
        psql
    }

    /// One command of psql's as the superuser through the server's socket.
    pub fn as_superuser(&self, command: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--tuples-only", "--no-align", "--command", command])
            .arg(format!("--host={}", self.socket_folder.display()))
            .arg(format!("--port={}", self.port))
            .args(["--username=postgres", &format!("--dbname={}", orderctl::stack::LOGIN)]);
        psql
    }

    /// Runs the command as the superuser and returns what it printed.
    ///
    /// # Errors
    /// When psql is not installed or the command fails.
    pub fn run(&self, command: &str) -> anyhow::Result<String> {
        let output = self
            .as_superuser(command)
            .output()
            .context("cannot start psql; install postgresql-client")?;
        if !output.status.success() {
            bail!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
