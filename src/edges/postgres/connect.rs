//! One connection to the database, over TLS as the settings ask.

use tokio_postgres::{Client, NoTls};

use crate::config::PostgresSettings;

/// Connects and drives the connection on the current runtime until the client
/// is dropped.
///
/// `application_name` is what `pg_stat_activity` shows, cut to the server's 63
/// bytes.
///
/// # Errors
/// Whatever the driver says; see the module's classification of errors.
pub async fn connect(
    settings: &PostgresSettings,
    application_name: &str,
) -> Result<Client, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = settings.uri.expose().parse()?;
    config.application_name(application_name);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
