//! What is told about a stack, and the files that let clients in.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::{Folder, State};
use super::{LOGIN, Listener, Service, mail, process, server};
use crate::config::SaslMechanism;
use crate::config::Secret;
use crate::config::creds::{Creds, KafkaCreds, PostgresCreds, SaslCreds, SmtpCreds, SmtpSecurity};

/// A stack that runs: addresses and paths, no secrets. Its Display is what a
/// shell evaluates.
#[derive(Debug, Clone, Serialize)]
pub struct Stack {
    /// The folder with everything in it.
    pub folder: PathBuf,
    /// Credentials for Kafka over mutual TLS, PostgreSQL and mail.
    pub creds: PathBuf,
    /// Credentials for Kafka over SASL_SSL, PostgreSQL and mail.
    pub creds_sasl: PathBuf,
    /// Credentials for Kafka without TLS, PostgreSQL and mail.
    pub creds_plaintext: PathBuf,
    /// Directory with ca.pem, service.key and service.cert.
    pub cert_path: PathBuf,
    /// Kafka, mutual TLS.
    pub kafka_ssl: SocketAddr,
    /// Kafka, SASL_SSL.
    pub kafka_sasl: SocketAddr,
    /// Kafka, plaintext.
    pub kafka_plaintext: SocketAddr,
    /// PostgreSQL, TLS.
    pub postgres: SocketAddr,
    /// Directory of the unix socket for PostgreSQL's superuser `postgres`.
    pub admin_socket: PathBuf,
    /// SMTP, TLS from the first byte.
    pub mail_tls: SocketAddr,
    /// SMTP, plaintext.
    pub mail_plaintext: SocketAddr,
    /// HTTP: `/api/user/ADDRESS/messages` shows what came for an address.
    pub mailboxes: SocketAddr,
}

impl Stack {
    pub(super) fn new(folder: &Folder, state: &State) -> anyhow::Result<Stack> {
        let server = server(folder, state)?;
        Ok(Stack {
            folder: folder.path.clone(),
            creds: folder.creds(Listener::Ssl),
            creds_sasl: folder.creds(Listener::SaslSsl),
            creds_plaintext: folder.creds(Listener::Plaintext),
            cert_path: folder.certs(),
            kafka_ssl: Listener::Ssl.address(&state.ports),
            kafka_sasl: Listener::SaslSsl.address(&state.ports),
            kafka_plaintext: Listener::Plaintext.address(&state.ports),
            postgres: server.address(),
            admin_socket: server.socket(),
            mail_tls: mail::tls_address(state),
            mail_plaintext: mail::plaintext_address(state),
            mailboxes: mail::mailboxes_address(state),
        })
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "export ORDERCTL_CREDS={}", shell_quoted(&self.creds))?;
        write!(f, "export ORDERCTL_CERT_PATH={}", shell_quoted(&self.cert_path))
    }
}

/// A path as one word of a POSIX shell.
fn shell_quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+:@%".contains(letter)) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Writes the credentials, one file for each of Kafka's listeners.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn write_creds(folder: &Folder, state: &State) -> anyhow::Result<()> {
    let uri = server(folder, state)?.uri(&state.postgres_password);
    for listener in Listener::ALL {
        let creds = Creds {
            kafka: Some(kafka_creds(listener, state)),
            postgres: Some(PostgresCreds { uri: uri.clone() }),
            smtp: Some(smtp_creds(state)),
            ..Creds::default()
        };
        creds.write(&folder.creds(listener), true)?;
    }
    Ok(())
}

fn kafka_creds(listener: Listener, state: &State) -> KafkaCreds {
    let address = listener.address(&state.ports);
    let sasl = SaslCreds {
        mechanism: SaslMechanism::ScramSha256,
        username: LOGIN.into(),
        password: Secret::new(state.kafka_password.clone()),
    };
    KafkaCreds {
        hostname: address.ip().to_string(),
        port: address.port(),
        security_protocol: Some(listener.protocol()),
        sasl: listener.protocol().has_login().then_some(sasl),
    }
}

fn smtp_creds(state: &State) -> SmtpCreds {
    let address = mail::tls_address(state);
    SmtpCreds {
        hostname: address.ip().to_string(),
        port: address.port(),
        security: SmtpSecurity::Tls,
        username: Some(LOGIN.into()),
        password: Some(Secret::new(state.mail_password.clone())),
        from: "Orders <orders@example.com>".into(),
    }
}

/// What was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Down {
    /// The services that ran.
    pub stopped: Vec<Service>,
    /// Whether the data were removed.
    pub cleaned: bool,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.stopped.iter().map(Service::to_string).collect();
        match names.as_slice() {
            [] => f.write_str("nothing was running")?,
            names => write!(f, "stopped: {}", names.join(", "))?,
        }
        if self.cleaned { f.write_str("; data removed") } else { Ok(()) }
    }
}

/// What runs of a stack.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The folder with everything in it.
    pub folder: PathBuf,
    /// One entry a service.
    pub services: Vec<ServiceStatus>,
}

/// What is known of one service.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceStatus {
    /// Which one.
    pub service: Service,
    /// Whether its process runs.
    pub running: bool,
    /// The process, if it runs.
    pub pid: Option<u32>,
    /// Where clients reach it, or would.
    pub addresses: Vec<Address>,
    /// Its log.
    pub log: PathBuf,
}

/// One door of a service.
#[derive(Debug, Clone, Serialize)]
pub struct Address {
    /// How it is talked to: Kafka's name of the protocol, or TLS.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
}

impl Status {
    pub(super) fn new(folder: &Folder, state: &State) -> Status {
        let services = Service::ALL
            .into_iter()
            .map(|service| {
                let pid = process::running(&folder.pid_file(service));
                let log = folder.log(service);
                let addresses = addresses(service, state);
                ServiceStatus { service, running: pid.is_some(), pid, addresses, log }
            })
            .collect();
        Status { folder: folder.path.clone(), services }
    }

    /// The services that do not run.
    pub fn stopped(&self) -> Vec<Service> {
        let stopped = self.services.iter().filter(|service| !service.running);
        stopped.map(|service| service.service).collect()
    }
}

fn addresses(service: Service, state: &State) -> Vec<Address> {
    match service {
        Service::Kafka => Listener::ALL
            .map(|listener| Address {
                protocol: listener.protocol().name(),
                address: listener.address(&state.ports),
            })
            .into(),
        Service::Postgres => {
            let address = (std::net::Ipv4Addr::LOCALHOST, state.ports.postgres).into();
            vec![Address { protocol: "TLS", address }]
        }
        // Not brought up since this version: it has no ports yet.
        Service::Mail if state.ports.mail.tls == 0 => Vec::new(),
        Service::Mail => vec![
            Address { protocol: "TLS", address: mail::tls_address(state) },
            Address { protocol: "PLAINTEXT", address: mail::plaintext_address(state) },
            Address { protocol: "HTTP (mailboxes)", address: mail::mailboxes_address(state) },
        ],
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<8} {:<8} {:<28} LOG", "SERVICE", "STATE", "PID", "ADDRESS")?;
        for service in &self.services {
            write!(f, "\n{service}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.running { "running" } else { "stopped" };
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let mut doors =
            self.addresses.iter().map(|door| format!("{} {}", door.address, door.protocol));
        let first = doors.next().unwrap_or_default();
        write!(f, "{:<9} {state:<8} {pid:<8} {first:<28} {}", self.service, self.log.display())?;
        doors.try_for_each(|door| write!(f, "\n{:28}{door}", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(shell_quoted(Path::new("/a/.orderctl/creds.json")), "/a/.orderctl/creds.json");
        assert_eq!(shell_quoted(Path::new("/a b/$(c)")), "'/a b/$(c)'");
        assert_eq!(shell_quoted(Path::new("/it's")), r"'/it'\''s'");
    }

    #[test]
    fn what_was_ended_is_said() {
        let nothing = Down { stopped: Vec::new(), cleaned: false };
        assert_eq!(nothing.to_string(), "nothing was running");
        let all = Down { stopped: vec![Service::Kafka, Service::Postgres], cleaned: true };
        assert_eq!(all.to_string(), "stopped: kafka, postgres; data removed");
    }
}
