//! A stack's folder: what is where, what is remembered, who may work in it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::files::{create_private_directory, remove_directory, write_private};
use super::ports::{PortFlags, Ports};
use super::{Listener, Service, kafka, lock, random};
use crate::console::Console;
use crate::stop::Stop;

/// A folder that holds, or is to hold, one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its absolute path.
    pub path: PathBuf,
}

/// What a stack remembers from one start to the next, in `stack.json`.
#[derive(Serialize, Deserialize)]
pub struct State {
    /// Kafka's cluster id: 22 letters of URL-safe base64.
    pub cluster_id: String,
    /// The Kafka that its storage was formatted with.
    #[serde(default = "first_kafka")]
    pub kafka_version: String,
    /// Password of Kafka's SCRAM user.
    pub kafka_password: String,
    /// Password of PostgreSQL's role.
    pub postgres_password: String,
    /// Password of the mail server's login; empty in a stack that was made before
    /// it had one, until it is brought up again.
    #[serde(default)]
    pub mail_password: String,
    /// The ports on the loopback address.
    pub ports: Ports,
}

/// Of stacks that do not say it.
fn first_kafka() -> String {
    "4.3.0".into()
}

impl State {
    fn new(flags: &PortFlags) -> anyhow::Result<State> {
        Ok(State {
            // 16 bytes are 22 letters, of which the last holds two bits only.
            cluster_id: random::text(21)? + "A",
            kafka_version: kafka::JARS.version.into(),
            kafka_password: random::text(32)?,
            postgres_password: random::text(32)?,
            mail_password: random::text(32)?,
            ports: Ports::choose(flags)?,
        })
    }

    /// With what a stack of an earlier version had not yet.
    fn completed(mut self) -> anyhow::Result<State> {
        if self.mail_password.is_empty() {
            self.mail_password = random::text(32)?;
        }
        self.ports.complete()?;
        Ok(self)
    }
}

/// Who runs this process.
pub fn our_uid() -> anyhow::Result<u32> {
    Ok(fs::metadata("/proc/self").context("/proc is needed to watch processes")?.uid())
}

impl Folder {
    /// The folder at `dir`, created when missing.
    ///
    /// # Errors
    /// When it cannot be created or belongs to another user.
    pub fn create(dir: &Path) -> anyhow::Result<Folder> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| fs::canonicalize(dir))
            .with_context(|| {
                format!("cannot create {}; name a folder you can write with --dir", dir.display())
            })
            .and_then(Folder::of_ours)
    }

    /// The folder at `dir` if a stack was ever brought up there.
    ///
    /// # Errors
    /// When it belongs to another user.
    pub fn find(dir: &Path) -> anyhow::Result<Option<Folder>> {
        match fs::canonicalize(dir) {
            Ok(path) if path.join("stack.json").exists() => Ok(Some(Folder::of_ours(path)?)),
            _ => Ok(None),
        }
    }

    fn of_ours(path: PathBuf) -> anyhow::Result<Folder> {
        let (owner, us) = (fs::metadata(&path)?.uid(), our_uid()?);
        if owner != us {
            bail!(
                "{} belongs to uid {owner}, you are uid {us}; \
                 name a folder of your own with --dir, or run as its owner",
                path.display()
            );
        }
        Ok(Folder { path })
    }

    /// Waits until no other process brings this stack up or down.
    ///
    /// # Errors
    /// [`super::Interrupted`]; when the folder cannot be written.
    pub fn lock(&self, console: &Console, stop: &Stop) -> anyhow::Result<File> {
        let path = self.path.join("lock");
        lock::acquire(&path, console, stop).map_err(|error| {
            match error.is::<super::Interrupted>() {
                true => error,
                false => error.context(format!(
                    "cannot write in {}; name a folder you can write with --dir",
                    self.path.display()
                )),
            }
        })
    }

    /// What the stack remembers; new when there was none. Call with the lock.
    ///
    /// # Errors
    /// When the folder holds files that are not a stack's; when what is
    /// remembered cannot be read.
    pub fn load_or_new(&self, flags: &PortFlags) -> anyhow::Result<State> {
        if let Some(state) = self.load()? {
            return state.completed();
        }
        if let Some(stranger) = self.stranger()? {
            let _ = fs::remove_file(self.path.join("lock"));
            bail!(
                "{} already holds other files ({stranger}); name a new or empty folder with --dir",
                self.path.display()
            );
        }
        State::new(flags)
    }

    /// What the stack remembers, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.path.join("stack.json");
        let cure = || format!("cannot read {}; remove the folder to start anew", path.display());
        match fs::read(&path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(cure)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(cure),
        }
    }

    /// Remembers, and makes the directories that every stack has.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, state: &State) -> anyhow::Result<()> {
        write_private(&self.path.join("stack.json"), &serde_json::to_string_pretty(state)?)?;
        // Secrets and data: never to be committed by accident.
        fs::write(self.path.join(".gitignore"), "*\n")?;
        ["log", "run"].iter().try_for_each(|name| create_private_directory(&self.path.join(name)))
    }

    fn stranger(&self) -> anyhow::Result<Option<String>> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !["lock", ".gitignore"].contains(&name.as_str()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Removes the stack and, if nothing else is in it, the folder. Call with
    /// the lock and with nothing running.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        for directory in ["kafka", "postgres", "mail", "certs", "tls", "log", "run"] {
            remove_directory(&self.path.join(directory))?;
        }
        let credentials = Listener::ALL.map(|listener| listener.creds_file());
        for file in credentials.iter().chain(&[".gitignore", "stack.json", "lock"]) {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {file}"));
                }
                _ => {}
            }
        }
        // Stays when the user keeps something of their own in it.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }

    /// Where a service's pid is.
    pub fn pid_file(&self, service: Service) -> PathBuf {
        self.path.join(format!("run/{service}.pid"))
    }

    /// Where a service says what it does.
    pub fn log(&self, service: Service) -> PathBuf {
        self.path.join(format!("log/{service}.log"))
    }

    /// The directory of certificates for clients.
    pub fn certs(&self) -> PathBuf {
        self.path.join("certs")
    }

    /// The directory of the servers' keys.
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// The credentials for one of Kafka's listeners.
    pub fn creds(&self, listener: Listener) -> PathBuf {
        self.path.join(listener.creds_file())
    }

    /// Kafka's configuration and data.
    pub fn kafka(&self) -> PathBuf {
        self.path.join("kafka")
    }

    /// The mail server's configuration.
    pub fn mail(&self) -> PathBuf {
        self.path.join("mail")
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
    fn what_is_saved_is_loaded_again_and_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("new/stack")).unwrap();
        let _lock = folder.lock(&QUIET, &Stop::manual()).unwrap();
        assert_eq!(Folder::find(&folder.path).unwrap(), None);
        let state = folder.load_or_new(&PortFlags::default()).unwrap();
        folder.save(&state).unwrap();
        assert_eq!(Folder::find(&folder.path).unwrap().as_ref(), Some(&folder));
        let again = folder.load_or_new(&PortFlags::default()).unwrap();
        assert_eq!(again.ports, state.ports);
        assert_eq!(again.postgres_password, state.postgres_password);
        folder.clear().unwrap();
        assert!(!folder.path.exists());
    }

    #[test]
    fn a_stack_of_an_earlier_version_gets_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let mut old =
            serde_json::to_value(folder.load_or_new(&PortFlags::default()).unwrap()).unwrap();
        old.as_object_mut().unwrap().remove("mail_password");
        old["ports"].as_object_mut().unwrap().remove("mail");
        fs::write(dir.path().join("stack.json"), old.to_string()).unwrap();
        assert_eq!(folder.load().unwrap().unwrap().ports.mail.tls, 0);
        let new = folder.load_or_new(&PortFlags::default()).unwrap();
        assert_eq!(new.mail_password.len(), 32);
        assert!(new.ports.mail.tls > 0 && new.ports.mail.tls != new.ports.mail.plaintext);
        assert_eq!(new.ports.kafka, old["ports"]["kafka"]);
    }

    #[test]
    fn a_folder_with_other_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let _lock = folder.lock(&QUIET, &Stop::manual()).unwrap();
        let error = folder.load_or_new(&PortFlags::default()).err().unwrap().to_string();
        assert!(error.contains("thesis.tex") && error.contains("--dir"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn clearing_keeps_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        folder.save(&folder.load_or_new(&PortFlags::default()).unwrap()).unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        folder.clear().unwrap();
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}
