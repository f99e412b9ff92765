//! Downloads shared by all stacks of a machine: made beside their final place
//! and renamed into it, so that what is there is whole.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::files::staging_directory;
use super::lock;
use crate::console::Console;
use crate::stop::Stop;

/// Where root keeps what an unprivileged account must read.
const SYSTEM: &str = "/var/cache/orderctl";

/// The user's cache: `$XDG_CACHE_HOME/orderctl`, else `~/.cache/orderctl`.
///
/// # Errors
/// When neither variable is an absolute path.
pub fn user_directory() -> anyhow::Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (absolute("XDG_CACHE_HOME"), absolute("HOME")) {
        (Some(cache), _) => Ok(cache.join("orderctl")),
        (None, Some(home)) => Ok(home.join(".cache/orderctl")),
        (None, None) => bail!("no place for downloads; set HOME or XDG_CACHE_HOME"),
    }
}

/// The cache that every account of the machine can read: only root has one.
pub fn system_directory() -> PathBuf {
    SYSTEM.into()
}

/// The directory `name` in the cache, made by `make` when it is not there yet.
/// `make` is given an empty directory and answers with the directory inside
/// it that is to be kept. Two processes at once wait for each other.
///
/// # Errors
/// [`super::Interrupted`]; when the cache cannot be written; whatever `make`
/// fails with.
pub fn obtain(
    cache: &Path,
    name: &str,
    console: &Console,
    stop: &Stop,
    make: impl FnOnce(&Path) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let kept = cache.join(name);
    if kept.is_dir() {
        return Ok(kept);
    }
    let unwritable = || {
        format!("cannot write the cache {}; set XDG_CACHE_HOME to another place", cache.display())
    };
    fs::create_dir_all(cache).with_context(unwritable)?;
    let _lock: File = lock::acquire(&cache.join(format!("{name}.lock")), console, stop)
        .with_context(unwritable)?;
    if kept.is_dir() {
        return Ok(kept);
    }
    let staging = staging_directory(cache, name)?;
    let made = make(staging.path())?;
    fs::rename(&made, &kept).with_context(|| format!("cannot create {}", kept.display()))?;
    Ok(kept)
}

/// Lets every account through a directory, whatever our umask was.
///
/// # Errors
/// When its mode cannot be changed.
pub fn make_passable(directory: &Path) -> std::io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// Lets every account read a tree, whatever our umask was.
///
/// # Errors
/// When a mode cannot be changed.
pub fn make_readable(tree: &Path) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(tree)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let executable = if metadata.is_dir() || mode & 0o100 != 0 { 0o111 } else { 0 };
    fs::set_permissions(tree, fs::Permissions::from_mode(mode | 0o444 | executable))?;
    match fs::read_dir(tree) {
        Ok(entries) => entries.into_iter().try_for_each(|entry| make_readable(&entry?.path())),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::OutputFormat;
    use crate::log::Log;

    const QUIET: Console =
        Console { output: OutputFormat::Table, quiet: true, verbosity: 0, log: Log::PLAIN };

    fn make_one(staging: &Path) -> anyhow::Result<PathBuf> {
        let inside = staging.join("made");
        fs::create_dir(&inside)?;
        fs::write(inside.join("file"), "text")?;
        Ok(inside)
    }

    #[test]
    fn what_is_there_is_not_made_again_and_leftovers_go() {
        let cache = tempfile::tempdir().unwrap();
        let stop = Stop::manual();
        fs::create_dir(cache.path().join("thing-1.partial-dead")).unwrap();
        let first = obtain(cache.path(), "thing-1", &QUIET, &stop, make_one).unwrap();
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "text");
        let second = obtain(cache.path(), "thing-1", &QUIET, &stop, |_| bail!("again")).unwrap();
        assert_eq!(first, second);
        assert!(!cache.path().join("thing-1.partial-dead").exists());
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        let failed = obtain(cache.path(), "thing-1", &QUIET, &Stop::manual(), |staging| {
            make_one(staging)?;
            bail!("no network")
        });
        assert!(failed.is_err());
        assert!(!cache.path().join("thing-1").exists());
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the lock file: {left:?}");
    }

    #[test]
    fn two_at_once_make_it_once() {
        let cache = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    obtain(cache.path(), "thing-1", &QUIET, &Stop::manual(), |staging| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        make_one(staging)
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_tree_becomes_readable() {
        let dir = tempfile::tempdir().unwrap();
        let inside = make_one(dir.path()).unwrap();
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(inside.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        make_readable(dir.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inside), 0o755);
        assert_eq!(mode(&inside.join("file")), 0o644);
    }
}
