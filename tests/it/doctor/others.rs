//! Mail and search, by servers made for the purpose.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::assert_found;
use crate::connections::fakes::Stranger;
use crate::support::program::Finished;
use crate::support::{Proxy, Run, eventually, stack};

/// A password to look for where none may be.
const SENTINEL: &str = "hunter2";

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A server whose connections are handed over one after the other.
fn serve(answer: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            answer(&mut stream);
        }
    });
    address
}

fn line(stream: &mut dyn Stream) -> String {
    let mut line = String::new();
    // No more than one line is under way at a time.
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

/// A mail server that knows STARTTLS, with a stranger's certificate.
fn mail(stranger: &Stranger) -> SocketAddr {
    let acceptor = stranger.acceptor();
    serve(move |stream| {
        let mut stream = stream.try_clone().unwrap();
        let _ = stream.write_all(b"220 mail.example\r\n");
        line(&mut stream);
        let _ = stream.write_all(b"250-mail.example\r\n250 STARTTLS\r\n");
        line(&mut stream);
        let _ = stream.write_all(b"220 go on\r\n");
        if let Ok(mut secured) = acceptor.accept(stream) {
            line(&mut secured);
            let _ = secured.write_all(b"250 mail.example\r\n");
        }
    })
}

/// A search service that lets one login in.
fn search(stranger: &Stranger, authorization: &'static str) -> SocketAddr {
    let acceptor = stranger.acceptor();
    serve(move |stream| {
        let Ok(mut secured) = acceptor.accept(stream.try_clone().unwrap()) else { return };
        let mut request = Vec::new();
        let mut lines = BufReader::new(&mut secured);
        while lines.read_until(b'\n', &mut request).is_ok_and(|read| read > 2) {}
        let request = String::from_utf8_lossy(&request).into_owned();
        let code = if request.contains(authorization) { "200 OK" } else { "401 Unauthorized" };
        let _ = write!(secured, "HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n");
    })
}

/// `doctor` with the stack's creds.json and these sections more.
fn looking(folder: &Path, sections: serde_json::Value, cert_path: &Path) -> Run {
    let mut creds: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&stack().creds_plaintext).unwrap()).unwrap();
    for (name, section) in sections.as_object().unwrap() {
        creds[name] = section.clone();
    }
    let path = folder.join("creds.json");
    std::fs::write(&path, creds.to_string()).unwrap();
    private(&path);
    let flags = ["doctor", "-o", "json", "--creds", path.to_str().unwrap()];
    Run::new(flags).arg("--cert-path").arg(cert_path)
}

/// The same, run to its end.
fn look(folder: &Path, sections: serde_json::Value, cert_path: &Path) -> Finished {
    looking(folder, sections, cert_path).finish()
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn sections(mail: SocketAddr, security: &str, search: &str) -> serde_json::Value {
    serde_json::json!({
        "smtp": {
            "hostname": "127.0.0.1", "port": mail.port(), "security": security,
            "username": "m", "password": SENTINEL, "from": "a@b"
        },
        "search": { "url": search, "username": "u", "password": SENTINEL }
    })
}

/// A directory with nothing but a CA certificate.
fn certs(ca: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(ca, folder.path().join("ca.pem")).unwrap();
    folder
}

#[test]
fn mail_and_search_answer_over_tls_and_the_login_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = Stranger::new(false);
    let certs = certs(&stranger.file("ca.pem"));
    // What `printf u:hunter2 | base64` prints.
    let search = search(&stranger, "Authorization: Basic dTpodW50ZXIy");
    let sections = sections(mail(&stranger), "starttls", &format!("https://{search}"));
    let run = look(folder.path(), sections, certs.path());
    assert_found(&run, "smtp", "tls", "ok", &["a stranger's CA", "trusted"]);
    assert_found(&run, "smtp", "greeting", "ok", &["250 mail.example"]);
    assert_found(&run, "search", "tls", "ok", &["trusted"]);
    assert_found(&run, "search", "greeting", "ok", &["200 OK"]);
    assert!(!format!("{run}").contains(SENTINEL), "{run}");
}

#[test]
fn a_login_is_not_sent_to_a_stranger_and_a_refused_one_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = Stranger::new(false);
    let places = sections(
        mail(&stranger),
        "starttls",
        &format!("https://{}", search(&stranger, "Authorization")),
    );
    let run = look(folder.path(), places, &stack().cert_path).code(1);
    let words = ["not signed by", "a stranger's CA has signed it", "ca.pem"];
    for service in ["smtp", "search"] {
        assert_found(&run, service, "tls", "failed", &words);
        assert_found(&run, service, "greeting", "skipped", &["tls failed"]);
    }
    let certs = certs(&stranger.file("ca.pem"));
    let search = search(&stranger, "Authorization: Basic of another");
    let places = sections(mail(&stranger), "starttls", &format!("https://{search}"));
    let run = look(folder.path(), places, certs.path()).code(1);
    assert_found(&run, "search", "greeting", "failed", &["search.password", "401"]);
    assert!(!format!("{run}").contains(SENTINEL), "{run}");
}

#[test]
fn servers_of_another_kind_are_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let kafka = stack().kafka_plaintext;
    let web = serve(|stream| {
        line(stream);
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n");
    });
    let run =
        look(folder.path(), sections(kafka, "tls", &format!("http://{web}")), &stack().cert_path);
    let run = run.code(1);
    assert_found(&run, "smtp", "tls", "failed", &["smtp.security", "465"]);
    assert_found(&run, "search", "tls", "ok", &["not encrypted", "on this machine"]);
    assert_found(&run, "search", "greeting", "failed", &["503 Busy", "search.url"]);
    let mail = serve(|stream| {
        let _ = stream.write_all(b"554 go away\r\n");
    });
    let elsewhere = format!("http://{mail}");
    let run = look(folder.path(), sections(mail, "none", &elsewhere), &stack().cert_path).code(1);
    assert_found(&run, "smtp", "greeting", "failed", &["554 go away"]);
    assert_found(&run, "search", "greeting", "failed", &["not a search service"]);
}

/// A mail server behind a proxy, and `doctor` of it.
fn mail_behind_proxy(folder: &Path) -> (Proxy, Run) {
    let stranger = Stranger::new(false);
    let proxy = Proxy::to(mail(&stranger));
    std::fs::copy(stranger.file("ca.pem"), folder.join("ca.pem")).unwrap();
    let mut sections = sections(proxy.address, "starttls", "");
    sections.as_object_mut().unwrap().remove("search");
    let run = looking(folder, sections, folder);
    (proxy, run)
}

#[test]
fn a_slow_mail_server_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, run) = mail_behind_proxy(folder.path());
    proxy.delay(Duration::from_millis(150));
    let run = run.finish();
    assert_found(&run, "smtp", "tls", "ok", &["a stranger's CA", "trusted"]);
    assert_found(&run, "smtp", "greeting", "ok", &["250 mail.example"]);
}

#[test]
fn a_silent_mail_server_is_given_up() {
    // Before its greeting, after it, and within the handshake.
    for bytes in [0, 10, 200] {
        let folder = tempfile::tempdir().unwrap();
        let (proxy, run) = mail_behind_proxy(folder.path());
        match bytes {
            0 => proxy.silence(true),
            bytes => proxy.silence_after(bytes),
        }
        let run = run.limit(Duration::from_secs(30)).finish().code(1);
        assert!(!proxy.is_due(), "{run}");
        assert_found(&run, "smtp", "tcp", "ok", &[]);
        assert_found(&run, "smtp", "tls", "failed", &["handshake", "smtp.security"]);
        assert_found(&run, "smtp", "greeting", "skipped", &["tls failed"]);
    }
}

#[test]
fn a_mail_server_whose_connection_is_reset_is_told_from_a_silent_one() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, run) = mail_behind_proxy(folder.path());
    proxy.silence_after(10);
    let run = run.spawn();
    eventually("it greets", || !proxy.is_due());
    proxy.reset();
    let run = run.finish().code(1);
    assert_found(&run, "smtp", "tls", "failed", &["closes the connection", "reset"]);
    assert_found(&run, "smtp", "greeting", "skipped", &["tls failed"]);
}
