//! Helpers: programs that run to their end, and end with us.

use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::process::{Interrupted, POLL, Signal, send};
use crate::stop::Stop;

/// What a helper left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output and standard error, as they came.
    pub lines: Vec<String>,
}

/// Runs a helper to its end, showing each line of its output to `on_line`. It
/// gets a process group of its own; a stop request kills that group, and our
/// own death the program.
///
/// # Errors
/// [`Interrupted`] after a stop request; an [`io::Error`] in the chain when the
/// program cannot be started (its kind tells "not found").
pub fn run(
    mut command: Command,
    stop: &Stop,
    mut on_line: impl FnMut(&str),
) -> anyhow::Result<Finished> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    end_with_us(&mut command);
    let mut child = command.spawn()?;
    // The command holds our end for writing: without this the reader never ends.
    drop(command);
    let output = read_lines(reader);
    let mut lines = Vec::new();
    loop {
        if stop.requested() {
            send(-i32::try_from(child.id())?, Signal::Kill);
            child.wait()?;
            return Err(Interrupted.into());
        }
        match output.recv_timeout(POLL) {
            Ok(line) => {
                on_line(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(Finished { status: child.wait()?, lines })
}

fn read_lines(reader: io::PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Whatever way we end, kill -9 included: a helper left alone would go on
/// writing where the next run writes.
#[expect(unsafe_code, reason = "the standard library has no safe way to call prctl in a child")]
fn end_with_us(command: &mut Command) {
    let parent = std::os::unix::process::parent_id;
    let us = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe and touch no memory of
    // ours. The signal comes when the calling thread ends, which waits here.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1 {
                return Err(io::Error::last_os_error());
            }
            // We may have died before the call.
            if parent() == us { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        });
    }
}

/// The last `count` lines that are not blank, joined.
pub fn last_lines<'a>(lines: impl DoubleEndedIterator<Item = &'a str>, count: usize) -> String {
    let mut kept: Vec<&str> = lines.rev().filter(|line| !line.is_empty()).take(count).collect();
    kept.reverse();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_and_the_status_of_a_helper_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut seen = 0;
        let finished = run(command, &Stop::manual(), |_| seen += 1).unwrap();
        assert_eq!((finished.status.code(), seen), (Some(3), 2));
        assert_eq!(finished.lines, ["one", "two"]);
    }

    #[test]
    fn a_stop_request_kills_a_helper() {
        let stop = Stop::manual();
        stop.request();
        let mut command = Command::new("sleep");
        command.arg("600");
        let error = run(command, &stop, |_| {}).unwrap_err();
        assert!(error.is::<Interrupted>());
    }
}
