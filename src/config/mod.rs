//! Settings resolved once into typed values: flag, then environment, then
//! file, then default. Every environment variable is named in this module.

pub mod address;
pub mod args;
pub mod certificates;
pub mod creds;
pub mod duration;
pub mod environment;
mod java;
pub mod kafka;
pub mod postgres;
mod postgres_uri;
pub mod private_file;
pub mod secret;
mod security;
pub mod smtp;
pub mod stdin;

use std::path::PathBuf;

use clap::Args;

pub use creds::Creds;
pub use environment::Environment;
pub use kafka::KafkaSettings;
pub use postgres::{ClientCertificate, PostgresSettings, RootCertificate, SslMode};
pub use secret::Secret;
pub use security::{SaslMechanism, SecurityProtocol};

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

    /// Encryption and login of the brokers [default: what creds.json and the certificates imply]
    #[arg(
        long,
        global = true,
        env = "ORDERCTL_SECURITY_PROTOCOL",
        value_name = "PROTOCOL",
        ignore_case = true
    )]
    pub security_protocol: Option<SecurityProtocol>,

    /// How the SASL password is proved [default: SCRAM-SHA-256]
    #[arg(
        long,
        global = true,
        env = "ORDERCTL_SASL_MECHANISM",
        value_name = "MECHANISM",
        ignore_case = true
    )]
    pub sasl_mechanism: Option<SaslMechanism>,

    /// Who logs in to Kafka
    #[arg(long, global = true, env = "ORDERCTL_SASL_USERNAME", value_name = "NAME")]
    pub sasl_username: Option<String>,

    /// Password of the login; - reads it from standard input
    #[arg(
        long,
        global = true,
        env = "ORDERCTL_SASL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub sasl_password: Option<Secret>,

    /// A librdkafka property; repeatable, overrides everything else
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE")]
    pub property: Vec<Secret>,

    /// PostgreSQL URI; - reads it from standard input [env also: DATABASE_URL, PG*]
    #[arg(
        long,
        global = true,
        env = "ORDERCTL_POSTGRES_URI",
        value_name = "URI",
        hide_env_values = true
    )]
    pub postgres_uri: Option<Secret>,
}
