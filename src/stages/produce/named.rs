//! What `--source` names.

use std::path::PathBuf;

use crate::edges::http::fetch::Address;

/// What `--source` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Generated events.
    Fake,
    /// Standard input, one JSON object a line.
    Stdin,
    /// A file, one JSON object a line.
    File(PathBuf),
    /// The rows of a query.
    Postgres(String),
    /// A service on the web.
    Url(Address),
}

impl Named {
    /// Reads `fake`, `-`, a URL, `postgres:QUERY` or a path.
    ///
    /// # Errors
    /// When it is something that cannot be read from.
    pub fn parse(text: &str) -> Result<Named, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Address::parse(text).map(Named::Url);
        }
        match text.strip_prefix("postgres:") {
            Some(query) if query.trim().trim_end_matches(';').is_empty() => {
                Err("write a query after postgres: as in 'postgres:select * from orders'".into())
            }
            Some(query) if query.starts_with("//") => {
                Err("write a query after postgres: and give the URI as --postgres-uri".into())
            }
            Some(query) => Ok(Named::Postgres(query.to_owned())),
            None => match text {
                "" => Err("name a file, or fake, -, a URL, postgres:QUERY".into()),
                "fake" => Ok(Named::Fake),
                "-" => Ok(Named::Stdin),
                path => Ok(Named::File(path.into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_by_its_form() {
        assert_eq!(Named::parse("fake"), Ok(Named::Fake));
        assert_eq!(Named::parse("-"), Ok(Named::Stdin));
        assert_eq!(Named::parse("./fake"), Ok(Named::File("./fake".into())));
        assert_eq!(Named::parse("postgres:select 1"), Ok(Named::Postgres("select 1".into())));
        for url in ["http://127.0.0.1:8080/api", "https://x/y?results=2"] {
            assert!(matches!(Named::parse(url), Ok(Named::Url(_))), "{url}");
        }
        for wrong in
            ["", "http://", "https://u:p@x/y", "postgres:", "postgres: ;", "postgres://h/db"]
        {
            assert!(Named::parse(wrong).is_err(), "{wrong}");
        }
    }
}
