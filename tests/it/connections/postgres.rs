//! PostgreSQL: every sslmode means what libpq means, and every mistake has its
//! message.

use std::time::{Duration, Instant};

use orderctl::config::PostgresSettings;
use orderctl::edges::postgres::connect::{ConnectError, connect};
use orderctl::edges::postgres::failure::{Class, classify, describe};
use orderctl::stack::LOGIN;
use tokio_postgres::Client;

use super::assert_says;
use super::fakes::{self, Stranger};
use crate::support::{sql, stack, uri};

/// The stack's URI with other query parameters.
fn stack_uri(query: &str) -> String {
    let uri = uri(&stack().creds);
    format!("{}?{query}", uri.split('?').next().unwrap())
}

/// The stack's URI with another host and port.
fn uri_at(address: impl ToString, query: &str) -> String {
    let uri = stack_uri(query);
    uri.replace(&stack().postgres.to_string(), &address.to_string())
}

async fn attempt(uri: &str) -> Result<Client, ConnectError> {
    let ca = stack().cert_path.join("ca.pem");
    connect(&PostgresSettings::parse(uri, Some(&ca)).unwrap(), "it").await
}

async fn refusal(uri: &str) -> ConnectError {
    let started = Instant::now();
    let refusal = attempt(uri).await.expect_err("no connection");
    assert!(started.elapsed() < Duration::from_secs(25), "too late: {refusal}");
    refusal
}

#[track_caller]
fn assert_refusal(refusal: &ConnectError, class: Class, words: &[&str]) {
    assert_says(&refusal.to_string(), words);
    assert_eq!(refusal.class(), class, "{refusal}");
}

async fn is_encrypted(client: &Client) -> bool {
    let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_mode_that_may_encrypt_does_so_where_the_server_insists() {
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        let client = attempt(&stack_uri(&format!("sslmode={mode}"))).await.unwrap();
        assert!(is_encrypted(&client).await, "{mode}");
    }
}

#[tokio::test]
async fn the_application_name_is_cut_and_shown() {
    let ca = stack().cert_path.join("ca.pem");
    let settings = PostgresSettings::parse(&stack_uri("sslmode=verify-full"), Some(&ca)).unwrap();
    let client = connect(&settings, &"ö".repeat(40)).await.unwrap();
    let query = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
    let name: String = client.query_one(query, &[]).await.unwrap().get(0);
    // The server shows other than ASCII as ? or \xNN, depending on its version.
    assert!(name.len() >= 31, "{name}");
}

#[tokio::test]
async fn only_verify_full_minds_the_host_name() {
    // The resolver takes this for 127.0.0.1, the certificate does not.
    let other_name = format!("127.1:{}", stack().postgres.port());
    for mode in ["prefer", "require", "verify-ca"] {
        let client = attempt(&uri_at(&other_name, &format!("sslmode={mode}"))).await.unwrap();
        assert!(is_encrypted(&client).await, "{mode}");
    }
    let refusal = refusal(&uri_at(&other_name, "sslmode=verify-full")).await;
    assert_refusal(&refusal, Class::Stop, &["another host name", "verify-ca"]);
}

#[tokio::test]
async fn a_strangers_ca_is_refused_wherever_a_root_is_named() {
    let stranger = Stranger::new(false);
    let root = stranger.file("ca.pem");
    for mode in ["prefer", "allow", "require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={}", root.display());
        let refusal = refusal(&stack_uri(&query)).await;
        assert_refusal(&refusal, Class::Stop, &["not signed by", &root.display().to_string()]);
    }
}

#[tokio::test]
async fn without_a_root_require_encrypts_and_checks_nothing() {
    let settings = PostgresSettings::parse(&stack_uri("sslmode=require"), None).unwrap();
    let client = connect(&settings, "it").await.unwrap();
    assert!(is_encrypted(&client).await);
}

#[tokio::test]
async fn no_encryption_where_the_server_insists_names_sslmode() {
    let refusal = refusal(&stack_uri("sslmode=disable")).await;
    assert_refusal(&refusal, Class::Stop, &["encrypted", "sslmode=require"]);
}

#[tokio::test]
async fn a_server_without_tls_names_sslmode() {
    let refusal = refusal(&uri_at(fakes::without_tls(), "sslmode=require")).await;
    assert_refusal(&refusal, Class::Stop, &["has no TLS", "sslmode=disable"]);
}

#[tokio::test]
async fn an_expired_server_certificate_is_called_that() {
    let stranger = Stranger::new(true);
    let query = format!("sslmode=verify-full&sslrootcert={}", stranger.file("ca.pem").display());
    let refusal = refusal(&uri_at(stranger.serve(true), &query)).await;
    assert_refusal(&refusal, Class::Stop, &["has expired"]);
}

#[tokio::test]
async fn an_unknown_host_and_a_closed_port_are_named_and_may_be_waited_for() {
    let error = refusal(&uri_at("no-such-host.invalid:5432", "sslmode=require")).await;
    assert_refusal(&error, Class::Wait, &["no host of this name", "no-such-host.invalid"]);
    let address = fakes::closed();
    let error = refusal(&uri_at(address, "sslmode=require")).await;
    assert_refusal(&error, Class::Wait, &["nothing listens on", &address.to_string()]);
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_limit() {
    let server = fakes::silent();
    let address = server.local_addr().unwrap();
    let started = Instant::now();
    let refusal = refusal(&uri_at(address, "sslmode=require&connect_timeout=1")).await;
    assert_refusal(&refusal, Class::Wait, &["did not let us in"]);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_port_of_another_service_is_an_error_too() {
    let refusal = refusal(&uri_at(stack().kafka_plaintext, "sslmode=require")).await;
    assert_says(&refusal.to_string(), &[&stack().kafka_plaintext.to_string()]);
}

#[tokio::test]
async fn the_next_host_is_tried() {
    let both = format!("{},{}", fakes::closed(), stack().postgres);
    attempt(&uri_at(both, "sslmode=verify-full")).await.unwrap();
}

#[tokio::test]
async fn a_server_of_the_other_role_may_be_waited_for() {
    let refusal = refusal(&stack_uri("sslmode=require&target_session_attrs=read-only")).await;
    assert_refusal(&refusal, Class::Wait, &["target_session_attrs"]);
}

#[tokio::test]
async fn a_wrong_login_stops_and_a_full_server_is_waited_for() {
    let stack_uri = stack_uri("sslmode=verify-full");
    let (_, server) = stack_uri.split_once('@').unwrap();
    let wrong_password = format!("postgres://{LOGIN}:hunter2@{server}");
    let error = refusal(&wrong_password).await;
    assert_refusal(&error, Class::Stop, &["refuses the password of", LOGIN]);
    let error = refusal(&format!("postgres://{LOGIN}@{server}")).await;
    assert_refusal(&error, Class::Stop, &["asks for a password"]);
    let missing_database = stack_uri.replace(&format!("/{LOGIN}?"), "/no_such_database?");
    let error = refusal(&missing_database).await;
    assert_refusal(&error, Class::Stop, &["no such database", "no_such_database"]);

    let role = format!("full_{}", std::process::id());
    sql(&format!("create role {role} login password 'hunter2' connection limit 0"));
    let error = refusal(&format!("postgres://{role}:hunter2@{server}")).await;
    sql(&format!("drop role {role}"));
    assert_refusal(&error, Class::Wait, &["no connection left"]);
}

#[tokio::test]
async fn errors_are_classed_and_described_without_the_values_of_rows() {
    let client = attempt(&stack_uri("sslmode=verify-full")).await.unwrap();
    let setup = "create temporary table t (id int constraint t_key primary key, small int2); \
                 insert into t values (4242)";
    client.batch_execute(setup).await.unwrap();
    for (query, class, words) in [
        ("insert into t values (4242)", Class::Record, &["23505", "t_key"][..]),
        ("insert into t values (1, 4242424)", Class::Record, &["22003"]),
        ("select * from no_such_table", Class::Stop, &["42P01"]),
    ] {
        let error = client.batch_execute(query).await.unwrap_err();
        assert_eq!(classify(&error), class, "{query}");
        let text = describe(&error);
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(!text.contains("4242"), "{text}");
    }
    let end = "select pg_terminate_backend(pg_backend_pid())";
    let error = client.batch_execute(end).await.unwrap_err();
    assert!(matches!(classify(&error), Class::Wait | Class::Closed), "{error:?}");
    let error = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(classify(&error), Class::Closed, "{error:?}");
}
