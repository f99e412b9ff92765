//! A pgbouncer before the database, as it comes but for pool_mode=transaction.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use orderctl::stack::postgres::Runner;
use orderctl::stack::{LOGIN, ports};
use tempfile::TempDir;

use super::postgres::{Rows, password, query_at};
use super::program::eventually;
use super::server::{give_private, own_port};
use super::{stack, uri_at_port};

/// A running pooler; ended when dropped.
#[derive(Debug)]
pub struct Pooler {
    /// Its port on the loopback address.
    pub port: u16,
    child: Child,
    _directory: TempDir,
}

impl Pooler {
    /// Starts it with a number of connections to the server, TLS on both sides.
    pub fn start(pool_size: usize) -> Pooler {
        let runner = Runner::find().expect("an account for the pooler");
        // Not where TMPDIR is: that may be closed to the pooler's account.
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        runner.give(directory.path()).expect("root, or ourselves");
        let port = ports::any_free().expect("a free port");
        let own = |name: &str| directory.path().join(name).display().to_string();
        let server = own_port().unwrap_or(stack().postgres.port());
        let settings = format!(
            "[databases]\n{LOGIN} = host=127.0.0.1 port={server} dbname={LOGIN}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\nadmin_users = {LOGIN}\n\
             pool_mode = transaction\ndefault_pool_size = {pool_size}\n\
             client_tls_sslmode = require\nclient_tls_key_file = {}\nclient_tls_cert_file = {}\n\
             server_tls_sslmode = verify-full\nserver_tls_ca_file = {}\n",
            own("users"),
            own("key"),
            own("certificate"),
            own("ca")
        );
        let tls = stack().cert_path.with_file_name("tls");
        let read = |path: &Path| fs::read_to_string(path).expect("a file of the stack");
        for (name, text) in [
            ("settings", settings),
            ("users", format!("\"{LOGIN}\" \"{}\"\n", password())),
            ("key", read(&tls.join("postgres.key"))),
            ("certificate", read(&tls.join("postgres.cert"))),
            ("ca", read(&stack().cert_path.join("ca.pem"))),
        ] {
            give_private(&runner, &directory.path().join(name), &text);
        }
        let mut command = Command::new(program());
        command.arg("-q").arg(own("settings")).current_dir(directory.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        runner.apply(&mut command);
        let child = command.spawn().expect("pgbouncer; scripts/setup installs it");
        let pooler = Pooler { port, child, _directory: directory };
        eventually("the pooler lets its role in", || {
            query_at(&uri_at_port(port), &stack().cert_path.join("ca.pem"), "select 1").is_ok()
        });
        pooler
    }

    /// Asks its console, as in `show pools`.
    pub fn show(&self, command: &str) -> Rows {
        let console = uri_at_port(self.port).replace(&format!("/{LOGIN}?"), "/pgbouncer?");
        let answer = query_at(&console, &stack().cert_path.join("ca.pem"), command);
        answer.unwrap_or_else(|error| panic!("{command}: {error:#}"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Nothing of it is wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian puts it where a user's PATH may not lead.
fn program() -> &'static str {
    match Path::new("/usr/sbin/pgbouncer").exists() {
        true => "/usr/sbin/pgbouncer",
        false => "pgbouncer",
    }
}
