//! One connection to the database, over TLS as the settings ask.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use native_tls::{Certificate, Identity, TlsConnector};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::config::SslMode as DriverMode;
use tokio_postgres::{Client, Config, Error};

use super::failure::{self, Class};
use super::fault;
use crate::config::{ClientCertificate, PostgresSettings, RootCertificate, SslMode};
use crate::edges::tls;
use crate::engine::metrics::Cause;

pub use super::failure::describe;

/// What the server keeps of an application name, in bytes.
const APPLICATION_NAME_BYTES_MAX: usize = 63;

/// Why there is no connection: one line with the cure, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    message: String,
    class: Class,
    cause: Cause,
}

impl ConnectError {
    /// Whether it is worth trying again ([`Class::Wait`]) or not
    /// ([`Class::Stop`]).
    pub fn class(&self) -> Class {
        self.class
    }

    /// What another try is counted as.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    fn stop(message: impl Into<String>) -> ConnectError {
        ConnectError { message: message.into(), class: Class::Stop, cause: Cause::Connection }
    }

    fn wait(message: impl Into<String>) -> ConnectError {
        ConnectError { message: message.into(), class: Class::Wait, cause: Cause::Connection }
    }
}

/// Connects and drives the connection on the current runtime until the client
/// is dropped.
///
/// `application_name` is what `pg_stat_activity` shows, cut to the server's 63
/// bytes. Several hosts are tried in turn; each has the settings' time limit
/// (10 s unless set) for connection, encryption and login together.
///
/// # Errors
/// When no host lets us in, or a certificate file is no good. Whether waiting
/// may help is told by [`ConnectError::class`].
pub async fn connect(
    settings: &PostgresSettings,
    application_name: &str,
) -> Result<Client, ConnectError> {
    let mut config: Config = settings.uri.expose().parse().map_err(|error: Error| {
        ConnectError::stop(format!("the postgres URI is not understood: {}", describe(&error)))
    })?;
    config.application_name(cut(application_name, APPLICATION_NAME_BYTES_MAX));
    let connector =
        connector(settings).map_err(|error| ConnectError::stop(format!("{error:#}")))?;
    let mut refusal = None;
    for mode in attempts(settings.sslmode) {
        config.ssl_mode(*mode);
        match attempt(&config, connector.clone()).await {
            Ok(client) => return Ok(client),
            Err(failure) => {
                let goes_on = failure.may_differ_with_other_encryption();
                // What is told is what went wrong with TLS, the way that the
                // settings would rather have gone.
                if refusal.is_none() || *mode != DriverMode::Disable {
                    refusal = Some(failure);
                }
                if !goes_on {
                    break;
                }
            }
        }
    }
    let Some(failure) = refusal else {
        return Err(ConnectError::stop("no way to connect was tried"));
    };
    if failure.is_about_the_certificate()
        && let Some(fault) = fault::of(settings).await
    {
        return Err(ConnectError::stop(fault));
    }
    Err(failure.explain(settings))
}

/// The ways to connect that a mode allows, in libpq's order.
fn attempts(mode: SslMode) -> &'static [DriverMode] {
    match mode {
        SslMode::Disable => &[DriverMode::Disable],
        SslMode::Allow => &[DriverMode::Disable, DriverMode::Require],
        // The driver's own Prefer goes on without TLS only when the server has
        // none, not when the handshake fails.
        SslMode::Prefer => &[DriverMode::Prefer, DriverMode::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[DriverMode::Require],
    }
}

async fn attempt(config: &Config, connector: MakeTlsConnector) -> Result<Client, Failure> {
    let connecting = config.connect(connector);
    let connected = match overall_limit(config) {
        // The driver's limit ends with the TCP connection; a server that
        // accepts and then says nothing would hold us for ever.
        Some(limit) => {
            tokio::time::timeout(limit, connecting).await.map_err(|_| Failure::Silent(limit))?
        }
        None => connecting.await,
    };
    let (client, connection) = connected.map_err(Failure::Driver)?;
    // Its error reaches whoever uses the client, as a closed connection.
    tokio::spawn(connection);
    Ok(client)
}

fn overall_limit(config: &Config) -> Option<Duration> {
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len()).max(1);
    let each = *config.get_connect_timeout()?;
    // A little more than the driver's, whose error says more.
    Some(each * u32::try_from(hosts).unwrap_or(u32::MAX) + Duration::from_secs(1))
}

enum Failure {
    Driver(Error),
    /// No answer within the limit.
    Silent(Duration),
}

impl Failure {
    fn may_differ_with_other_encryption(&self) -> bool {
        match self {
            // pg_hba.conf tells encrypted connections from others.
            Failure::Driver(error) => is_tls(error) || sqlstate(error) == "28000",
            Failure::Silent(_) => false,
        }
    }

    fn is_about_the_certificate(&self) -> bool {
        let failed = |error: &Error| describe(error).contains("certificate verify failed");
        matches!(self, Failure::Driver(error) if is_tls(error) && failed(error))
    }

    fn explain(self, settings: &PostgresSettings) -> ConnectError {
        let server = &settings.server;
        let error = match self {
            Failure::Driver(error) => error,
            Failure::Silent(limit) => {
                return ConnectError::wait(format!(
                    "{server} accepts connections but did not let us in within {} s: is it \
                     PostgreSQL that listens there?",
                    limit.as_secs()
                ));
            }
        };
        if error.as_db_error().is_some() {
            let cause = failure::cause(&error);
            return ConnectError { cause, ..explain_refusal(&error, settings) };
        }
        if is_tls(&error) {
            return explain_tls(&describe(&error), settings);
        }
        match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
            Some(cause) => explain_network(cause, settings),
            None => explain_login(&error, settings),
        }
    }
}

fn sqlstate(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

fn is_tls(error: &Error) -> bool {
    // The driver does not tell its kinds apart by type.
    error.to_string().contains("TLS handshake")
}

/// The server answered, and said no.
fn explain_refusal(error: &Error, settings: &PostgresSettings) -> ConnectError {
    let server = &settings.server;
    let user = settings.user.as_deref().unwrap_or("(the system user)");
    let said = describe(error);
    match sqlstate(error) {
        "28P01" => ConnectError::stop(format!(
            "{server} refuses the password of {user}: correct it in the postgres URI ({said})"
        )),
        "28000" if said.contains("no encryption") => ConnectError::stop(format!(
            "{server} wants an encrypted connection: set sslmode=require or stronger ({said})"
        )),
        "28000" => ConnectError::stop(format!(
            "{server} does not let {user} in: check the user and the server's pg_hba.conf ({said})"
        )),
        "3D000" => ConnectError::stop(format!(
            "there is no such database on {server}: create it or correct the postgres URI ({said})"
        )),
        "53300" => ConnectError::wait(format!(
            "{server} has no connection left: close some or raise max_connections ({said})"
        )),
        "08P01" if said.contains("startup parameter") => ConnectError::stop(format!(
            "{server} takes no such parameter: leave it out of the postgres URI, or, if this is \
             pgbouncer, name it in ignore_startup_parameters ({said})"
        )),
        code => {
            let message = format!("{server} does not let us in: {said}");
            match failure::classify_sqlstate(code) {
                Class::Wait | Class::Closed => ConnectError::wait(message),
                // There is no record yet that could be at fault.
                Class::Record | Class::Stop => ConnectError::stop(message),
            }
        }
    }
}

/// The handshake failed.
fn explain_tls(said: &str, settings: &PostgresSettings) -> ConnectError {
    let server = &settings.server;
    let root = match &settings.root {
        RootCertificate::File(path) => path.display().to_string(),
        RootCertificate::System => "the system's CA certificates".into(),
        RootCertificate::Unchecked => "(none)".into(),
    };
    let message = if said.contains("does not support TLS") {
        format!("{server} has no TLS: switch it on there, or set sslmode=disable")
    } else if said.contains("hostname mismatch") || said.contains("IP address mismatch") {
        format!(
            "the certificate of {server} is for another host name: use the name it was made for, \
             or sslmode=verify-ca"
        )
    } else if said.contains("certificate has expired") {
        format!("the certificate of {server} has expired: renew it there")
    } else if said.contains("not yet valid") {
        format!("the certificate of {server} is not valid yet: check the clocks")
    } else if said.contains("certificate verify failed") {
        format!(
            "the certificate of {server} is not signed by {root}: give the CA certificate of \
             this server (sslrootcert=FILE, or ca.pem in the certificate directory)"
        )
    } else if said.contains("alert") {
        format!(
            "{server} ended the TLS handshake: does it want a client certificate \
             (sslcert and sslkey)? ({said})"
        )
    } else {
        // Most often the connection was cut in the middle.
        return ConnectError::wait(format!("no TLS connection to {server}: {said}"));
    };
    ConnectError::stop(message)
}

/// There was no answer, or it broke off.
fn explain_network(cause: &io::Error, settings: &PostgresSettings) -> ConnectError {
    let server = &settings.server;
    ConnectError::wait(match cause.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on {server}: is PostgreSQL running, and the port right?")
        }
        io::ErrorKind::TimedOut => {
            format!("no answer from {server}: check the address and the firewalls between")
        }
        io::ErrorKind::NotFound => {
            format!("there is no PostgreSQL socket in {server}: is PostgreSQL running?")
        }
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            return ConnectError::stop(format!(
                "what listens on {server} is not PostgreSQL: check host and port"
            ));
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            format!("{server} closed the connection at once: is it PostgreSQL that listens there?")
        }
        // The driver's words for a server that is not what target_session_attrs
        // asks for: after a failover it may be.
        io::ErrorKind::PermissionDenied if cause.to_string().starts_with("database ") => {
            format!("no host of {server} is what target_session_attrs asks for ({cause})")
        }
        io::ErrorKind::PermissionDenied => return ConnectError::stop(format!("{server}: {cause}")),
        _ if cause.to_string().contains("lookup address") => format!(
            "there is no host of this name: {server}; check the host in the postgres URI ({cause})"
        ),
        _ => format!("no connection to {server}: {cause}"),
    })
}

/// Neither server nor network: the driver itself would not go on.
fn explain_login(error: &Error, settings: &PostgresSettings) -> ConnectError {
    let server = &settings.server;
    let said = describe(error);
    if said.contains("password missing") {
        return ConnectError::stop(format!(
            "{server} asks for a password: put it into the postgres URI, or set PGPASSWORD"
        ));
    }
    if error.is_closed() {
        return ConnectError::wait(format!("{server} closed the connection during the login"));
    }
    ConnectError::stop(format!("no connection to {server}: {said}"))
}

fn connector(settings: &PostgresSettings) -> anyhow::Result<MakeTlsConnector> {
    let mut builder = TlsConnector::builder();
    if settings.sslmode == SslMode::Disable {
        return Ok(MakeTlsConnector::new(builder.build()?));
    }
    match &settings.root {
        RootCertificate::System => {}
        RootCertificate::Unchecked => {
            builder.danger_accept_invalid_certs(true);
        }
        RootCertificate::File(path) => {
            builder.disable_built_in_roots(true);
            for authority in tls::read_authorities(path, &mut Vec::new())? {
                builder.add_root_certificate(Certificate::from_der(&authority.to_der()?)?);
            }
        }
    }
    builder.danger_accept_invalid_hostnames(settings.sslmode != SslMode::VerifyFull);
    if let Some(ClientCertificate { certificate, key }) = &settings.identity {
        let (chain, key) = tls::read_identity(certificate, key, None, &mut Vec::new())?;
        builder.identity(identity(&chain, &key)?);
    }
    Ok(MakeTlsConnector::new(builder.build()?))
}

fn identity(chain: &[X509], key: &PKey<Private>) -> anyhow::Result<Identity> {
    let mut pem = Vec::new();
    for certificate in chain {
        pem.extend(certificate.to_pem()?);
    }
    Ok(Identity::from_pkcs8(&pem, &key.private_key_to_pem_pkcs8()?)?)
}

/// The longest beginning of a text within a number of bytes that cuts no
/// character.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(cut("orderctl", 63), "orderctl");
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut(&"é".repeat(40), 63).len(), 62);
    }

    #[test]
    fn every_handshake_failure_has_its_cure() {
        let settings = PostgresSettings::parse("host=db.example user=u", None).unwrap();
        for (said, word, class) in [
            ("server does not support TLS", "sslmode=disable", Class::Stop),
            ("certificate verify failed (hostname mismatch)", "verify-ca", Class::Stop),
            ("certificate verify failed (certificate has expired)", "renew", Class::Stop),
            ("certificate verify failed (self-signed certificate)", "ca.pem", Class::Stop),
            ("tlsv13 alert certificate required", "sslcert", Class::Stop),
            ("unexpected EOF", "no TLS connection", Class::Wait),
        ] {
            let error = explain_tls(said, &settings);
            assert!(error.to_string().contains(word), "{said}: {error}");
            assert_eq!(error.class(), class, "{said}");
        }
    }
}
