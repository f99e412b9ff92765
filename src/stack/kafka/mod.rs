//! Apache Kafka: one process that is broker and controller, with three
//! listeners on the loopback address.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::certificates::{Certificates, write_stores};
use super::files::{create_private_directory, remove_directory, staging_directory, write_private};
use super::folder::{Folder, State};
use super::jars::{self, Jars};
use super::process::{self, Signal, Starting};
use super::{LOGIN, Listener, Service, helper};
use crate::config::{KafkaSettings, Secret};
use crate::console::Console;
use crate::edges::kafka::topics;
use crate::events::Kind;
use crate::stop::Stop;

/// The signal for an orderly end: logs are flushed and marked clean.
pub const END: Signal = Signal::Terminate;

/// How long a start or an orderly end may take. After a kill -9 its controller first
/// waits 18 s for the broker that was there, and two cores may be busy.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Partitions of the topics that are created at the start.
const DEFAULT_TOPIC_PARTITIONS: u32 = 6;

/// The broker, its tools, and a logger.
///
/// Not 4.3.0, 4.3.1 or 4.4.0: of a transaction that was being committed when all
/// replicas of a partition were lost, they forget that partition (KAFKA-20734).
/// With one broker that is every kill -9.
pub const JARS: Jars = Jars {
    service: "kafka",
    title: "Apache Kafka",
    version: "4.2.1",
    megabytes: 54,
    pom: include_str!("pom.xml"),
};

const LOG4J: &str = include_str!("log4j2.properties");

/// What the broker is started with: found before anything else is done, so
/// that what is missing is said first.
#[derive(Debug)]
pub struct Tools {
    java: PathBuf,
    jars: PathBuf,
}

/// What the broker runs with: this Java and the jars, which are downloaded on
/// first use.
///
/// # Errors
/// When Maven is missing, or nothing can be downloaded.
pub fn tools(java: &Path, console: &Console, stop: &Stop) -> anyhow::Result<Tools> {
    let jars = jars::obtain(&JARS, console, stop)?;
    Ok(Tools { java: java.to_owned(), jars })
}

/// Writes the configuration anew and formats the storage on first use.
///
/// # Errors
/// When the folder cannot be written or the format tool refuses.
pub fn prepare(
    tools: &Tools,
    folder: &Folder,
    state: &State,
    certificates: &Certificates,
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<()> {
    let home = folder.kafka();
    refuse_newer_storage(&home, state)?;
    create_private_directory(&home)?;
    // Compression libraries are unpacked there, and stay after a crash.
    remove_directory(&home.join("tmp"))?;
    create_private_directory(&home.join("tmp"))?;
    fs::write(home.join("log4j2.properties"), LOG4J)?;
    fs::write(home.join("server.properties"), properties(state, "data")?)?;
    let login = format!("password={}\n", state.kafka_password);
    write_private(&home.join("login.properties"), &login)?;
    write_stores(certificates, "kafka", &home)?;
    if !home.join("data").is_dir() {
        console.note("kafka: formatting its storage");
        format(tools, &home, state, stop)?;
    }
    Ok(())
}

/// A broker cannot read what a newer one has written.
fn refuse_newer_storage(home: &Path, state: &State) -> anyhow::Result<()> {
    let numbers = |version: &str| -> Vec<u32> {
        version.split('.').map(|number| number.parse().unwrap_or(u32::MAX)).collect()
    };
    if home.join("data").is_dir() && numbers(&state.kafka_version) > numbers(JARS.version) {
        bail!(
            "this stack's topics were written by Kafka {}, and {} cannot read them; `orderctl \
             stack up --clean` makes it anew, without its data",
            state.kafka_version,
            JARS.version
        );
    }
    Ok(())
}

/// Formats beside the final place and renames, so that what is there is whole.
fn format(tools: &Tools, home: &Path, state: &State, stop: &Stop) -> anyhow::Result<()> {
    let staging = staging_directory(home, "data")?;
    let name = staging.path().file_name().context("a directory has a name")?.to_string_lossy();
    fs::write(home.join("format.properties"), properties(state, &name)?)?;
    // By a file: the list of processes is for everyone to read.
    let login = format!("[name={LOGIN},password={}]", state.kafka_password);
    let of = |mechanism: &str| format!("--add-scram\n{mechanism}={login}\n");
    let user = of("SCRAM-SHA-256") + &of("SCRAM-SHA-512");
    write_private(&home.join("user.args"), &user)?;
    let mut command = java_command(tools, home, "kafka.tools.StorageTool");
    command.args(["format", "-t", &state.cluster_id, "-c", "format.properties", "@user.args"]);
    let finished = helper::run(command, stop, |_| {});
    fs::remove_file(home.join("user.args"))?;
    let finished = finished?;
    if !finished.status.success() {
        let said = helper::last_lines(finished.lines.iter().map(String::as_str), 5);
        bail!("cannot format Kafka's storage; it said:\n{said}");
    }
    fs::rename(staging.keep(), home.join("data"))?;
    Ok(())
}

/// Java with its working directory in Kafka's: all paths in the configuration
/// are relative to it, because properties files know neither commas in a list
/// of directories nor UTF-8.
fn java_command(tools: &Tools, home: &Path, class: &str) -> Command {
    let mut command = Command::new(&tools.java);
    command.current_dir(home);
    let heap = std::env::var("KAFKA_HEAP_OPTS").unwrap_or_else(|_| "-Xmx512m".into());
    command.args(heap.split_ascii_whitespace());
    command.args([
        "-server",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:+ExitOnOutOfMemoryError",
        // Else the virtual machine stands still whenever the disk of /tmp does: its counters
        // are in a mapped file there.
        "-XX:+PerfDisableSharedMem",
        "-Djava.awt.headless=true",
        "-Dlog4j2.configurationFile=log4j2.properties",
    ]);
    let mut temporary = OsString::from("-Djava.io.tmpdir=");
    temporary.push(home.join("tmp"));
    command.arg(temporary);
    command.arg("-cp").arg(tools.jars.join("*")).arg(class);
    command
}

/// Groups begin at once and may find a lost member out after a second, where
/// the broker's own least is 6 s: who tries things out waits for little else.
fn properties(state: &State, data: &str) -> anyhow::Result<String> {
    let controller = state.ports.kafka_controller;
    let mut clients = String::new();
    let mut protocols = String::new();
    for listener in Listener::ALL {
        let (name, port) = (listener.protocol().name(), listener.port(&state.ports));
        write!(clients, "{name}://127.0.0.1:{port},")?;
        write!(protocols, "{name}:{name},")?;
    }
    let clients = clients.trim_end_matches(',');
    Ok(format!(
        "# Written by orderctl at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={clients}
listener.security.protocol.map={protocols}CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=truststore.pem
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.ssl.client.auth=none
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{LOGIN}=\"${{file:login.properties:password}}\";
config.providers=file
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
min.insync.replicas=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A machine that is busy for some seconds must not make its only broker take itself for dead; after a
# kill -9 it cannot register anew for as long.
broker.session.timeout.ms=18000
"
    ))
}

/// Starts the broker; it is not ready yet.
///
/// # Errors
/// When the process cannot be started.
pub fn start(tools: &Tools, folder: &Folder) -> anyhow::Result<()> {
    let mut command = java_command(tools, &folder.kafka(), "kafka.Kafka");
    command.arg("server.properties");
    process::start_daemon(command, &folder.log(Service::Kafka), &folder.pid_file(Service::Kafka))
}

/// Waits until every listener answers a login and a question for metadata.
///
/// # Errors
/// [`super::Interrupted`]; when the broker ends or does not answer in time.
pub fn wait_until_ready(folder: &Folder, state: &State, stop: &Stop) -> anyhow::Result<()> {
    let (pid_file, log) = (folder.pid_file(Service::Kafka), folder.log(Service::Kafka));
    let broker = Starting { name: "kafka", pid_file: &pid_file, log: &log, limit: LIMIT };
    for listener in [Listener::Plaintext, Listener::Ssl, Listener::SaslSsl] {
        let client: BaseConsumer = client_config(folder, state, listener).create()?;
        process::wait_until_ready(broker, stop, || ask_for_metadata(&client, listener))?;
    }
    Ok(())
}

fn ask_for_metadata(client: &BaseConsumer, listener: Listener) -> anyhow::Result<()> {
    let metadata = client
        .fetch_metadata(None, Duration::from_millis(500))
        .with_context(|| format!("no answer from its {} listener", listener.protocol().name()))?;
    if metadata.brokers().is_empty() {
        bail!("the broker has not joined its cluster yet");
    }
    Ok(())
}

/// Creates the topics that the kinds of event are published to unless named, as
/// one does once in a managed provider's console. Those that are there stay.
///
/// # Errors
/// When the broker refuses, or a stop is requested meanwhile.
pub fn create_default_topics(state: &State, console: &Console, stop: &Stop) -> anyhow::Result<()> {
    let address = Listener::Plaintext.address(&state.ports).to_string();
    let settings = KafkaSettings {
        properties: vec![("bootstrap.servers".into(), Secret::new(address))],
        details: Vec::new(),
    };
    for kind in Kind::ALL {
        let shape =
            topics::Shape { partitions: Some(DEFAULT_TOPIC_PARTITIONS), replication_factor: None };
        topics::create(&settings, kind.default_topic(), shape, console, stop)?;
    }
    Ok(())
}

/// The configuration of a client of one listener.
pub fn client_config(folder: &Folder, state: &State, listener: Listener) -> ClientConfig {
    let path = |name: &str| folder.certs().join(name).to_string_lossy().into_owned();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", listener.address(&state.ports).to_string())
        .set("security.protocol", listener.protocol().name())
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "200");
    if listener != Listener::Plaintext {
        config.set("ssl.ca.location", path("ca.pem"));
    }
    match listener {
        Listener::Plaintext => {}
        Listener::Ssl => {
            config
                .set("ssl.key.location", path("service.key"))
                .set("ssl.certificate.location", path("service.cert"));
        }
        Listener::SaslSsl => {
            config
                .set("sasl.mechanism", "SCRAM-SHA-256")
                .set("sasl.username", LOGIN)
                .set("sasl.password", &state.kafka_password);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::ports::{MailPorts, Ports};

    fn state() -> State {
        State {
            cluster_id: "c".into(),
            kafka_version: JARS.version.into(),
            kafka_password: "hunter2".into(),
            postgres_password: "hunter3".into(),
            mail_password: "hunter4".into(),
            ports: Ports {
                kafka: 1001,
                kafka_sasl: 1002,
                kafka_plaintext: 1003,
                kafka_controller: 1004,
                postgres: 1005,
                mail: MailPorts::default(),
            },
        }
    }

    #[test]
    fn the_pom_has_the_version_that_names_the_cache() {
        let version = format!("<version>{}</version>", JARS.version);
        assert_eq!(JARS.pom.matches(&version).count(), 2);
    }

    #[test]
    fn storage_of_a_newer_broker_is_refused_and_of_an_older_one_not() {
        let home = tempfile::tempdir().unwrap();
        let mut state = state();
        state.kafka_version = "10.0.0".into();
        refuse_newer_storage(home.path(), &state).unwrap();
        fs::create_dir(home.path().join("data")).unwrap();
        let error = refuse_newer_storage(home.path(), &state).unwrap_err().to_string();
        assert!(error.contains("written by Kafka 10.0.0") && error.contains("--clean"), "{error}");
        for version in ["4.1.0", JARS.version] {
            state.kafka_version = version.into();
            refuse_newer_storage(home.path(), &state).unwrap();
        }
    }

    #[test]
    fn the_configuration_has_every_listener_and_no_secret() {
        let text = properties(&state(), "data").unwrap();
        assert!(text.contains(
            "\nlisteners=SSL://127.0.0.1:1001,SASL_SSL://127.0.0.1:1002,\
             PLAINTEXT://127.0.0.1:1003,CONTROLLER://127.0.0.1:1004\n"
        ));
        assert!(text.contains("\nlistener.security.protocol.map=SSL:SSL,SASL_SSL:SASL_SSL,"));
        assert!(text.contains("\nlistener.name.ssl.ssl.client.auth=required\n"));
        assert!(text.contains("ScramLoginModule required;\n"));
        assert!(!text.contains("hunter"));
    }
}
