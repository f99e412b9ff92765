//! The environment variables that are read beside those of the flags.

use std::collections::BTreeMap;

/// Every variable read here. Those named after flags (`ORDERCTL_…`) are read by
/// the command line and stand beside their flags.
const NAMES: [&str; 13] = [
    "BOOTSTRAP_SVR",
    "DATABASE_URL",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGCONNECT_TIMEOUT",
];

/// The environment as it was at one moment. Some values are secrets, so it has
/// no Debug.
#[derive(Default)]
pub struct Environment(BTreeMap<&'static str, String>);

impl Environment {
    /// The environment of this process. Values that are not UTF-8 are left out.
    pub fn of_process() -> Environment {
        let read = |name| std::env::var(name).ok().map(|value| (name, value));
        Environment(NAMES.into_iter().filter_map(read).collect())
    }

    /// An environment of the given variables only, for tests.
    pub fn of(variables: &[(&'static str, &str)]) -> Environment {
        Environment(variables.iter().map(|(name, value)| (*name, (*value).into())).collect())
    }

    /// A variable's value; one that is set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
