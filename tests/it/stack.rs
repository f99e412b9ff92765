//! `stack`: real services, started, looked at, killed and ended.

mod database;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use orderctl::stop::Stop;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use tempfile::TempDir;

use crate::support::program::Finished;
use crate::support::shared_stack::QUIET;
use crate::support::turn::{Load, Turn};
use crate::support::{
    Kafka, PATIENCE, Raw, Run, Sandbox, eventually, kafka, orderctl, query_at, sql, stack, uri,
};

/// A stack of a test's own: ended and removed with it.
struct Own {
    folder: TempDir,
    /// Held meanwhile.
    _turn: Turn,
}

impl Own {
    fn new() -> Own {
        let turn = Turn::take(Load::Heavy);
        Own { folder: tempfile::tempdir().unwrap(), _turn: turn }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.folder.path().join("stack")
    }

    fn command(&self, action: &str) -> Run {
        Run::bare(
            ["stack", action, "-o", "json", "--dir"].map(str::to_owned).into_iter().chain([self
                .dir()
                .to_str()
                .expect("a plain path")
                .to_owned()]),
        )
    }

    fn run(&self, action: &str) -> Finished {
        self.command(action).limit(PATIENCE).finish()
    }

    fn pid(&self, service: &str) -> u32 {
        let text = fs::read_to_string(self.dir().join(format!("run/{service}.pid"))).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let dir = self.dir();
        let _ = orderctl::stack::down(&dir, true, &QUIET, &Stop::manual());
    }
}

fn up_with(dir: &Path) -> Run {
    Run::bare(["stack", "up", "--dir"]).arg(dir)
}

fn kill(pid: u32) {
    let status = Command::new("sh").args(["-c", "kill -9 \"$0\"", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Whether a process runs; one that is not reaped yet has no command line.
fn is_alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn two_stacks_live_side_by_side_and_data_survive_until_clean() {
    let first = stack();
    let own = Own::new();
    let up = own.run("up").success().json();
    let again = own.run("up").success();
    assert_eq!(again.json(), up, "the same answer from a stack that runs");
    assert!(again.stderr.contains("already running"), "{again}");
    for name in ["kafka_ssl", "kafka_sasl", "kafka_plaintext", "postgres"] {
        let address = up[name].as_str().unwrap();
        assert!(first.postgres.to_string() != address && first.kafka_ssl.to_string() != address);
    }

    let creds = own.dir().join("creds.json");
    let ca = own.dir().join("certs/ca.pem");
    let broker = Kafka { address: up["kafka_plaintext"].as_str().unwrap().parse().unwrap() };
    broker.create_topic("kept", 2, &[]);
    broker.produce("kept", [Raw { partition: Some(1), payload: Some(b"kept"), key: None }]);
    query_at(&uri(&creds), &ca, "create table kept as select 42 as answer").unwrap();
    let before = uri(&creds);

    let down = own.run("down").success().json();
    assert_eq!(down["stopped"], serde_json::json!(["mail", "kafka", "postgres"]));
    assert!(TcpStream::connect(broker.address).is_err());
    let status = own.run("status").code(1);
    assert!(status.stderr.contains("orderctl stack up"), "{status}");
    assert_eq!(status.json()["services"][0]["running"], false);

    assert_eq!(own.run("up").success().json(), up);
    assert_eq!(uri(&creds), before, "the same credentials");
    let rows = query_at(&before, &ca, "select answer from kept").unwrap();
    assert_eq!(rows, [[Some("42".to_owned())]]);
    let kept = broker.read_all("kept");
    assert_eq!(
        kept.iter().map(|record| record.payload()).collect::<Vec<_>>(),
        [Some(&b"kept"[..])]
    );

    let cleaned = Run::bare(["stack", "up", "--clean", "-o", "json", "--dir"]).arg(own.dir());
    let fresh = cleaned.finish().success().json();
    let broker = Kafka { address: fresh["kafka_plaintext"].as_str().unwrap().parse().unwrap() };
    assert_eq!(broker.partitions("kept"), 0);
    let gone = query_at(&uri(&creds), &ca, "select answer from kept").unwrap_err();
    assert!(gone.to_string().starts_with("42P01"), "{gone:#}");

    let down = Run::bare(["stack", "down", "--clean", "--dir"]).arg(own.dir()).finish().success();
    assert_eq!(down.stdout, "stopped: mail, kafka, postgres; data removed\n");
    assert!(!own.dir().exists());
    own.run("down").success();
    assert!(own.run("status").code(1).stderr.contains("no stack in"));
    sql("select 1");
}

#[test]
fn a_crash_of_either_side_is_seen_mended_and_ended() {
    let own = Own::new();
    own.run("up").success();
    kill(own.pid("kafka"));
    let seen = || own.run("status").code == Some(1);
    eventually("status sees that the broker is gone", seen);
    let status = own.run("status").json();
    assert_eq!(
        (&status["services"][0]["running"], &status["services"][1]["running"]),
        (&true.into(), &false.into())
    );
    let database = own.pid("postgres");
    own.run("up").success();
    assert_eq!(own.pid("postgres"), database, "what runs is left running");
    own.run("status").success();

    kill(own.pid("mail"));
    eventually("status sees that the mail server is gone", || {
        own.run("status").json()["services"][2]["running"] == false
    });
    let broker = own.pid("kafka");
    own.run("up").success();
    assert_eq!(own.pid("kafka"), broker, "what runs is left running");

    kill(own.pid("postgres"));
    kill(own.pid("mail"));
    kill(own.pid("kafka"));
    eventually("status sees that all three are gone", || {
        let status = own.run("status").json();
        let services = status["services"].as_array().unwrap();
        services.iter().all(|service| service["running"] == false)
    });
    let down = own.run("down").success();
    assert_eq!(down.json()["stopped"], serde_json::json!([]));
}

#[test]
fn an_interrupted_up_leaves_nothing_running() {
    let own = Own::new();
    let up = own.command("up").spawn();
    eventually("the database starts", || own.dir().join("run/postgres.pid").exists());
    let database = own.pid("postgres");
    up.interrupt();
    let ended = up.finish().code(130);
    assert_eq!(ended.stdout, "");
    let status = own.run("status").code(1).json();
    for service in status["services"].as_array().unwrap() {
        assert_eq!(service["running"], false, "{status}");
    }
    assert!(!is_alive(database));
}

#[test]
fn what_a_killed_up_started_is_ended_by_down_and_mended_by_up() {
    let own = Own::new();
    let mut up = own.command("up").spawn();
    eventually("the database starts", || own.dir().join("run/postgres.pid").exists());
    let database = own.pid("postgres");
    assert!(up.is_running());
    up.kill();
    let down = own.run("down").success();
    assert_eq!(down.json()["stopped"], serde_json::json!(["postgres"]));
    assert!(!is_alive(database));
    own.run("up").success();
}

#[test]
fn the_folder_is_dot_orderctl_unless_named() {
    let dir = tempfile::tempdir().unwrap();
    let down = Run::bare(["stack", "down"]).directory(dir.path()).finish().success();
    assert_eq!(down.stdout, "nothing was running\n");
    assert!(down.stderr.contains("no stack in .orderctl"), "{down}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_up_prints_is_for_the_shell_and_for_scripts() {
    let stack = stack();
    let folder = stack.folder.to_str().unwrap();
    let text = orderctl(["stack", "up", "--dir", folder]).success();
    let creds = format!("export ORDERCTL_CREDS={}", stack.creds.display());
    let certs = format!("export ORDERCTL_CERT_PATH={}", stack.cert_path.display());
    assert_eq!(text.stdout, format!("{creds}\n{certs}\n"));
    let secret = uri(&stack.creds).split(['/', '@', ':']).nth(4).unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    let json = orderctl(["stack", "up", "-o", "json", "--dir", folder]).success();
    assert_eq!(json.json()["postgres"], stack.postgres.to_string());
    assert!(!format!("{text}{json}").contains(&secret), "no secret is printed");
    let table = orderctl(["stack", "status", "--dir", folder]).success().stdout;
    assert!(table.contains("running") && table.contains(&stack.kafka_sasl.to_string()), "{table}");
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let own = Own::new();
    for flag in [
        "--kafka-port",
        "--kafka-sasl-port",
        "--kafka-plaintext-port",
        "--postgres-port",
        "--mail-port",
    ] {
        let refused = up_with(&own.dir()).arg(flag).arg(port.to_string()).finish().code(1);
        let text = &refused.stderr;
        assert!(text.contains("taken") && text.contains(flag), "{refused}");
        own.run("down").success();
        fs::remove_dir_all(own.dir()).unwrap();
    }
    let usage = up_with(&own.dir()).arg("--kafka-port").arg("0").finish().code(2);
    assert!(usage.stderr.contains("--kafka-port"), "{usage}");
}

#[test]
fn a_port_of_what_runs_cannot_be_changed() {
    let refused = up_with(&stack().folder).arg("--kafka-port").arg("15001").finish().code(2);
    assert!(refused.stderr.contains("orderctl stack down"), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_a_stack_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for bad in [Path::new("/proc/orderctl"), &dir.path().join("file"), dir.path()] {
        let refused = up_with(bad).finish().code(1);
        assert!(refused.stderr.contains("--dir"), "{refused}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn missing_and_old_java_are_told_apart() {
    let own = Own::new();
    let tools = tempfile::tempdir().unwrap();
    let up = || up_with(&own.dir()).env("JAVA_HOME", "").env("PATH", tools.path());
    let missing = up().finish().code(1);
    assert!(missing.stderr.contains("missing"), "{missing}");
    assert!(missing.stderr.contains("openjdk-17-jre-headless"), "{missing}");
    script(&tools.path().join("java"), "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2");
    let old = up().finish().code(1);
    assert!(old.stderr.contains("Java 11, too old"), "{old}");
}

#[test]
fn missing_maven_and_a_missing_network_are_told_apart() {
    let own = Own::new();
    let cache = tempfile::tempdir().unwrap();
    let tools = tempfile::tempdir().unwrap();
    script(&tools.path().join("java"), "echo 'openjdk version \"17.0.2\" 2022-01-18' >&2");
    let up = || {
        let up = up_with(&own.dir()).env("JAVA_HOME", "").env("XDG_CACHE_HOME", cache.path());
        up.env("PATH", tools.path())
    };
    let missing = up().finish().code(1);
    assert!(missing.stderr.contains("apt-get install maven"), "{missing}");
    script(&tools.path().join("mvn"), "echo '[ERROR] Unknown host repo.example'; exit 1");
    let offline = up().finish().code(1);
    assert!(offline.stderr.contains("check the network"), "{offline}");
    assert!(offline.stderr.contains("Unknown host repo.example"), "{offline}");
}

fn script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Asks for metadata as a client of creds.json does, for so long.
fn asks(
    creds: &Path,
    limit: Duration,
    change: impl Fn(&mut ClientConfig),
) -> Result<usize, String> {
    let text = fs::read(creds).unwrap();
    let creds: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let kafka = &creds["kafka"];
    let certificate = |name: &str| stack().cert_path.join(name).to_str().unwrap().to_owned();
    let mut config = ClientConfig::new();
    config
        .set(
            "bootstrap.servers",
            format!("{}:{}", kafka["hostname"].as_str().unwrap(), kafka["port"]),
        )
        .set("security.protocol", kafka["security_protocol"].as_str().unwrap())
        .set("ssl.ca.location", certificate("ca.pem"))
        .set("ssl.key.location", certificate("service.key"))
        .set("ssl.certificate.location", certificate("service.cert"));
    if let Some(sasl) = kafka.get("sasl") {
        config
            .set("sasl.mechanism", sasl["mechanism"].as_str().unwrap())
            .set("sasl.username", sasl["username"].as_str().unwrap())
            .set("sasl.password", sasl["password"].as_str().unwrap());
    }
    change(&mut config);
    let client: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    match client.fetch_metadata(None, limit) {
        Ok(metadata) => Ok(metadata.brokers().len()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_listener_answers_those_who_may_and_refuses_others() {
    let stack = stack();
    for creds in [&stack.creds, &stack.creds_sasl, &stack.creds_plaintext] {
        assert_eq!(asks(creds, PATIENCE, |_| {}), Ok(1), "{}", creds.display());
    }
    // A refusal is no answer to the client: it tries again until its time is over.
    let soon = Duration::from_secs(5);
    let no_certificate = asks(&stack.creds, soon, |config| {
        config.remove("ssl.key.location");
        config.remove("ssl.certificate.location");
    });
    assert!(no_certificate.is_err(), "mutual TLS wants a certificate");
    let wrong_password = asks(&stack.creds_sasl, soon, |config| {
        config.set("sasl.password", "wrong");
    });
    assert!(wrong_password.is_err(), "SASL wants the password");
    let no_ca = asks(&stack.creds_sasl, soon, |config| {
        config.set("ssl.ca.location", stack.cert_path.join("service.cert").to_str().unwrap());
    });
    assert!(no_ca.is_err(), "the server's certificate is of the stack's CA");
}

#[test]
fn a_topic_takes_raw_records_and_is_not_made_by_itself() {
    let sandbox = Sandbox::new("raw").with_topic(2);
    let records = [
        Raw { partition: Some(0), key: Some(b"a"), payload: Some(b"\xff\x00") },
        Raw { partition: Some(1), key: None, payload: None },
    ];
    kafka().produce(&sandbox.topic, records);
    let read = kafka().read_all(&sandbox.topic);
    assert_eq!(read[0].payload(), Some(&b"\xff\x00"[..]));
    assert_eq!((read[1].key(), read[1].payload()), (None, None));
    assert_eq!(kafka().watermarks(&sandbox.topic, 0), (0, 1));
    assert_eq!(kafka().partitions(&sandbox.group), 0, "no topic of that name");
}
