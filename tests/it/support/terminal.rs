//! A run on a pseudo-terminal of its own, with somebody at its keys.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::program::send_signal;
use super::{PATIENCE, eventually};

/// How long to let go between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// A program on a terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<String>>,
    /// Ends when nobody has the terminal open any more, and all is on the screen.
    reader: JoinHandle<()>,
    /// Up to where [`Terminal::wait_for`] has seen it.
    seen: usize,
}

impl Terminal {
    /// Starts a command whose standard streams are the terminal.
    pub fn start(mut command: Command) -> Terminal {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&keys).expect("its other side");
        unlockpt(&keys).expect("its other side");
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keys, size).expect("a size");
        let name = ptsname(&keys, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let side = || {
            use std::os::unix::fs::OpenOptionsExt as _;
            let not_ours = OFlags::NOCTTY.bits() as i32;
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(not_ours).open(&name).expect("a terminal")
        };
        command.stdin(side()).stdout(side()).stderr(side());
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let child = command.spawn().expect("the program starts");
        // Its handles on the terminal would keep it open.
        drop(command);
        let keys = File::from(keys);
        let screen = Arc::default();
        let reader = collect(keys.try_clone().expect("a handle"), Arc::clone(&screen));
        Terminal { child, keys, screen, reader, seen: 0 }
    }

    /// Everything that was written to the screen so far.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this is written, after what was awaited before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {text:?} in {screen:?}");
            // What is awaited is seen only by looking.
            std::thread::sleep(LOOK);
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until single keys are read, as a menu does.
    #[track_caller]
    pub fn wait_for_menu(&mut self) {
        eventually("single keys are read", || !reads_lines(&self.keys));
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for the program's end; its exit code, and all that was written. The
    /// terminal must read lines again, as a shell expects.
    #[track_caller]
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut status = None;
        eventually("the program's end", || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        assert!(reads_lines(&self.keys), "the terminal was left as it was");
        eventually("its last words", || self.reader.is_finished());
        (status.and_then(|status| status.code()), self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended or not: nothing of a failed test is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether whole lines are read, and shown while they are typed.
fn reads_lines(keys: &File) -> bool {
    let modes = tcgetattr(keys).expect("the terminal's settings").local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

/// Reads what is written to the screen until the terminal is closed.
fn collect(mut from: File, screen: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = from.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]);
            screen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            if count == 0 {
                break;
            }
        }
    })
}
