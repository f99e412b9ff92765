//! How to reach PostgreSQL, with libpq's meaning of `sslmode`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::postgres_uri::Parameters;
use super::{Connections, Environment, Secret, certificates, creds};
use crate::error::Unnamed;

/// Everything needed to reach the database, resolved.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// The key/value string for the driver, without the TLS parameters.
    pub uri: Secret,
    /// Whether to encrypt, and what to check.
    pub sslmode: SslMode,
    /// Whose signature on the server's certificate counts.
    pub root: RootCertificate,
    /// What we show of ourselves when the server asks for a certificate.
    pub identity: Option<ClientCertificate>,
    /// `host:port,…`, for messages.
    pub server: String,
    /// The role that logs in, for messages; none means the system user's name.
    pub user: Option<String>,
    /// The database, for messages; none means that of the user's name.
    pub database: Option<String>,
}

/// libpq's sslmode (chapter "SSL Support" of the PostgreSQL manual).
///
/// The chain is checked in the first four modes only if there is a root
/// certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only if the server insists.
    Allow,
    /// Encrypted if the server can.
    Prefer,
    /// Always encrypted.
    Require,
    /// Encrypted, and the server's certificate leads to a root certificate.
    VerifyCa,
    /// The same, and the certificate is for the name of the host.
    VerifyFull,
}

impl SslMode {
    /// libpq's name of the mode.
    pub fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    fn parse(name: &str) -> anyhow::Result<SslMode> {
        use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
        let all = [Disable, Allow, Prefer, Require, VerifyCa, VerifyFull];
        all.into_iter()
            .find(|mode| mode.name() == name)
            .context("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")
    }
}

/// The certificates that a server's certificate may be signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificate {
    /// None: the server is not checked.
    Unchecked,
    /// Those of the operating system (`sslrootcert=system`).
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// A certificate with its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// libpq's variables, and what they stand in for where the string is silent.
const VARIABLES: [(&str, &str); 11] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGDATABASE", "dbname"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
];

/// What the driver would otherwise leave to the operating system, whose
/// defaults notice a lost server after hours. All in seconds but the count.
const DEFAULTS: [(&str, &str); 5] = [
    ("connect_timeout", "10"),
    ("keepalives_idle", "30"),
    ("keepalives_interval", "10"),
    ("keepalives_retries", "3"),
    ("tcp_user_timeout", "30"),
];

impl PostgresSettings {
    /// Resolves the settings from the flags, this process's environment and the
    /// working directory.
    ///
    /// The connection string is the first of: `--postgres-uri`, its variable,
    /// `DATABASE_URL`, the `PG*` variables if `PGHOST` is set, creds.json. Where
    /// it is silent the `PG*` variables speak, as with libpq. The root
    /// certificate, where `sslrootcert` names none, is `ca.pem` of the
    /// certificate directory.
    ///
    /// # Errors
    /// When no database is named anywhere, or the string cannot be understood;
    /// the text never quotes it.
    pub fn resolve(connections: &Connections) -> anyhow::Result<PostgresSettings> {
        PostgresSettings::resolve_in(connections, &Environment::of_process(), Path::new("."))
    }

    /// [`PostgresSettings::resolve`] with the environment and the directory in
    /// which creds.json is looked for.
    ///
    /// # Errors
    /// As [`PostgresSettings::resolve`].
    pub fn resolve_in(
        connections: &Connections,
        environment: &Environment,
        folder: &Path,
    ) -> anyhow::Result<PostgresSettings> {
        let creds = creds::find(connections, folder)?;
        let directory = certificates::find(connections, creds.as_ref().map(|c| c.path.as_path()))?;
        let given = connections.postgres_uri.as_ref().map(Secret::expose);
        let in_file = creds.as_ref().and_then(|found| found.creds.postgres.as_ref());
        let (text, origin) = if let Some(uri) = given.filter(|uri| !uri.is_empty()) {
            (uri, "--postgres-uri or ORDERCTL_POSTGRES_URI")
        } else if let Some(uri) = environment.get("DATABASE_URL") {
            (uri, "DATABASE_URL")
        } else if environment.get("PGHOST").is_some() {
            ("", "the PG* variables")
        } else if let Some(postgres) = in_file {
            (postgres.uri.expose(), "postgres.uri in creds.json")
        } else {
            return Err(Unnamed(
                "no database is named: set ORDERCTL_POSTGRES_URI, DATABASE_URL or PGHOST, or \
                 write creds.json with `orderctl auth-setup`"
                    .into(),
            )
            .into());
        };
        let ca = directory.and_then(|directory| directory.ca);
        PostgresSettings::build(text, environment, ca.as_deref()).context(origin)
    }

    /// Settings from a connection string alone, with the root certificate to
    /// use where it names none.
    ///
    /// # Errors
    /// When the string cannot be understood; the text never quotes it.
    pub fn parse(text: &str, root: Option<&Path>) -> anyhow::Result<PostgresSettings> {
        PostgresSettings::build(text, &Environment::default(), root)
    }

    fn build(
        text: &str,
        environment: &Environment,
        ca: Option<&Path>,
    ) -> anyhow::Result<PostgresSettings> {
        let mut parameters = Parameters::parse(text).map_err(anyhow::Error::msg)?;
        for (variable, keyword) in VARIABLES {
            if let Some(value) = environment.get(variable) {
                parameters.set_default(keyword, value);
            }
        }
        for ignored in ["gssencmode", "sslcompression", "fallback_application_name"] {
            parameters.take(ignored);
        }
        check_numbers(&parameters)?;
        adapt_names(&mut parameters)?;
        let sslrootcert = parameters.take("sslrootcert");
        let sslmode = settle_mode(parameters.take("sslmode"), sslrootcert.as_deref())?;
        let root = settle_root(sslmode, sslrootcert, ca)?;
        let identity = settle_identity(parameters.take("sslcert"), parameters.take("sslkey"))?;
        let (host, server) = (parameters.get("host").unwrap_or_default(), server(&parameters)?);
        // libpq ignores sslmode for Unix sockets, which have no TLS.
        let is_local = host.split(',').all(|host| host.starts_with('/'));
        let sslmode = if is_local { SslMode::Disable } else { sslmode };
        for (keyword, value) in DEFAULTS {
            parameters.set_default(keyword, value);
        }
        Ok(PostgresSettings {
            uri: parameters.to_key_values().into(),
            sslmode,
            root,
            identity,
            server,
            user: parameters.get("user").map(str::to_owned),
            database: parameters.get("dbname").map(str::to_owned),
        })
    }
}

/// What the driver would refuse is refused here, with the range.
fn check_numbers(parameters: &Parameters) -> anyhow::Result<()> {
    let ports = parameters.get("port").unwrap_or_default();
    if !ports.split(',').all(|port| port.is_empty() || port.parse().is_ok_and(|port: u16| port > 0))
    {
        bail!("the port must be a number from 1 to 65535");
    }
    for keyword in ["connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval"]
    {
        if parameters.get(keyword).is_some_and(|value| value.parse::<u32>().is_err()) {
            bail!("{keyword} must be a whole number");
        }
    }
    Ok(())
}

/// Where libpq's names, units and defaults differ from the driver's.
fn adapt_names(parameters: &mut Parameters) -> anyhow::Result<()> {
    if let Some(count) = parameters.take("keepalives_count") {
        parameters.set_default("keepalives_retries", &count);
    }
    // Milliseconds in libpq, seconds in the driver.
    if let Some(milliseconds) = parameters.take("tcp_user_timeout") {
        let seconds = milliseconds.parse::<u32>()?.div_ceil(1000);
        parameters.set_default("tcp_user_timeout", &seconds.to_string());
    }
    // TLS needs a name to check; with an address alone, that is the name.
    let fallback = parameters.get("hostaddr").unwrap_or("localhost").to_owned();
    parameters.set_default("host", &fallback);
    Ok(())
}

fn settle_mode(sslmode: Option<String>, sslrootcert: Option<&str>) -> anyhow::Result<SslMode> {
    match (sslmode, sslrootcert) {
        (None, Some("system")) => Ok(SslMode::VerifyFull),
        (None, _) => Ok(SslMode::Prefer),
        (Some(name), Some("system")) if name != "verify-full" => {
            bail!("sslrootcert=system is safe only with sslmode=verify-full: set that")
        }
        (Some(name), _) => SslMode::parse(&name),
    }
}

fn settle_root(
    sslmode: SslMode,
    sslrootcert: Option<String>,
    ca: Option<&Path>,
) -> anyhow::Result<RootCertificate> {
    match sslrootcert.as_deref() {
        Some("system") => return Ok(RootCertificate::System),
        Some(path) if Path::new(path).is_file() => return Ok(RootCertificate::File(path.into())),
        Some(path) => bail!("sslrootcert: there is no file {path}: check the path"),
        None => {}
    }
    match ca {
        Some(ca) => Ok(RootCertificate::File(ca.into())),
        None if matches!(sslmode, SslMode::VerifyCa | SslMode::VerifyFull) => bail!(
            "sslmode={} needs a root certificate: add sslrootcert=FILE (or sslrootcert=system), \
             or put your provider's ca.pem into the certificate directory (--cert-path)",
            sslmode.name()
        ),
        None => Ok(RootCertificate::Unchecked),
    }
}

fn settle_identity(
    certificate: Option<String>,
    key: Option<String>,
) -> anyhow::Result<Option<ClientCertificate>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Ok(Some(ClientCertificate { certificate: certificate.into(), key: key.into() }))
        }
        (None, None) => Ok(None),
        _ => bail!("sslcert and sslkey go together: name both files"),
    }
}

/// `host:port,…` for messages.
fn server(parameters: &Parameters) -> anyhow::Result<String> {
    let hosts: Vec<&str> = parameters.get("host").unwrap_or_default().split(',').collect();
    let ports: Vec<&str> = parameters.get("port").unwrap_or_default().split(',').collect();
    if ports.len() > 1 && ports.len() != hosts.len() {
        bail!("there must be one port, or as many as hosts");
    }
    let port = |at: usize| match ports.get(at).or(ports.first()) {
        Some(port) if !port.is_empty() => *port,
        _ => "5432",
    };
    let one = |(at, host): (usize, &&str)| match host.contains(':') {
        true => format!("[{host}]:{}", port(at)),
        false => format!("{host}:{}", port(at)),
    };
    Ok(hosts.iter().enumerate().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
