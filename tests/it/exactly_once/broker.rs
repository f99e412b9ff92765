//! A broker that is ended and killed under load, and started again.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use orderctl::stack::process::{Signal, end_daemon, running, start_daemon};
use orderctl::stop::Stop;
use tempfile::TempDir;

use super::{asker, assert_verified, endless_producer, sandbox, stop_producing, worker};
use crate::support::shared_stack::{QUIET, bring_up};
use crate::support::turn::{Load, Turn};
use crate::support::{Kafka, PATIENCE, Run, Sandbox, eventually};

/// The name in the client's certificate.
const LOGIN: &str = "O=orderctl local stack,CN=orderctl";
/// The plaintext listener is the service's own way in.
const AUTHORIZER: &str = "
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
";

/// A broker of the test's own, gone with it.
pub struct Broker {
    folder: TempDir,
    /// Its plaintext listener.
    pub kafka: Kafka,
    /// Held meanwhile.
    _turn: Turn,
}

impl Broker {
    /// With a stack around it.
    pub fn up() -> Broker {
        let turn = Turn::take(Load::Heavy);
        let folder = tempfile::tempdir().expect("a folder");
        let stack = bring_up(folder.path()).expect("a stack of its own");
        Broker { folder, kafka: Kafka { address: stack.kafka_plaintext }, _turn: turn }
    }

    /// With a stack around it, whose login has no rights but those it is granted.
    pub fn with_rights_only() -> Broker {
        let broker = Broker::up();
        broker.restart_with(AUTHORIZER);
        broker
    }

    /// Lets the login do these things to a topic or group of this name.
    pub fn grant(&self, what: &str, name: &str, operations: &[&str]) {
        let argv = self.argv();
        let mut argv = argv.split(|byte| *byte == 0).skip_while(|argument| *argument != b"-cp");
        let jars = OsStr::from_bytes(argv.nth(1).expect("Kafka's classes"));
        let mut tool = Command::new("java");
        tool.arg("-cp").arg(jars).args(["org.apache.kafka.tools.AclCommand", "--add", "--force"]);
        tool.args(["--bootstrap-server", &self.kafka.address.to_string()])
            .args(["--allow-principal", &format!("User:{LOGIN}"), what, name])
            .args(operations.iter().flat_map(|operation| ["--operation", operation]));
        let done = tool.output().expect("Kafka's tool");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Lets a run use this broker and the stack around it by its login.
    pub fn logged_in(&self, run: Run) -> Run {
        run.directory(self.dir())
            .env("ORDERCTL_CREDS", self.dir().join("creds.json"))
            .env("ORDERCTL_CERT_PATH", self.dir().join("certs"))
    }

    /// The folder of its stack.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it with a signal and waits for its end.
    pub fn end(&self, signal: Signal) {
        let pid_file = self.dir().join("run/kafka.pid");
        let ended = end_daemon(&pid_file, signal, PATIENCE, &Stop::manual());
        assert!(ended.expect("the broker's end"), "it ran");
        assert!(TcpStream::connect(self.kafka.address).is_err(), "nobody listens");
    }

    /// Starts it again.
    pub fn start(&self) {
        bring_up(self.dir()).expect("the broker again");
    }

    /// Starts it again as it was, with more properties than a stack writes.
    pub fn restart_with(&self, properties: &str) {
        let argv = self.argv();
        let mut argv = argv.strip_suffix(b"\0").expect("it ends so").split(|byte| *byte == 0);
        let mut command = Command::new(OsStr::from_bytes(argv.next().expect("a program")));
        command.args(argv.map(OsStr::from_bytes)).current_dir(self.dir().join("kafka"));
        self.end(Signal::Terminate);
        let written = self.dir().join("kafka/server.properties");
        let mut file = OpenOptions::new().append(true).open(written).expect("its properties");
        file.write_all(properties.as_bytes()).expect("more of them");
        let (log, pid_file) = (self.dir().join("log/kafka.log"), self.dir().join("run/kafka.pid"));
        start_daemon(command, &log, &pid_file).expect("the broker again");
        eventually("it answers", || self.kafka.is_up());
    }

    /// Its command line, each argument with a NUL behind it.
    fn argv(&self) -> Vec<u8> {
        let pid = running(&self.dir().join("run/kafka.pid")).expect("it runs");
        fs::read(format!("/proc/{pid}/cmdline")).expect("its command line")
    }

    /// Lets a run use this broker, with the shared stack's database.
    pub fn used_by(&self, run: Run) -> Run {
        run.env("ORDERCTL_BOOTSTRAP_SERVER", self.kafka.address.to_string())
            .env("ORDERCTL_SECURITY_PROTOCOL", "plaintext")
    }

    #[track_caller]
    fn assert_each_once(&self, sandbox: &Sandbox, number: usize) {
        eventually(&format!("{number} rows"), || sandbox.count("orders") >= number);
        let distinct = sandbox.column("orders", "count(*) || ' ' || count(distinct order_id)");
        assert_eq!(distinct, [format!("{number} {number}")]);
        for (partition, position) in sandbox.positions() {
            assert_eq!(position, self.kafka.watermarks(&sandbox.topic, partition).1);
        }
        assert_verified(self.used_by(sandbox.verify("orders")), number);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = orderctl::stack::down(self.dir(), true, &QUIET, &Stop::manual());
    }
}

#[test]
fn a_broker_restarted_and_killed_under_load_is_waited_for_by_producer_and_workers() {
    let sandbox = sandbox("broker", 4);
    let broker = Broker::up();
    broker.kafka.create_topic(&sandbox.topic, 4, &[]);
    let asker = asker(&sandbox);
    let mut workers: Vec<_> = (0..2).map(|_| broker.used_by(worker(&sandbox)).spawn()).collect();
    let mut producer = broker.used_by(endless_producer(&sandbox, 2_000)).spawn();
    for signal in [Signal::Terminate, Signal::Kill] {
        let position = asker.position();
        eventually("records flow", || asker.position() > position + 2_000);
        let watch = asker.watch();
        broker.end(signal);
        let (away, position) = (Instant::now(), asker.position());
        // Time without a broker is the fault itself.
        std::thread::sleep(Duration::from_secs(1));
        broker.start();
        let away = away.elapsed();
        eventually("records flow again", || asker.position() > position + 4_000);
        eprintln!("{signal:?}: away for {away:.1?}, longest pause {:.1?}", watch.longest());
        assert!(producer.is_running() && workers.iter_mut().all(|worker| worker.is_running()));
    }
    let number = stop_producing(producer);
    broker.assert_each_once(&sandbox, number);
    for worker in workers {
        worker.interrupt();
        worker.finish().code(130);
    }
    broker.assert_each_once(&sandbox, number);
}
