//! A project CA made on the spot and what it signs: a certificate for each
//! server and one for the client. The CA's key is thrown away at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::files::{write_private, write_private_bytes};

/// How long the certificates are good, in years.
const YEARS: i16 = 10;

/// The certificates of a stack.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// What a client is given: ca.pem, service.key, service.cert.
    pub client: PathBuf,
    /// Key and certificate of each server.
    pub servers: PathBuf,
}

impl Certificates {
    /// The certificates in these two directories, made when they are not all
    /// there.
    ///
    /// # Errors
    /// When a directory cannot be written.
    pub fn ensure(client: PathBuf, servers: PathBuf) -> anyhow::Result<Certificates> {
        let certificates = Certificates { client, servers };
        if !certificates.files().iter().all(|file| file.is_file()) {
            certificates.make().context("cannot make the certificates")?;
        }
        Ok(certificates)
    }

    /// The CA that signed all others.
    pub fn ca(&self) -> PathBuf {
        self.client.join("ca.pem")
    }

    /// The private key (PKCS#8) of a server.
    pub fn server_key(&self, server: &str) -> PathBuf {
        self.servers.join(format!("{server}.key"))
    }

    /// The certificate of a server.
    pub fn server_certificate(&self, server: &str) -> PathBuf {
        self.servers.join(format!("{server}.cert"))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files =
            vec![self.client.join("service.key"), self.client.join("service.cert"), self.ca()];
        for server in SERVERS {
            files.extend([self.server_key(server), self.server_certificate(server)]);
        }
        files
    }

    /// The CA is written last: a set that was left half made is made again.
    fn make(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.client)?;
        fs::create_dir_all(&self.servers)?;
        let _ = fs::remove_file(self.ca());
        let (ca, issuer) = authority()?;
        for server in SERVERS {
            let (key, certificate) = leaf(server, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?;
            write_private(&self.server_key(server), &key)?;
            fs::write(self.server_certificate(server), certificate)?;
        }
        let (key, certificate) = leaf("orderctl", ExtendedKeyUsagePurpose::ClientAuth, &issuer)?;
        write_private(&self.client.join("service.key"), &key)?;
        fs::write(self.client.join("service.cert"), certificate)?;
        fs::write(self.ca(), ca)?;
        Ok(())
    }
}

/// The servers that get a certificate.
const SERVERS: [&str; 2] = ["kafka", "postgres"];

fn authority() -> anyhow::Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = parameters("orderctl local project CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

/// Key and certificate in PEM; a server's is good for localhost.
fn leaf(
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<(String, String)> {
    let addresses = match purpose {
        ExtendedKeyUsagePurpose::ServerAuth => vec!["localhost".into(), "127.0.0.1".into()],
        _ => Vec::new(),
    };
    let mut params = parameters(name, addresses)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok((key.serialize_pem(), certificate))
}

fn parameters(name: &str, addresses: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(addresses)?;
    params.distinguished_name.push(DnType::OrganizationName, "orderctl local stack");
    params.distinguished_name.push(DnType::CommonName, name);
    // From yesterday, so that no clock calls it not yet valid.
    let from = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().yesterday()?;
    let day = |year: i16, date: jiff::civil::Date| -> anyhow::Result<_> {
        let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
        // Not every year has a 29 February.
        Ok(rcgen::date_time_ymd(year.into(), month, day.min(28)))
    };
    params.not_before = day(from.year(), from)?;
    params.not_after = day(from.year() + YEARS, from)?;
    Ok(params)
}

/// Writes key and certificate of a server, with the CA, into one file as Java's
/// key stores have it (PKCS #12), locked with a password.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_pkcs12(
    certificates: &Certificates,
    server: &str,
    password: &str,
    path: &Path,
) -> anyhow::Result<()> {
    let key = PKey::private_key_from_pem(&fs::read(certificates.server_key(server))?)?;
    let certificate = X509::from_pem(&fs::read(certificates.server_certificate(server))?)?;
    let mut chain = Stack::new()?;
    chain.push(X509::from_pem(&fs::read(certificates.ca())?)?)?;
    let mut store = Pkcs12::builder();
    store.name(server).pkey(&key).cert(&certificate).ca(chain);
    write_private_bytes(path, &store.build2(password)?.to_der()?)
}

/// Copies key and certificate of a server, and the CA, into one PEM file
/// each, as Kafka wants its key store and its trust store.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_stores(
    certificates: &Certificates,
    server: &str,
    directory: &Path,
) -> anyhow::Result<()> {
    let key = fs::read_to_string(certificates.server_key(server))?;
    let certificate = fs::read_to_string(certificates.server_certificate(server))?;
    write_private(&directory.join("keystore.pem"), &(key + &certificate))?;
    fs::copy(certificates.ca(), directory.join("truststore.pem"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(path: &Path) -> X509 {
        X509::from_pem(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn every_certificate_is_signed_by_the_ca_and_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let (client, servers) = (dir.path().join("certs"), dir.path().join("tls"));
        let made = Certificates::ensure(client.clone(), servers.clone()).unwrap();
        let ca = read(&made.ca());
        let ca_key = ca.public_key().unwrap();
        for file in [client.join("service.cert"), made.server_certificate("kafka")] {
            assert!(read(&file).verify(&ca_key).unwrap(), "{}", file.display());
        }
        let mode = fs::metadata(client.join("service.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let key = fs::read_to_string(client.join("service.key")).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
        let before = fs::read(made.ca()).unwrap();
        Certificates::ensure(client.clone(), servers.clone()).unwrap();
        assert_eq!(fs::read(made.ca()).unwrap(), before, "made once");
        fs::remove_file(client.join("service.key")).unwrap();
        Certificates::ensure(client, servers).unwrap();
        assert_ne!(fs::read(made.ca()).unwrap(), before, "an incomplete set is made again");
    }

    #[test]
    fn a_server_is_good_for_localhost_and_ten_years() {
        let dir = tempfile::tempdir().unwrap();
        let made = Certificates::ensure(dir.path().join("c"), dir.path().join("s")).unwrap();
        let server = read(&made.server_certificate("postgres"));
        let names = server.subject_alt_names().unwrap();
        assert!(names.iter().any(|name| name.dnsname() == Some("localhost")));
        assert!(names.iter().any(|name| name.ipaddress() == Some(&[127, 0, 0, 1])));
        let nine_years = openssl::asn1::Asn1Time::days_from_now(9 * 365).unwrap();
        assert!(server.not_after() > nine_years);
        let now = openssl::asn1::Asn1Time::days_from_now(0).unwrap();
        assert!(server.not_before() < now);
    }
}
