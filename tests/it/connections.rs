//! What a wrong address, certificate or login is answered with, by the real
//! services and by servers made for the purpose.

pub mod fakes;
mod kafka;
mod postgres;

use orderctl::config::{Connections, Creds};
use std::path::Path;

/// The flags `--creds FILE --cert-path DIR`.
fn connections(creds: &Path) -> Connections {
    let cert_path = Some(crate::support::stack().cert_path.clone());
    Connections { creds: Some(creds.into()), cert_path, ..Connections::default() }
}

/// Every password in the stack's files, to look for where none may be.
pub fn passwords() -> Vec<String> {
    let stack = crate::support::stack();
    let login = Creds::read(&stack.creds_sasl).unwrap();
    let uri = login.postgres.unwrap().uri.expose().to_owned();
    let (_, rest) = uri.split_once("://").unwrap();
    let (_, password) = rest.split_once('@').unwrap().0.split_once(':').unwrap();
    vec![password.to_owned(), login.kafka.unwrap().sasl.unwrap().password.expose().to_owned()]
}

/// Fails unless a message has the words and none of the secrets.
#[track_caller]
pub fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    for secret in passwords().iter().chain(&["hunter2".to_owned()]) {
        assert!(!message.contains(secret), "a secret is in: {message}");
    }
    assert!(!message.contains('\n'), "more than one line: {message}");
}
