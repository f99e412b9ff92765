//! Elasticsearch or OpenSearch, as far as a first answer goes.

use std::io::{self, BufRead as _, BufReader, Read, Write};

use openssl::base64;

use super::trust::printable;
use crate::config::creds::SearchCreds;

/// The longest first line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Where a search service is: the parts of its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether to speak TLS.
    pub has_tls: bool,
    /// `host:port`.
    pub address: String,
}

/// Takes an `http://` or `https://` URL apart.
///
/// # Errors
/// When it is none; the text does not quote it.
pub fn place(url: &str) -> anyhow::Result<Place> {
    let (has_tls, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => anyhow::bail!("search.url in creds.json must start with https:// or http://"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        anyhow::bail!(
            "search.url in creds.json must not hold a login: put it into search.username and \
             search.password"
        );
    }
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, port),
        None => (authority, if has_tls { "443" } else { "80" }),
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        anyhow::bail!("search.url in creds.json must be https://HOST:PORT");
    }
    Ok(Place { has_tls, address: format!("{host}:{port}") })
}

/// Asks for the root of the service, with the login if there is one, and answers
/// with the status code and the first line of the answer.
///
/// # Errors
/// When the connection breaks off, or what comes is no HTTP.
pub fn ask(
    stream: &mut (impl Read + Write),
    address: &str,
    creds: &SearchCreds,
) -> io::Result<(u16, String)> {
    let mut request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: orderctl\r\nConnection: close\r\n"
    );
    if let (Some(username), Some(password)) = (&creds.username, &creds.password) {
        let login = base64::encode_block(format!("{username}:{}", password.expose()).as_bytes());
        request.push_str(&format!("Authorization: Basic {login}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_until(b'\n', &mut bytes)?;
    let line = printable(String::from_utf8_lossy(&bytes).trim_end());
    let code = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((code, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, has_tls, address) in [
            ("https://h.example:9200", true, "h.example:9200"),
            ("https://h.example/path", true, "h.example:443"),
            ("http://127.0.0.1:9200/", false, "127.0.0.1:9200"),
            ("http://[::1]", false, "[::1]:80"),
            ("http://[::1]:9200", false, "[::1]:9200"),
        ] {
            let expected = Place { has_tls, address: address.into() };
            assert_eq!(place(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for url in ["h:1", "ftp://h", "https://", "https://h:hunter2", "https://u:hunter2@h"] {
            let refusal = place(url).unwrap_err().to_string();
            assert!(refusal.contains("search.url") && !refusal.contains("hunter2"), "{refusal}");
        }
    }
}
