//! Kafka: every listener answers, and every mistake has its message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use orderctl::config::{Connections, Environment, KafkaSettings};
use orderctl::edges::kafka::client::{Cluster, probe};
use orderctl::edges::tls;
use orderctl::stop::Stop;

use super::fakes::{self, Stranger};
use super::{assert_says, connections};
use crate::support::shared_stack::QUIET;
use crate::support::{Sandbox, stack};

const LIMIT: Duration = Duration::from_secs(20);

fn resolve(connections: &Connections) -> anyhow::Result<KafkaSettings> {
    let nowhere = std::path::Path::new("/nonexistent");
    KafkaSettings::resolve_in(connections, &Environment::default(), nowhere)
}

fn ask(connections: &Connections) -> anyhow::Result<Cluster> {
    probe(&resolve(connections)?, &QUIET, &Stop::manual(), LIMIT)
}

fn refusal(connections: &Connections) -> String {
    let started = Instant::now();
    let refusal = format!("{:#}", ask(connections).expect_err("no connection"));
    assert!(started.elapsed() < Duration::from_secs(25), "too late: {refusal}");
    refusal
}

fn with(connections: Connections, properties: &[&str]) -> Connections {
    let property = properties.iter().map(|property| (*property).into()).collect();
    Connections { property, ..connections }
}

fn mutual_tls() -> Connections {
    connections(&stack().creds)
}

fn login() -> Connections {
    connections(&stack().creds_sasl)
}

fn at(connections: Connections, address: impl ToString) -> Connections {
    Connections { bootstrap_server: Some(address.to_string()), ..connections }
}

#[test]
fn every_listener_answers_and_tells_its_topics() {
    let sandbox = Sandbox::new("probe").with_topic(4);
    for creds in [&stack().creds, &stack().creds_sasl, &stack().creds_plaintext] {
        let cluster = ask(&connections(creds)).unwrap();
        assert_eq!(cluster.brokers.len(), 1);
        assert!(cluster.topics.contains(&(sandbox.topic.clone(), 4)), "{creds:?}");
    }
}

#[test]
fn a_java_properties_file_with_pem_in_it_opens_the_mutual_tls_listener() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |name: &str| {
        std::fs::read_to_string(stack().cert_path.join(name)).unwrap().replace('\n', "\\n")
    };
    let file = folder.path().join("client.properties");
    let text = format!(
        "bootstrap.servers={}\nsecurity.protocol=SSL\nssl.truststore.type=PEM\n\
         ssl.truststore.certificates={}\nssl.keystore.type=PEM\n\
         ssl.keystore.certificate.chain={}\nssl.keystore.key={}\n",
        stack().kafka_ssl,
        pem("ca.pem"),
        pem("service.cert"),
        pem("service.key"),
    );
    std::fs::write(&file, text).unwrap();
    ask(&Connections { kafka_config: Some(file), ..Connections::default() }).unwrap();
}

#[test]
fn an_unknown_host_and_a_closed_port_are_named() {
    let message = refusal(&at(mutual_tls(), "no-such-host.invalid:9092"));
    assert_says(&message, &["no host of this name", "no-such-host.invalid"]);
    let address = fakes::closed();
    assert_says(
        &refusal(&at(mutual_tls(), address)),
        &["nothing listens on", &address.to_string()],
    );
}

#[test]
fn a_silent_server_is_given_up_at_the_limit() {
    let server = fakes::silent();
    let flags = at(connections(&stack().creds_plaintext), server.local_addr().unwrap());
    let limit = Duration::from_secs(2);
    let started = Instant::now();
    let refusal = probe(&resolve(&flags).unwrap(), &QUIET, &Stop::manual(), limit).unwrap_err();
    assert_says(&refusal.to_string(), &["no answer from"]);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_stop_ends_the_probe() {
    let server = fakes::silent();
    let flags = at(connections(&stack().creds_plaintext), server.local_addr().unwrap());
    let stop = Stop::manual();
    stop.request();
    let started = Instant::now();
    probe(&resolve(&flags).unwrap(), &QUIET, &stop, LIMIT).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_strangers_ca_points_to_ca_pem() {
    let stranger = Stranger::new(false);
    let ca = format!("ssl.ca.location={}", stranger.file("ca.pem").display());
    let (expected, came) = ("ca.pem (a stranger's CA)", "orderctl local project CA has signed it");
    assert_says(
        &refusal(&with(mutual_tls(), &[&ca])),
        &["not signed by", expected, came, "--cert-path"],
    );
}

#[test]
fn another_host_name_and_an_expired_server_certificate_are_told_apart() {
    // The resolver takes this for 127.0.0.1, the certificate does not.
    let other_name = at(mutual_tls(), format!("127.1:{}", stack().kafka_ssl.port()));
    assert_says(
        &refusal(&other_name),
        &["another host name", "made for localhost, 127.0.0.1", "not for 127.1"],
    );
    let stranger = Stranger::new(true);
    let ca = format!("ssl.ca.location={}", stranger.file("ca.pem").display());
    let expired = at(with(mutual_tls(), &[&ca]), stranger.serve(false));
    assert_says(&refusal(&expired), &["has expired", "ended on Dec 31", "2020"]);
}

#[test]
fn a_missing_and_a_strangers_client_certificate_point_to_the_files() {
    let ca = format!("ssl.ca.location={}", stack().cert_path.join("ca.pem").display());
    let bare = Connections {
        bootstrap_server: Some(stack().kafka_ssl.to_string()),
        ..with(Connections::default(), &["security.protocol=SSL", &ca])
    };
    assert_says(&refusal(&bare), &["wants a client certificate", "service.key", "we have none"]);
    let stranger = Stranger::new(false);
    let own = [
        format!("ssl.certificate.location={}", stranger.file("service.cert").display()),
        format!("ssl.key.location={}", stranger.file("service.key").display()),
    ];
    let message = refusal(&with(mutual_tls(), &[&own[0], &own[1]]));
    let came = "signed by a stranger's CA";
    assert_says(&message, &["wants a client certificate that its CA has signed", came]);
}

#[test]
fn tls_against_plaintext_and_the_reverse_name_the_protocol_to_set() {
    let to_plaintext = at(mutual_tls(), stack().kafka_plaintext);
    assert_says(&refusal(&to_plaintext), &["does not speak TLS", "--security-protocol"]);
    let to_tls = at(connections(&stack().creds_plaintext), stack().kafka_ssl);
    assert_says(&refusal(&to_tls), &["speaks TLS", "is PLAINTEXT", "--security-protocol"]);
    let property = ["security.protocol=SSL"];
    let without_login = refusal(&with(login(), &property));
    assert_says(&without_login, &["does it want a SASL login", "--security-protocol"]);
    let to_no_login = at(login(), stack().kafka_plaintext);
    let message = refusal(&with(to_no_login, &["security.protocol=SASL_PLAINTEXT"]));
    assert_says(&message, &["has no SASL login", "--security-protocol"]);
}

#[test]
fn a_wrong_login_names_what_to_check() {
    let message = refusal(&with(login(), &["sasl.password=hunter2"]));
    assert_says(&message, &["refuses the SASL login", "password"]);
    // The one that the broker does not take.
    let token = ["sasl.mechanism=OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt=true"];
    let message =
        refusal(&with(login(), &[token[0], token[1], "sasl.oauthbearer.config=principal=app"]));
    assert_says(&message, &["--sasl-mechanism", "SCRAM-SHA-256"]);
}

#[test]
fn a_failure_is_found_behind_all_that_librdkafka_logs() {
    let message = refusal(&with(login(), &["sasl.password=hunter2", "debug=all"]));
    assert_says(&message, &["refuses the SASL login"]);
    let stranger = Stranger::new(false);
    let ca = format!("ssl.ca.location={}", stranger.file("ca.pem").display());
    assert_says(&refusal(&with(mutual_tls(), &[&ca, "debug=all"])), &["not signed by"]);
}

#[test]
fn a_key_of_another_certificate_is_found_before_connecting() {
    let stranger = Stranger::new(false);
    let key = format!("ssl.key.location={}", stranger.file("service.key").display());
    let settings = resolve(&with(mutual_tls(), &[&key])).unwrap();
    let refusal = tls::check_kafka(&settings).unwrap_err().to_string();
    assert_says(&refusal, &["does not belong to the key"]);
    assert!(tls::check_kafka(&resolve(&mutual_tls()).unwrap()).unwrap().is_empty());
}

#[test]
fn the_port_of_another_service_is_an_error_too() {
    let postgres: SocketAddr = stack().postgres;
    let message = refusal(&at(connections(&stack().creds_plaintext), postgres));
    assert_says(&message, &[&postgres.to_string()]);
}
