//! The account that runs the database: the server refuses to run as root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::stack::folder::our_uid;

/// An unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

/// Whom the database runs as: ourselves, unless we are root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// We are not root.
    Ourselves,
    /// We are root and hand the database to this account.
    Other(Account),
}

impl Runner {
    /// The account `postgres` if there is one, else `nobody`, when we are root.
    ///
    /// # Errors
    /// When root finds neither.
    pub fn find() -> anyhow::Result<Runner> {
        if our_uid()? != 0 {
            return Ok(Runner::Ourselves);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| parse(&passwd, name))
            .map(Runner::Other)
            .context(
                "PostgreSQL refuses to run as root and there is no account postgres or nobody; \
                 create one (useradd --system postgres), or run as a user",
            )
    }

    /// Makes a command run as the account.
    pub fn apply(&self, command: &mut Command) {
        if let Runner::Other(account) = self {
            command.uid(account.uid).gid(account.gid);
        }
    }

    /// Gives a file or directory to the account.
    ///
    /// # Errors
    /// When the owner cannot be changed.
    pub fn give(&self, path: &Path) -> anyhow::Result<()> {
        match self {
            Runner::Ourselves => Ok(()),
            Runner::Other(account) => chown(path, Some(account.uid), Some(account.gid))
                .with_context(|| format!("cannot give {} to the database", path.display())),
        }
    }
}

/// An account of passwd(5) other than root.
fn parse(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (uid != 0).then_some(Account { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      postgresql:x:5:5::/:/bin/sh\n\
                      postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(parse(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(parse(passwd, "nobody"), None);
        assert_eq!(parse(passwd, "root"), None);
    }
}
