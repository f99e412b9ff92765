//! Files that hold secrets: read only when nobody else could have read or
//! written them, written so that a reader sees all of it or nothing.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

/// More than any file of secrets needs; keeps a wrong path from filling memory.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file that only we may read.
///
/// The owner must be the effective user or root; as root only root will do,
/// because another owner could point us at services of their own.
///
/// # Errors
/// When it cannot be read, is a symbolic link or no regular file, belongs to
/// someone else, may be read or written by group or others, or is no UTF-8; the
/// text says how to cure it and never quotes the contents.
pub fn read(path: &Path) -> anyhow::Result<String> {
    // Opened first and asked afterwards, so that the file that was checked is
    // the file that is read. Without O_NONBLOCK a named pipe would hang here.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| refuse_open(path, &error))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("{} is not a regular file: name a file", path.display());
    }
    check_owner(path, &metadata)?;
    check_mode(path, &metadata)?;
    read_text(path, &mut file)
}

/// Writes a file that only we may read (mode 0600): to a temporary file beside
/// it, synced, then renamed into place.
///
/// # Errors
/// When the file is there and `force` is not set, is a symbolic link, belongs
/// to someone else, or the directory cannot be written to.
pub fn write(path: &Path, contents: &[u8], force: bool) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(_) if !force => {
            bail!("{} is already there: add --force to replace it", path.display())
        }
        Ok(metadata) => check_replaceable(path, &metadata)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(format!("cannot look at {}", path.display())),
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let cannot_write =
        || format!("cannot write to {}: create the directory or choose another", folder.display());
    // tempfile makes it with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".creds-")
        .tempfile_in(folder)
        .with_context(cannot_write)?;
    file.write_all(contents).with_context(cannot_write)?;
    file.as_file().sync_all().with_context(cannot_write)?;
    if force {
        file.persist(path).map(drop).map_err(|error| error.error).with_context(cannot_write)?;
    } else {
        // Refuses a file that came into being since we looked.
        file.persist_noclobber(path).map(drop).map_err(|error| error.error).with_context(|| {
            format!("cannot write {}: add --force to replace it", path.display())
        })?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot_write)
}

fn refuse_open(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let path = path.display();
    if error.raw_os_error() == Some(libc::ELOOP) {
        return anyhow::anyhow!("{path} is a symbolic link: name the file itself");
    }
    match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("there is no {path}: check the path"),
        _ => anyhow::anyhow!("cannot read {path}: {error}"),
    }
}

fn check_owner(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        let path = path.display();
        bail!(
            "{path} belongs to another user (uid {}): take it over with `chown {us} {path}`",
            metadata.uid()
        );
    }
    Ok(())
}

fn check_mode(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    if metadata.mode() & 0o077 != 0 {
        let path = path.display();
        bail!(
            "{path} holds secrets but group or others have access (mode {:03o}): \
             run `chmod 600 {path}`",
            metadata.mode() & 0o777
        );
    }
    Ok(())
}

fn check_replaceable(path: &Path, metadata: &Metadata) -> anyhow::Result<()> {
    if metadata.is_symlink() {
        bail!("{} is a symbolic link: remove it or name another file", path.display());
    }
    if !metadata.is_file() {
        bail!("{} is not a regular file: name a file", path.display());
    }
    check_owner(path, metadata)
}

fn read_text(path: &Path, file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{} is larger than 1 MiB: check the path", path.display());
    }
    // The error of the conversion would carry the contents.
    String::from_utf8(bytes)
        .map_err(|_| anyhow::anyhow!("{} is not UTF-8 text: check the path", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_was_written_is_read_back_and_only_the_owner_may_read_it() {
        let folder = folder();
        let path = folder.path().join("creds.json");
        write(&path, b"hunter2", false).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), "hunter2");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_by_force() {
        let folder = folder();
        let path = folder.path().join("creds.json");
        write(&path, b"old", false).unwrap();
        let refusal = write(&path, b"new", false).unwrap_err().to_string();
        assert!(refusal.contains("--force"), "{refusal}");
        assert_eq!(read(&path).unwrap(), "old");
        write(&path, b"new", true).unwrap();
        assert_eq!(read(&path).unwrap(), "new");
    }

    #[test]
    fn access_of_others_is_refused_with_the_cure() {
        let folder = folder();
        let path = folder.path().join("creds.json");
        write(&path, b"hunter2", false).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644, 0o610] {
            set_mode(&path, mode);
            let refusal = read(&path).unwrap_err().to_string();
            assert!(refusal.contains("chmod 600") && !refusal.contains("hunter2"), "{refusal}");
        }
        set_mode(&path, 0o400);
        read(&path).unwrap();
    }

    #[test]
    fn symbolic_links_are_neither_read_nor_replaced() {
        let folder = folder();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        write(&target, b"kept", false).unwrap();
        symlink(&target, &link).unwrap();
        assert!(read(&link).unwrap_err().to_string().contains("symbolic link"));
        assert!(write(&link, b"x", true).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(read(&target).unwrap(), "kept");
    }

    #[test]
    fn a_folder_a_missing_file_and_other_bytes_are_refused() {
        let folder = folder();
        assert!(read(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        let path = folder.path().join("absent");
        assert!(read(&path).unwrap_err().to_string().contains("there is no"));
        write(&path, b"\xff\xfe", false).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("UTF-8"));
        let nowhere = folder.path().join("no/such/creds.json");
        assert!(write(&nowhere, b"x", false).is_err());
    }

    #[test]
    fn a_foreign_owner_is_refused() {
        let folder = folder();
        let path = folder.path().join("creds.json");
        write(&path, b"hunter2", false).unwrap();
        // Only root can give a file away; anyone else has nothing to check here
        // but that their own file is accepted.
        match std::os::unix::fs::chown(&path, Some(65534), None) {
            Ok(()) => {
                let refusal = read(&path).unwrap_err().to_string();
                assert!(refusal.contains("chown 0"), "{refusal}");
                assert!(write(&path, b"x", true).is_err());
            }
            Err(_) => assert_eq!(read(&path).unwrap(), "hunter2"),
        }
    }
}
