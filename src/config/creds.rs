//! creds.json: the addresses and logins of the services.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::secret::expose_to_file;
use super::{Connections, SaslMechanism, Secret, SecurityProtocol, private_file};

/// The name under which creds.json is looked for in the working directory.
pub const FILE_NAME: &str = "creds.json";

/// What creds.json holds. A service that is not used has no section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creds {
    /// The Kafka cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaCreds>,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresCreds>,
    /// The mail server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpCreds>,
    /// Elasticsearch or OpenSearch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchCreds>,
}

/// How to reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaCreds {
    /// Host name or IP address of a broker.
    pub hostname: String,
    /// Its port, 1 to 65535.
    pub port: u16,
    /// Encryption and login; absent means what the rest implies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_protocol: Option<SecurityProtocol>,
    /// The login of the SASL protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslCreds>,
}

/// A SASL login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslCreds {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// Who logs in.
    pub username: String,
    /// The password.
    #[serde(serialize_with = "expose_to_file")]
    pub password: Secret,
}

/// How to reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresCreds {
    /// A URI or key/value string in libpq's form, usually with the password.
    #[serde(serialize_with = "expose_to_file")]
    pub uri: Secret,
}

/// How to reach a mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpCreds {
    /// Host name or IP address.
    pub hostname: String,
    /// Its port, 1 to 65535.
    pub port: u16,
    /// Encryption.
    pub security: SmtpSecurity,
    /// Who logs in; absent for no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password of the login.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose_optional", default)]
    pub password: Option<Secret>,
    /// The sender's address.
    pub from: String,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// Plain at first, then TLS before anything is said (RFC 3207); port 587.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314); port 465.
    Tls,
    /// No encryption, for a server on this machine.
    None,
}

/// How to reach Elasticsearch or OpenSearch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchCreds {
    /// `http://` or `https://` address without user or password.
    pub url: String,
    /// Who logs in; absent for no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password of the login.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose_optional", default)]
    pub password: Option<Secret>,
}

impl Creds {
    /// Reads the text of a creds.json.
    ///
    /// # Errors
    /// When it is no JSON, or a field is unknown, missing or of another type; the
    /// text names the field and never quotes a value.
    pub fn parse(text: &str) -> anyhow::Result<Creds> {
        let mut json = serde_json::Deserializer::from_str(text);
        let creds = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let reason = without_value(&error.inner().to_string());
            match path.as_str() {
                "." => anyhow::anyhow!(reason),
                path => anyhow::anyhow!("{path}: {reason}"),
            }
        })?;
        json.end().map_err(|error| anyhow::anyhow!(without_value(&error.to_string())))?;
        Ok(creds)
    }

    /// Reads a creds.json that only we may read.
    ///
    /// # Errors
    /// As [`private_file::read`] and [`Creds::parse`].
    pub fn read(path: &Path) -> anyhow::Result<Creds> {
        let text = private_file::read(path)?;
        Creds::parse(&text).with_context(|| {
            format!("cannot understand {} (see creds.example.json)", path.display())
        })
    }

    /// Writes a creds.json that only we may read.
    ///
    /// # Errors
    /// As [`private_file::write`].
    pub fn write(&self, path: &Path, force: bool) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        private_file::write(path, text.as_bytes(), force)
    }
}

/// A creds.json and where it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// Its contents.
    pub creds: Creds,
}

/// Finds creds.json: the file the flag or variable names, else the one in
/// `folder` if there is one.
///
/// # Errors
/// As [`Creds::read`].
pub fn find(connections: &Connections, folder: &Path) -> anyhow::Result<Option<Found>> {
    let path = connections.creds.clone().unwrap_or_else(|| folder.join(FILE_NAME));
    // A dangling link is there too: it is refused, not passed over.
    if path.symlink_metadata().is_err() {
        if connections.creds.is_none() {
            return Ok(None);
        }
        anyhow::bail!(
            "there is no {} (--creds or ORDERCTL_CREDS): check the path, or write it with \
             `orderctl auth-setup`",
            path.display()
        );
    }
    let creds = Creds::read(&path)?;
    Ok(Some(Found { path, creds }))
}

fn expose_optional<S: serde::Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose_to_file(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// serde quotes the value it did not like; a password in the wrong place must
/// not be shown.
fn without_value(reason: &str) -> String {
    for prefix in ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "] {
        if reason.starts_with(prefix) {
            let expected = reason.rfind(", expected ").map_or("", |at| &reason[at..]);
            return format!("{}{expected}", prefix.trim_end_matches([' ', ':']));
        }
    }
    reason.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_is_understood_and_has_every_section() {
        let creds = Creds::parse(include_str!("../../creds.example.json")).unwrap();
        assert!(creds.kafka.is_some() && creds.postgres.is_some());
        assert!(creds.smtp.is_some() && creds.search.is_some());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let creds = Creds::parse(include_str!("../../creds.example.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("creds.json");
        creds.write(&path, false).unwrap();
        assert_eq!(Creds::read(&path).unwrap(), creds);
    }

    #[test]
    fn every_section_is_optional() {
        assert_eq!(Creds::parse("{}").unwrap(), Creds::default());
    }

    #[test]
    fn mistakes_name_the_field_and_what_is_expected() {
        for (text, words) in [
            (r#"{"kafak":{}}"#, ["kafak", "expected one of `kafka`"]),
            (r#"{"kafka":{"hostname":"h","prot":1}}"#, ["kafka.prot", "`port`"]),
            (r#"{"kafka":{"hostname":"h"}}"#, ["kafka", "missing field `port`"]),
            (r#"{"kafka":{"hostname":"h","port":70000}}"#, ["kafka.port", "u16"]),
            (
                r#"{"kafka":{"hostname":"h","port":1,"security_protocol":"TLS"}}"#,
                ["kafka.security_protocol", "`SASL_SSL`"],
            ),
            (r#"{"postgres":{"uri":"x"}"#, ["EOF", "line 1"]),
            (r#"{} {}"#, ["trailing characters", "line 1"]),
        ] {
            let reason = Creds::parse(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| reason.contains(word)), "{text}: {reason}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_quoted() {
        for text in [
            r#"{"kafka":{"hostname":"h","port":"hunter2"}}"#,
            r#"{"kafka":{"hostname":"h","port":1,"sasl":"hunter2"}}"#,
            r#"{"kafka":{"hostname":"h","port":1,"sasl":{"mechanism":"hunter2"}}}"#,
            r#"{"postgres":"hunter2"}"#,
            r#"{"postgres":"a, expected hunter2"}"#,
            r#""hunter2""#,
        ] {
            let reason = format!("{:?}", Creds::parse(text).unwrap_err());
            assert!(!reason.contains("hunter2\""), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_in_debug(password in "[a-zA-Z0-9]{12,20}") {
            let creds = Creds {
                kafka: Some(KafkaCreds {
                    hostname: "h".into(),
                    port: 1,
                    security_protocol: None,
                    sasl: Some(SaslCreds {
                        mechanism: SaslMechanism::Plain,
                        username: "u".into(),
                        password: Secret::new(&password),
                    }),
                }),
                postgres: Some(PostgresCreds { uri: Secret::new(&password) }),
                smtp: Some(SmtpCreds {
                    hostname: "h".into(),
                    port: 1,
                    security: SmtpSecurity::Tls,
                    username: None,
                    password: Some(Secret::new(&password)),
                    from: "a@b".into(),
                }),
                search: Some(SearchCreds {
                    url: "https://h".into(),
                    username: None,
                    password: Some(Secret::new(&password)),
                }),
            };
            let shown = format!("{creds:?}");
            prop_assert!(!shown.contains(&password));
            prop_assert!(serde_json::to_string(&creds).unwrap().contains(&password));
        }

        #[test]
        fn no_string_value_is_quoted_by_an_error(password in "[a-zA-Z0-9 ,]{12,30}") {
            for text in [
                format!(r#"{{"kafka":{{"hostname":"h","port":"{password}"}}}}"#),
                format!(r#"{{"postgres":"{password}"}}"#),
                format!(r#"{{"smtp":{{"security":"{password}"}}}}"#),
            ] {
                let reason = format!("{:?}", Creds::parse(&text).unwrap_err());
                prop_assert!(!reason.contains(&password), "{}", reason);
            }
        }
    }
}
