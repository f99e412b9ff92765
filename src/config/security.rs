//! How connections to brokers are encrypted and logged in on, by Kafka's names.

use serde::{Deserialize, Serialize};

/// Kafka's names for encryption and login of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum SecurityProtocol {
    /// Neither encryption nor login.
    #[serde(rename = "PLAINTEXT")]
    #[value(name = "PLAINTEXT")]
    Plaintext,
    /// TLS; with a client certificate when there is one.
    #[serde(rename = "SSL")]
    #[value(name = "SSL")]
    Ssl,
    /// Login without encryption.
    #[serde(rename = "SASL_PLAINTEXT")]
    #[value(name = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// Login over TLS.
    #[serde(rename = "SASL_SSL")]
    #[value(name = "SASL_SSL")]
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The protocol of a name, in any case, as Kafka and librdkafka read it.
    pub fn parse(name: &str) -> Option<SecurityProtocol> {
        use SecurityProtocol::{Plaintext, SaslPlaintext, SaslSsl, Ssl};
        let all = [Plaintext, Ssl, SaslPlaintext, SaslSsl];
        all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// Whether the protocol logs in with SASL.
    pub fn has_login(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }

    /// Whether the protocol encrypts.
    pub fn has_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }
}

/// The SASL mechanisms that creds.json knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum SaslMechanism {
    /// RFC 5802 with SHA-256 (RFC 7677): the password itself is never sent.
    #[serde(rename = "SCRAM-SHA-256")]
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 4616: the password is sent as it is.
    #[serde(rename = "PLAIN")]
    #[value(name = "PLAIN")]
    Plain,
}

impl SaslMechanism {
    /// The registered name of the mechanism.
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::Plain => "PLAIN",
        }
    }

    /// The mechanism of a name.
    pub fn parse(name: &str) -> Option<SaslMechanism> {
        use SaslMechanism::{Plain, ScramSha256, ScramSha512};
        let all = [ScramSha256, ScramSha512, Plain];
        all.into_iter().find(|mechanism| mechanism.name() == name)
    }
}
