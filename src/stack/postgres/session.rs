//! What is asked of the server: by the superuser over the unix socket, and as
//! any client over TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::{Config, NoTls};

use crate::stack::LOGIN;
use crate::stack::task::block_on;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Checks that the server lets its superuser in.
///
/// # Errors
/// Whatever the connection fails with.
pub fn ping(socket: &Path, port: u16) -> anyhow::Result<()> {
    block_on(as_superuser(socket, port, "postgres", "select 1"))?
}

/// Creates the role and the database of the stack where they are missing, and
/// sets the password.
///
/// # Errors
/// Whatever the server refuses.
pub fn ensure_login(socket: &Path, port: u16, password: &str) -> anyhow::Result<()> {
    block_on(async {
        as_superuser(socket, port, "postgres", &role(password)).await?;
        let database = format!("select 1 from pg_database where datname = '{LOGIN}'");
        if as_superuser_rows(socket, port, "postgres", &database).await? == 0 {
            let create = format!("create database {LOGIN} owner {LOGIN}");
            as_superuser(socket, port, "postgres", &create).await?;
        }
        Ok(())
    })?
}

/// The password is of letters and digits: see [`crate::stack::random::text`].
fn role(password: &str) -> String {
    format!(
        "do $$ begin
           if not exists (select from pg_roles where rolname = '{LOGIN}') then
             create role {LOGIN};
           end if;
         end $$;
         alter role {LOGIN} login createdb createrole password '{password}';
         grant pg_signal_backend to {LOGIN}"
    )
}

async fn as_superuser(socket: &Path, port: u16, database: &str, sql: &str) -> anyhow::Result<()> {
    as_superuser_rows(socket, port, database, sql).await.map(|_| ())
}

/// The number of messages the server answered with, less the last one.
async fn as_superuser_rows(
    socket: &Path,
    port: u16,
    database: &str,
    sql: &str,
) -> anyhow::Result<usize> {
    let mut config = Config::new();
    config.host_path(socket).port(port).user("postgres").dbname(database);
    let (client, connection) = config.connect_timeout(CONNECT_LIMIT).connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let answer = client.simple_query(sql).await;
    drop(client);
    driver.await??;
    let rows = answer?
        .iter()
        .filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)))
        .count();
    Ok(rows)
}

/// Logs in as a client would: over TLS, with the server's certificate checked
/// against the CA, by password.
///
/// # Errors
/// Whatever the connection fails with.
pub fn log_in_over_tls(address: SocketAddr, ca: &Path, password: &str) -> anyhow::Result<()> {
    let ca = Certificate::from_pem(&std::fs::read(ca)?)?;
    let connector =
        TlsConnector::builder().disable_built_in_roots(true).add_root_certificate(ca).build()?;
    let mut config = Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(LOGIN)
        .password(password)
        .dbname(LOGIN)
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect_timeout(CONNECT_LIMIT);
    block_on(async {
        let (client, connection) = config.connect(MakeTlsConnector::new(connector)).await?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query("select 1").await;
        drop(client);
        driver.await??;
        answer.map(|_| ()).context("it refuses a query")
    })?
}
