//! What an error of the database means for whoever was working with it.
//!
//! The class of the SQLSTATE decides (appendix "PostgreSQL Error Codes" of the
//! manual), with these exceptions:
//!
//! | SQLSTATE | class | because |
//! |---|---|---|
//! | 08, 53, 57, 40 | wait | connections, resources, shutdown, cancellation, serialization |
//! | 57P04 | stop | the database was dropped |
//! | 55P03, 55006 | wait | someone else holds the lock or the object |
//! | 25006, 25P03, 25P04 | wait | a standby that will be promoted; our own time limits |
//! | 58 but 58P01, 58P02 | wait | the server's disk or system failed |
//! | 22, 23, 44 | record | a value or constraint that this record breaks |
//! | 22P04 | stop | a COPY the server cannot read is our mistake, not the data's |
//! | P0 | record | a trigger refused the row |
//! | 54000, 54001 | record | a key too long for its index, a document too deep |
//! | all others | stop | logins, rights, missing and misshapen objects (28, 3D, 42), damage (XX) |

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;

use crate::engine::metrics::Cause;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The environment is at fault: try again after a while, on the same
    /// connection if it is still open.
    Wait,
    /// The connection is gone: connect again, after a while.
    Closed,
    /// A record of the batch can never be stored.
    Record,
    /// Nothing will get better by itself.
    Stop,
}

/// As an SQL condition on `sqlstate`: whether it is of [`Class::Record`].
pub const IS_RECORD_SQL: &str =
    "sqlstate ~ '^(22|23|44|P0)' and sqlstate <> '22P04' or sqlstate in ('54000', '54001')";

/// The class of an error of a connection that was up.
pub fn classify(error: &Error) -> Class {
    if let Some(code) = error.code() {
        return classify_sqlstate(code.code());
    }
    if error.is_closed() {
        return Class::Closed;
    }
    match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        // What we sent or got could not be put into words: not the network's
        // doing, and it would happen again.
        Some(cause) if is_about_contents(cause.kind()) => Class::Stop,
        Some(_) => Class::Closed,
        None => Class::Stop,
    }
}

/// The class of a SQLSTATE; see the table of this module.
pub fn classify_sqlstate(code: &str) -> Class {
    match code {
        "57P04" | "58P01" | "58P02" | "22P04" => return Class::Stop,
        "55P03" | "55006" | "25006" | "25P03" | "25P04" => return Class::Wait,
        "54000" | "54001" => return Class::Record,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "08" | "40" | "53" | "57" | "58" => Class::Wait,
        "22" | "23" | "44" | "P0" => Class::Record,
        _ => Class::Stop,
    }
}

/// What a retry after this error is counted as.
pub fn cause(error: &Error) -> Cause {
    error.code().map_or(Cause::Connection, |code| Cause::of_sqlstate(code.code()))
}

/// One line about an error: message, SQLSTATE, and the objects the server
/// names. Never its DETAIL, which holds values of rows.
pub fn describe(error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        return describe_transport(error);
    };
    let mut text = format!("{} (SQLSTATE {}", db.message(), db.code().code());
    for (name, value) in
        [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())]
    {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    text.push(')');
    text
}

fn describe_transport(error: &Error) -> String {
    if error.is_closed() {
        return "the connection to the database is gone".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
}

fn is_about_contents(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_sqlstate_of_the_design_has_its_class() {
        for (class, codes) in [
            (
                Class::Wait,
                "08006 08001 53100 53200 53300 57014 57P01 57P02 57P03 57P05 40001 40P01 55P03 \
                 25006 58030",
            ),
            (Class::Record, "22001 22003 22021 22P02 23502 23503 23505 23514 44000 P0001 54000"),
            (
                Class::Stop,
                "28000 28P01 3D000 3F000 42P01 42501 42703 42804 0A000 57P04 22P04 25P02 26000 \
                 XX000 XX001 21000 55000",
            ),
        ] {
            for code in codes.split_whitespace() {
                assert_eq!(classify_sqlstate(code), class, "{code}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_class(code in "\\PC{0,6}") {
            classify_sqlstate(&code);
        }

        #[test]
        fn rights_and_missing_objects_always_stop(code in "(28|3D|42)[0-9A-Z]{3}") {
            prop_assert_eq!(classify_sqlstate(&code), Class::Stop);
        }
    }
}
