//! Workers of a group of which one after the other is killed at random moments.

use std::fs;
use std::time::{Duration, Instant};

use orderctl::stop::Stop;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use super::asker::Asker;

/// How long a group may go without a commit.
const PAUSE_MAX: Duration = Duration::from_secs(180);
/// How long after a commit a kill comes at most.
const SOON: Duration = Duration::from_millis(100);
/// A kill in the middle of a batch waits at most so long for one: the victim may
/// be new and get no partition before the group has missed the one before.
const BATCH_AWAITED: Duration = Duration::from_secs(5);
/// A kill that waits for nothing comes within this time.
const WHENEVER: Duration = Duration::from_secs(1);

/// A worker that runs.
#[derive(Debug)]
pub struct Worker<W> {
    /// What runs it; dropping it ends it.
    pub run: W,
    pid: u32,
}

/// Keeps so many workers running and kills them.
#[derive(Debug)]
pub struct Killer<S, W> {
    /// The workers that run now.
    pub workers: Vec<Worker<W>>,
    /// How many were killed.
    pub kills: u32,
    /// How many of those had a transaction open in which a position was advanced.
    pub kills_mid_batch: u32,
    victim: usize,
    random: ChaCha8Rng,
    asker: Asker,
    start: S,
}

impl<W, S: FnMut() -> (u32, W)> Killer<S, W> {
    /// Starts workers; `start` starts one and answers with its process id.
    pub fn new(seed: u64, workers: usize, asker: Asker, mut start: S) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let workers = (0..workers).map(|_| worker(&mut start)).collect();
        Killer { workers, kills: 0, kills_mid_batch: 0, victim: 0, random, asker, start }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// Chooses a victim and waits for a random moment: within a second, be it in
    /// the middle of a rebalance; or soon after a commit, when records flow; or
    /// while the victim has a batch open. False when a stop was requested.
    ///
    /// # Panics
    /// When nothing was committed for three minutes.
    pub fn await_moment(&mut self, stop: &Stop) -> bool {
        self.victim = self.below(self.workers.len());
        let kind = self.below(5);
        if kind == 0 {
            return !stop.wait_for(self.random.random_range(Duration::ZERO..WHENEVER));
        }
        let (before, since) = (self.asker.position(), Instant::now());
        while self.asker.position() == before {
            assert!(since.elapsed() < PAUSE_MAX, "nothing committed for {PAUSE_MAX:?}");
            if stop.wait_for(Duration::from_millis(20)) {
                return false;
            }
        }
        if kind <= 2 {
            return !stop.wait_for(self.random.random_range(Duration::ZERO..SOON));
        }
        // Stopped, it does nothing more; so there is time to look what it was at.
        let since = Instant::now();
        while since.elapsed() < BATCH_AWAITED {
            self.signal_victim(Signal::STOP);
            if self.victim_has_batch_open() {
                return true;
            }
            self.signal_victim(Signal::CONT);
            if stop.wait_for(Duration::from_millis(1)) {
                return false;
            }
        }
        true
    }

    fn signal_victim(&self, signal: Signal) {
        let pid = self.workers[self.victim].pid;
        let process = Pid::from_raw(pid as i32).expect("a process id");
        assert!(!is_zombie(pid), "worker {pid} has ended by itself");
        kill_process(process, signal).expect("a worker that nobody has waited for");
    }

    fn victim_has_batch_open(&self) -> bool {
        self.asker.has_batch_open(&local_ports(self.workers[self.victim].pid))
    }

    /// Kills the victim and starts another worker in its place.
    ///
    /// # Panics
    /// When it has ended already by itself.
    pub fn kill_one(&mut self) {
        self.signal_victim(Signal::STOP);
        self.kills_mid_batch += u32::from(self.victim_has_batch_open());
        self.kills += 1;
        self.signal_victim(Signal::KILL);
        drop(self.workers.swap_remove(self.victim));
        self.workers.push(worker(&mut self.start));
    }
}

fn worker<W>(start: &mut impl FnMut() -> (u32, W)) -> Worker<W> {
    let (pid, run) = start();
    Worker { run, pid }
}

/// Whether a process has ended and nobody asked how (proc_pid_stat(5)).
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// The ports from which a process has TCP connections: its sockets, looked up in
/// the system's table (proc_pid_fd(5), proc_pid_net(5)).
fn local_ports(pid: u32) -> Vec<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: Vec<String> = files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let port = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_ours = sockets.iter().any(|inode| Some(&inode.as_str()) == columns.get(9));
        let (_, port) = columns.get(1)?.split_once(':')?;
        u16::from_str_radix(port, 16).ok().filter(|_| is_ours)
    };
    table.lines().filter_map(port).collect()
}
