//! The stack that all tests share.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use orderctl::console::{Console, OutputFormat};
use orderctl::log::Log;
use orderctl::stack::ports::PortFlags;
use orderctl::stack::{LOGIN, Stack, UpOptions, up};
use orderctl::stop::Stop;

use super::{query_at, uri};

/// A console that says nothing.
pub const QUIET: Console =
    Console { output: OutputFormat::Table, quiet: true, verbosity: 0, log: Log::PLAIN };

/// The stack in the folder of ORDERCTL_TEST_STACK, else in target/test-stack:
/// brought up by whoever asks first, left running for the next run.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let stack = bring_up(&folder()).unwrap_or_else(|error| panic!("stack up: {error:#}"));
        answer_before_the_disk(&stack);
        stack
    })
}

/// Has a COMMIT not wait for the disk, which stands still for up to a minute at
/// times: nobody ends this server in the middle of a run. Those that tests end are
/// their own.
fn answer_before_the_disk(stack: &Stack) {
    let ca = stack.cert_path.join("ca.pem");
    let setting = format!("alter database {LOGIN} set synchronous_commit = off");
    query_at(&uri(&stack.creds), &ca, &setting).expect("the database is the role's");
}

/// Brings up a stack of free ports in a folder.
pub fn bring_up(dir: &Path) -> anyhow::Result<Stack> {
    let options = UpOptions { dir: dir.to_owned(), clean: false, ports: PortFlags::default() };
    up(&options, &QUIET, &Stop::manual())
}

fn folder() -> PathBuf {
    match std::env::var_os("ORDERCTL_TEST_STACK") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-stack"),
    }
}
