//! How to reach Kafka, as librdkafka properties.

use std::path::Path;

use super::address::join_address;
use super::certificates::{self, CertificateDirectory};
use super::creds::{self, KafkaCreds};
use super::environment::Environment;
use super::security::SecurityProtocol;
use super::{Connections, Secret, java};
use crate::error::{Unnamed, Usage};

/// Everything needed to reach the Kafka cluster, resolved.
#[derive(Debug, Clone, Default)]
pub struct KafkaSettings {
    /// librdkafka properties, each name once. All values are held as secrets,
    /// because some are.
    pub properties: Vec<(String, Secret)>,
    /// What was passed over or assumed, for `-v`.
    pub details: Vec<String>,
}

impl KafkaSettings {
    /// Resolves the settings from the flags, this process's environment and the
    /// working directory.
    ///
    /// Each property is taken from the first of: `-X`, its flag, the flag's
    /// variable, `BOOTSTRAP_SVR`, the file of `--kafka-config`, creds.json. The
    /// security protocol, where none of these names one, is SASL_SSL when there
    /// is a SASL login, SSL when the certificate directory has a key, else
    /// PLAINTEXT.
    ///
    /// # Errors
    /// When a file cannot be read or says something impossible, or no broker is
    /// named anywhere; the text says what to set. A malformed `-X` is a
    /// [`Usage`] error.
    pub fn resolve(connections: &Connections) -> anyhow::Result<KafkaSettings> {
        KafkaSettings::resolve_in(connections, &Environment::of_process(), Path::new("."))
    }

    /// [`KafkaSettings::resolve`] with the environment and the directory in
    /// which creds.json is looked for.
    ///
    /// # Errors
    /// As [`KafkaSettings::resolve`].
    pub fn resolve_in(
        connections: &Connections,
        environment: &Environment,
        folder: &Path,
    ) -> anyhow::Result<KafkaSettings> {
        let overrides = parse_overrides(&connections.property)?;
        let creds = creds::find(connections, folder)?;
        let directory = certificates::find(connections, creds.as_ref().map(|c| c.path.as_path()))?;
        let mut settings = KafkaSettings::default();
        if let Some(kafka) = creds.and_then(|found| found.creds.kafka) {
            settings.add_creds(&kafka);
        }
        settings.add_file(connections.kafka_config.as_deref())?;
        settings.add_flags(connections, environment);
        for (name, value) in overrides {
            settings.set(&name, value);
        }
        settings.require_broker()?;
        let security = settings.settle_security(directory.as_ref())?;
        if security.has_login() {
            settings.settle_login()?;
        }
        if security.has_tls() {
            settings.settle_tls(security, directory.as_ref())?;
        }
        Ok(settings)
    }

    /// Settings for brokers without encryption or login, such as the in-process
    /// one.
    pub fn plaintext(bootstrap_servers: &str) -> KafkaSettings {
        let mut settings = KafkaSettings::default();
        settings.set("bootstrap.servers", bootstrap_servers);
        settings.set("security.protocol", SecurityProtocol::Plaintext.name());
        settings
    }

    /// The value of a librdkafka property, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = canonical(name);
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.expose())
    }

    /// The brokers to ask first, as `host:port,…`.
    pub fn brokers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// Sets a property, in place of what it was.
    pub fn set(&mut self, name: &str, value: impl Into<Secret>) {
        let name = canonical(name);
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.into(), value.into()));
    }

    fn add_creds(&mut self, creds: &KafkaCreds) {
        self.set("bootstrap.servers", join_address(&creds.hostname, creds.port));
        if let Some(protocol) = creds.security_protocol {
            self.set("security.protocol", protocol.name());
        }
        if let Some(sasl) = &creds.sasl {
            self.set("sasl.mechanism", sasl.mechanism.name());
            self.set("sasl.username", sasl.username.as_str());
            self.set("sasl.password", sasl.password.clone());
        }
    }

    fn add_file(&mut self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let file = java::read(path)?;
        for (name, value) in file.set {
            self.set(&name, value);
        }
        for name in file.ignored {
            let path = path.display();
            self.details.push(format!("{path}: {name} has no counterpart here and is ignored"));
        }
        Ok(())
    }

    /// The flags, which clap has already filled from their variables.
    fn add_flags(&mut self, connections: &Connections, environment: &Environment) {
        let flag = connections.bootstrap_server.as_deref().filter(|brokers| !brokers.is_empty());
        if let Some(brokers) = flag.or_else(|| environment.get("BOOTSTRAP_SVR")) {
            self.set("bootstrap.servers", brokers);
        }
        if let Some(protocol) = connections.security_protocol {
            self.set("security.protocol", protocol.name());
        }
        if let Some(mechanism) = connections.sasl_mechanism {
            self.set("sasl.mechanism", mechanism.name());
        }
        if let Some(username) = &connections.sasl_username {
            self.set("sasl.username", username.as_str());
        }
        if let Some(password) = &connections.sasl_password {
            self.set("sasl.password", password.clone());
        }
    }

    fn require_broker(&self) -> anyhow::Result<()> {
        if self.brokers().trim().is_empty() {
            return Err(Unnamed(
                "no Kafka broker is named: give --bootstrap-server HOST:PORT, set BOOTSTRAP_SVR, \
                 or write creds.json with `orderctl auth-setup`"
                    .into(),
            )
            .into());
        }
        Ok(())
    }

    fn settle_security(
        &mut self,
        directory: Option<&CertificateDirectory>,
    ) -> anyhow::Result<SecurityProtocol> {
        if let Some(name) = self.get("security.protocol") {
            return SecurityProtocol::parse(name).ok_or_else(|| {
                anyhow::anyhow!(
                    "security.protocol must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
                )
            });
        }
        let has_login = self.get("sasl.username").is_some() || self.get("sasl.mechanism").is_some();
        let (security, because) = if has_login {
            (SecurityProtocol::SaslSsl, "there is a SASL login")
        } else if directory.is_some_and(|directory| directory.key.is_some()) {
            (SecurityProtocol::Ssl, "the certificate directory has service.key")
        } else {
            (SecurityProtocol::Plaintext, "there is neither a SASL login nor service.key")
        };
        self.details.push(format!("security.protocol is {}: {because}", security.name()));
        self.set("security.protocol", security.name());
        Ok(security)
    }

    fn settle_login(&mut self) -> anyhow::Result<()> {
        if self.get("sasl.mechanism").is_none() {
            // Of those that need no more than user and password it is the one
            // that every provider has and that never sends the password.
            self.set("sasl.mechanism", "SCRAM-SHA-256");
        }
        let mechanism = self.get("sasl.mechanism").unwrap_or_default();
        if !mechanism.starts_with("SCRAM-") && mechanism != "PLAIN" {
            return Ok(());
        }
        for (property, cure) in
            [("sasl.username", "--sasl-username NAME"), ("sasl.password", "ORDERCTL_SASL_PASSWORD")]
        {
            if self.get(property).is_none_or(str::is_empty) {
                anyhow::bail!(
                    "security.protocol asks for a SASL login but there is no {property}: \
                     set {cure}, or kafka.sasl in creds.json"
                );
            }
        }
        Ok(())
    }

    fn settle_tls(
        &mut self,
        security: SecurityProtocol,
        directory: Option<&CertificateDirectory>,
    ) -> anyhow::Result<()> {
        if !self.has_any(&["ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"]) {
            match directory.and_then(|directory| directory.ca.as_deref()) {
                Some(ca) => self.set("ssl.ca.location", path_text(ca)?),
                // The OpenSSL we bring along knows no path of its own.
                None => self.set("ssl.ca.location", "probe"),
            }
        }
        if security == SecurityProtocol::Ssl
            && !self.has_any(&["ssl.keystore.location"])
            && let Some(directory) = directory
        {
            self.settle_identity(directory)?;
        }
        Ok(())
    }

    /// Takes from the directory what of certificate and key is not named.
    fn settle_identity(&mut self, directory: &CertificateDirectory) -> anyhow::Result<()> {
        let has_certificate = self.has_any(&["ssl.certificate.location", "ssl.certificate.pem"]);
        let has_key = self.has_any(&["ssl.key.location", "ssl.key.pem"]);
        if !has_certificate && !has_key {
            // Neither named: the directory must have both, or neither.
            directory.identity()?;
        }
        if let (false, Some(certificate)) = (has_certificate, &directory.certificate) {
            self.set("ssl.certificate.location", path_text(certificate)?);
        }
        if let (false, Some(key)) = (has_key, &directory.key) {
            self.set("ssl.key.location", path_text(key)?);
        }
        Ok(())
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }
}

/// librdkafka has two names for some properties; kept under one, the later of
/// two settings wins whatever it was called.
fn canonical(name: &str) -> &str {
    match name {
        "metadata.broker.list" => "bootstrap.servers",
        "sasl.mechanisms" => "sasl.mechanism",
        other => other,
    }
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        anyhow::anyhow!("{} is not UTF-8: move it to another directory", path.display())
    })
}

fn parse_overrides(overrides: &[Secret]) -> Result<Vec<(String, Secret)>, Usage> {
    let parse = |text: &Secret| match text.expose().split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.into())),
        // The text may be a secret whose name was forgotten.
        _ => Err(Usage("-X takes KEY=VALUE, for example -X socket.timeout.ms=5000".into())),
    };
    overrides.iter().map(parse).collect()
}

#[cfg(test)]
#[path = "kafka_tests.rs"]
mod tests;
