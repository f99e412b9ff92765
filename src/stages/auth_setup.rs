//! `auth-setup`: writes creds.json.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::Context;
use crate::config::creds::{
    self, KafkaCreds, PostgresCreds, SaslCreds, SearchCreds, SmtpCreds, SmtpSecurity,
};
use crate::config::{
    Connections, Creds, PostgresSettings, SaslMechanism, Secret, SecurityProtocol, stdin,
};
use crate::error::{Outcome, Usage};

/// What `auth-setup --help` ends with.
pub const EXAMPLES: &str = "\
The file is written with mode 0600 to --creds FILE, else to ./creds.json. What
is given makes up the whole file; sections that are not given are left out.

Passwords need not be seen by others: give - to read a line of standard input
for each of --postgres-uri, --sasl-password, --smtp-password and
--search-password, in this order, or set the variable shown beside the flag.

Examples:
  # Kafka with client certificates; put ca.pem, service.key, service.cert into ./certs
  orderctl auth-setup --kafka-hostname kafka.example.com --kafka-portnumber 12345 \\
    --postgres-uri 'postgres://user:password@pg.example.com:12346/orders?sslmode=verify-full'

  # Kafka with a login, both secrets from standard input
  printf '%s\\n' \"$URI\" \"$PASSWORD\" | orderctl auth-setup --postgres-uri - \\
    --kafka-hostname kafka.example.com --kafka-portnumber 12345 \\
    --security-protocol SASL_SSL --sasl-username orders --sasl-password -";

/// Arguments of `auth-setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Host name of a Kafka broker
    #[arg(long, value_name = "HOST", requires = "kafka_portnumber", value_parser = parse_hostname)]
    pub kafka_hostname: Option<String>,

    /// Port of the Kafka broker
    #[arg(
        long,
        value_name = "PORT",
        requires = "kafka_hostname",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub kafka_portnumber: Option<u16>,

    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,

    /// Settings of the mail server
    #[command(flatten)]
    pub smtp: SmtpArgs,

    /// Settings of Elasticsearch or OpenSearch
    #[command(flatten)]
    pub search: SearchArgs,
}

/// Arguments of the mail server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Mail")]
pub struct SmtpArgs {
    /// Host name of the mail server
    #[arg(long, value_name = "HOST", requires = "smtp_from", value_parser = parse_hostname)]
    pub smtp_hostname: Option<String>,

    /// Port of the mail server [default: 587 for starttls, 465 for tls, 25 for none]
    #[arg(
        long,
        value_name = "PORT",
        requires = "smtp_hostname",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub smtp_portnumber: Option<u16>,

    /// Encryption of the mail server
    #[arg(long, value_enum, requires = "smtp_hostname", default_value_t)]
    pub smtp_security: SmtpSecurity,

    /// Who logs in to the mail server
    #[arg(long, value_name = "NAME", requires = "smtp_hostname")]
    pub smtp_username: Option<String>,

    /// Password of the mail server's login; - reads it from standard input
    #[arg(long, env = "ORDERCTL_SMTP_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub smtp_password: Option<Secret>,

    /// Address the mails come from
    #[arg(long, value_name = "ADDRESS", requires = "smtp_hostname")]
    pub smtp_from: Option<String>,
}

/// Arguments of the search service.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Search")]
pub struct SearchArgs {
    /// Address of Elasticsearch or OpenSearch, without user and password
    #[arg(long, value_name = "URL")]
    pub search_url: Option<String>,

    /// Who logs in to the search service
    #[arg(long, value_name = "NAME", requires = "search_url")]
    pub search_username: Option<String>,

    /// Password of the search service's login; - reads it from standard input
    #[arg(long, env = "ORDERCTL_SEARCH_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub search_password: Option<Secret>,
}

impl Args {
    /// Reads the passwords given as `-`.
    ///
    /// # Errors
    /// As [`stdin::replace_dash`].
    pub fn read_secrets(&mut self) -> anyhow::Result<()> {
        stdin::replace_dash(&mut self.smtp.smtp_password, "--smtp-password")?;
        stdin::replace_dash(&mut self.search.search_password, "--search-password")
    }
}

/// What was written, and where.
#[derive(Debug, Serialize)]
struct Written {
    creds: PathBuf,
    sections: Vec<&'static str>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {} ({})", self.creds.display(), self.sections.join(", "))
    }
}

/// Writes creds.json and says what to do next.
///
/// # Errors
/// A [`Usage`] error when what is given contradicts itself; another when the
/// file is there without `--force` or cannot be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let creds = compose(args, &context.connections)?;
    let path = context.connections.creds.clone().unwrap_or_else(|| creds::FILE_NAME.into());
    creds.write(&path, args.force)?;
    let sections = [
        ("kafka", creds.kafka.is_some()),
        ("postgres", creds.postgres.is_some()),
        ("smtp", creds.smtp.is_some()),
        ("search", creds.search.is_some()),
    ];
    let sections = sections.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    context.console.result(&Written { creds: path.clone(), sections })?;
    for step in next_steps(&creds, &path, &context.connections) {
        context.console.note(format_args!("next: {step}"));
    }
    Ok(Outcome::Done)
}

fn compose(args: &Args, connections: &Connections) -> anyhow::Result<Creds> {
    let creds = Creds {
        kafka: compose_kafka(args, connections)?,
        postgres: compose_postgres(connections)?,
        smtp: compose_smtp(&args.smtp)?,
        search: compose_search(&args.search)?,
    };
    if creds == Creds::default() {
        return Err(usage(
            "nothing to write: give --kafka-hostname with --kafka-portnumber, and --postgres-uri",
        ));
    }
    Ok(creds)
}

fn compose_kafka(args: &Args, flags: &Connections) -> anyhow::Result<Option<KafkaCreds>> {
    let (Some(hostname), Some(port)) = (&args.kafka_hostname, args.kafka_portnumber) else {
        if flags.sasl_username.is_some() || flags.security_protocol.is_some() {
            return Err(usage(
                "a SASL login and --security-protocol belong to a broker: \
                 give --kafka-hostname and --kafka-portnumber too",
            ));
        }
        return Ok(None);
    };
    let sasl = compose_login(flags)?;
    match flags.security_protocol {
        Some(protocol) if sasl.is_some() && !protocol.has_login() => {
            return Err(usage(format!(
                "--security-protocol {} has no login: leave out --sasl-username, or use SASL_SSL",
                protocol.name()
            )));
        }
        Some(protocol) if sasl.is_none() && protocol.has_login() => {
            return Err(usage(format!(
                "--security-protocol {} needs a login: give --sasl-username and --sasl-password -",
                protocol.name()
            )));
        }
        _ => {}
    }
    let implied = sasl.is_some().then_some(SecurityProtocol::SaslSsl);
    Ok(Some(KafkaCreds {
        hostname: hostname.clone(),
        port,
        security_protocol: flags.security_protocol.or(implied),
        sasl,
    }))
}

fn compose_login(flags: &Connections) -> anyhow::Result<Option<SaslCreds>> {
    let mechanism = flags.sasl_mechanism.unwrap_or(SaslMechanism::ScramSha256);
    match (&flags.sasl_username, &flags.sasl_password) {
        (Some(username), Some(password)) => Ok(Some(SaslCreds {
            mechanism,
            username: username.clone(),
            password: password.clone(),
        })),
        (Some(_), None) => Err(usage(
            "--sasl-username needs a password: give --sasl-password - or set ORDERCTL_SASL_PASSWORD",
        )),
        (None, Some(_)) => Err(usage("--sasl-password needs --sasl-username")),
        (None, None) if flags.sasl_mechanism.is_some() => {
            Err(usage("--sasl-mechanism needs --sasl-username and --sasl-password -"))
        }
        (None, None) => Ok(None),
    }
}

fn compose_postgres(flags: &Connections) -> anyhow::Result<Option<PostgresCreds>> {
    let Some(uri) = &flags.postgres_uri else { return Ok(None) };
    // The certificate directory may be filled later: any root will do here.
    PostgresSettings::parse(uri.expose(), Some(Path::new("ca.pem")))
        .map_err(|error| usage(format!("--postgres-uri: {error:#}")))?;
    Ok(Some(PostgresCreds { uri: uri.expose().trim().into() }))
}

fn compose_smtp(args: &SmtpArgs) -> anyhow::Result<Option<SmtpCreds>> {
    let (Some(hostname), Some(from)) = (&args.smtp_hostname, &args.smtp_from) else {
        return Ok(None);
    };
    if args.smtp_username.is_some() != args.smtp_password.is_some() {
        return Err(usage("--smtp-username and --smtp-password (or its variable) go together"));
    }
    if !from.contains('@') {
        return Err(usage("--smtp-from must be a mail address, for example orders@example.com"));
    }
    let default_port = match args.smtp_security {
        SmtpSecurity::Starttls => 587,
        SmtpSecurity::Tls => 465,
        SmtpSecurity::None => 25,
    };
    Ok(Some(SmtpCreds {
        hostname: hostname.clone(),
        port: args.smtp_portnumber.unwrap_or(default_port),
        security: args.smtp_security,
        username: args.smtp_username.clone(),
        password: args.smtp_password.clone(),
        from: from.clone(),
    }))
}

fn compose_search(args: &SearchArgs) -> anyhow::Result<Option<SearchCreds>> {
    let Some(url) = &args.search_url else { return Ok(None) };
    if args.search_username.is_some() != args.search_password.is_some() {
        return Err(usage("--search-username and --search-password (or its variable) go together"));
    }
    Ok(Some(SearchCreds {
        url: parse_search_url(url)?,
        username: args.search_username.clone(),
        password: args.search_password.clone(),
    }))
}

fn next_steps(creds: &Creds, path: &Path, connections: &Connections) -> Vec<String> {
    let mut steps = Vec::new();
    if path != Path::new(creds::FILE_NAME) {
        steps.push(format!("export ORDERCTL_CREDS='{}'", path.display()));
    }
    let certs = path.with_file_name("certs");
    if connections.cert_path.is_none() && !certs.is_dir() {
        let files = match creds.kafka.as_ref().map(|kafka| kafka.security_protocol) {
            Some(Some(protocol)) if protocol.has_login() => "ca.pem",
            Some(Some(SecurityProtocol::Plaintext)) | None => "ca.pem",
            Some(_) => "ca.pem, service.key and service.cert",
        };
        steps.push(format!("put your provider's {files} into {}", certs.display()));
    }
    if creds.postgres.is_some() {
        steps.push("orderctl db-setup".into());
    }
    steps
}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// A host name or IP address alone.
fn parse_hostname(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.len() <= 253
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.into());
    }
    Err("give the host name alone, without protocol, port or path".into())
}

/// Checked here and not by clap, which would quote what it refuses, password
/// and all.
fn parse_search_url(text: &str) -> anyhow::Result<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if rest.contains('@') => Err(usage(
            "--search-url: give user and password by --search-username and \
                       --search-password -",
        )),
        Some(rest) if !rest.is_empty() => Ok(text.trim_end_matches('/').into()),
        _ => Err(usage("--search-url must begin with http:// or https:// and name a host")),
    }
}
