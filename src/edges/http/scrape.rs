//! Answers scrapers and probes: small GET requests, one a connection.
//!
//! Nobody at the far end can hinder the run: connections are bounded in number
//! and in time, and have threads of their own.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Connections answered side by side; one more is turned away.
const CONNECTIONS_MAX: usize = 16;
/// How long request and answer may take, each.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How long to let be when no connection can be accepted, as when this process
/// has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered to a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, as in 200.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A line of plain text.
    pub fn text(status: u16, line: &str) -> Answer {
        let content_type = "text/plain; charset=utf-8";
        Answer { status, content_type, body: format!("{line}\n") }
    }
}

/// Serves what `answer` says of each path, on threads of its own, for as long as
/// the process lives.
///
/// # Errors
/// When the thread cannot be started.
pub fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let answer = Arc::new(answer);
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let slot = Slot::take(&open);
            let answer = Arc::clone(&answer);
            // Without a thread or a slot the connection is closed unanswered.
            let _ = slot.map(|slot| {
                std::thread::Builder::new().name("scrape".into()).spawn(move || {
                    // A far end that has gone away needs no answer.
                    let _ = converse(&stream, &*answer);
                    drop(slot);
                })
            });
        }
    };
    std::thread::Builder::new()
        .name("metrics".into())
        .spawn(accept)
        .map(drop)
        .context("cannot start the thread that serves metrics")
}

/// Binds an address; port 0 is a free one.
///
/// # Errors
/// When it cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// One of the connections that may be open at the same time.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Slot> {
        let slot = Slot(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(stream: &TcpStream, answer: &impl Fn(&str) -> Answer) -> io::Result<()> {
    let head = read_head(stream)?;
    let response = respond(&head, answer);
    write_all(stream, &response)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Reads up to the empty line that ends a head, or as much of it as is allowed.
fn read_head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    Ok(head)
}

fn write_all(mut stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + TIME_LIMIT;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The response to a request of which the head is given.
fn respond(head: &[u8], answer: &impl Fn(&str) -> Answer) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let parts: Vec<&str> = line.split(' ').collect();
    let (answer, with_body) = match parts.as_slice() {
        [method @ ("GET" | "HEAD"), target, version] if version.starts_with("HTTP/1.") => {
            let path = target.split('?').next().unwrap_or_default();
            (answer(path), *method == "GET")
        }
        [_, _, version] if version.starts_with("HTTP/1.") => {
            (Answer::text(405, "only GET and HEAD are answered"), true)
        }
        _ => (Answer::text(400, "this is not HTTP/1.1"), true),
    };
    let Answer { status, content_type, body } = &answer;
    let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Connection: close\r\n\r\n",
        reason(*status),
        body.len()
    );
    let body = if with_body { body.as_str() } else { "" };
    [head.as_bytes(), body.as_bytes()].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo(path: &str) -> Answer {
        Answer::text(if path == "/gone" { 404 } else { 200 }, path)
    }

    fn response(head: &str) -> String {
        String::from_utf8(respond(head.as_bytes(), &echo)).unwrap()
    }

    #[test]
    fn each_request_has_its_status() {
        for (head, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK"),
            ("GET /gone?a=b HTTP/1.0\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("GET /metrics\r\n\r\n", "400 Bad Request"),
            ("\x16\x03\x01", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            let response = response(head);
            assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}: {response}");
        }
    }

    #[test]
    fn a_head_is_answered_without_body_and_a_wrong_method_with_the_right_ones() {
        let head = response("HEAD /x HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(response("PUT / HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn those_who_say_nothing_keep_nobody_out_for_longer_than_the_limit() {
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        serve(listener, echo).unwrap();
        let begun = Instant::now();
        let silent: Vec<TcpStream> =
            (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let ask = || -> io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /x HTTP/1.1\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        while !ask().is_ok_and(|text| text.ends_with("/x\n")) {
            assert!(begun.elapsed() < TIME_LIMIT * 4, "still turned away");
            // Looks again: when a place gets free is the server's affair.
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(silent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(head in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(respond(&head, &echo).starts_with(b"HTTP/1.1 "));
        }
    }
}
