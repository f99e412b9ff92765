//! The ports of a stack on the loopback address: free ones unless given, kept
//! for the life of the folder so that the same credentials stay good.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::{Service, random};
use crate::error::Usage;

/// Where free ports are looked for: above what well-known services use and
/// below 32768, from where the kernel takes ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// The ports a caller wants; a free one where none is given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PortFlags {
    /// Port of Kafka's mutual-TLS listener [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub kafka_port: Option<u16>,

    /// Port of Kafka's SASL_SSL listener [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub kafka_sasl_port: Option<u16>,

    /// Port of Kafka's plaintext listener [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub kafka_plaintext_port: Option<u16>,

    /// Port of PostgreSQL [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub postgres_port: Option<u16>,

    /// Port of the mail server's TLS listener [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub mail_port: Option<u16>,

    /// Port of the mail server without TLS [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub mail_plaintext_port: Option<u16>,

    /// Port of the mailboxes' HTTP API [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub mailboxes_port: Option<u16>,
}

/// The ports of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Kafka, mutual TLS.
    pub kafka: u16,
    /// Kafka, SASL_SSL.
    pub kafka_sasl: u16,
    /// Kafka, plaintext.
    pub kafka_plaintext: u16,
    /// Kafka's controller, which only the broker talks to.
    pub kafka_controller: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// The mail server; all 0 in a stack that was made before it had one, until it
    /// is brought up again.
    #[serde(default)]
    pub mail: MailPorts,
}

/// The ports of the mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailPorts {
    /// SMTP with TLS from the first byte.
    pub tls: u16,
    /// SMTP without TLS.
    pub plaintext: u16,
    /// The HTTP API that shows the mailboxes.
    pub mailboxes: u16,
}

impl Ports {
    /// Ports for a new stack: those given, else free ones.
    ///
    /// # Errors
    /// [`Usage`] when one is given twice; when no free port is found.
    pub fn choose(flags: &PortFlags) -> anyhow::Result<Ports> {
        let given = [
            flags.kafka_port,
            flags.kafka_sasl_port,
            flags.kafka_plaintext_port,
            flags.postgres_port,
            flags.mail_port,
            flags.mail_plaintext_port,
            flags.mailboxes_port,
        ];
        let mut used = HashSet::new();
        for port in given.into_iter().flatten() {
            if !used.insert(port) {
                bail!(Usage(format!(
                    "port {port} is given twice; name a port of its own for each"
                )));
            }
        }
        let mut or_free = |port: Option<u16>| port.map_or_else(|| free(&mut used), Ok);
        Ok(Ports {
            kafka: or_free(flags.kafka_port)?,
            kafka_sasl: or_free(flags.kafka_sasl_port)?,
            kafka_plaintext: or_free(flags.kafka_plaintext_port)?,
            kafka_controller: or_free(None)?,
            postgres: or_free(flags.postgres_port)?,
            mail: MailPorts {
                tls: or_free(flags.mail_port)?,
                plaintext: or_free(flags.mail_plaintext_port)?,
                mailboxes: or_free(flags.mailboxes_port)?,
            },
        })
    }

    /// Chooses free ports where a stack of an earlier version has none.
    ///
    /// # Errors
    /// When no free port is found.
    pub fn complete(&mut self) -> anyhow::Result<()> {
        let mut used = HashSet::from([self.kafka_controller]);
        used.extend(self.named().map(|(_, _, port)| port));
        for port in [&mut self.mail.tls, &mut self.mail.plaintext, &mut self.mail.mailboxes] {
            if *port == 0 {
                *port = free(&mut used)?;
            }
        }
        Ok(())
    }

    /// Takes over the ports given for a stack that has ports already.
    ///
    /// # Errors
    /// [`Usage`] when a port of a service that runs would change, or when one
    /// would be used twice.
    pub fn change(&mut self, flags: &PortFlags, running: &[Service]) -> anyhow::Result<()> {
        let changes = [
            (Service::Kafka, "--kafka-port", &mut self.kafka, flags.kafka_port),
            (Service::Kafka, "--kafka-sasl-port", &mut self.kafka_sasl, flags.kafka_sasl_port),
            (
                Service::Kafka,
                "--kafka-plaintext-port",
                &mut self.kafka_plaintext,
                flags.kafka_plaintext_port,
            ),
            (Service::Postgres, "--postgres-port", &mut self.postgres, flags.postgres_port),
            (Service::Mail, "--mail-port", &mut self.mail.tls, flags.mail_port),
            (
                Service::Mail,
                "--mail-plaintext-port",
                &mut self.mail.plaintext,
                flags.mail_plaintext_port,
            ),
            (Service::Mail, "--mailboxes-port", &mut self.mail.mailboxes, flags.mailboxes_port),
        ];
        for (service, flag, now, wanted) in changes {
            let Some(wanted) = wanted else { continue };
            if *now != wanted && running.contains(&service) {
                bail!(Usage(format!(
                    "{flag} {wanted}: {service} already runs on port {now}; run orderctl stack down first"
                )));
            }
            *now = wanted;
        }
        self.check_distinct()
    }

    fn check_distinct(&self) -> anyhow::Result<()> {
        let mut used = HashSet::from([self.kafka_controller]);
        for (_, flag, port) in self.named() {
            if !used.insert(port) {
                bail!(Usage(format!("port {port} is used twice; name another one with {flag}")));
            }
        }
        Ok(())
    }

    /// The ports that a flag can name.
    fn named(&self) -> [(Service, &'static str, u16); 7] {
        [
            (Service::Kafka, "--kafka-port", self.kafka),
            (Service::Kafka, "--kafka-sasl-port", self.kafka_sasl),
            (Service::Kafka, "--kafka-plaintext-port", self.kafka_plaintext),
            (Service::Postgres, "--postgres-port", self.postgres),
            (Service::Mail, "--mail-port", self.mail.tls),
            (Service::Mail, "--mail-plaintext-port", self.mail.plaintext),
            (Service::Mail, "--mailboxes-port", self.mail.mailboxes),
        ]
    }

    /// Checks that the ports of services about to start are free. The
    /// controller's, which nobody names, is replaced when it is not.
    ///
    /// # Errors
    /// The port that is taken, and the flag that names another.
    pub fn check_free(&mut self, starting: &[Service]) -> anyhow::Result<()> {
        for (service, flag, port) in self.named() {
            if starting.contains(&service) {
                check_free(service, flag, port)?;
            }
        }
        if starting.contains(&Service::Kafka) && bind(self.kafka_controller).is_err() {
            let mut used = self.named().map(|(_, _, port)| port).into();
            self.kafka_controller = free(&mut used)?;
        }
        Ok(())
    }
}

fn check_free(service: Service, flag: &str, port: u16) -> anyhow::Result<()> {
    let Err(error) = bind(port) else { return Ok(()) };
    match error.kind() {
        ErrorKind::AddrInUse => bail!(
            "port {port} for {service} is taken by another program; \
             end that program or name another port with {flag}"
        ),
        ErrorKind::PermissionDenied => {
            bail!("port {port} for {service} is kept for root; name one above 1023 with {flag}")
        }
        _ => bail!("port {port} for {service}: {error}; name another port with {flag}"),
    }
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// A free port that is not in `used` yet, and adds it there.
///
/// # Errors
/// When a thousand tries found none.
fn free(used: &mut HashSet<u16>) -> anyhow::Result<u16> {
    for _ in 0..1000 {
        let [high, low] = random::bytes::<2>()?;
        let offset = u16::from_be_bytes([high, low]) % (RANGE.end - RANGE.start);
        let port = RANGE.start + offset;
        if bind(port).is_ok() && used.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end)
}

/// A free port for one service.
///
/// # Errors
/// When none is found.
pub fn any_free() -> anyhow::Result<u16> {
    free(&mut HashSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_ports_are_taken_and_the_others_are_free_and_distinct() {
        let flags = PortFlags { kafka_sasl_port: Some(19_999), ..PortFlags::default() };
        let mut ports = Ports::choose(&flags).unwrap();
        assert_eq!(ports.kafka_sasl, 19_999);
        ports.check_distinct().unwrap();
        ports.check_free(&[Service::Postgres]).unwrap();
    }

    #[test]
    fn a_port_given_twice_is_a_usage_error() {
        let flags = PortFlags {
            kafka_port: Some(19_999),
            postgres_port: Some(19_999),
            ..PortFlags::default()
        };
        assert!(Ports::choose(&flags).unwrap_err().is::<Usage>());
    }

    #[test]
    fn a_taken_port_is_named_with_its_flag() {
        let mut ports = Ports::choose(&PortFlags::default()).unwrap();
        let holder = bind(ports.postgres).unwrap();
        let error = ports.check_free(&[Service::Postgres]).unwrap_err().to_string();
        assert!(error.contains("--postgres-port") && error.contains("taken"), "{error}");
        ports.check_free(&[Service::Kafka]).unwrap();
        drop(holder);
        ports.check_free(&Service::ALL).unwrap();
    }

    #[test]
    fn a_taken_controller_port_is_replaced() {
        let mut ports = Ports::choose(&PortFlags::default()).unwrap();
        let before = ports.clone();
        let _holder = bind(ports.kafka_controller).unwrap();
        ports.check_free(&[Service::Kafka]).unwrap();
        assert_ne!(ports.kafka_controller, before.kafka_controller);
        assert_eq!(ports.kafka, before.kafka);
    }

    #[test]
    fn only_the_ports_of_what_stands_still_can_change() {
        let mut ports = Ports::choose(&PortFlags::default()).unwrap();
        let flags = PortFlags { kafka_port: Some(19_998), ..PortFlags::default() };
        let refused = ports.change(&flags, &[Service::Kafka]).unwrap_err();
        assert!(refused.is::<Usage>() && refused.to_string().contains("stack down"), "{refused}");
        ports.change(&flags, &[Service::Postgres]).unwrap();
        assert_eq!(ports.kafka, 19_998);
        ports.change(&flags, &[Service::Kafka]).unwrap();
    }
}
