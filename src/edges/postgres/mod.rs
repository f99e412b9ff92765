//! PostgreSQL, through tokio-postgres over TLS.
//!
//! Reading order: [`connect`] opens a connection, [`target`] reads a table's
//! shape from the catalog, [`encode`] turns events into its rows, [`ledger`]
//! holds the positions, [`transaction`] writes one batch with them, and
//! [`writer`] does so for ever.

pub mod alike;
pub mod claimer;
pub mod column;
pub mod connect;
pub mod create;
pub mod effects;
pub mod encode;
#[cfg(test)]
mod encode_check;
pub mod failure;
pub mod fault;
pub mod identifier;
pub mod inspect;
pub mod key;
pub mod ledger;
pub mod letters;
pub mod mail;
pub mod position;
pub mod progress;
pub mod redrive;
pub mod restore;
pub mod retry;
pub mod seating;
pub mod setup;
pub mod source;
pub mod staging;
pub mod suspects;
pub mod target;
pub mod transaction;
pub mod trial;
pub mod whereabouts;
pub mod writer;

pub use identifier::Identifier;
pub use ledger::Ledger;
pub use target::{OnDuplicate, Target};
pub use tokio_postgres::Client;

/// A runtime for a verb that talks to the database on the calling thread.
///
/// # Errors
/// When the system gives no more resources.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// What a group's connections are called in `pg_stat_activity`, in the server's
/// 63 bytes; a longer group's name is cut and told apart by a hash.
pub fn application_name(group: &str) -> String {
    let name = format!("orderctl {group}");
    if name.len() <= Identifier::BYTES_MAX {
        return name;
    }
    // FNV-1a: the same in every build, unlike the standard library's hasher.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let cut = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= 46).last().unwrap_or(0);
    format!("{}~{hash:016x}", &name[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_groups_have_different_names_of_63_bytes_at_most() {
        let first = application_name(&format!("{}1", "é".repeat(60)));
        let second = application_name(&format!("{}2", "é".repeat(60)));
        assert_ne!(first, second);
        assert!(first.len() <= 63 && second.len() <= 63);
        assert_eq!(application_name("g"), "orderctl g");
    }
}
