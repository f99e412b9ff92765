//! `produce --source URL`: against a service that is scripted, on this machine.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use native_tls::TlsAcceptor;
use orderctl::events::Kind;
use serde_json::{Value, json};

use super::{contents, produce};
use crate::connections::fakes::{Stranger, closed, silent};
use crate::support::{Run, Sandbox, eventually, order};

/// A service that gives each of its answers once, then the last one for ever.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn new(answers: impl IntoIterator<Item = String>) -> Service {
        Service::over(None, answers)
    }

    fn over(tls: Option<TlsAcceptor>, answers: impl IntoIterator<Item = String>) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heard, mut answers) = (asked.clone(), answers.into_iter().collect::<VecDeque<_>>());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                match &tls {
                    None => answer(stream, &heard, &mut answers),
                    Some(acceptor) => {
                        // A client that does not trust us breaks off.
                        let Ok(stream) = acceptor.accept(stream) else { continue };
                        answer(stream, &heard, &mut answers);
                    }
                }
            }
        });
        Service { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/api/?results=2", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(
    mut stream: impl Read + Write,
    heard: &Mutex<Vec<String>>,
    answers: &mut VecDeque<String>,
) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    heard.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    let text = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
    // It may have gone: that is its right.
    let _ = stream.write_all(text.unwrap_or_default().as_bytes());
    let _ = stream.flush();
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn ok(body: &Value) -> String {
    http("200 OK", "Content-Type: application/json\r\n", &body.to_string())
}

/// A user as the random-user services have them.
fn user(id: &str) -> Value {
    json!({
        "gender": "female", "name": {"title": "Ms", "first": "Ann", "last": "Lee"},
        "location": {"street": {"number": 5, "name": "High St"}, "city": "Leeds",
                     "state": "Yorkshire", "country": "United Kingdom", "postcode": "LS1 4AP"},
        "email": "ann@example.com", "login": {"uuid": id, "username": "ann"},
        "dob": {"date": "1990-01-02T03:04:05.678Z"},
        "registered": {"date": "2015-01-02T03:04:05.678Z"},
        "phone": "0113 496 0000", "picture": {"medium": "https://example.com/1.jpg"}
    })
}

/// An answer with users of these ids.
fn users(ids: &[&str]) -> String {
    let results: Vec<Value> = ids.iter().map(|id| user(id)).collect();
    ok(&json!({"results": results, "info": {"results": results.len(), "version": "1.4"}}))
}

/// Prints what is fetched; nothing is published.
fn print(url: &str, flags: &str) -> Run {
    let run = Run::bare(["produce", "--kind", "user", "--dry-run", "--source", url]);
    flags.split_whitespace().fold(run, |run, flag| run.arg(flag))
}

fn ids(stdout: &str) -> Vec<String> {
    let id = |line: &str| {
        Kind::User.parse(line.as_bytes()).unwrap_or_else(|why| panic!("{line}: {why}")).id().into()
    };
    stdout.lines().map(id).collect()
}

#[test]
fn one_fetch_is_published_and_what_is_no_user_is_told() {
    let sandbox = Sandbox::new("produce_url").with_topic(1);
    let mut nameless = user("a");
    nameless["email"] = Value::Null;
    let service = Service::new([ok(&json!({"results": [nameless, user("b"), user("c")]}))]);
    let flags = format!("--kind user --source {}", service.url());
    let run = produce(&sandbox, &flags).finish().code(3);
    let report = run.json();
    assert_eq!((&report["acknowledged"], &report["rejected"]), (&2.into(), &1.into()));
    assert!(run.stderr.contains("event 1 not sent: email: is missing"), "{run}");
    let keys: Vec<Vec<u8>> = contents(&sandbox.topic).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"b", b"c"]);
    assert_eq!(service.asked(), 1);
    let request = service.asked.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /api/?results=2 HTTP/1.1\r\n"), "{request}");
}

#[test]
fn every_interval_brings_more_until_so_many_are_published_whatever_goes_wrong_between() {
    let cut = users(&["x"]);
    let troubles = [
        String::new(),
        http("503 Service Unavailable", "", "busy"),
        http("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        ok(&json!({"error": "Uh oh, something has gone wrong"})),
        cut[..cut.len() - 20].to_owned(),
        http("200 OK", "", "{\"results\":[{"),
    ];
    let mut answers = Vec::new();
    let mut expected = Vec::new();
    for (number, trouble) in troubles.into_iter().enumerate() {
        let id = format!("u{number}");
        answers.extend([trouble, users(&[&id]), users(&[])]);
        expected.push(id);
    }
    answers.push(users(&["last", "one-too-many"]));
    expected.push("last".into());
    let service = Service::new(answers);
    let run = print(&service.url(), "--interval 50ms --num 7").finish().success();
    assert_eq!(ids(&run.stdout), expected);
    for word in ["503", "429", "Uh oh", "no whole JSON", "is back", "has no events"] {
        assert!(run.stderr.contains(word), "{word}: {run}");
    }
    assert!(!run.stderr.contains("results=2"), "the query may be secret: {run}");
}

#[test]
fn a_service_that_refuses_ends_it_with_the_cure() {
    for (status, cure) in [("404 Not Found", "path"), ("401 Unauthorized", "a key")] {
        let service = Service::new([http(status, "", "")]);
        let run = print(&service.url(), "--interval 50ms").finish().code(1);
        assert!(run.stderr.contains(cure) && run.stderr.contains(&status[..3]), "{run}");
        assert_eq!(service.asked(), 1);
    }
}

#[test]
fn a_stop_is_heard_while_the_service_is_away_silent_or_not_due() {
    let silent = silent();
    silent.set_nonblocking(true).unwrap();
    let service = Service::new([users(&["a"])]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let is_told = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("be reached"));
    // Open and unanswered until the end.
    let mut connections = Vec::new();
    let mut is_called = || {
        connections.extend(silent.accept());
        !connections.is_empty()
    };
    let waits: [(SocketAddr, &mut dyn FnMut() -> bool); 3] = [
        (closed(), &mut { is_told }),
        (silent.local_addr().unwrap(), &mut is_called),
        (service.address, &mut || service.asked() == 1),
    ];
    for (address, is_waiting) in waits {
        let url = format!("http://{address}/");
        let run = print(&url, "--interval 10m").arg("--log-file").arg(&log).spawn();
        eventually("it waits", is_waiting);
        let started = Instant::now();
        run.interrupt();
        run.finish().code(130);
        // The waits that it must not sit out are 30 s and 10 minutes.
        assert!(started.elapsed() < Duration::from_secs(20), "{url}: {:?}", started.elapsed());
    }
}

#[test]
fn over_tls_a_service_is_trusted_by_its_ca_only() {
    let stranger = Stranger::new(false);
    let service = Service::over(Some(stranger.acceptor()), [users(&["a"])]);
    let url = service.url().replace("http:", "https:");
    let ca = stranger.file("ca.pem");
    let refused = print(&url, "").finish().code(1);
    assert!(refused.stderr.contains("--source-ca"), "{refused}");
    assert_eq!(service.asked(), 0);
    let trusted = print(&url, "").arg("--source-ca").arg(&ca).finish().success();
    assert_eq!(ids(&trusted.stdout), ["a"]);
    let trusted = print(&url, "").env("SSL_CERT_FILE", &ca).finish().success();
    assert_eq!(ids(&trusted.stdout), ["a"]);
    let missing = print(&url, "--source-ca no-such.pem").finish().code(1);
    assert!(missing.stderr.contains("no-such.pem"), "{missing}");
}

#[test]
fn orders_come_as_an_array_of_orders() {
    let service = Service::new([ok(&json!([order("1"), order("2")]))]);
    let run = Run::bare(["produce", "--dry-run", "--source", &service.url()]).finish().success();
    let ids: Vec<String> = run
        .stdout
        .lines()
        .map(|line| Kind::Order.parse(line.as_bytes()).expect("an order").id().to_owned())
        .collect();
    assert_eq!(ids, ["1", "2"]);
}
