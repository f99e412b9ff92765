//! Asks a service on the web for a document, and tells what will pass from what
//! will not.

use std::error::Error as _;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect};

use crate::edges::tls;
use crate::edges::trust::printable;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long request and answer may take together.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest that is waited because the service says so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often an answer may send us elsewhere.
const REDIRECTS_MAX: usize = 5;

/// Where a document is. Shown without what follows the port, which may hold a
/// key.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Reads an `http://` or `https://` URL.
    ///
    /// # Errors
    /// When it is none, or holds a login; the text does not quote it.
    pub fn parse(text: &str) -> Result<Address, String> {
        let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("write a URL as in https://HOST/api/?results=5".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL must not hold a login; fetch it with curl and pipe it in with \
                        --source -"
                .into());
        }
        Ok(Address(url))
    }

    /// Whether it is asked over TLS.
    pub fn has_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Why there is no document.
#[derive(Debug)]
pub enum Trouble {
    /// It will pass.
    Wait {
        /// What is wrong.
        why: String,
        /// How long the service wants to be left alone, if it says so: a day at
        /// most.
        at_least: Option<Duration>,
    },
    /// No wait will cure it.
    Stop(anyhow::Error),
}

impl Trouble {
    /// Something that will pass, without a word of the service on when.
    pub fn passing(why: impl Into<String>) -> Trouble {
        Trouble::Wait { why: why.into(), at_least: None }
    }
}

/// Asks for one document again and again.
pub struct Fetcher {
    client: Client,
    address: Address,
}

impl Fetcher {
    /// With the CA certificates of the operating system (or of `SSL_CERT_FILE`),
    /// and those of a PEM file.
    ///
    /// # Errors
    /// As [`tls::read_authorities`].
    pub fn new(address: Address, authorities: Option<&Path>) -> anyhow::Result<Fetcher> {
        Fetcher::within(LIMIT, address, authorities)
    }

    fn within(
        limit: Duration,
        address: Address,
        authorities: Option<&Path>,
    ) -> anyhow::Result<Fetcher> {
        let mut extra = Vec::new();
        if let Some(path) = authorities {
            for one in tls::read_authorities(path, &mut Vec::new())? {
                extra.push(Certificate::from_der(&one.to_der()?)?);
            }
        }
        let client = Client::builder()
            .tls_backend_native()
            .tls_certs_merge(extra)
            .https_only(address.has_tls())
            .redirect(redirect::Policy::limited(REDIRECTS_MAX))
            // It would tell the next host what may be a key.
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(limit)
            .user_agent(concat!("orderctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Fetcher { client, address })
    }

    /// Asks for the document: its bytes, [`BODY_BYTES_MAX`] at most.
    ///
    /// # Errors
    /// [`Trouble::Wait`] when the service is away, busy or limits the rate;
    /// [`Trouble::Stop`] with the cure when it refuses, cannot be trusted, or
    /// answers with too much.
    pub async fn fetch(&self) -> Result<Vec<u8>, Trouble> {
        let request = self.client.get(self.address.0.clone()).header(ACCEPT, "application/json");
        let answer = request.send().await.map_err(|error| self.failed(error))?;
        self.check(&answer)?;
        self.body(answer).await
    }

    fn check(&self, answer: &Response) -> Result<(), Trouble> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let why = format!("{} answers {status}", self.address);
        let passes = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if passes {
            let at_least = retry_after(answer.headers(), SystemTime::now());
            return Err(Trouble::Wait { why, at_least });
        }
        let cure = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "it wants a key that the URL does not have, or not this one"
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => "correct the URL's path",
            _ => "open the URL in a browser and correct it",
        };
        Err(Trouble::Stop(anyhow!("{why}: {cure}")))
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + piece.len() > BODY_BYTES_MAX {
                return Err(Trouble::Stop(anyhow!(
                    "{} answers with more than {BODY_BYTES_MAX} bytes: ask for fewer at once",
                    self.address
                )));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn failed(&self, error: reqwest::Error) -> Trouble {
        let (is_timeout, is_broken_off) = (error.is_timeout(), error.is_body());
        let is_certain = error.is_redirect() || error.is_builder();
        let causes = causes(&error.without_url());
        let address = &self.address;
        if causes.contains("certificate verify failed") {
            return Trouble::Stop(anyhow!(
                "{address} cannot be trusted ({causes}): give its CA with --source-ca FILE"
            ));
        }
        if is_certain {
            return Trouble::Stop(anyhow!("{address} sends us elsewhere ({causes}): correct it"));
        }
        Trouble::passing(match is_timeout {
            true => format!("{address} does not answer in time"),
            false if is_broken_off => format!("{address} broke off its answer: {causes}"),
            false => format!("{address} cannot be reached: {causes}"),
        })
    }
}

/// The last two reasons of an error: the first ones only say that there is one.
fn causes(error: &reqwest::Error) -> String {
    let mut texts = vec![printable(&error.to_string())];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = printable(&cause.to_string());
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = cause.source();
    }
    let skipped = texts.len().saturating_sub(2);
    texts.split_off(skipped).join(": ")
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3); a day at
/// most.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            SystemTime::from(at).duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn fetch(address: SocketAddr) -> Result<Vec<u8>, Trouble> {
        fetch_within(LIMIT, address)
    }

    fn fetch_within(limit: Duration, address: SocketAddr) -> Result<Vec<u8>, Trouble> {
        let address = Address::parse(&format!("http://{address}/path?key=hunter2")).unwrap();
        let fetcher = Fetcher::within(limit, address, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fetcher.fetch())
    }

    /// A server that answers once, with these bytes, then ends the connection.
    fn serve(answer: Vec<u8>) -> SocketAddr {
        serve_and_tell(answer).0
    }

    /// The same, and what it was asked.
    fn serve_and_tell(answer: Vec<u8>) -> (SocketAddr, Receiver<String>) {
        let (tell, told) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap_or_default();
            // Nobody may want to know.
            let _ = tell.send(String::from_utf8_lossy(&request[..length]).into_owned());
            // A client that has enough goes away.
            let _ = stream.write_all(&answer);
        });
        (address, told)
    }

    #[track_caller]
    fn assert_passes(answer: Result<Vec<u8>, Trouble>, word: &str) {
        match answer {
            Err(Trouble::Wait { why, at_least: None }) => {
                assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
            }
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn a_service_that_is_away_or_silent_or_breaks_off_is_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let patience = Duration::from_millis(300);
        assert_passes(fetch_within(patience, silent.local_addr().unwrap()), "in time");
        let closed = silent.local_addr().unwrap();
        drop(silent);
        assert_passes(fetch(closed), "refused");
        assert_passes(fetch(serve(Vec::new())), "cannot be reached");
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1";
        assert_passes(fetch(serve(cut.to_vec())), "cannot be reached");
        assert_passes(fetch(serve(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())), "cannot be reached");
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(answer.len() + BODY_BYTES_MAX, b' ');
        assert_eq!(fetch(serve(answer.clone())).unwrap().len(), BODY_BYTES_MAX);
        answer.push(b' ');
        let Err(Trouble::Stop(refusal)) = fetch(serve(answer)) else { panic!("taken") };
        assert!(refusal.to_string().contains("ask for fewer"), "{refusal}");
    }

    #[test]
    fn an_answer_may_send_us_elsewhere_but_not_for_ever() {
        let to = |address: SocketAddr| {
            format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{address}/x\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let (last, asked) =
            serve_and_tell(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_vec());
        assert_eq!(fetch(serve(to(last).into_bytes())).unwrap(), b"[]");
        let asked = asked.recv().unwrap();
        assert!(asked.starts_with("GET /x ") && !asked.contains("hunter2"), "{asked}");
        let far = (0..=REDIRECTS_MAX).fold(last, |next, _| serve(to(next).into_bytes()));
        let Err(Trouble::Stop(refusal)) = fetch(far) else { panic!("followed") };
        let refusal = refusal.to_string();
        assert!(refusal.contains("elsewhere") && !refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        let address = Address::parse("https://api.example:8443/users?key=hunter2").unwrap();
        assert_eq!(address.to_string(), "https://api.example:8443");
        assert_eq!(format!("{address:?}"), "Address(https://api.example:8443)");
        assert!(address.has_tls());
        assert!(!Address::parse("http://[::1]/").unwrap().has_tls());
        for wrong in ["https://", "http://u:hunter2@h/", "https://u@h", "ftp://h", "h", "http://:1"]
        {
            let refusal = Address::parse(wrong).unwrap_err();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(77)));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999"), Some(RETRY_AFTER_MAX));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
