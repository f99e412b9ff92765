//! The built program, run as a user runs it.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::server::own_port;
use super::{PATIENCE, Terminal, stack, uri_at_port};

/// How long it may take to end after SIGINT or SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Fails the test unless the run ended with exit code 0.
    #[track_caller]
    pub fn success(self) -> Finished {
        self.code(0)
    }

    /// Fails the test unless the run ended with this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finished { code, stdout, stderr } = self;
        write!(f, "exit code {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Runs the program to its end against the shared stack.
pub fn orderctl<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Finished {
    Run::new(args).finish()
}

/// A run to be set up further: `Run::new(["consume"]).env("A", "b").spawn()`.
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
    stderr: Option<Stdio>,
    limit: Duration,
}

impl Run {
    /// Against the shared stack: its credentials and certificates are set. The
    /// database is the test's own server while it has one.
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
        let stack = stack();
        let run = Run::bare(args)
            .env("ORDERCTL_CREDS", &stack.creds)
            .env("ORDERCTL_CERT_PATH", &stack.cert_path);
        match own_port() {
            Some(port) => run.env("ORDERCTL_POSTGRES_URI", uri_at_port(port)),
            None => run,
        }
    }

    /// With nothing set, and without what the environment of the tests sets.
    pub fn bare<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderctl"));
        command.args(args);
        let ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with("ORDERCTL_")
                || name.starts_with("PG")
                || name == "BOOTSTRAP_SVR"
                || name == "DATABASE_URL"
                || matches!(&*name, "NO_COLOR" | "CLICOLOR" | "CLICOLOR_FORCE")
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        Run { command, stdin: Vec::new(), stderr: None, limit: PATIENCE }.stdin("")
    }

    /// One argument more.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Run {
        self.command.arg(arg);
        self
    }

    /// Some arguments more.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Run {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn directory(mut self, path: &std::path::Path) -> Run {
        self.command.current_dir(path);
        self
    }

    /// What it reads from standard input; nothing unless said.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = bytes.into();
        self
    }

    /// Where its standard error goes instead of into [`Finished::stderr`].
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Run {
        self.stderr = Some(to.into());
        self
    }

    /// How long its end may be waited for: longer is a failure of the test.
    pub fn limit(mut self, limit: Duration) -> Run {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.spawn().finish()
    }

    /// Starts it on a terminal.
    #[track_caller]
    pub fn on_terminal(self) -> Terminal {
        Terminal::start(self.command)
    }

    /// Starts it and goes on.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let bytes = self.stdin;
        // It may end without reading everything: that is its right.
        std::thread::spawn(move || stdin.write_all(&bytes));
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = child.stderr.take().and_then(collect);
        Running { child, limit: self.limit, stdout, stderr }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Option<JoinHandle<String>> {
    Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// A run under way; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    limit: Duration,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Kills it with SIGKILL, as the kernel does when memory is short.
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("a running program");
        self.finish()
    }

    /// Asks it to stop with SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Sends a signal by its name without SIG, upon which it ends as interrupted and
    /// in the time that is promised, whatever is out of reach.
    #[track_caller]
    pub fn end_in_time(self, signal: &str) -> Finished {
        let asked = Instant::now();
        self.signal(signal);
        let ended = self.finish().code(130);
        let took = asked.elapsed();
        assert!(took < END_LIMIT, "{signal}: {took:?}: {ended}");
        ended
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let status = self.wait();
        // Nothing was collected of what went elsewhere.
        let text = |thread: Option<JoinHandle<String>>| {
            thread.map_or_else(String::new, |thread| thread.join().expect("the reader's thread"))
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        let finished = Finished { code: status.and_then(|status| status.code()), stdout, stderr };
        assert!(status.is_some(), "did not end in time: {finished}");
        finished
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                break;
            }
            // The standard library has no wait with a limit.
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().expect("a running program");
        self.child.wait().expect("its status");
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended or not: nothing of a failed test is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, by its name without SIG, to a process that a test started.
pub fn send_signal(pid: u32, name: &str) {
    let status =
        Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status();
    assert!(status.expect("a shell").success(), "kill -s {name} {pid}");
}

/// Waits until a condition holds; a failure of the test after [`PATIENCE`]. Looks
/// every 10 ms at first and every 150 ms in the end: most looks are a connection
/// over TLS, and too many of them would be most of what the machine does.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        // What is awaited is seen only by looking.
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(150));
    }
}
