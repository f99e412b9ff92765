//! Daemons: processes that outlive us.
//!
//! One is known by a pid file that holds its pid and the time the kernel
//! started it, so that a pid given to a stranger later is never signalled.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::helper::last_lines;
use crate::stop::Stop;

/// How often a condition of another process is looked at again.
pub const POLL: Duration = Duration::from_millis(25);

/// How long the kernel may take to clear away what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// The user asked to stop while a stack was being brought up or down.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The signals that end a daemon in an orderly way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: PostgreSQL's fast shutdown.
    Interrupt,
    /// SIGTERM: what most servers take for "please end".
    Terminate,
    /// SIGKILL: when asking did not help.
    Kill,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// Starts a daemon in a session of its own, with its output going to `log` (the
/// log of the run before is kept as `log.1`), and writes its pid file.
///
/// # Errors
/// When the program, the log or the pid file cannot be had; then nothing runs.
pub fn start_daemon(mut command: Command, log: &Path, pid_file: &Path) -> anyhow::Result<()> {
    if log.exists() {
        fs::rename(log, log.with_extension("log.1"))?;
    }
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    new_session(&mut command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let pid = child.id();
    if let Err(error) = write_pid_file(pid_file, pid) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error.context(format!("{program} was not kept; its log is {}", log.display())));
    }
    // Reaped when it ends while we live; init does it afterwards.
    std::thread::spawn(move || child.wait());
    Ok(())
}

fn write_pid_file(pid_file: &Path, pid: u32) -> anyhow::Result<()> {
    let started = stat(pid).context("it ended at once")?.started;
    // Whoever looks sees all of it or nothing.
    let new = pid_file.with_extension("new");
    fs::write(&new, format!("{pid} {started}\n"))
        .and_then(|()| fs::rename(&new, pid_file))
        .with_context(|| format!("cannot write {}", pid_file.display()))
}

/// Ctrl-C and a closed terminal are meant for us, not for the daemon.
#[expect(unsafe_code, reason = "the standard library has no safe way to call setsid in a child")]
fn new_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// The pid of the daemon that a pid file names, if that very process runs.
pub fn running(pid_file: &Path) -> Option<u32> {
    match look(pid_file) {
        Life::Running(pid) => Some(pid),
        Life::Dying | Life::Gone => None,
    }
}

/// What became of the process of a pid file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running(u32),
    /// Its first thread is gone, others still hold its ports and files.
    Dying,
    /// It holds nothing any more.
    Gone,
}

fn look(pid_file: &Path) -> Life {
    let named = || {
        let text = fs::read_to_string(pid_file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some((pid.parse::<u32>().ok()?, started.parse::<u64>().ok()?))
    };
    let Some((pid, started)) = named() else { return Life::Gone };
    match stat(pid) {
        Some(stat) if stat.started != started => Life::Gone,
        Some(Stat { state: 'Z' | 'X', threads: 0 | 1, .. }) | None => Life::Gone,
        Some(Stat { state: 'Z' | 'X', .. }) => Life::Dying,
        Some(_) => Life::Running(pid),
    }
}

/// What the kernel says of a process, by proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// Field 3: `Z` for one whose first thread has ended.
    state: char,
    /// Field 20.
    threads: u32,
    /// Field 22: when it was started, in clock ticks since boot.
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields are counted behind the program's name, which may hold blanks and
/// parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, threads, started })
}

/// Waits until a daemon that was killed has let go of its ports and files.
///
/// # Errors
/// [`Interrupted`]; when it has not after a minute.
pub fn wait_until_gone(pid_file: &Path, stop: &Stop) -> anyhow::Result<()> {
    if gone_within(pid_file, KILL_LIMIT, stop)? {
        return Ok(());
    }
    bail!("the process of {} does not end; end it by hand", pid_file.display())
}

/// Ends the daemon of a pid file, first by `signal`, after `limit` by SIGKILL,
/// and removes the pid file. True when there was something to end.
///
/// # Errors
/// [`Interrupted`] when a stop is requested first; when it cannot be ended.
pub fn end_daemon(
    pid_file: &Path,
    signal: Signal,
    limit: Duration,
    stop: &Stop,
) -> anyhow::Result<bool> {
    let found = look(pid_file);
    match found {
        Life::Running(pid) => {
            send(i32::try_from(pid)?, signal);
            if !gone_within(pid_file, limit, stop)? {
                send(i32::try_from(pid)?, Signal::Kill);
                wait_until_gone(pid_file, stop)?;
            }
        }
        Life::Dying => wait_until_gone(pid_file, stop)?,
        Life::Gone => {}
    }
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", pid_file.display()))
        }
        _ => Ok(matches!(found, Life::Running(_))),
    }
}

fn gone_within(pid_file: &Path, limit: Duration, stop: &Stop) -> anyhow::Result<bool> {
    let deadline = Instant::now() + limit;
    while look(pid_file) != Life::Gone {
        if Instant::now() > deadline {
            return Ok(false);
        }
        if stop.wait_for(POLL) {
            return Err(Interrupted.into());
        }
    }
    Ok(true)
}

/// Sends a signal to a process, or to a process group when negative. One that
/// is gone is no failure: the caller looks at what runs, not at this.
#[expect(unsafe_code, reason = "the standard library sends no other signal than SIGKILL")]
pub fn send(pid: i32, signal: Signal) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe {
        libc::kill(pid, signal.number());
    }
}

/// A daemon that is about to answer.
#[derive(Debug, Clone, Copy)]
pub struct Starting<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// Its pid file.
    pub pid_file: &'a Path,
    /// Its log.
    pub log: &'a Path,
    /// How long it may take.
    pub limit: Duration,
}

/// Probes a daemon until it answers.
///
/// # Errors
/// [`Interrupted`]; when it ends instead, with the end of its log; when the
/// limit passes, with what the last probe said.
pub fn wait_until_ready(
    daemon: Starting<'_>,
    stop: &Stop,
    mut probe: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Starting { name, pid_file, log, limit } = daemon;
    let deadline = Instant::now() + limit;
    loop {
        let Err(refusal) = probe() else { return Ok(()) };
        if running(pid_file).is_none() {
            bail!("{name} ended while starting; its log {} ends:\n{}", log.display(), tail(log));
        }
        if Instant::now() > deadline {
            let (limit, log) = (limit.as_secs(), log.display());
            return Err(refusal.context(format!("{name} did not answer in {limit} s; see {log}")));
        }
        if stop.wait_for(POLL) {
            return Err(Interrupted.into());
        }
    }
}

/// The last lines of a log, at most ten and 4 KiB.
fn tail(log: &Path) -> String {
    let mut end = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        file.read_to_end(&mut end)
    });
    match read {
        Ok(_) => last_lines(String::from_utf8_lossy(&end).lines(), 10),
        Err(error) => format!("(cannot be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_fields_are_read_behind_a_name_with_blanks_and_parentheses() {
        let text = "12 (a b) c) S 1 12 12 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 7 0 98765 1 2 3";
        assert_eq!(parse_stat(text), Some(Stat { state: 'S', threads: 7, started: 98765 }));
        assert_eq!(parse_stat("12 (a"), None);
    }

    #[test]
    fn a_pid_file_of_a_stranger_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let me = std::process::id();
        let started = stat(me).unwrap().started;
        fs::write(&file, format!("{me} {started}\n")).unwrap();
        assert_eq!(running(&file), Some(me));
        fs::write(&file, format!("{me} {}\n", started + 1)).unwrap();
        assert_eq!(running(&file), None);
        let ended =
            end_daemon(&file, Signal::Kill, Duration::from_secs(1), &Stop::manual()).unwrap();
        assert!(!ended && !file.exists());
    }

    #[test]
    fn a_daemon_that_ignores_the_signal_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (log, pid) = (dir.path().join("d.log"), dir.path().join("pid"));
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
        start_daemon(command, &log, &pid).unwrap();
        let daemon =
            Starting { name: "d", pid_file: &pid, log: &log, limit: Duration::from_secs(120) };
        wait_until_ready(daemon, &Stop::manual(), || match tail(&log).as_str() {
            "ready" => Ok(()),
            other => bail!("{other}"),
        })
        .unwrap();
        assert!(end_daemon(&pid, Signal::Terminate, POLL * 4, &Stop::manual()).unwrap());
        assert!(running(&pid).is_none());
    }

    #[test]
    fn a_daemon_that_ends_while_starting_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let (log, pid) = (dir.path().join("d.log"), dir.path().join("pid"));
        let mut command = Command::new("sh");
        command
            .args(["-c", "until [ -s \"$0\" ]; do :; done; echo no such luck; exit 1"])
            .arg(&pid);
        start_daemon(command, &log, &pid).unwrap();
        let daemon =
            Starting { name: "d", pid_file: &pid, log: &log, limit: Duration::from_secs(120) };
        let error = wait_until_ready(daemon, &Stop::manual(), || bail!("not yet")).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}
