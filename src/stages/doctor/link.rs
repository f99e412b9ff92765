//! The way to a service, step by step: name, port, encryption.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::finding::{Check, Sheet, Status, grade_expiry};
use super::hints::Provider;
use crate::config::address::split_address;
use crate::console::plural;
use crate::edges::handshake::{Distrust, NoHandshake, Shown};
use crate::edges::trust::Trust;

/// How long a probe may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Runs a probe that blocks; none when it takes longer than it may. It then goes
/// on by itself until one of its own limits ends it.
pub async fn blocking<T: Send + 'static>(probe: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(LIMIT, tokio::task::spawn_blocking(probe)).await.ok()?.ok()
}

/// Looks up a name and connects to its port; whether there is a connection.
pub async fn reach(sheet: &mut Sheet, address: &str, service: &str) -> bool {
    let host = split_address(address).map_or(address, |(host, _)| host);
    sheet.provider = sheet.provider.or_else(|| Provider::of_host(host));
    let addresses = match resolve(address).await {
        Ok(addresses) => addresses,
        Err(reason) => {
            sheet.failed(Check::Dns, address, reason);
            sheet.skip(&[Check::Tcp], address, Check::Dns);
            return false;
        }
    };
    let list: Vec<String> = addresses.iter().map(|one| one.ip().to_string()).collect();
    sheet.ok(Check::Dns, address, list.join(", "));
    match connect(&addresses).await {
        Ok(answered) => {
            sheet.ok(Check::Tcp, address, format!("{answered} answers"));
            true
        }
        Err(error) => {
            sheet.failed(Check::Tcp, address, unreachable(address, service, &error));
            false
        }
    }
}

/// Why something at an address cannot be reached, without a finding; name and
/// port within the limit together.
pub async fn obstacle(address: &str, service: &str) -> Option<String> {
    let looked = timeout(LIMIT, async {
        match resolve(address).await {
            Err(reason) => Some(reason),
            Ok(addresses) => {
                let error = connect(&addresses).await.err()?;
                Some(unreachable(address, service, &error))
            }
        }
    });
    let late = |_| Some(unreachable(address, service, &io::ErrorKind::TimedOut.into()));
    looked.await.unwrap_or_else(late)
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let Some((host, port)) = split_address(address) else {
        return Err(format!("{address} is not HOST:PORT: correct the address"));
    };
    match timeout(LIMIT, lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(format!(
            "there is no host of this name: {host}; check the name, and this machine's DNS \
             ({error})"
        )),
        Err(_) => Err(format!(
            "the DNS did not answer about {host} within {} s: check /etc/resolv.conf and the \
             network",
            LIMIT.as_secs()
        )),
    }
}

/// The first of the addresses that answers, within the limit for all.
async fn connect(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    let each = async {
        let mut last = io::ErrorKind::NotFound.into();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(*address),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    timeout(LIMIT, each).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn unreachable(address: &str, service: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on {address}: is {service} running, and the port right?")
        }
        io::ErrorKind::TimedOut => format!(
            "no answer from {address} within {} s: check the address and the firewalls between",
            LIMIT.as_secs()
        ),
        _ => format!("no connection to {address}: {error}; check the network"),
    }
}

/// What is special about a service's TLS.
pub struct Cures {
    /// What to do about a certificate that is not to be trusted.
    pub distrust: fn(&Distrust) -> &'static str,
    /// What to do when it does not speak TLS.
    pub no_tls: &'static str,
}

/// Notes what a handshake showed; whether the certificate is to be trusted.
/// Without `trust` nothing was checked.
pub fn note_handshake(
    sheet: &mut Sheet,
    address: &str,
    shaken: Option<Result<Shown, NoHandshake>>,
    trust: Option<&Trust>,
    cures: &Cures,
) -> bool {
    let fault = match shaken {
        Some(Ok(shown)) => match trust.and_then(|trust| shown.fault(address, trust)) {
            Some(fault) => {
                let cure = shown.distrust.as_ref().map(cures.distrust).unwrap_or_default();
                format!("{fault}; {cure}")
            }
            None => {
                note_expiry(sheet, address, &shown, trust.is_some());
                return true;
            }
        },
        Some(Err(error)) => no_handshake(address, error, cures.no_tls),
        None => format!(
            "no TLS handshake with {address} within {} s: {}",
            LIMIT.as_secs(),
            cures.no_tls
        ),
    };
    sheet.failed(Check::Tls, address, fault);
    false
}

fn note_expiry(sheet: &mut Sheet, address: &str, shown: &Shown, is_checked: bool) {
    let Shown { protocol, issuer, days_left, not_after, .. } = shown;
    let trusted = if is_checked { "trusted" } else { "not checked" };
    match grade_expiry(*days_left) {
        Status::Ok => sheet.ok(
            Check::Tls,
            address,
            format!(
                "{protocol}; certificate by {issuer}, {trusted}, {} left",
                plural(days_left.unsigned_abs(), "day")
            ),
        ),
        _ => sheet.warning(
            Check::Tls,
            address,
            format!(
                "{protocol}; certificate by {issuer}, {trusted}, ends on {not_after}: have it \
                 renewed before that"
            ),
        ),
    }
}

fn no_handshake(address: &str, error: NoHandshake, no_tls: &str) -> String {
    match error {
        NoHandshake::NoTls(said) => {
            format!("{address} does not speak TLS, which was expected ({said}): {no_tls}")
        }
        NoHandshake::Refused(said) => format!(
            "{address} ended the TLS handshake: does it want another client certificate? ({said})"
        ),
        NoHandshake::Network(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("{address} does not answer a TLS handshake: {no_tls}")
        }
        NoHandshake::Network(error) => format!(
            "{address} closes the connection instead of answering a TLS handshake: {no_tls} \
             ({error})"
        ),
        NoHandshake::Own(error) => format!("{error:#}"),
    }
}

/// Whether an address is of this machine, where nobody listens in.
pub fn is_local(address: &str) -> bool {
    let host = split_address(address).map_or(address, |(host, _)| host);
    let loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    host == "localhost" || host.starts_with('/') || loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_sockets_are_local() {
        for local in ["127.0.0.1:1", "[::1]:1", "localhost:1", "/run/postgresql:5432"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["10.0.0.1:1", "db.example:5432", "localhost.example:1"] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn each_failure_to_shake_hands_has_its_message() {
        for (error, words) in [
            (NoHandshake::NoTls("it has no TLS".into()), "does not speak TLS"),
            (NoHandshake::Refused("alert".into()), "client certificate"),
            (NoHandshake::Network(io::ErrorKind::TimedOut.into()), "does not answer"),
            (NoHandshake::Network(io::ErrorKind::ConnectionReset.into()), "closes the connection"),
            (NoHandshake::Own(anyhow::anyhow!("no file")), "no file"),
        ] {
            let said = no_handshake("h:1", error, "check the port");
            assert!(said.contains(words), "{said}");
        }
    }
}
