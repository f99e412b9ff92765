//! The certificate directory: which file is which. Whether they are any good is
//! checked by [`crate::edges::tls`].

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::Connections;

/// The files of a certificate directory, as managed providers hand them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateDirectory {
    /// The directory, and how it was found, for messages.
    pub origin: String,
    /// `ca.pem`, when it is there.
    pub ca: Option<PathBuf>,
    /// `service.cert`, else `service.crt`, when it is there.
    pub certificate: Option<PathBuf>,
    /// `service.key`, when it is there.
    pub key: Option<PathBuf>,
}

impl CertificateDirectory {
    /// The client certificate and its key, or nothing when neither is there.
    ///
    /// # Errors
    /// When one is there without the other.
    pub fn identity(&self) -> anyhow::Result<Option<(&Path, &Path)>> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), None) => bail!(
                "{} has a certificate but no service.key: copy the key that belongs to it there",
                self.origin
            ),
            (None, Some(_)) => bail!(
                "{} has service.key but neither service.cert nor service.crt: \
                 copy the certificate that belongs to it there",
                self.origin
            ),
        }
    }
}

/// Finds the certificate directory: the one that the flag or variable names,
/// else `certs` beside creds.json if there is one.
///
/// # Errors
/// When the one named is no directory or has none of the files.
pub fn find(
    connections: &Connections,
    creds: Option<&Path>,
) -> anyhow::Result<Option<CertificateDirectory>> {
    if let Some(folder) = &connections.cert_path {
        let shown = folder.display();
        if !folder.is_dir() {
            bail!("--cert-path (ORDERCTL_CERT_PATH): {shown} is not a directory: check the path");
        }
        let found = list(folder, format!("{shown} (--cert-path or ORDERCTL_CERT_PATH)"));
        if (&found.ca, &found.certificate, &found.key) == (&None, &None, &None) {
            bail!(
                "--cert-path (ORDERCTL_CERT_PATH): {shown} has none of ca.pem, service.key, \
                 service.cert and service.crt: name the directory with your provider's files"
            );
        }
        return Ok(Some(found));
    }
    let Some(folder) = creds.and_then(Path::parent).map(|parent| parent.join("certs")) else {
        return Ok(None);
    };
    Ok(folder.is_dir().then(|| list(&folder, format!("{} (beside creds.json)", folder.display()))))
}

fn list(folder: &Path, origin: String) -> CertificateDirectory {
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    CertificateDirectory {
        origin,
        ca: file("ca.pem"),
        certificate: file("service.cert").or_else(|| file("service.crt")),
        key: file("service.key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    fn named(folder: &Path) -> anyhow::Result<Option<CertificateDirectory>> {
        find(&Connections { cert_path: Some(folder.into()), ..Connections::default() }, None)
    }

    #[test]
    fn both_names_of_the_certificate_are_known_and_cert_comes_first() {
        for (names, expected) in [
            (vec!["service.crt"], "service.crt"),
            (vec!["service.cert"], "service.cert"),
            (vec!["service.crt", "service.cert"], "service.cert"),
        ] {
            let folder = folder_with(&names);
            let found = named(folder.path()).unwrap().unwrap();
            assert!(found.certificate.unwrap().ends_with(expected));
        }
    }

    #[test]
    fn half_an_identity_names_the_missing_half() {
        for (name, missing) in [("service.key", "service.cert"), ("service.crt", "service.key")] {
            let folder = folder_with(&[name]);
            let found = named(folder.path()).unwrap().unwrap();
            let refusal = found.identity().unwrap_err().to_string();
            assert!(refusal.contains(missing) && refusal.contains("--cert-path"), "{refusal}");
        }
    }

    #[test]
    fn a_named_directory_must_be_one_and_have_something_in_it() {
        assert!(named(Path::new("/nowhere/at/all")).is_err());
        assert!(named(folder_with(&["other"]).path()).is_err());
    }

    #[test]
    fn certs_beside_creds_json_is_found_without_being_named() {
        let folder = tempfile::tempdir().unwrap();
        let creds = folder.path().join("creds.json");
        assert_eq!(find(&Connections::default(), Some(&creds)).unwrap(), None);
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        std::fs::write(folder.path().join("certs/ca.pem"), "").unwrap();
        let found = find(&Connections::default(), Some(&creds)).unwrap().unwrap();
        assert!(found.ca.is_some() && found.identity().unwrap().is_none());
    }
}
