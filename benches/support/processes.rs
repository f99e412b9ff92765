//! CPU time and peak memory of processes, as Linux accounts them in /proc.

use std::fs;

/// Linux shows CPU time to programs in hundredths of a second on every
/// architecture this runs on (USER_HZ in proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of one process, and of its children that have ended and were
/// waited for.
#[derive(Debug, Clone, Copy, Default)]
struct CpuTimes {
    own: f64,
    reaped: f64,
    parent: u32,
}

fn cpu_times(pid: u32) -> Option<CpuTimes> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may itself hold spaces and brackets.
    let after_name = &stat[stat.rfind(')')? + 2..];
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let seconds = |index: usize| -> Option<f64> {
        Some(fields.get(index)?.parse::<f64>().ok()? / TICKS_PER_SECOND)
    };
    Some(CpuTimes {
        own: seconds(11)? + seconds(12)?,
        reaped: seconds(13)? + seconds(14)?,
        parent: fields.get(1)?.parse().ok()?,
    })
}

/// CPU seconds so far of a process with its children, the ended ones included:
/// for PostgreSQL, the server with all its backends.
///
/// A child that ends in between would count twice or not at all, so this reads
/// again until none did.
pub fn tree_seconds(pid: u32) -> f64 {
    let mut root = cpu_times(pid).unwrap_or_default();
    loop {
        let children: f64 = all_pids()
            .filter_map(cpu_times)
            .filter(|times| times.parent == pid)
            .map(|times| times.own + times.reaped)
            .sum();
        let again = cpu_times(pid).unwrap_or_default();
        if again.reaped == root.reaped {
            return again.own + again.reaped + children;
        }
        root = again;
    }
}

/// CPU seconds of this process so far, and of the children it has waited for.
pub fn own_and_reaped_seconds() -> (f64, f64) {
    let times = cpu_times(std::process::id()).unwrap_or_default();
    (times.own, times.reaped)
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The most memory a process ever held, in bytes; None once it has ended.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// CPU seconds that the whole machine was busy since it started, time that its
/// host took away included.
pub fn machine_busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&index| ticks.get(index)).sum::<f64>();
    busy / TICKS_PER_SECOND
}
