//! Settings resolved once into typed values: flag, then environment, then
//! file, then default. Every environment variable is named in this module.

pub mod kafka;
pub mod postgres;
pub mod secret;

use std::path::PathBuf;

use clap::Args;

pub use kafka::KafkaSettings;
pub use postgres::PostgresSettings;
pub use secret::Secret;

/// The flags that every verb takes to find its services.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connections")]
pub struct Connections {
    /// File with the addresses and logins of the services, written by auth-setup
    #[arg(long, global = true, env = "ORDERCTL_CREDS", value_name = "FILE")]
    pub creds: Option<PathBuf>,

    /// Directory with ca.pem, service.key and service.cert (or service.crt)
    #[arg(long, global = true, env = "ORDERCTL_CERT_PATH", value_name = "DIR")]
    pub cert_path: Option<PathBuf>,

    /// Kafka brokers to ask first [env also: BOOTSTRAP_SVR]
    #[arg(long, global = true, env = "ORDERCTL_BOOTSTRAP_SERVER", value_name = "HOST:PORT,...")]
    pub bootstrap_server: Option<String>,

    /// Kafka client properties, in Java's or librdkafka's form
    #[arg(long, global = true, env = "ORDERCTL_KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// A librdkafka property; repeatable, overrides everything else
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE")]
    pub property: Vec<String>,

    /// PostgreSQL URI; - reads it from standard input [env also: DATABASE_URL, PG*]
    #[arg(
        long,
        global = true,
        env = "ORDERCTL_POSTGRES_URI",
        value_name = "URI",
        hide_env_values = true
    )]
    pub postgres_uri: Option<String>,
}
