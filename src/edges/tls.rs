//! Certificates and keys: read from PEM files and checked before they are used.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::config::{ClientCertificate, KafkaSettings, PostgresSettings, RootCertificate, Secret};

/// Certificates that expire sooner than this are warned about, in days.
const EXPIRY_WARNING_DAYS: i32 = 14;

/// Checks the certificate files that the settings name.
///
/// Returns warnings: what expires within 14 days, and keys that others may
/// read.
///
/// # Errors
/// When a file cannot be read or is no PEM, a certificate is out of its time or
/// does not belong to its key, or a key wants a passphrase; the text names the
/// file and the cure.
pub fn check_kafka(settings: &KafkaSettings) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    let path = |name| settings.get(name).map(Path::new);
    // Without TLS nobody reads the files.
    if !settings.get("security.protocol").is_some_and(|name| name.ends_with("SSL")) {
        return Ok(warnings);
    }
    // librdkafka takes a directory too, and looks by itself for `probe`.
    if let Some(ca) = path("ssl.ca.location").filter(|ca| *ca != Path::new("probe") && !ca.is_dir())
    {
        read_authorities(ca, &mut warnings)?;
    }
    if let (Some(certificate), Some(key)) =
        (path("ssl.certificate.location"), path("ssl.key.location"))
    {
        let passphrase = settings.get("ssl.key.password").map(Secret::from);
        read_identity(certificate, key, passphrase.as_ref(), &mut warnings)?;
    }
    Ok(warnings)
}

/// Checks the certificate files that the settings name, as [`check_kafka`].
///
/// # Errors
/// As [`check_kafka`].
pub fn check_postgres(settings: &PostgresSettings) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    if let RootCertificate::File(path) = &settings.root {
        read_authorities(path, &mut warnings)?;
    }
    if let Some(ClientCertificate { certificate, key }) = &settings.identity {
        read_identity(certificate, key, None, &mut warnings)?;
    }
    Ok(warnings)
}

/// Reads the CA certificates of a PEM file.
///
/// # Errors
/// When the file cannot be read, has no certificate, or every one of them has
/// expired.
pub fn read_authorities(path: &Path, warnings: &mut Vec<String>) -> anyhow::Result<Vec<X509>> {
    let shown = path.display();
    let certificates = read_certificates(path)?;
    let now = days_from_now(0)?;
    // A bundle often holds some that are past; one that counts is enough.
    let last = certificates.iter().map(|certificate| certificate.not_after()).reduce(later);
    if let Some(last) = last {
        if last < now {
            bail!("the CA certificate {shown} expired on {last}: download it again");
        }
        warn_of_expiry("CA certificate", path, last, warnings)?;
    }
    Ok(certificates)
}

/// Reads a certificate with its chain, and its key.
///
/// # Errors
/// As [`check_kafka`].
pub fn read_identity(
    certificate: &Path,
    key: &Path,
    passphrase: Option<&Secret>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<(Vec<X509>, PKey<Private>)> {
    let chain = read_certificates(certificate)?;
    let own = &chain[0];
    let shown = certificate.display();
    let now = days_from_now(0)?;
    if own.not_after() < now {
        bail!(
            "the certificate {shown} expired on {}: get a new one from your provider",
            own.not_after()
        );
    }
    if own.not_before() > now {
        bail!(
            "the certificate {shown} is not valid before {}: check this machine's clock",
            own.not_before()
        );
    }
    warn_of_expiry("certificate", certificate, own.not_after(), warnings)?;
    let private = read_key(key, passphrase, warnings)?;
    if !own.public_key()?.public_eq(&private) {
        bail!(
            "the certificate {shown} does not belong to the key {}: \
             copy both from the same download",
            key.display()
        );
    }
    Ok((chain, private))
}

/// Reads the certificates of a PEM file; there is at least one.
fn read_certificates(path: &Path) -> anyhow::Result<Vec<X509>> {
    let shown = path.display();
    let bytes = read_file(path)?;
    let certificates = X509::stack_from_pem(&bytes).unwrap_or_default();
    if certificates.is_empty() {
        bail!(
            "{shown} has no certificate in PEM form (-----BEGIN CERTIFICATE-----): \
             check that the file is what its name says"
        );
    }
    Ok(certificates)
}

fn read_key(
    path: &Path,
    passphrase: Option<&Secret>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<PKey<Private>> {
    let shown = path.display();
    let bytes = read_file(path)?;
    if path.metadata()?.mode() & 0o077 != 0 {
        warnings.push(format!("others may read the key {shown}: run `chmod 600 {shown}`"));
    }
    let mut was_asked = false;
    // Without a callback OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(&bytes, |buffer| {
        was_asked = true;
        let secret = passphrase.map_or(&b""[..], |secret| secret.expose().as_bytes());
        let target = buffer.get_mut(..secret.len()).ok_or_else(ErrorStack::get)?;
        target.copy_from_slice(secret);
        Ok(secret.len())
    });
    key.map_err(|_| match (was_asked, passphrase) {
        (true, Some(_)) => {
            anyhow::anyhow!("the passphrase of the key {shown} is wrong: correct ssl.key.password")
        }
        (true, None) => anyhow::anyhow!(
            "the key {shown} is protected by a passphrase: set ssl.key.password in the file of \
             --kafka-config, or take it off with `openssl pkey -in {shown} -out plain.key`"
        ),
        (false, _) => anyhow::anyhow!(
            "{shown} has no private key in PEM form (-----BEGIN PRIVATE KEY-----): \
             check that the file is what its name says"
        ),
    })
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn warn_of_expiry(
    what: &str,
    path: &Path,
    not_after: &Asn1TimeRef,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    if not_after < days_from_now(EXPIRY_WARNING_DAYS)? {
        warnings.push(format!(
            "the {what} {} expires on {not_after}: get a new one before that",
            path.display()
        ));
    }
    Ok(())
}

fn days_from_now(days: i32) -> anyhow::Result<Asn1Time> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let seconds = i64::try_from(seconds)? + i64::from(days) * 86_400;
    Ok(Asn1Time::from_unix(seconds)?)
}

fn later<'a>(a: &'a Asn1TimeRef, b: &'a Asn1TimeRef) -> &'a Asn1TimeRef {
    if a < b { b } else { a }
}
