//! The mailboxes of the shared stack's mail server.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::stack;

/// The mails that came for an address, whole, the first one first.
pub fn mailbox(address: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(stack().mailboxes).expect("the mailboxes");
    let request = format!("GET /api/user/{address}/messages HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    // Who never got a mail has no mailbox: the answer is a message about that then.
    let mails = body.as_array().map(Vec::as_slice).unwrap_or_default();
    mails.iter().map(|mail| mail["mimeMessage"].as_str().expect("a mail").to_owned()).collect()
}

/// A header of a mail, its continued lines joined.
pub fn header(mail: &str, name: &str) -> String {
    let (head, _) = mail.split_once("\r\n\r\n").expect("a head");
    let joined = head.replace("\r\n ", " ");
    let found = joined.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_default().to_owned()
}

/// The text of a mail, its quoted-printable soft line breaks joined and the
/// equals signs decoded.
pub fn text(mail: &str) -> String {
    mail.replace("=\r\n", "").replace("=3D", "=")
}
