//! The name that a worker has among those of its group, and the transactional id
//! made of it.
//!
//! An id that is the same after a restart lets the new worker end at once what a
//! killed one left open, which readers would wait for otherwise; and the cluster
//! remembers every id for a week. Two live workers must never have the same. So
//! the default is the host's name and the first number that no other worker of
//! the group has on this host. Who has it listens on an abstract socket of the
//! id's name (unix(7)): the kernel lets only one do so, and frees the name
//! however a process ends.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::bail;

/// How many workers of a group one host may have.
const WORKERS_MAX: u32 = 1_000;

/// A worker's transactional id, its own for as long as this lives.
pub struct Instance {
    /// The id.
    pub transactional_id: String,
    _socket: Option<UnixListener>,
}

impl Instance {
    /// With the name that the user chose, or a free one.
    ///
    /// # Errors
    /// When a worker on this host has the id already.
    pub fn find(name: Option<&str>, prefix: &str) -> anyhow::Result<Instance> {
        if let Some(name) = name {
            let transactional_id = format!("{prefix}-{name}");
            return match hold(&transactional_id) {
                Held::ByOther => bail!(
                    "another worker on this host has the transactional id {transactional_id}: \
                     give each a name of its own with --instance"
                ),
                Held::ByUs(socket) => Ok(Instance { transactional_id, _socket: Some(socket) }),
                Held::Unknown => Ok(Instance { transactional_id, _socket: None }),
            };
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        for number in 0..WORKERS_MAX {
            let transactional_id = format!("{prefix}-{host}-{number}");
            match hold(&transactional_id) {
                Held::ByUs(socket) if is_telling(host) => {
                    return Ok(Instance { transactional_id, _socket: Some(socket) });
                }
                Held::ByOther => {}
                _ => break,
            }
        }
        // Not the same after a restart, and nobody else's.
        let transactional_id = format!("{prefix}-{host}-{:016x}", rand::random::<u64>());
        Ok(Instance { transactional_id, _socket: None })
    }
}

/// Whether a host's name tells it from others.
fn is_telling(host: &str) -> bool {
    !matches!(host, "" | "localhost" | "localhost.localdomain")
}

enum Held {
    ByUs(UnixListener),
    ByOther,
    /// The name is too long for a socket, or the system has none.
    Unknown,
}

fn hold(id: &str) -> Held {
    let name = format!("orderctl/{id}");
    let bound = SocketAddr::from_abstract_name(name).and_then(|at| UnixListener::bind_addr(&at));
    match bound {
        Ok(socket) => Held::ByUs(socket),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Held::ByOther,
        Err(_) => Held::Unknown,
    }
}

/// Reads the value of --instance.
///
/// # Errors
/// What is wrong with it.
pub fn parse(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("give a name".into()),
        1..=200 => Ok(name.to_owned()),
        _ => Err("at most 200 bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_have_two_ids_and_the_next_one_the_id_that_is_free() {
        let prefix = format!("test-{:x}", rand::random::<u64>());
        let id = |instance: &Instance| instance.transactional_id.clone();
        let first = Instance::find(None, &prefix).unwrap();
        let second = Instance::find(None, &prefix).unwrap();
        assert_ne!(id(&first), id(&second));
        if first._socket.is_some() {
            let freed = id(&first);
            drop(first);
            assert_eq!(id(&Instance::find(None, &prefix).unwrap()), freed);
        }
    }

    #[test]
    fn a_name_that_a_live_worker_has_is_refused_by_name() {
        let prefix = format!("test-{:x}", rand::random::<u64>());
        let first = Instance::find(Some("a"), &prefix).unwrap();
        let error = Instance::find(Some("a"), &prefix).err().unwrap().to_string();
        assert!(error.contains(&first.transactional_id) && error.contains("--instance"), "{error}");
        drop(first);
        assert!(Instance::find(Some("a"), &prefix).is_ok());
    }
}
