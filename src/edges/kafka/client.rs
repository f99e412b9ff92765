//! From settings to a librdkafka client, and whether the cluster answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::diagnosis::{Diagnosis, diagnose};
use super::explain::explain;
use crate::config::KafkaSettings;
use crate::console::Console;
use crate::error::Usage;
use crate::stop::Stop;

/// How long a cluster that is merely unreachable is tried before it is given
/// up: enough for every address of a name and every broker of a list.
const GRACE: Duration = Duration::from_secs(3);

/// The longest wait for one answer, so that a stop is noticed.
const SLICE_MAX: Duration = Duration::from_secs(4);

/// How long a cluster may take to answer at the start.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long callbacks are served after each question that failed.
const CALLBACKS: Duration = Duration::from_millis(50);

/// The configuration every client of ours starts from: the settings over our
/// own defaults.
pub fn client_config(settings: &KafkaSettings) -> ClientConfig {
    client_config_over(&[], settings)
}

/// As [`client_config`], with further defaults that the settings override.
pub fn client_config_over(defaults: &[(&str, &str)], settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    config.set("client.id", "orderctl");
    config.set("socket.keepalive.enable", "true");
    // Log lines go to the context, which drops what nobody wants to see.
    config.set_log_level(RDKafkaLogLevel::Debug);
    for (name, value) in &settings.properties {
        config.set(name, value.expose());
    }
    config
}

/// Checks that librdkafka knows every property and takes its value, without
/// connecting.
///
/// # Errors
/// A [`Usage`] error that names the property.
pub fn check(settings: &KafkaSettings) -> anyhow::Result<()> {
    let configured = client_config(settings).create_native_config();
    configured.map(drop).map_err(|error| Usage(describe(&error)).into())
}

/// One line about an error of librdkafka. Its own text of a refused property
/// would quote the value, which may be a secret.
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) if reason.contains("No such") => format!(
            "there is no Kafka property {name}: correct -X or the file of --kafka-config \
             (the names are those of librdkafka's CONFIGURATION.md)"
        ),
        KafkaError::ClientConfig(_, _, name, _) => format!(
            "the value of the Kafka property {name} is not one it can have: correct -X, the file \
             of --kafka-config or creds.json (see librdkafka's CONFIGURATION.md)"
        ),
        other => other.to_string(),
    }
}

/// Whether an error is one of a partition that is between two leaders, which
/// passes by itself.
pub fn is_passing(error: &anyhow::Error) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let code = error.chain().find_map(|cause| cause.downcast_ref::<KafkaError>());
    matches!(
        code.and_then(KafkaError::rdkafka_error_code),
        Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable | Code::UnknownPartition)
    )
}

/// Whether Kafka refuses this login something, which no wait will cure.
pub fn is_refused(error: &anyhow::Error) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let code = error.chain().find_map(|cause| cause.downcast_ref::<KafkaError>());
    matches!(
        code.and_then(KafkaError::rdkafka_error_code),
        Some(
            Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
        )
    )
}

/// The context of every client of ours, alone or inside another context: takes
/// librdkafka's log lines to `-v -v` instead of to stderr, and remembers what
/// went wrong last.
#[derive(Debug, Clone)]
pub struct ClientLog {
    console: Console,
    last: Arc<Mutex<Option<Diagnosis>>>,
}

impl ClientLog {
    /// A context that has seen nothing yet.
    pub fn new(console: &Console) -> ClientLog {
        ClientLog { console: console.clone(), last: Arc::default() }
    }

    /// What went wrong last, if anything has, since the last call of
    /// [`ClientLog::forget`].
    pub fn failure(&self) -> Option<Diagnosis> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what went wrong: the cluster has answered since.
    pub fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes a line of librdkafka's log: shows it with `-v -v`, and remembers a
    /// failed connection, for which there is not always an error callback.
    pub fn observe(&self, facility: &str, line: &str) {
        self.show(facility, line);
        if facility == "FAIL" {
            self.keep(diagnose(None, line));
        }
    }

    /// Takes an error callback of librdkafka.
    pub fn remember(&self, error: &KafkaError, reason: &str) {
        self.show("ERROR", reason);
        self.keep(diagnose(error.rdkafka_error_code(), reason));
    }

    fn show(&self, facility: &str, line: &str) {
        if self.console.verbosity > 1 {
            self.console.detail(format_args!("librdkafka: {facility}: {line}"));
        }
    }

    fn keep(&self, found: Option<Diagnosis>) {
        let Some(found) = found else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // That a login failed is not to be hidden by the broken connection that
        // follows it.
        if found.is_final || last.as_ref().is_none_or(|last| !last.is_final) {
            *last = Some(found);
        }
    }
}

impl ClientContext for ClientLog {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.observe(facility, line);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.remember(&error, reason);
    }
}

impl ConsumerContext for ClientLog {}

impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

/// What a cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port` of each broker.
    pub brokers: Vec<String>,
    /// Each topic that may be seen, with its number of partitions.
    pub topics: Vec<(String, usize)>,
}

impl Cluster {
    /// How many partitions a topic has; none when there is none that may be seen.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        let found = self.topics.iter().find(|(name, _)| name == topic);
        found.and_then(|(_, partitions)| u32::try_from(*partitions).ok())
    }
}

/// Connects and asks the cluster for its brokers and topics.
///
/// Ends as soon as it is clear that waiting is of no use; a cluster that is
/// unreachable is tried for a few seconds, a silent one for `limit` (use 20 s at
/// most).
///
/// # Errors
/// What keeps us from the cluster, with the cure and without secrets. A stop is
/// an error too; the caller asks `stop` which it was.
pub fn probe(
    settings: &KafkaSettings,
    console: &Console,
    stop: &Stop,
    limit: Duration,
) -> anyhow::Result<Cluster> {
    check(settings)?;
    let log = ClientLog::new(console);
    let client = BaseConsumer::from_config_and_context(&client_config(settings), log.clone())
        .map_err(|error| anyhow::anyhow!("{}", super::diagnosis::creation(&describe(&error))))?;
    let started = Instant::now();
    // Longer with each round: an answer may take longer than the first ones.
    let mut slice = Duration::from_millis(250);
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let answer = client.fetch_metadata(None, slice.min(left));
        let error = match answer {
            Ok(metadata) => return Ok(summarize(&metadata)),
            Err(error) => error,
        };
        serve_callbacks(&client);
        if stop.requested() {
            bail!("stopped before {} answered", settings.brokers());
        }
        let waited = started.elapsed();
        match log.failure() {
            Some(failure) if failure.is_final || waited >= GRACE.min(limit) => {
                bail!("{}", explain(settings, failure));
            }
            None if waited >= limit => bail!(
                "no answer from {} within {} s: check the address and the firewalls between ({})",
                settings.brokers(),
                limit.as_secs(),
                describe(&error)
            ),
            _ => slice = (slice * 2).min(SLICE_MAX),
        }
    }
}

/// Serves the callbacks that came in meanwhile. A look that does not wait takes
/// in one line of the log, and `debug=all` writes hundreds before the one that
/// tells what failed.
fn serve_callbacks(client: &BaseConsumer<ClientLog>) {
    let until = Instant::now() + CALLBACKS;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        // What comes out are errors that the context has been told already.
        client.poll(left);
    }
}

fn summarize(metadata: &Metadata) -> Cluster {
    let broker =
        |broker: &rdkafka::metadata::MetadataBroker| format!("{}:{}", broker.host(), broker.port());
    let topic = |topic: &rdkafka::metadata::MetadataTopic| {
        (topic.name().to_owned(), topic.partitions().len())
    };
    Cluster {
        brokers: metadata.brokers().iter().map(broker).collect(),
        topics: metadata.topics().iter().map(topic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console {
        Console {
            output: Default::default(),
            quiet: true,
            verbosity: 0,
            log: crate::log::Log::PLAIN,
        }
    }

    #[test]
    fn an_unknown_property_is_named_and_a_refused_value_is_not_quoted() {
        let mut settings = KafkaSettings::plaintext("127.0.0.1:1");
        settings.set("no.such.property", "hunter2");
        let refusal = check(&settings).unwrap_err();
        assert!(refusal.is::<Usage>());
        let text = refusal.to_string();
        assert!(text.contains("no.such.property") && !text.contains("hunter2"), "{text}");

        let mut settings = KafkaSettings::plaintext("127.0.0.1:1");
        settings.set("socket.timeout.ms", "hunter2");
        let text = check(&settings).unwrap_err().to_string();
        assert!(text.contains("socket.timeout.ms") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_in_process_cluster_answers() {
        let cluster = rdkafka::mocking::MockCluster::new(2).unwrap();
        let settings = KafkaSettings::plaintext(&cluster.bootstrap_servers());
        cluster.create_topic("orders", 3, 1).unwrap();
        let limit = Duration::from_secs(20);
        let found = probe(&settings, &console(), &Stop::manual(), limit).unwrap();
        assert_eq!(found.brokers.len(), 2);
        assert!(found.topics.contains(&("orders".into(), 3)));
    }

    #[test]
    fn a_closed_port_is_given_up_soon_and_by_name() {
        // Bound and dropped: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = KafkaSettings::plaintext(&format!("127.0.0.1:{port}"));
        let started = Instant::now();
        let limit = Duration::from_secs(20);
        let refusal = probe(&settings, &console(), &Stop::manual(), limit).unwrap_err().to_string();
        assert!(refusal.contains(&format!("127.0.0.1:{port}")), "{refusal}");
        assert!(refusal.contains("nothing listens"), "{refusal}");
        assert!(started.elapsed() < limit);
    }

    #[test]
    fn a_final_failure_is_not_hidden_by_what_follows() {
        use rdkafka::types::RDKafkaErrorCode as Code;
        let log = ClientLog::new(&console());
        let reason = "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed";
        log.remember(&KafkaError::Global(Code::Authentication), reason);
        log.remember(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(log.failure().unwrap().is_final);
        log.forget();
        assert_eq!(log.failure(), None);
    }
}
