//! Whom we trust, what we show of ourselves, and how certificates are called in
//! messages.

use std::path::Path;

use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref, X509VerifyResult};

use super::tls::{self, days_left};
use crate::config::{
    ClientCertificate, KafkaSettings, PostgresSettings, RootCertificate, Secret, SslMode,
};

/// Whom we trust, and what we show of ourselves.
#[derive(Clone)]
pub struct Trust {
    /// The CA certificates; none for those of the operating system.
    pub authorities: Option<Vec<X509>>,
    /// What to call them.
    pub label: String,
    /// Whether the certificate must be for the name of the host.
    pub checks_name: bool,
    /// Our certificate with its chain, and its key.
    pub identity: Option<(Vec<X509>, PKey<Private>)>,
}

impl Trust {
    /// The CA certificates of the operating system.
    pub fn of_system() -> Trust {
        let label = "the system's CA certificates".to_owned();
        Trust { authorities: None, label, checks_name: true, identity: None }
    }

    /// The CA certificates of a PEM file.
    ///
    /// # Errors
    /// As [`tls::read_authorities`].
    pub fn of_file(path: &Path) -> anyhow::Result<Trust> {
        let authorities = tls::read_authorities(path, &mut Vec::new())?;
        let holders: Vec<String> = authorities.iter().map(|one| subject(one)).collect();
        let label = format!("{} ({})", path.display(), holders.join(", "));
        Ok(Trust { authorities: Some(authorities), label, ..Trust::of_system() })
    }

    /// The CA certificates of the operating system and those of a PEM file.
    ///
    /// # Errors
    /// As [`tls::read_authorities`].
    pub fn of_system_and(path: &Path) -> anyhow::Result<Trust> {
        let mut trust = Trust::of_file(path)?;
        trust.label.push_str(" or the system's CA certificates");
        trust.authorities.iter_mut().for_each(|all| all.extend(system_authorities()));
        Ok(trust)
    }

    /// What librdkafka trusts and shows with these settings, as far as it is in
    /// PEM files.
    ///
    /// # Errors
    /// When a file is no good.
    pub fn of_kafka(settings: &KafkaSettings) -> anyhow::Result<Trust> {
        let path = |name| settings.get(name).map(Path::new);
        let mut trust = match path("ssl.ca.location").filter(|path| path.is_file()) {
            Some(path) => Trust::of_file(path)?,
            None => Trust::of_system(),
        };
        if let Some(pem) = settings.get("ssl.ca.pem") {
            trust.authorities = Some(X509::stack_from_pem(pem.as_bytes())?);
            trust.label = "ssl.ca.pem".into();
        }
        trust.checks_name = settings.get("ssl.endpoint.identification.algorithm") != Some("none");
        if let (Some(certificate), Some(key)) =
            (path("ssl.certificate.location"), path("ssl.key.location"))
        {
            let passphrase = settings.get("ssl.key.password").map(Secret::from);
            let read = tls::read_identity(certificate, key, passphrase.as_ref(), &mut Vec::new());
            trust.identity = Some(read?);
        }
        Ok(trust)
    }

    /// What the database's driver trusts and shows with these settings; none
    /// when it checks nothing.
    ///
    /// # Errors
    /// When a file is no good.
    pub fn of_postgres(settings: &PostgresSettings) -> anyhow::Result<Option<Trust>> {
        let mut trust = match &settings.root {
            RootCertificate::Unchecked => return Ok(None),
            RootCertificate::System => Trust::of_system(),
            RootCertificate::File(path) => Trust::of_file(path)?,
        };
        trust.checks_name = settings.sslmode == SslMode::VerifyFull;
        if let Some(ClientCertificate { certificate, key }) = &settings.identity {
            trust.identity = Some(tls::read_identity(certificate, key, None, &mut Vec::new())?);
        }
        Ok(Some(trust))
    }
}

/// Whose our certificates are, for how long, and whether ours leads to our CA.
///
/// # Errors
/// When the system's clock cannot be read.
pub fn describe(trust: &Trust) -> anyhow::Result<String> {
    let days = |one: &X509| days_left(one).map(|days| format!("{} days left", days));
    let mut text = trust.label.clone();
    let last = trust.authorities.iter().flatten().max_by_key(|one| days_left(one).unwrap_or(0));
    if let Some(last) = last {
        text.push_str(&format!(", {}", days(last)?));
    }
    let Some((own, others)) = trust.identity.as_ref().and_then(|(chain, _)| chain.split_first())
    else {
        return Ok(text);
    };
    let top = others.last().unwrap_or(own);
    let leads = trust.authorities.iter().flatten().any(|ca| ca.issued(top) == X509VerifyResult::OK);
    let leads = if leads { "by the same CA" } else { "by another CA" };
    text.push_str(&format!(
        "; client certificate of {} with its key, {leads} ({}), {}",
        subject(own),
        issuer(top),
        days(own)?
    ));
    Ok(text)
}

/// The common name that a certificate's issuer has, else all of its name.
pub fn issuer(certificate: &X509Ref) -> String {
    full_name(certificate.issuer_name())
}

/// Whom a certificate was made for, as [`issuer`] has it.
pub fn subject(certificate: &X509Ref) -> String {
    full_name(certificate.subject_name())
}

fn full_name(name: &openssl::x509::X509NameRef) -> String {
    let value = |entry: &openssl::x509::X509NameEntryRef| {
        printable(&entry.data().to_string().unwrap_or_default())
    };
    if let Some(common) = name.entries_by_nid(openssl::nid::Nid::COMMONNAME).next() {
        return value(common);
    }
    name.entries().map(value).collect::<Vec<_>>().join(", ")
}

/// What a stranger's certificate says must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

/// The CA certificates of the operating system, which the OpenSSL that we bring
/// along does not find by itself; none where there is no file of them.
pub fn system_authorities() -> Vec<X509> {
    let file = openssl_probe::probe().cert_file;
    file.and_then(|path| tls::read_certificates(&path).ok()).unwrap_or_default()
}
