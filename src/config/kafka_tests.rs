//! Tests of how the Kafka settings are put together.

use proptest::prelude::*;

use super::*;
use crate::config::SaslMechanism;
use crate::config::creds::{Creds, SaslCreds};

/// A directory with a creds.json of the given section and the given files in
/// its `certs`.
fn folder(kafka: Option<KafkaCreds>, certs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let creds = Creds { kafka, ..Creds::default() };
    creds.write(&folder.path().join("creds.json"), false).unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    for name in certs {
        std::fs::write(folder.path().join("certs").join(name), "").unwrap();
    }
    folder
}

fn creds() -> KafkaCreds {
    KafkaCreds { hostname: "creds".into(), port: 1, security_protocol: None, sasl: None }
}

fn with_login() -> KafkaCreds {
    let password = Secret::new("hunter2");
    let sasl = SaslCreds { mechanism: SaslMechanism::Plain, username: "u".into(), password };
    KafkaCreds { sasl: Some(sasl), ..creds() }
}

fn resolve(
    connections: &Connections,
    variables: &[(&'static str, &str)],
    folder: &tempfile::TempDir,
) -> anyhow::Result<KafkaSettings> {
    KafkaSettings::resolve_in(connections, &Environment::of(variables), folder.path())
}

#[test]
fn each_source_of_the_broker_gives_way_to_the_next() {
    let folder = folder(Some(creds()), &[]);
    let mut connections = Connections::default();
    assert_eq!(resolve(&connections, &[], &folder).unwrap().brokers(), "creds:1");

    let file = folder.path().join("client.properties");
    std::fs::write(&file, "bootstrap.servers=file:2\n").unwrap();
    connections.kafka_config = Some(file);
    assert_eq!(resolve(&connections, &[], &folder).unwrap().brokers(), "file:2");

    let variables = [("BOOTSTRAP_SVR", "variable:3")];
    assert_eq!(resolve(&connections, &variables, &folder).unwrap().brokers(), "variable:3");

    connections.bootstrap_server = Some("flag:4".into());
    assert_eq!(resolve(&connections, &variables, &folder).unwrap().brokers(), "flag:4");

    connections.property = vec!["metadata.broker.list=override:5".into()];
    let settings = resolve(&connections, &variables, &folder).unwrap();
    assert_eq!(settings.brokers(), "override:5");
    assert_eq!(settings.properties.iter().filter(|(_, v)| v.expose().contains(':')).count(), 1);
}

#[test]
fn the_protocol_follows_from_what_is_there_unless_named() {
    let identity = ["service.key", "service.cert", "ca.pem"];
    let named = KafkaCreds { security_protocol: Some(SecurityProtocol::Plaintext), ..with_login() };
    for (section, files, expected) in [
        (creds(), &[][..], "PLAINTEXT"),
        (creds(), &["ca.pem"], "PLAINTEXT"),
        (creds(), &identity, "SSL"),
        (with_login(), &identity, "SASL_SSL"),
        (named, &identity, "PLAINTEXT"),
    ] {
        let folder = folder(Some(section), files);
        let settings = resolve(&Connections::default(), &[], &folder).unwrap();
        assert_eq!(settings.get("security.protocol"), Some(expected));
    }
    let folder = folder(Some(with_login()), &identity);
    let connections =
        Connections { security_protocol: Some(SecurityProtocol::Ssl), ..Connections::default() };
    let settings = resolve(&connections, &[], &folder).unwrap();
    assert_eq!(settings.get("security.protocol"), Some("SSL"));
}

#[test]
fn tls_takes_its_files_from_the_directory_and_else_asks_the_system() {
    let folder = folder(Some(creds()), &["service.key", "service.crt", "ca.pem"]);
    let settings = resolve(&Connections::default(), &[], &folder).unwrap();
    assert!(settings.get("ssl.ca.location").unwrap().ends_with("certs/ca.pem"));
    assert!(settings.get("ssl.certificate.location").unwrap().ends_with("service.crt"));
    assert!(settings.get("ssl.key.location").unwrap().ends_with("service.key"));

    let connections = Connections {
        property: vec!["ssl.key.pem=k".into(), "ssl.certificate.pem=c".into()],
        ..Connections::default()
    };
    let settings = resolve(&connections, &[], &folder).unwrap();
    assert_eq!(settings.get("ssl.key.location"), None);

    let bare = tempfile::tempdir().unwrap();
    let connections = Connections {
        bootstrap_server: Some("h:1".into()),
        security_protocol: Some(SecurityProtocol::Ssl),
        ..Connections::default()
    };
    let settings = resolve(&connections, &[], &bare).unwrap();
    assert_eq!(settings.get("ssl.ca.location"), Some("probe"));
}

#[test]
fn a_login_over_tls_does_not_offer_the_client_certificate() {
    let folder = folder(Some(with_login()), &["service.key", "service.crt", "ca.pem"]);
    let settings = resolve(&Connections::default(), &[], &folder).unwrap();
    assert_eq!(settings.get("ssl.certificate.location"), None);
    assert!(settings.get("ssl.ca.location").unwrap().ends_with("ca.pem"));
}

#[test]
fn a_login_from_flags_needs_name_and_password_and_defaults_to_scram() {
    let folder = folder(Some(creds()), &[]);
    let mut connections = Connections { sasl_username: Some("u".into()), ..Connections::default() };
    let refusal = resolve(&connections, &[], &folder).unwrap_err().to_string();
    assert!(refusal.contains("ORDERCTL_SASL_PASSWORD"), "{refusal}");
    connections.sasl_password = Some("hunter2".into());
    let settings = resolve(&connections, &[], &folder).unwrap();
    assert_eq!(settings.get("security.protocol"), Some("SASL_SSL"));
    assert_eq!(settings.get("sasl.mechanisms"), Some("SCRAM-SHA-256"));
}

#[test]
fn nothing_named_says_what_to_set() {
    let folder = folder(None, &[]);
    let refusal = resolve(&Connections::default(), &[], &folder).unwrap_err().to_string();
    assert!(refusal.contains("BOOTSTRAP_SVR") && refusal.contains("auth-setup"), "{refusal}");
}

#[test]
fn a_malformed_property_is_a_usage_error_that_does_not_quote_it() {
    let folder = folder(Some(creds()), &[]);
    for text in ["hunter2", "=hunter2"] {
        let connections = Connections { property: vec![text.into()], ..Connections::default() };
        let refusal = resolve(&connections, &[], &folder).unwrap_err();
        assert!(refusal.is::<Usage>() && !format!("{refusal:?}").contains("hunter2"));
    }
}

#[test]
fn an_ipv6_address_is_bracketed() {
    let section = KafkaCreds { hostname: "::1".into(), ..creds() };
    let folder = folder(Some(section), &[]);
    let settings = resolve(&Connections::default(), &[], &folder).unwrap();
    assert_eq!(settings.brokers(), "[::1]:1");
}

#[test]
fn java_only_names_are_noted() {
    let folder = folder(Some(creds()), &[]);
    let file = folder.path().join("client.properties");
    std::fs::write(&file, "key.deserializer=a.b.C\n").unwrap();
    let connections = Connections { kafka_config: Some(file), ..Connections::default() };
    let settings = resolve(&connections, &[], &folder).unwrap();
    assert!(settings.details.iter().any(|detail| detail.contains("key.deserializer")));
}

proptest! {
    #[test]
    fn no_secret_is_in_debug_or_errors(password in "[a-zA-Z0-9]{16,24}", protocol in "[A-Z_]{0,8}") {
        let mut section = with_login();
        section.sasl.as_mut().unwrap().password = Secret::new(&password);
        let folder = folder(Some(section), &[]);
        let connections = Connections {
            property: vec![
                format!("sasl.password={password}").into(),
                format!("security.protocol={protocol}").into(),
            ],
            sasl_password: Some(Secret::new(&password)),
            postgres_uri: Some(Secret::new(&password)),
            ..Connections::default()
        };
        let shown = match resolve(&connections, &[], &folder) {
            Ok(settings) => format!("{settings:?} {connections:?}"),
            Err(refusal) => format!("{refusal:?} {refusal:#} {connections:?}"),
        };
        prop_assert!(!shown.contains(&password));
    }
}
