//! Files that only their owner may read, and that are never half written.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;

/// Writes a file of mode 0600 by a temporary sibling and rename.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private_bytes(path, text.as_bytes())
}

/// As [`write_private`], for what is no text.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_private_bytes(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    let written = tempfile::NamedTempFile::new_in(directory)
        .and_then(|mut file| file.write_all(bytes).map(|()| file))
        .and_then(|file| Ok(file.persist(path)?));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Creates a directory of mode 0700 with its parents; one that exists gets
/// that mode.
///
/// # Errors
/// When it cannot be created or is not ours.
pub fn create_private_directory(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Removes a directory with all in it; none there is fine.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A new directory inside `parent` for what is to be renamed when it is whole;
/// removed when dropped. What a dead predecessor left there is removed too:
/// call with a lock held.
///
/// # Errors
/// When `parent` cannot be written.
pub fn staging_directory(parent: &Path, name: &str) -> anyhow::Result<tempfile::TempDir> {
    let prefix = format!("{name}.partial-");
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            remove_directory(&entry.path())?;
        }
    }
    let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    made.with_context(|| format!("cannot write in {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_private_directory_is_closed_to_others_even_when_it_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        create_private_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        remove_directory(&path).unwrap();
        remove_directory(&path).unwrap();
    }

    #[test]
    fn what_was_left_half_made_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data.partial-dead")).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let staging = staging_directory(dir.path(), "data").unwrap();
        assert!(staging.path().is_dir());
        assert!(!dir.path().join("data.partial-dead").exists());
        assert!(dir.path().join("data").exists());
    }
}
