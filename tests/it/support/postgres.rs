//! Queries over TLS, as the stack's role or any other.

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::{Config, SimpleQueryMessage};

use super::server::own_port;
use super::{stack, uri_at_port};

/// Rows of text; SQL's null is none.
pub type Rows = Vec<Vec<Option<String>>>;

/// Runs SQL on the shared stack, or the test's own server, and answers with the rows of all its
/// statements; a refusal is a failure of the test.
///
/// The server refuses one of two grants on the same table at the same time, and
/// undoes all of the query: that one is run again.
pub fn sql(query: &str) -> Rows {
    const TRIES_MAX: usize = 100;
    for _ in 1..TRIES_MAX {
        match try_sql(query) {
            Err(error) if error.to_string().contains("tuple concurrently updated") => {}
            done => return done.unwrap_or_else(|error| panic!("{query}: {error:#}")),
        }
    }
    try_sql(query).unwrap_or_else(|error| panic!("{query}: {error:#}"))
}

/// The one value of one row.
pub fn sql_value(query: &str) -> String {
    match sql(query).as_slice() {
        [row] if row.len() == 1 => row[0].clone().unwrap_or_default(),
        rows => panic!("{query}: not one value: {rows:?}"),
    }
}

/// As [`sql`]; a refusal reads `SQLSTATE message`.
pub fn try_sql(query: &str) -> anyhow::Result<Rows> {
    query_at(&here(), &stack().cert_path.join("ca.pem"), query)
}

/// The URI of the shared stack's server, or of the test's own.
fn here() -> String {
    own_port().map_or_else(|| uri(&stack().creds), uri_at_port)
}

/// The URI in a creds.json.
pub fn uri(creds: &std::path::Path) -> String {
    let text = std::fs::read(creds).expect("creds.json");
    let creds: serde_json::Value = serde_json::from_slice(&text).expect("creds.json is JSON");
    creds["postgres"]["uri"].as_str().expect("postgres.uri").to_owned()
}

/// The password of the stack's role.
pub fn password() -> String {
    let uri = uri(&stack().creds);
    let login = uri.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let (_, password) = login.and_then(|(login, _)| login.split_once(':')).expect("a password");
    password.to_owned()
}

/// Runs SQL on a connection of its own to the server of a `postgres://` URI,
/// whose certificate is checked against `ca`.
pub fn query_at(uri: &str, ca: &std::path::Path, query: &str) -> anyhow::Result<Rows> {
    let (config, tls) = parts(uri, ca)?;
    let (query, runtime) = (query.to_owned(), runtime()?);
    // On a thread of its own, so that asynchronous tests can call it too.
    let thread = std::thread::spawn(move || {
        runtime.block_on(async move {
            let connected = config.connect(tls).await;
            let (client, connection) = connected.map_err(readable)?;
            tokio::spawn(connection);
            let messages = client.simple_query(&query).await.map_err(readable)?;
            Ok(messages.iter().filter_map(row).collect())
        })
    });
    thread.join().expect("the query's thread")
}

fn parts(uri: &str, ca: &std::path::Path) -> anyhow::Result<(Config, MakeTlsConnector)> {
    let ca = Certificate::from_pem(&std::fs::read(ca)?)?;
    let tls = TlsConnector::builder().add_root_certificate(ca).build()?;
    // The driver knows neither verify-full nor sslrootcert: the connector does it.
    let mut config: Config = uri.replace("sslmode=verify-full", "sslmode=require").parse()?;
    config.connect_timeout(std::time::Duration::from_secs(10));
    Ok((config, MakeTlsConnector::new(tls)))
}

/// A connection that stays open, to hold locks and transactions with.
#[derive(Debug)]
pub struct Session {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    /// On the shared stack, or the test's own server.
    pub fn open() -> Session {
        Session::open_at(&here()).unwrap_or_else(|error| panic!("a connection: {error:#}"))
    }

    /// On the server of a `postgres://` URI; a refusal reads `SQLSTATE message`.
    pub fn open_at(uri: &str) -> anyhow::Result<Session> {
        let (config, tls) = parts(uri, &stack().cert_path.join("ca.pem"))?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let (client, connection) = runtime.block_on(config.connect(tls)).map_err(readable)?;
        runtime.spawn(connection);
        Ok(Session { client, runtime })
    }

    /// Runs SQL; a refusal is a failure of the test.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        let done = self.runtime.block_on(self.client.batch_execute(sql));
        done.unwrap_or_else(|error| panic!("{sql}: {:#}", readable(error)));
    }

    /// Has the program's own code ask the server.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&tokio_postgres::Client) -> T) -> T {
        self.runtime.block_on(question(&self.client))
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The driver shows a refusal as "db error" only.
fn readable(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(refusal) => anyhow::anyhow!("{} {}", refusal.code().code(), refusal.message()),
        None => error.into(),
    }
}

fn row(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    }
}
