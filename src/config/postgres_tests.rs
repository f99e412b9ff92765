//! Tests of how the PostgreSQL settings are put together.

use proptest::prelude::*;

use super::*;
use crate::config::creds::{Creds, PostgresCreds};

fn parse(text: &str) -> anyhow::Result<PostgresSettings> {
    PostgresSettings::parse(text, None)
}

#[test]
fn each_source_of_the_string_gives_way_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut connections = Connections::default();
    let resolve = |connections: &Connections, variables: &[(&'static str, &str)]| {
        PostgresSettings::resolve_in(connections, &Environment::of(variables), folder.path())
            .map(|settings| settings.server)
    };
    let refusal = resolve(&connections, &[("PGPORT", "1")]).unwrap_err().to_string();
    assert!(refusal.contains("DATABASE_URL") && refusal.contains("auth-setup"), "{refusal}");

    let postgres = Some(PostgresCreds { uri: "postgres://u@creds/db".into() });
    let creds = Creds { postgres, ..Creds::default() };
    creds.write(&folder.path().join("creds.json"), false).unwrap();
    assert_eq!(resolve(&connections, &[("PGPORT", "1")]).unwrap(), "creds:1");

    let mut variables = vec![("PGHOST", "pghost")];
    assert_eq!(resolve(&connections, &variables).unwrap(), "pghost:5432");
    variables.push(("DATABASE_URL", "postgres://u@url/db"));
    assert_eq!(resolve(&connections, &variables).unwrap(), "url:5432");
    connections.postgres_uri = Some("postgres://u@flag:7/db".into());
    assert_eq!(resolve(&connections, &variables).unwrap(), "flag:7");
}

#[test]
fn variables_speak_only_where_the_string_is_silent() {
    let environment = Environment::of(&[
        ("PGUSER", "other"),
        ("PGPASSWORD", "hunter2"),
        ("PGDATABASE", "db2"),
        ("PGSSLMODE", "require"),
    ]);
    let settings = PostgresSettings::build("postgres://u@h/db", &environment, None).unwrap();
    assert_eq!(settings.user.as_deref(), Some("u"));
    assert_eq!(settings.database.as_deref(), Some("db"));
    assert_eq!(settings.sslmode, SslMode::Require);
    assert!(settings.uri.expose().contains("password='hunter2'"));
}

#[test]
fn the_tls_parameters_do_not_reach_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, "").unwrap();
    let uri = format!(
        "postgres://u@h/db?sslmode=verify-ca&sslrootcert={}&sslcert=c&sslkey=k",
        root.display()
    );
    let settings = parse(&uri).unwrap();
    assert_eq!(settings.sslmode, SslMode::VerifyCa);
    assert_eq!(settings.root, RootCertificate::File(root));
    assert!(settings.identity.is_some());
    assert!(!settings.uri.expose().contains("ssl"), "{}", settings.uri.expose());
}

#[test]
fn sslmode_and_root_mean_what_libpq_means() {
    let ca = Path::new("ca.pem");
    assert_eq!(parse("host=h").unwrap().sslmode, SslMode::Prefer);
    assert_eq!(parse("host=h").unwrap().root, RootCertificate::Unchecked);
    let settings = PostgresSettings::parse("host=h sslmode=require", Some(ca)).unwrap();
    assert_eq!(settings.root, RootCertificate::File(ca.into()));
    let settings = parse("host=h sslrootcert=system").unwrap();
    assert_eq!((settings.sslmode, settings.root), (SslMode::VerifyFull, RootCertificate::System));
    for (text, word) in [
        ("host=h sslmode=require sslrootcert=system", "verify-full"),
        ("host=h sslmode=verify-full", "sslrootcert=FILE"),
        ("host=h sslmode=verify-ca", "sslrootcert=FILE"),
        ("host=h sslmode=on", "verify-ca"),
        ("host=h sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("host=h sslcert=c", "sslkey"),
    ] {
        let refusal = parse(text).unwrap_err().to_string();
        assert!(refusal.contains(word), "{text}: {refusal}");
    }
}

#[test]
fn a_unix_socket_has_no_tls() {
    let settings = parse("host=/run/postgresql sslmode=require").unwrap();
    assert_eq!(settings.sslmode, SslMode::Disable);
}

#[test]
fn several_hosts_keep_their_ports() {
    let settings = parse("postgres://u@a:1,b,[::1]:3/db").unwrap();
    assert_eq!(settings.server, "a:1,b:5432,[::1]:3");
    assert!(parse("host=a,b,c port=1,2").unwrap_err().to_string().contains("one port"));
    assert!(parse("host=a port=70000").unwrap_err().to_string().contains("65535"));
}

#[test]
fn limits_are_set_unless_given_and_units_are_libpqs() {
    let text = parse("host=h").unwrap().uri;
    for limit in ["connect_timeout='10'", "keepalives_idle='30'", "tcp_user_timeout='30'"] {
        assert!(text.expose().contains(limit), "{limit}");
    }
    let text = parse("host=h connect_timeout=3 tcp_user_timeout=1500 keepalives_count=7").unwrap();
    let text = text.uri.expose().to_owned();
    for limit in ["connect_timeout='3'", "tcp_user_timeout='2'", "keepalives_retries='7'"] {
        assert!(text.contains(limit), "{text}");
    }
}

proptest! {
    #[test]
    fn no_secret_is_in_debug_or_errors(
        password in "[a-zA-Z0-9]{16,24}", mode in "[a-z-]{0,11}", port in "[0-9x]{0,6}",
    ) {
        let uri = format!("postgres://u:{password}@h:{port}/db?sslmode={mode}");
        let shown = match parse(&uri) {
            Ok(settings) => format!("{settings:?}"),
            Err(refusal) => format!("{refusal:?} {refusal:#}"),
        };
        prop_assert!(!shown.contains(&password));
    }
}
