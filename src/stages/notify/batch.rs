//! What is to be written into the ledger next.

use std::time::Instant;

use super::intake::Intake;
use super::plan::{Asked, plan, without_cards};
use super::shared::Shared;
use crate::edges::postgres::mail::Planned;
use crate::engine::record::{DeadLetter, Raw};
use crate::events::card;

/// What was read since it was last written down.
#[derive(Debug, Default)]
pub struct Batch {
    pub since: Option<Instant>,
    pub records: u64,
    pub mails: Vec<Planned>,
    pub dead: Vec<DeadLetter>,
}

impl Batch {
    /// Takes a record in: a mail, a dead letter, or nothing.
    pub fn take(&mut self, raw: &Raw<'_>, intake: &Intake, shared: &Shared) {
        self.since.get_or_insert_with(Instant::now);
        self.records += 1;
        match plan(raw, &intake.owner.group, &intake.domain) {
            Ok(Asked::Nothing) => {}
            Ok(Asked::Mail(mail)) => self.mails.push(*mail),
            Err(reject) => {
                // serde quotes what it cannot read.
                let reject = without_cards(reject);
                shared.rejected(&reject);
                self.dead.push(DeadLetter {
                    partition: raw.partition,
                    offset: raw.offset,
                    time_ms: raw.time_ms,
                    key: raw.key.map(|key| card::mask(key).into_owned()),
                    payload: raw.payload.map(|payload| card::clean(payload).into_owned()),
                    reject,
                });
            }
        }
    }
}
