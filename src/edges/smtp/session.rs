//! One connection to a mail server, step by step: what an answer means depends on
//! how far the mail was.
//!
//! | the server | during login | at MAIL | at RCPT | at the content |
//! |---|---|---|---|---|
//! | 4yz | away | later | later | later |
//! | 421, hangs up, says nothing | away | away | later | unknown, but later after 421 |
//! | 5yz | stop | stop | never | never |
//!
//! "Away" says nothing about the mail: it is still to be sent, over another
//! connection (RFC 5321, sections 3.8 and 4.2.1). Once the server knows who gets
//! it, that may be the reason: such a mail has to wait, or it would be the next
//! one again and hold up all others. For the same cause MAIL with SMTPUTF8, which
//! is about that mail, counts as RCPT does.

use std::time::Duration;

use anyhow::Context as _;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::message::{Recipient, Sender};
use super::wary::Wary;
use crate::config::creds::SmtpSecurity;
use crate::config::smtp::SmtpSettings;
use crate::edges::trust::{Trust, printable, system_authorities};

/// How long a server may take over its good-bye, which nobody waits for.
const QUIT_LIMIT: Duration = Duration::from_millis(500);

/// Why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no server to talk to, for now; the connection is of no more use.
    Away(String),
    /// Not this mail, not now.
    Later(String),
    /// Never this mail to this address.
    Never(String),
    /// The connection ended after the content began: it may have been taken.
    Unknown(String),
    /// No mail at all, until someone changes the settings.
    Stop(String),
}

/// A mail server, and how to log in there.
pub struct Server {
    settings: SmtpSettings,
    tls: Option<TlsParameters>,
    limit: Duration,
}

/// A connection that is logged in.
pub struct Session {
    connection: AsyncSmtpConnection,
    limit: Duration,
    /// Whether the server has closed it, or no longer answers.
    is_broken: bool,
}

impl Server {
    /// The server of the settings; `limit` is how long it may take for each answer.
    ///
    /// # Errors
    /// When the CA certificate cannot be read.
    pub fn new(settings: SmtpSettings, limit: Duration) -> anyhow::Result<Server> {
        let tls = match settings.creds.security {
            SmtpSecurity::None => None,
            SmtpSecurity::Starttls | SmtpSecurity::Tls => Some(tls(&settings)?),
        };
        Ok(Server { settings, tls, limit })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.settings.creds.hostname, self.settings.creds.port)
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Refusal::Away`] or [`Refusal::Stop`], with the cure.
    pub async fn open(&self) -> Result<Session, Refusal> {
        let opening = async {
            let mut connection = self.connect().await?;
            self.log_in(&mut connection).await?;
            Ok(Session { connection, limit: self.limit, is_broken: false })
        };
        // Connection, encryption and login are some answers, not one.
        match timeout(self.limit * 2, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Refusal::Away(self.silent())),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Refusal> {
        let creds = &self.settings.creds;
        let host = creds.hostname.trim_start_matches('[').trim_end_matches(']');
        let hello = hello();
        let at_once = match creds.security {
            SmtpSecurity::Starttls => return self.connect_and_encrypt(host, &hello).await,
            SmtpSecurity::Tls => self.tls.clone(),
            SmtpSecurity::None => None,
        };
        let place = (host, creds.port);
        let limit = Some(self.limit);
        let opened = AsyncSmtpConnection::connect_tokio1(place, limit, &hello, at_once, None);
        opened.await.map_err(|error| self.explain(&error))
    }

    async fn connect_and_encrypt(
        &self,
        host: &str,
        hello: &ClientId,
    ) -> Result<AsyncSmtpConnection, Refusal> {
        let stream = timeout(self.limit, TcpStream::connect((host, self.settings.creds.port)));
        let stream = stream.await.map_err(|_| Refusal::Away(self.silent()))?;
        let stream = stream.map_err(|error| self.unreachable(&printable(&error.to_string())))?;
        let stream = Box::new(Wary::new(stream));
        let opened = AsyncSmtpConnection::connect_with_transport(stream, hello).await;
        let mut connection = opened.map_err(|error| self.explain(&error))?;
        if !connection.can_starttls() {
            return Err(Refusal::Stop(format!(
                "{} does not offer STARTTLS: check the port, or set smtp.security in \
                 creds.json to tls (or to none, for a server on this machine)",
                self.address()
            )));
        }
        let tls = self.tls.clone();
        let tls = tls.ok_or_else(|| Refusal::Stop("there is no TLS to start".to_owned()))?;
        connection.starttls(tls, hello).await.map_err(|error| self.explain(&error))?;
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut AsyncSmtpConnection) -> Result<(), Refusal> {
        let creds = &self.settings.creds;
        let (Some(user), Some(password)) = (&creds.username, &creds.password) else {
            return Ok(());
        };
        let login = Credentials::new(user.clone(), password.expose().to_owned());
        match connection.auth(&[Mechanism::Plain, Mechanism::Login], &login).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Refusal::Stop(format!(
                "{} refuses the login of {user}: correct smtp.username and smtp.password in \
                 creds.json ({})",
                self.address(),
                said(&error)
            ))),
            Err(error) if error.is_client() => Err(Refusal::Stop(format!(
                "{} offers no login that we know (PLAIN, LOGIN): log in over TLS (smtp.security), \
                 or leave smtp.username out",
                self.address()
            ))),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Before a mail is offered, every failure is the server's or ours.
    fn explain(&self, error: &Error) -> Refusal {
        let (address, said) = (self.address(), said(error));
        if error.is_permanent() {
            return Refusal::Stop(format!("{address} turns us away: {said}; ask who runs it"));
        }
        if said.contains("certificate verify failed") {
            return Refusal::Stop(format!(
                "the certificate of {address} is not to be trusted: give its CA certificate as \
                 ca.pem in the certificate directory (--cert-path), and see `orderctl doctor` \
                 ({said})"
            ));
        }
        if said.contains("wrong version number") || said.contains("packet length too long") {
            if self.settings.creds.security == SmtpSecurity::Starttls {
                return Refusal::Stop(format!(
                    "{address} offers STARTTLS, and then does not speak TLS: it is broken, or \
                     someone on the way changes what it says ({said})"
                ));
            }
            return Refusal::Stop(format!(
                "{address} does not speak TLS at once: check the port, or set smtp.security in \
                 creds.json to starttls ({said})"
            ));
        }
        self.unreachable(&said)
    }

    fn unreachable(&self, why: &str) -> Refusal {
        Refusal::Away(format!("no connection to the mail server {}: {why}", self.address()))
    }

    fn silent(&self) -> String {
        format!("the mail server {} does not answer", self.address())
    }
}

fn tls(settings: &SmtpSettings) -> anyhow::Result<TlsParameters> {
    let host = settings.creds.hostname.clone();
    let trust = match &settings.ca {
        Some(path) => Trust::of_system_and(path)?,
        None => Trust::of_system(),
    };
    let mut builder = TlsParameters::builder(host);
    for authority in trust.authorities.unwrap_or_else(system_authorities) {
        builder = builder.add_root_certificate(Certificate::from_der(authority.to_der()?)?);
    }
    builder.build_native().context("cannot set up TLS for the mail server")
}

/// How we greet: with the machine's name, or with a literal where it has none
/// that counts (RFC 5321, section 4.1.3).
fn hello() -> ClientId {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if name.is_empty() || !name.bytes().all(legal) {
        return ClientId::default();
    }
    ClientId::Domain(name.to_owned())
}

impl Session {
    /// Offers a mail, up to the answer that its content may come.
    ///
    /// # Errors
    /// Any [`Refusal`] but [`Refusal::Unknown`]: nothing was sent yet.
    pub async fn offer(&mut self, from: &Sender, to: &Recipient) -> Result<(), Refusal> {
        let mut options = Vec::new();
        if !AsRef::<str>::as_ref(&to.0).is_ascii() {
            if !self.connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let why = "the mail server takes only ASCII addresses (it has no SMTPUTF8)";
                return Err(Refusal::Never(why.to_owned()));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        let sender = from.0.email.clone();
        let refused = |said| {
            Refusal::Stop(format!(
                "the mail server does not take mails from {}: correct smtp.from in creds.json, or \
                 log in (smtp.username) ({said})",
                from.0.email
            ))
        };
        let is_about_it = !options.is_empty();
        let mail = Mail::new(Some(sender), options);
        match is_about_it {
            true => self.command(mail, Refusal::Never).await.map_err(put_off)?,
            false => self.command(mail, refused).await?,
        }
        let to = Rcpt::new(to.0.clone(), Vec::new());
        self.command(to, Refusal::Never).await.map_err(put_off)?;
        self.command(Data, Refusal::Never).await.map_err(put_off)
    }

    /// Sends the content and waits for the answer.
    ///
    /// # Errors
    /// [`Refusal::Later`], [`Refusal::Never`] or [`Refusal::Unknown`].
    pub async fn send(&mut self, content: &[u8]) -> Result<(), Refusal> {
        let ended = ended(content);
        let answer = timeout(self.limit, self.connection.command(ended)).await;
        self.is_broken = is_last(&answer);
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.status().is_some() => {
                Err(put_off(judge(&error, Refusal::Never)))
            }
            Ok(Err(error)) => {
                Err(Refusal::Unknown(format!("no answer to the content: {}", said(&error))))
            }
            Err(_) => {
                let limit = self.limit.as_secs();
                Err(Refusal::Unknown(format!("no answer to the content within {limit} s")))
            }
        }
    }

    /// Whether the server may take another mail over it.
    pub fn is_good(&self) -> bool {
        !self.is_broken
    }

    /// Makes the connection ready for the next mail; false when it is of no more
    /// use.
    pub async fn reset(&mut self) -> bool {
        self.is_good() && self.command(Rset, Refusal::Away).await.is_ok()
    }

    /// Says good-bye.
    pub async fn quit(mut self) {
        let _ = timeout(QUIT_LIMIT, self.connection.quit()).await;
    }

    async fn command(
        &mut self,
        command: impl std::fmt::Display,
        permanent: impl FnOnce(String) -> Refusal,
    ) -> Result<(), Refusal> {
        let answer = timeout(self.limit, self.connection.command(command)).await;
        self.is_broken = is_last(&answer);
        match answer {
            Ok(answer) => answer.map(|_: Response| ()).map_err(|error| judge(&error, permanent)),
            Err(_) => {
                let limit = self.limit.as_secs();
                Err(Refusal::Away(format!("the mail server says nothing within {limit} s")))
            }
        }
    }
}

/// Whether nothing comes after this answer, or this silence.
fn is_last(answer: &Result<Result<Response, Error>, Elapsed>) -> bool {
    match answer {
        Ok(Ok(_)) => false,
        // 421 closes the connection.
        Ok(Err(error)) => error.status().map(u16::from).is_none_or(|code| code == 421),
        Err(_) => true,
    }
}

/// What the end of the connection means for a mail that the server knows of.
fn put_off(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Away(why) => Refusal::Later(why),
        other => other,
    }
}

/// A content with its final dot (RFC 5321, section 4.5.2), for one single write:
/// behind a second one, the dot would wait for the receiver's delayed
/// acknowledgement, 40 ms a mail (RFC 1122, section 4.2.3.2).
fn ended(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let mut ended = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        if line.starts_with('.') {
            ended.push('.');
        }
        ended.push_str(line);
    }
    if !ended.ends_with("\r\n") {
        ended.push_str("\r\n");
    }
    ended.push_str(".\r\n");
    ended
}

/// What an answer means; one of 5yz is what `permanent` makes of it.
fn judge(error: &Error, permanent: impl FnOnce(String) -> Refusal) -> Refusal {
    let said = said(error);
    match error.status().map(u16::from) {
        // The server closes the connection.
        Some(421) => Refusal::Away(said),
        Some(400..=499) => Refusal::Later(said),
        Some(500..=599) => permanent(said),
        _ => Refusal::Away(format!("the connection to the mail server broke off: {said}")),
    }
}

/// What the server said, or why it could not, fit for a terminal.
fn said(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let text = match (error.status(), cause) {
        (Some(code), Some(text)) => format!("{code} {text}"),
        (Some(code), None) => code.to_string(),
        (None, Some(text)) => text,
        (None, None) => error.to_string(),
    };
    printable(&text.replace(['\r', '\n'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_dot_ends_a_content() {
        assert_eq!(ended(b"a\r\n.\r\n..b\r\nc."), "a\r\n..\r\n...b\r\nc.\r\n.\r\n");
        assert_eq!(ended(b".a\r\n"), "..a\r\n.\r\n");
    }
}
