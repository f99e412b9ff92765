//! The figures of `notify`.

use std::collections::BTreeMap;

use super::Figures;
use super::text::Exposition;

/// The figures of a run of `notify`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mailing {
    /// Records read from the topics.
    pub read: u64,
    /// Mails that were written into the ledger because of them.
    pub planned: u64,
    /// Records that are dead letters now.
    pub rejected: u64,
    /// Mails that a server has taken.
    pub sent: u64,
    /// Mails that will not be sent.
    pub failed: u64,
    /// Of those, mails that nobody needed to try.
    pub refused: u64,
    /// Mails whose content was not answered.
    pub unknown: u64,
    /// Mails that a server did not take for now.
    pub put_off: u64,
    /// Connections to the mail server that were logged in.
    pub logins: u64,
    /// Mails of the group that are not done with.
    pub open: u64,
}

impl Mailing {
    pub(super) fn figures(&self) -> Figures {
        let fields = BTreeMap::from([
            ("read", self.read.into()),
            ("planned", self.planned.into()),
            ("rejected", self.rejected.into()),
            ("sent", self.sent.into()),
            ("failed", self.failed.into()),
            ("unknown", self.unknown.into()),
            ("put_off", self.put_off.into()),
            ("open", self.open.into()),
        ]);
        Figures { records: self.sent, fields }
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let name = "orderctl_mails_total";
        out.family(name, "counter", "Mails by what became of them.");
        for (state, mails) in
            [("sent", self.sent), ("failed", self.failed), ("unknown", self.unknown)]
        {
            out.sample(name, &[("state", state)], mails);
        }
        out.counter(
            "orderctl_mails_put_off_total",
            "Times that a mail server did not take a mail for now.",
            self.put_off,
        );
        out.gauge(
            "orderctl_mails_open",
            "Mails of the group that are not done with, as the ledger has it.",
            self.open,
        );
        out.counter(
            "orderctl_mail_logins_total",
            "Connections to the mail server that were logged in.",
            self.logins,
        );
        out.counter("orderctl_mail_records_read_total", "Records read.", self.read);
        out.counter(
            "orderctl_mail_records_rejected_total",
            "Records that are dead letters now.",
            self.rejected,
        );
    }
}
