//! How to reach the mail server.

use std::path::PathBuf;

use anyhow::Context as _;

use super::creds::{self, SmtpCreds};
use super::{Connections, certificates};
use crate::error::Unnamed;

/// The mail server of creds.json, and whom to trust about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// Address, login and sender.
    pub creds: SmtpCreds,
    /// The project's CA certificate, trusted beside the system's.
    pub ca: Option<PathBuf>,
}

impl SmtpSettings {
    /// From creds.json and the certificate directory.
    ///
    /// # Errors
    /// When one of them cannot be read; [`Unnamed`] when no mail server is named.
    pub fn resolve(connections: &Connections) -> anyhow::Result<SmtpSettings> {
        let folder = std::env::current_dir().context("there is no working directory")?;
        let found = creds::find(connections, &folder)?;
        let path = found.as_ref().map(|found| found.path.as_path());
        let directory = certificates::find(connections, path)?;
        let Some(smtp) = found.as_ref().and_then(|found| found.creds.smtp.clone()) else {
            let text = "no mail server is named: write one into creds.json with `orderctl \
                        auth-setup --smtp-hostname HOST --smtp-from ADDRESS …`, or try --dry-run \
                        DIR; on a local stack eval \"$(orderctl stack up)\"";
            return Err(Unnamed(text.to_owned()).into());
        };
        Ok(SmtpSettings { creds: smtp, ca: directory.and_then(|directory| directory.ca) })
    }
}
