//! Names of schemas, tables and columns, and their quoting.

use std::fmt;
use std::str::FromStr;

/// A name that PostgreSQL takes as it is: 1 to 63 bytes without NUL, case kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// The longest name in bytes; the server would silently cut a longer one
    /// (NAMEDATALEN in its documentation on identifiers).
    pub const BYTES_MAX: usize = 63;

    /// The name as stored in the catalog.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as written in SQL: in double quotes, those inside doubled.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Identifier, String> {
        if text.is_empty() {
            return Err("a name cannot be empty".into());
        }
        if text.contains('\0') {
            return Err("a name cannot contain the character NUL".into());
        }
        if text.len() > Identifier::BYTES_MAX {
            return Err(format!(
                "the name is {} bytes long and PostgreSQL takes at most {}; choose a shorter one",
                text.len(),
                Identifier::BYTES_MAX
            ));
        }
        Ok(Identifier(text.to_owned()))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text as an SQL literal, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_of_any_form_are_kept_and_quoted() {
        for name in ["orders", "Ordre-été", "a\"b", "select", &"x".repeat(63)] {
            assert_eq!(name.parse::<Identifier>().unwrap().as_str(), name);
        }
        assert_eq!("a\"b".parse::<Identifier>().unwrap().quoted(), "\"a\"\"b\"");
    }

    #[test]
    fn illegal_names_are_refused() {
        for name in ["", "a\0b", &"x".repeat(64), &"é".repeat(32)] {
            assert!(name.parse::<Identifier>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn literals_cannot_be_escaped_from() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
