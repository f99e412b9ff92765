//! A PostgreSQL of a test's own, to be stopped, restarted and starved. It has
//! the shared stack's role, password, database and certificate, on another port;
//! its role is a superuser.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use orderctl::stack::postgres::{Runner, programs};
use orderctl::stack::{LOGIN, ports};
use orderctl::stop::Stop;
use tempfile::TempDir;

use super::postgres::{Rows, password, query_at};
use super::program::{eventually, send_signal};
use super::shared_stack::QUIET;
use super::{stack, uri_at_port};

thread_local! {
    /// The port of the calling test's own server. Every test has a thread.
    static OWN_PORT: Cell<Option<u16>> = const { Cell::new(None) };
}

/// The port of the server that the calling test works with: its own while it
/// has one.
pub fn own_port() -> Option<u16> {
    OWN_PORT.get()
}

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are ended, a checkpoint is made.
    Fast,
    /// Everything stops at once; the next start recovers.
    Immediate,
}

/// A running server. While it lives, `sql`, `Session::open`, `Run::new` and
/// sandboxes of the same thread use it instead of the shared stack's.
#[derive(Debug)]
pub struct Server {
    /// Its port on the loopback address.
    pub port: u16,
    runner: Runner,
    programs: PathBuf,
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Makes a database and starts the server with more lines of
    /// `postgresql.conf`.
    pub fn start(settings: &str) -> Server {
        let runner = Runner::find().expect("an account for the server");
        let programs = programs(&runner, &QUIET, &Stop::manual()).expect("PostgreSQL");
        // Not where TMPDIR is: that may be closed to the server's account.
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        runner.give(directory.path()).expect("root, or ourselves");
        let port = ports::any_free().expect("a free port");
        make_database(&runner, &programs, directory.path());
        configure(&runner, directory.path(), port, settings);
        let child = spawn(&runner, &programs, directory.path());
        let server = Server { port, runner, programs, child, directory };
        server.wait_for("postgres");
        server.query("postgres", &format!("create database {LOGIN}")).expect("a new database");
        OWN_PORT.set(Some(port));
        server
    }

    /// Ends it and waits for its end.
    pub fn stop(&mut self, how: Shutdown) {
        let signal = match how {
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        };
        send_signal(self.child.id(), signal);
        eventually("the server's end", || self.child.try_wait().expect("its status").is_some());
    }

    /// Starts it again after a stop and waits until it lets its role in.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.runner, &self.programs, self.directory.path());
        self.wait_for(LOGIN);
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("its log")
    }

    /// Puts `/dev/full`, on which the kernel finds no space for anything, in
    /// place of the file of an empty table, or a new file back.
    pub fn set_full(&self, table: &str, full: bool) {
        let path = format!("select pg_relation_filepath('{table}'::regclass)");
        let rows = self.query(LOGIN, &path).expect("a path");
        let file = self.directory.path().join("data").join(rows[0][0].as_ref().expect("a file"));
        assert_eq!(fs::metadata(&file).expect("the table's file").len(), 0, "an empty table");
        // Beside it first: the server never sees that there is none.
        let new = file.with_extension("new");
        match full {
            true => std::os::unix::fs::symlink("/dev/full", &new).expect("a link"),
            false => {
                File::create(&new).expect("a file");
                self.runner.give(&new).expect("root, or ourselves");
            }
        }
        fs::rename(&new, &file).expect("the table's file is ours");
    }

    fn wait_for(&self, database: &str) {
        eventually("the server lets its role in", || self.query(database, "select 1").is_ok());
    }

    fn query(&self, database: &str, sql: &str) -> anyhow::Result<Rows> {
        let uri = uri_at_port(self.port).replace(&format!("/{LOGIN}?"), &format!("/{database}?"));
        query_at(&uri, &stack().cert_path.join("ca.pem"), sql)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        OWN_PORT.set(None);
        // Not SIGKILL, after which its shared memory would stay.
        if self.child.try_wait().expect("its status").is_none() {
            self.stop(Shutdown::Immediate);
        }
    }
}

fn make_database(runner: &Runner, programs: &Path, directory: &Path) {
    let file = directory.join("password");
    fs::write(&file, password()).expect("a file");
    runner.give(&file).expect("root, or ourselves");
    let mut command = Command::new(programs.join("bin/initdb"));
    command.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    command.arg(format!("--username={LOGIN}")).arg("--pwfile").arg(&file);
    command.arg("--pgdata").arg(directory.join("data")).current_dir(directory);
    runner.apply(&mut command);
    let made = command.output().expect("initdb");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn configure(runner: &Runner, directory: &Path, port: u16, settings: &str) {
    let own = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nssl = on\n\
         shared_buffers = '32MB'\nfsync = off\nlog_timezone = 'UTC'\n{settings}\n"
    );
    let tls = stack().cert_path.with_file_name("tls");
    for (name, text) in [
        ("postgresql.conf", own),
        ("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n".to_owned()),
        ("server.key", fs::read_to_string(tls.join("postgres.key")).expect("a key")),
        ("server.crt", fs::read_to_string(tls.join("postgres.cert")).expect("a certificate")),
    ] {
        give_private(runner, &directory.join("data").join(name), &text);
    }
}

/// Writes a file that only the account of a service can read.
pub fn give_private(runner: &Runner, path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
    runner.give(path).expect("root, or ourselves");
}

fn spawn(runner: &Runner, programs: &Path, directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("a log");
    let mut command = Command::new(programs.join("bin/postgres"));
    command.arg("-D").arg(directory.join("data")).current_dir(directory).env("LC_ALL", "C");
    command.stdout(log.try_clone().expect("a handle")).stderr(log);
    runner.apply(&mut command);
    command.spawn().expect("the server starts")
}
