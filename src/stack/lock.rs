//! One process at a time, by flock(2): the kernel lets go of it when its holder
//! dies in whatever way.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::process::Interrupted;
use crate::console::Console;
use crate::stop::Stop;

/// Waits for the lock of a file, which is created when missing; held until the
/// answer is dropped.
///
/// # Errors
/// [`Interrupted`] when a stop is requested meanwhile; when the file cannot be
/// created.
pub fn acquire(path: &Path, console: &Console, stop: &Stop) -> anyhow::Result<File> {
    let mut told = false;
    loop {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) if is_still_there(&file, path) => return Ok(file),
            // Its holder removed it while we waited: that lock guards nothing.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if !told {
                    console.note(format_args!(
                        "waiting for another orderctl that holds {}",
                        path.display()
                    ));
                }
                told = true;
                if stop.wait_for(Duration::from_millis(100)) {
                    return Err(Interrupted.into());
                }
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

fn is_still_there(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::OutputFormat;
    use crate::log::Log;

    const QUIET: Console =
        Console { output: OutputFormat::Table, quiet: true, verbosity: 0, log: Log::PLAIN };

    #[test]
    fn a_held_lock_is_waited_for_until_a_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = acquire(&path, &QUIET, &Stop::manual()).unwrap();
        let stop = Stop::manual();
        stop.request();
        assert!(acquire(&path, &QUIET, &stop).unwrap_err().is::<Interrupted>());
        drop(held);
        acquire(&path, &QUIET, &stop).unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_removed_guards_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = acquire(&path, &QUIET, &Stop::manual()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_there(&held, &path));
        acquire(&path, &QUIET, &Stop::manual()).unwrap();
    }
}
