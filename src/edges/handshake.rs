//! A TLS handshake that only looks: what a server shows of itself, and why we
//! would not trust it. Drivers say that a certificate is no good; people need to
//! hear whose it is and what was expected instead.

use std::error::Error;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509Ref;

use super::tls::days_left;
use super::trust::{Trust, issuer, printable, subject, system_authorities};
use crate::config::address::split_address;

/// How long the server may take for each step.
const LIMIT: Duration = Duration::from_secs(4);

/// What PostgreSQL is sent first by a client that wants TLS (`SSLRequest`,
/// chapter "Message Formats" of its manual).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A connection after the handshake.
pub type Connection = SslStream<TcpStream>;

/// How TLS begins on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// With the first byte.
    AtOnce,
    /// After PostgreSQL's `SSLRequest`.
    Postgres,
    /// After the greeting of a mail server and STARTTLS (RFC 3207).
    Starttls,
}

/// What a server has shown of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// OpenSSL's name of the protocol, `TLSv1.3`.
    pub protocol: String,
    /// Whom the certificate was made for: its alternative names, else its common
    /// name.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Days until it expires; negative when it has.
    pub days_left: i64,
    /// When it expires, in OpenSSL's form.
    pub not_after: String,
    /// Why it is not to be trusted, if it is not.
    pub distrust: Option<Distrust>,
}

/// Why a certificate is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// It was made for another host name.
    OtherName,
    /// It, or one of its chain, has expired.
    Expired,
    /// It, or one of its chain, is not valid yet.
    NotYetValid,
    /// None of our CA certificates has signed it.
    Unsigned,
    /// Something else, in OpenSSL's words.
    Other(&'static str),
}

/// Why there was no handshake.
#[derive(Debug)]
pub enum NoHandshake {
    /// The server speaks, but not TLS; what it said instead.
    NoTls(String),
    /// The server broke the handshake off, in OpenSSL's words.
    Refused(String),
    /// The network, or a server that does not answer.
    Network(io::Error),
    /// Our own files or OpenSSL.
    Own(anyhow::Error),
}

impl fmt::Display for NoHandshake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoHandshake::NoTls(said) => write!(out, "it does not speak TLS: {said}"),
            NoHandshake::Refused(said) => write!(out, "it ended the TLS handshake: {said}"),
            NoHandshake::Network(error) => write!(out, "no TLS handshake: {error}"),
            NoHandshake::Own(error) => write!(out, "{error:#}"),
        }
    }
}

impl Error for NoHandshake {}

impl Shown {
    /// What is wrong with the certificate and what was expected, without a cure;
    /// none when it is good. `server` is `host:port`, and `ours` what we trust.
    pub fn fault(&self, server: &str, ours: &Trust) -> Option<String> {
        let host = split_address(server).map_or(server, |(host, _)| host);
        Some(match self.distrust.as_ref()? {
            Distrust::OtherName => format!(
                "the certificate of {server} is for another host name: it was made for {}, not \
                 for {host}",
                self.names.join(", ")
            ),
            Distrust::Expired => {
                format!("the certificate of {server} has expired: it ended on {}", self.not_after)
            }
            Distrust::NotYetValid => format!("the certificate of {server} is not valid yet"),
            Distrust::Unsigned => format!(
                "the certificate of {server} is not signed by {}: {} has signed it",
                ours.label, self.issuer
            ),
            Distrust::Other(said) => {
                format!("the certificate of {server} is not to be trusted: {said}")
            }
        })
    }
}

/// Shakes hands with a server at `host:port` and hangs up. Nothing secret is
/// sent; an untrusted certificate is told in [`Shown::distrust`]. Takes 4 s a
/// step at most.
///
/// # Errors
/// When it does not come to a handshake.
pub fn shake_hands(
    address: &str,
    opening: Opening,
    trust: &Trust,
) -> Result<(Shown, Connection), NoHandshake> {
    let (host, _) = split_address(address)
        .ok_or_else(|| NoHandshake::Own(anyhow::anyhow!("{address} is not HOST:PORT")))?;
    let mut stream = call(address).map_err(NoHandshake::Network)?;
    open(opening, &mut stream)?;
    let distrust = Arc::new(Mutex::new(None));
    let connector = connector(trust, Arc::clone(&distrust)).map_err(NoHandshake::Own)?;
    let configured = connector.configure().map_err(|error| NoHandshake::Own(error.into()))?;
    let connected = match configured.verify_hostname(trust.checks_name).connect(host, stream) {
        Ok(connected) => connected,
        Err(HandshakeError::SetupFailure(error)) => return Err(NoHandshake::Own(error.into())),
        Err(HandshakeError::WouldBlock(_)) => {
            return Err(NoHandshake::Network(io::ErrorKind::TimedOut.into()));
        }
        Err(HandshakeError::Failure(failed)) => return Err(explain(failed.error())),
    };
    let ssl = connected.ssl();
    let certificate = ssl
        .peer_certificate()
        .ok_or_else(|| NoHandshake::Own(anyhow::anyhow!("{address} has no certificate")))?;
    let shown = Shown {
        protocol: ssl.version_str().to_owned(),
        names: names(&certificate),
        issuer: issuer(&certificate),
        days_left: days_left(&certificate).map_err(NoHandshake::Own)?,
        not_after: certificate.not_after().to_string(),
        distrust: distrust.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    };
    Ok((shown, connected))
}

/// Connects to the first address of a name that answers, with time limits for
/// whatever follows.
///
/// # Errors
/// Those of the system.
pub fn call(address: &str) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::NotFound.into();
    for target in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&target, LIMIT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn names(certificate: &X509Ref) -> Vec<String> {
    let mut names = Vec::new();
    for name in certificate.subject_alt_names().iter().flatten() {
        if let Some(dns) = name.dnsname() {
            names.push(printable(dns));
        } else if let Some(bytes) = name.ipaddress() {
            names.extend(ip_address(bytes));
        }
    }
    if names.is_empty() {
        names.push(subject(certificate));
    }
    names
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or(v6).ok().map(|address| address.to_string())
}

/// What comes before TLS.
fn open(opening: Opening, stream: &mut TcpStream) -> Result<(), NoHandshake> {
    match opening {
        Opening::AtOnce => Ok(()),
        Opening::Postgres => {
            let mut answer = [0];
            stream
                .write_all(&SSL_REQUEST)
                .and_then(|()| stream.read_exact(&mut answer))
                .map_err(network)?;
            match answer {
                [b'S'] => Ok(()),
                [b'N'] => Err(NoHandshake::NoTls("it has no TLS".into())),
                _ => Err(NoHandshake::NoTls("it is no PostgreSQL".into())),
            }
        }
        Opening::Starttls => {
            for command in ["", "EHLO orderctl\r\n", "STARTTLS\r\n"] {
                let said = super::smtp::exchange(stream, command).map_err(network)?;
                if !said.starts_with('2') {
                    return Err(NoHandshake::NoTls(format!("it says {said}")));
                }
            }
            Ok(())
        }
    }
}

/// A connector that goes on whatever the certificate is, and notes the first
/// reason not to.
fn connector(
    trust: &Trust,
    distrust: Arc<Mutex<Option<Distrust>>>,
) -> anyhow::Result<SslConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    for authority in trust.authorities.clone().unwrap_or_else(system_authorities) {
        builder.cert_store_mut().add_cert(authority)?;
    }
    if let Some((chain, key)) = &trust.identity {
        let (own, others) = chain.split_first().context("a chain has a certificate")?;
        builder.set_certificate(own)?;
        for other in others {
            builder.add_extra_chain_cert(other.clone())?;
        }
        builder.set_private_key(key)?;
    }
    builder.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
        if !is_good {
            let mut first = distrust.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| reason(context.error().error_string()));
        }
        true
    });
    Ok(builder.build())
}

fn reason(said: &'static str) -> Distrust {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["mismatch"]) {
        Distrust::OtherName
    } else if has(&["has expired"]) {
        Distrust::Expired
    } else if has(&["not yet valid"]) {
        Distrust::NotYetValid
    } else if has(&["issuer certificate", "self-signed", "first certificate", "not trusted"]) {
        Distrust::Unsigned
    } else {
        Distrust::Other(said)
    }
}

/// A time limit of a socket comes as "would block".
fn network(error: io::Error) -> NoHandshake {
    NoHandshake::Network(match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

fn explain(error: &openssl::ssl::Error) -> NoHandshake {
    if let Some(cause) = error.io_error() {
        return network(io::Error::new(cause.kind(), cause.to_string()));
    }
    let said = error.to_string();
    if said.contains("alert") {
        NoHandshake::Refused(said)
    } else if ["wrong version number", "packet length too long", "unexpected message"]
        .iter()
        .any(|words| said.contains(words))
    {
        NoHandshake::NoTls("it answers with something else".into())
    } else {
        // Most often the connection was closed in the middle.
        NoHandshake::Network(io::Error::other(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(distrust: Distrust) -> Shown {
        Shown {
            protocol: "TLSv1.3".into(),
            names: vec!["db.example".into(), "127.0.0.1".into()],
            issuer: "their CA".into(),
            days_left: 3,
            not_after: "Dec 31 2020".into(),
            distrust: Some(distrust),
        }
    }

    #[test]
    fn every_fault_says_what_was_expected_and_what_came() {
        let ours = Trust { label: "ca.pem".into(), ..Trust::of_system() };
        for (said, words) in [
            ("hostname mismatch", ["made for db.example, 127.0.0.1", "not for h"]),
            ("certificate has expired", ["h:1 has expired", "ended on Dec 31 2020"]),
            ("unable to get local issuer certificate", ["not signed by ca.pem", "their CA has"]),
            ("self-signed certificate in certificate chain", ["not signed by", "their CA"]),
            ("certificate is not yet valid", ["h:1", "not valid yet"]),
            ("path length constraint exceeded", ["not to be trusted", "path length"]),
        ] {
            let fault = shown(reason(said)).fault("h:1", &ours).unwrap();
            assert!(words.iter().all(|word| fault.contains(word)), "{said}: {fault}");
        }
        let good = Shown { distrust: None, ..shown(Distrust::Expired) };
        assert_eq!(good.fault("h:1", &ours), None);
    }

    #[test]
    fn addresses_in_certificates_are_shown_as_people_write_them() {
        assert_eq!(ip_address(&[127, 0, 0, 1]).as_deref(), Some("127.0.0.1"));
        assert_eq!(ip_address(&[0; 16]).as_deref(), Some("::"));
        assert_eq!(ip_address(&[1]), None);
    }
}
