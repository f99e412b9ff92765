//! A real local stack without containers: Apache Kafka, PostgreSQL and a mail
//! server with certificates of one CA and credentials, as a managed provider
//! hands them out. Product and test harness at once.
//!
//! A stack is a folder. [`up`] makes what is missing in it, starts what does not
//! run and waits until it answers; [`down`] ends just what was started from that
//! folder; [`status()`] looks. The services are daemons: they outlive the program.
//!
//! A new service costs one arm of [`Service`] and one file that prepares,
//! starts and probes it.

pub mod broker;
mod cache;
mod certificates;
mod files;
mod folder;
mod helper;
mod jars;
mod java;
pub mod kafka;
mod lock;
mod mail;
pub mod ports;
pub mod postgres;
pub mod process;
mod random;
mod report;
mod task;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::config::SecurityProtocol;
use crate::console::Console;
use crate::stop::Stop;
use certificates::Certificates;
use folder::{Folder, State};
use ports::{PortFlags, Ports};
pub use process::Interrupted;
pub use report::{Down, ServiceStatus, Stack, Status};

/// The name of Kafka's SCRAM user, of PostgreSQL's role and its database, and of
/// the mail server's user.
/// Not the name of the ledger's schema: a role's own schema comes first in its
/// search path.
pub const LOGIN: &str = "app";

/// The services of a stack, in the order they are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// PostgreSQL.
    Postgres,
    /// Apache Kafka.
    Kafka,
    /// GreenMail: SMTP, and mailboxes to look into.
    Mail,
}

impl Service {
    /// All services.
    pub const ALL: [Service; 3] = [Service::Postgres, Service::Kafka, Service::Mail];
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Service::Postgres => "postgres",
            Service::Kafka => "kafka",
            Service::Mail => "mail",
        })
    }
}

/// The doors of the broker for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TLS with certificates on both sides.
    Ssl,
    /// TLS, and a login by SCRAM-SHA-256.
    SaslSsl,
    /// Neither encryption nor login.
    Plaintext,
}

impl Listener {
    /// All listeners.
    pub const ALL: [Listener; 3] = [Listener::Ssl, Listener::SaslSsl, Listener::Plaintext];

    /// Encryption and login at this door.
    pub fn protocol(self) -> SecurityProtocol {
        match self {
            Listener::Ssl => SecurityProtocol::Ssl,
            Listener::SaslSsl => SecurityProtocol::SaslSsl,
            Listener::Plaintext => SecurityProtocol::Plaintext,
        }
    }

    fn creds_file(self) -> &'static str {
        match self {
            Listener::Ssl => "creds.json",
            Listener::SaslSsl => "creds-sasl.json",
            Listener::Plaintext => "creds-plaintext.json",
        }
    }

    fn port(self, ports: &Ports) -> u16 {
        match self {
            Listener::Ssl => ports.kafka,
            Listener::SaslSsl => ports.kafka_sasl,
            Listener::Plaintext => ports.kafka_plaintext,
        }
    }

    fn address(self, ports: &Ports) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(ports)).into()
    }
}

/// How a stack is to be brought up.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Its folder, created when missing.
    pub dir: PathBuf,
    /// Whether to end and remove what is there first.
    pub clean: bool,
    /// The ports wanted; free ones where none is given.
    pub ports: PortFlags,
}

/// Brings the stack of a folder up and waits until every service answers.
/// What runs already is left running.
///
/// # Errors
/// [`Interrupted`] after a stop request; when something is missing, taken or
/// cannot be written: the text says which and what to do. What this call
/// started is ended again.
pub fn up(options: &UpOptions, console: &Console, stop: &Stop) -> anyhow::Result<Stack> {
    let folder = Folder::create(&options.dir)?;
    let mut _lock = folder.lock(console, stop)?;
    let folder = if options.clean && folder.load()?.is_some() {
        clean(&folder, console, stop)?;
        let folder = Folder::create(&options.dir)?;
        _lock = folder.lock(console, stop)?;
        folder
    } else {
        folder
    };
    let mut state = folder.load_or_new(&options.ports)?;
    let (running, missing): (Vec<_>, Vec<_>) = Service::ALL
        .into_iter()
        .partition(|service| process::running(&folder.pid_file(*service)).is_some());
    missing
        .iter()
        .try_for_each(|service| process::wait_until_gone(&folder.pid_file(*service), stop))?;
    state.ports.change(&options.ports, &running)?;
    state.ports.check_free(&missing)?;
    folder.save(&state)?;
    if missing.is_empty() {
        console.note(format_args!("the stack in {} is already running", folder.path.display()));
    }
    if let Err(error) = bring_up(&folder, &state, &missing, console, stop) {
        end_services(&folder, &missing, console, &Stop::manual())?;
        return Err(error);
    }
    report::write_creds(&folder, &state)?;
    Stack::new(&folder, &state)
}

fn bring_up(
    folder: &Folder,
    state: &State,
    missing: &[Service],
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<()> {
    // First whatever can be missing on the machine, before anything is started.
    let java = match missing.iter().any(|service| *service != Service::Postgres) {
        true => Some(java::find(stop)?),
        false => None,
    };
    let java_for = |service| java.as_ref().filter(|_| missing.contains(&service));
    let kafka =
        java_for(Service::Kafka).map(|java| kafka::tools(java, console, stop)).transpose()?;
    let mail = java_for(Service::Mail).map(|java| mail::tools(java, console, stop)).transpose()?;
    let certificates = Certificates::ensure(folder.certs(), folder.tls())?;
    let server = server(folder, state)?;
    if missing.contains(&Service::Postgres) {
        let programs = postgres::programs(&server.runner, console, stop)?;
        server.prepare(&programs, &certificates, console, stop)?;
        console.note(format_args!("postgres: starting on {}", server.address()));
        server.start(&programs)?;
    }
    if let Some(tools) = kafka {
        kafka::prepare(&tools, folder, state, &certificates, console, stop)?;
        let address = Listener::Ssl.address(&state.ports);
        console.note(format_args!("kafka: starting on {address}"));
        kafka::start(&tools, folder)?;
    }
    if let Some(tools) = mail {
        mail::prepare(folder, state, &certificates)?;
        console.note(format_args!("mail: starting on {}", mail::tls_address(state)));
        mail::start(&tools, folder)?;
    }
    server.wait_until_ready(&certificates, &state.postgres_password, stop)?;
    if !missing.is_empty() {
        console.note("postgres: ready; waiting for kafka");
    }
    kafka::wait_until_ready(folder, state, stop)?;
    if !missing.is_empty() {
        kafka::create_default_topics(state, console, stop)?;
        console.note("kafka: ready");
    }
    mail::wait_until_ready(folder, state, stop)
}

fn server(folder: &Folder, state: &State) -> anyhow::Result<postgres::Server> {
    let runner = postgres::Runner::find()?;
    Ok(postgres::Server {
        base: postgres::base(&runner, &folder.path),
        log: folder.log(Service::Postgres),
        pid_file: folder.pid_file(Service::Postgres),
        port: state.ports.postgres,
        runner,
    })
}

/// Ends what runs of the stack of a folder, and removes its data if asked.
///
/// # Errors
/// [`Interrupted`] after a stop request; when a process cannot be ended or a
/// file cannot be removed.
pub fn down(dir: &Path, clean_up: bool, console: &Console, stop: &Stop) -> anyhow::Result<Down> {
    let Some(folder) = Folder::find(dir)? else {
        console.note(format_args!("there is no stack in {}", dir.display()));
        return Ok(Down { stopped: Vec::new(), cleaned: false });
    };
    let _lock = folder.lock(console, stop)?;
    let stopped = match clean_up {
        true => clean(&folder, console, stop)?,
        false => end_services(&folder, &Service::ALL, console, stop)?,
    };
    Ok(Down { stopped, cleaned: clean_up })
}

fn clean(folder: &Folder, console: &Console, stop: &Stop) -> anyhow::Result<Vec<Service>> {
    let stopped = end_services(folder, &Service::ALL, console, stop)?;
    console.note(format_args!("removing the data in {}", folder.path.display()));
    if let Some(state) = folder.load()? {
        server(folder, &state)?.clear()?;
    }
    folder.clear()?;
    Ok(stopped)
}

/// Ends services, the last one started first; answers with those that ran.
fn end_services(
    folder: &Folder,
    services: &[Service],
    console: &Console,
    stop: &Stop,
) -> anyhow::Result<Vec<Service>> {
    let mut ended = Vec::new();
    for service in services.iter().rev() {
        let pid_file = folder.pid_file(*service);
        if process::running(&pid_file).is_some() {
            console.note(format_args!("{service}: stopping"));
        }
        let (signal, limit) = match service {
            Service::Kafka => (kafka::END, kafka::LIMIT),
            Service::Postgres => (postgres::END, postgres::LIMIT),
            Service::Mail => (mail::END, mail::LIMIT),
        };
        let ran = process::end_daemon(&pid_file, signal, limit, stop)
            .with_context(|| format!("cannot end {service}"))?;
        if ran {
            ended.push(*service);
        }
    }
    Ok(ended)
}

/// What runs of the stack of a folder.
///
/// # Errors
/// When there is no stack in that folder or it cannot be read.
pub fn status(dir: &Path) -> anyhow::Result<Status> {
    let missing =
        || format!("there is no stack in {}; make one with orderctl stack up", dir.display());
    let folder = Folder::find(dir)?.with_context(missing)?;
    let state = folder.load()?.with_context(missing)?;
    Ok(Status::new(&folder, &state))
}
