//! What Java's clients are told of the stack.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::stack::BenchStack;

/// Writes a file of properties among the bench's files: where the broker is, the
/// client certificate, and what the reference wants beside.
///
/// # Errors
/// When the stack's files cannot be read or the bench's not written.
pub fn write_properties(stack: &BenchStack, name: &str, more: &str) -> anyhow::Result<PathBuf> {
    let certs = stack.folder.join("certs");
    let key_store = stack.files.path().join(format!("{name}.key-store.pem"));
    let key = fs::read_to_string(certs.join("service.key"))?;
    let chain = fs::read_to_string(certs.join("service.cert"))?;
    write_private(&key_store, &(key + &chain))?;
    let config = stack.kafka()?;
    let brokers = config.get("bootstrap.servers").context("no broker is named")?;
    let path = stack.files.path().join(name);
    let text = format!(
        "bootstrap.servers={brokers}\n\
         security.protocol=SSL\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={}\n\
         {more}",
        key_store.display(),
        certs.join("ca.pem").display()
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
