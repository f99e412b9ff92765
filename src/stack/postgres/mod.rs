//! PostgreSQL: accepts network connections over TLS only; its superuser comes
//! in through a unix socket that only the owner of the stack can reach.

mod account;
mod binaries;
mod session;
mod throwaway;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::certificates::Certificates;
use super::files::{create_private_directory, remove_directory, staging_directory};
use super::process::{self, Signal, Starting};
use super::{LOGIN, helper};
use crate::config::Secret;
use crate::console::Console;
use crate::stop::Stop;
pub use account::Runner;
pub use binaries::obtain as programs;
pub use throwaway::ThrowAway;

/// The signal for an orderly end: sessions are ended, a checkpoint is made.
pub const END: Signal = Signal::Interrupt;

/// How long a start or an orderly end may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where root keeps databases: a folder of root's may be closed to the account
/// that runs them.
const SYSTEM: &str = "/var/lib/orderctl";

/// Longest directory of a unix socket, in bytes: sun_path of unix(7) holds 107
/// and the server appends `/.s.PGSQL.65535.lock`.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 107 - 20;

/// One server: where its parts are, and who runs it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Directory of its own with data, certificates and, if short, the socket.
    pub base: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Its pid file.
    pub pid_file: PathBuf,
    /// Its port on the loopback address.
    pub port: u16,
    /// Whom it runs as.
    pub runner: Runner,
}

/// Where the database of a stack in `folder` is kept: in the folder, or for
/// root in a system directory named after the folder.
pub fn base(runner: &Runner, folder: &Path) -> PathBuf {
    match runner {
        Runner::Ourselves => folder.join("postgres"),
        Runner::Other(_) => Path::new(SYSTEM).join(short_hash(folder)),
    }
}

/// 16 hexadecimal digits that stand for a path.
fn short_hash(path: &Path) -> String {
    let hash = openssl::sha::sha256(path.as_os_str().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    /// Where the server is reached.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The directory of the unix socket: in the base when that is short and
    /// plain enough, else a short one under /tmp.
    pub fn socket(&self) -> PathBuf {
        let near = self.base.join("socket");
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        let bytes = near.as_os_str().as_bytes();
        if bytes.len() <= SOCKET_DIRECTORY_BYTES_MAX && bytes.iter().all(plain) {
            near
        } else {
            Path::new("/tmp").join(format!("orderctl-{}", short_hash(&self.base)))
        }
    }

    /// The connection string of the stack's role, certificates to be checked.
    pub fn uri(&self, password: &str) -> Secret {
        Secret::new(format!(
            "postgres://{LOGIN}:{password}@{}/{LOGIN}?sslmode=verify-full",
            self.address()
        ))
    }

    /// Whether there is a database already.
    pub fn has_data(&self) -> bool {
        self.base.join("data").is_dir()
    }

    /// Writes the configuration anew and makes the database on first use.
    ///
    /// # Errors
    /// When a directory cannot be written or initdb refuses.
    pub fn prepare(
        &self,
        programs: &Path,
        certificates: &Certificates,
        console: &Console,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        if let Runner::Other(_) = self.runner {
            fs::create_dir_all(SYSTEM).with_context(|| format!("cannot create {SYSTEM}"))?;
            fs::set_permissions(SYSTEM, fs::Permissions::from_mode(0o711))?;
        }
        self.own_directory(&self.base)?;
        self.own_directory(&self.socket())?;
        if !self.has_data() {
            console.note("postgres: making the database");
            self.make_database(programs, stop)?;
        }
        self.configure(certificates)
    }

    fn own_directory(&self, path: &Path) -> anyhow::Result<()> {
        if let Ok(found) = fs::symlink_metadata(path)
            && !found.is_dir()
        {
            bail!("{} is in the way; remove it", path.display());
        }
        create_private_directory(path)?;
        self.runner.give(path)
    }

    /// Made beside its final place and renamed, so that what is there is whole.
    fn make_database(&self, programs: &Path, stop: &Stop) -> anyhow::Result<()> {
        let staging = staging_directory(&self.base, "data")?;
        self.runner.give(staging.path())?;
        let mut command = self.command(programs, "initdb");
        command.arg("--pgdata").arg(staging.path()).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]);
        let finished = helper::run(command, stop, |_| {}).context("cannot run initdb")?;
        if !finished.status.success() {
            let said = helper::last_lines(finished.lines.iter().map(String::as_str), 5);
            bail!("cannot make the database; initdb said:\n{said}");
        }
        fs::rename(staging.keep(), self.base.join("data"))?;
        Ok(())
    }

    fn command(&self, programs: &Path, program: &str) -> Command {
        let mut command = Command::new(programs.join("bin").join(program));
        command.current_dir(&self.base).env("LC_ALL", "C");
        self.runner.apply(&mut command);
        command
    }

    fn configure(&self, certificates: &Certificates) -> anyhow::Result<()> {
        let key = fs::read_to_string(certificates.server_key("postgres"))?;
        let certificate = fs::read_to_string(certificates.server_certificate("postgres"))?;
        self.place("server.key", &key)?;
        self.place("server.crt", &certificate)?;
        self.place("pg_hba.conf", ACCESS)?;
        self.place("postgresql.conf", &self.settings())
    }

    fn place(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.base.join("data").join(name);
        super::files::write_private(&path, text)?;
        self.runner.give(&path)
    }

    fn settings(&self) -> String {
        format!(
            "# Written by orderctl at every start.
listen_addresses = '127.0.0.1'
port = {}
unix_socket_directories = '{}'
unix_socket_permissions = 0700
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '256MB'
max_wal_size = '4GB'
track_commit_timestamp = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%a '
",
            self.port,
            self.socket().display()
        )
    }

    /// Starts the server; it is not ready yet.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(&self, programs: &Path) -> anyhow::Result<()> {
        let mut command = self.command(programs, "postgres");
        command.arg("-D").arg(self.base.join("data"));
        process::start_daemon(command, &self.log, &self.pid_file)
    }

    /// Waits until the server answers, sees to the stack's role and database,
    /// and logs in as that role over TLS.
    ///
    /// # Errors
    /// [`super::Interrupted`]; when the server ends or does not answer in time.
    pub fn wait_until_ready(
        &self,
        certificates: &Certificates,
        password: &str,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let server =
            Starting { name: "postgres", pid_file: &self.pid_file, log: &self.log, limit: LIMIT };
        let socket = self.socket();
        process::wait_until_ready(server, stop, || session::ping(&socket, self.port))?;
        session::ensure_login(&socket, self.port, password)
            .context("cannot create postgres' role and database")?;
        session::log_in_over_tls(self.address(), &certificates.ca(), password)
            .context("postgres does not let its role in over TLS")
    }

    /// Ends the server if it runs; true when it did.
    ///
    /// # Errors
    /// [`super::Interrupted`]; when it cannot be ended.
    pub fn end(&self, stop: &Stop) -> anyhow::Result<bool> {
        process::end_daemon(&self.pid_file, END, LIMIT, stop)
    }

    /// Removes the data and the socket. Call with the server ended.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        remove_directory(&self.base)?;
        remove_directory(&self.socket())
    }
}

/// Who may come in from where: pg_hba.conf.
const ACCESS: &str = "# Written by orderctl at every start.
local   all postgres trust
hostssl all postgres all reject
hostssl all all      127.0.0.1/32 scram-sha-256
";

#[cfg(test)]
mod tests {
    use super::*;

    fn server(base: &str) -> Server {
        Server {
            base: base.into(),
            log: "/l".into(),
            pid_file: "/p".into(),
            port: 5432,
            runner: Runner::Ourselves,
        }
    }

    #[test]
    fn the_socket_is_near_the_data_unless_its_path_is_long_or_odd() {
        assert_eq!(server("/srv/me/s/postgres").socket(), Path::new("/srv/me/s/postgres/socket"));
        for base in [format!("/{}", "long".repeat(25)), "/o'clock".into(), "/a,b".into()] {
            let socket = server(&base).socket();
            assert!(socket.starts_with("/tmp"), "{}", socket.display());
            assert!(socket.as_os_str().len() < 40);
        }
    }

    #[test]
    fn the_uri_asks_for_the_certificate_and_hides_its_password() {
        let uri = server("/s").uri("pw");
        let expected = format!("postgres://{LOGIN}:pw@127.0.0.1:5432/{LOGIN}?sslmode=verify-full");
        assert_eq!(uri.expose(), expected);
        assert_eq!(format!("{uri}"), "***");
    }

    #[test]
    fn the_network_is_for_tls_and_passwords_only() {
        for line in ACCESS.lines().filter(|line| !line.starts_with(['#', 'l'])) {
            assert!(line.starts_with("hostssl "), "{line}");
            assert!(line.ends_with("scram-sha-256") || line.ends_with("reject"), "{line}");
        }
    }
}
