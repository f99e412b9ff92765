//! Certificates and keys: read from PEM files and checked before they are used.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};

use crate::config::{ClientCertificate, KafkaSettings, PostgresSettings, RootCertificate, Secret};

/// Certificates that expire sooner than this are warned about, in days.
const EXPIRY_WARNING_DAYS: i32 = 30;

/// Checks the certificate files that the settings name.
///
/// Returns warnings: what expires within 30 days, and keys that others may
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

/// Whole days until a certificate expires; negative when it has.
///
/// # Errors
/// When the system's clock cannot be read.
pub fn days_left(certificate: &X509Ref) -> anyhow::Result<i64> {
    let left = days_from_now(0)?.diff(certificate.not_after())?;
    // A part of a day that is past counts as a day.
    Ok(i64::from(left.days) - i64::from(left.secs < 0))
}

/// Reads the certificates of a PEM file; there is at least one.
///
/// # Errors
/// When the file cannot be read or has none.
pub fn read_certificates(path: &Path) -> anyhow::Result<Vec<X509>> {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use openssl::symm::Cipher;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate and its key, good until the given number of days from now.
    fn write_pair(folder: &Path, name: &str, days: i64) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_before = date_time_ymd(2019, 1, 1);
        // rcgen's dates come from a crate we do not name: count from a known one.
        let seconds = i64::try_from(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
        )
        .unwrap();
        let day = Duration::from_secs(86_400);
        let whole = u32::try_from(seconds / 86_400 + days).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + day * whole;
        let certificate = folder.join(format!("{name}.cert"));
        let key_file = folder.join(format!("{name}.key"));
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        write_key(&key_file, key.serialize_pem().as_bytes());
        (certificate, key_file)
    }

    fn write_key(path: &Path, pem: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(path, pem).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn check(
        certificate: &Path,
        key: &Path,
        passphrase: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        let passphrase = passphrase.map(Secret::from);
        read_identity(certificate, key, passphrase.as_ref(), &mut warnings)
            .map(|_| warnings)
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_good_pair_passes_and_one_that_expires_soon_is_warned_about() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "good", 400);
        assert_eq!(check(&certificate, &key, None), Ok(Vec::new()));
        let (certificate, key) = write_pair(folder.path(), "soon", 10);
        let warnings = check(&certificate, &key, None).unwrap();
        assert!(warnings[0].contains("expires on"), "{warnings:?}");
        let mut warnings = Vec::new();
        read_authorities(&certificate, &mut warnings).unwrap();
        assert!(warnings[0].contains("CA certificate"), "{warnings:?}");
    }

    #[test]
    fn what_is_past_or_does_not_belong_together_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "past", -2);
        assert!(check(&certificate, &key, None).unwrap_err().contains("expired on"));
        let past = read_authorities(&certificate, &mut Vec::new()).unwrap_err();
        assert!(past.to_string().contains("expired on"), "{past}");
        let (certificate, _) = write_pair(folder.path(), "one", 400);
        let (_, key) = write_pair(folder.path(), "other", 400);
        assert!(check(&certificate, &key, None).unwrap_err().contains("does not belong"));
    }

    #[test]
    fn a_key_with_a_passphrase_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "locked", 400);
        let plain = PKey::private_key_from_pem(&std::fs::read(&key).unwrap()).unwrap();
        let locked =
            plain.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"hunter2").unwrap();
        write_key(&key, &locked);
        assert!(check(&certificate, &key, None).unwrap_err().contains("passphrase"));
        let wrong = check(&certificate, &key, Some("hunter3")).unwrap_err();
        assert!(wrong.contains("wrong") && !wrong.contains("hunter3"), "{wrong}");
        assert_eq!(check(&certificate, &key, Some("hunter2")), Ok(Vec::new()));
    }

    #[test]
    fn files_that_are_not_what_their_name_says_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "good", 400);
        assert!(check(&key, &key, None).unwrap_err().contains("no certificate in PEM form"));
        let refusal = check(&certificate, &certificate, None).unwrap_err();
        assert!(refusal.contains("no private key in PEM form"), "{refusal}");
        let absent = folder.path().join("absent.key");
        assert!(check(&certificate, &absent, None).unwrap_err().contains("absent.key"));
    }

    #[test]
    fn a_key_that_others_may_read_is_warned_about() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path(), "open", 400);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(check(&certificate, &key, None).unwrap()[0].contains("chmod 600"));
    }
}
