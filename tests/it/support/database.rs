//! A database of a test's own in the shared server.

use super::postgres::Rows;
use super::program::Finished;
use super::{Run, query_at, sql, stack, uri};

/// Dropped with the value.
#[derive(Debug)]
pub struct Database(String);

impl Database {
    /// Creates it.
    pub fn new(name: &str) -> Database {
        sql(&format!("create database {name}"));
        Database(name.to_owned())
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        let login = orderctl::stack::LOGIN;
        uri(&stack().creds).replace(&format!("/{login}?"), &format!("/{}?", self.0))
    }

    /// Runs SQL in it.
    pub fn sql(&self, query: &str) -> Rows {
        query_at(&self.uri(), &stack().cert_path.join("ca.pem"), query).expect(query)
    }

    /// Makes its ledger what the first version made.
    pub fn age_ledger(&self) {
        self.sql(
            "drop table orderctl.foreign_letter, orderctl.redrive, orderctl.redrive_owner,
                 orderctl.ledger_identity, orderctl.mail;
             alter table orderctl.dead_letter drop state, drop state_at, drop redrive_id,
                 drop purged_from;
             alter table orderctl.ledger_position drop topic_id, drop moved_at, drop moved_to;
             delete from orderctl.ledger_history where version > 1",
        );
    }

    /// Runs the program with it.
    pub fn run(&self, args: &[&str]) -> Finished {
        Run::new(args).env("ORDERCTL_POSTGRES_URI", self.uri()).finish()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        sql(&format!("drop database {} with (force)", self.0));
    }
}
