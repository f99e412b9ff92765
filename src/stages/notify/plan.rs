//! Which mail a record asks for, if any.

use super::templates::Details;
use crate::edges::postgres::mail::Planned;
use crate::edges::smtp::message::Recipient;
use crate::engine::record::Raw;
use crate::events::notice::Notice;
use crate::events::{Reject, card};

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A mail.
    Mail(Box<Planned>),
    /// None: nobody is told of this order.
    Nothing,
}

/// What is wrong with a record, fit to be told and kept.
pub fn without_cards(reject: Reject) -> Reject {
    Reject { reason: card::mask_str(&reject.reason).into_owned(), ..reject }
}

/// What a record asks for.
///
/// # Errors
/// When it is no order that a mail could be about.
pub fn plan(raw: &Raw<'_>, group: &str, domain: &str) -> Result<Asked, Reject> {
    let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
    let notice = Notice::parse(payload)?;
    let Some(occasion) = notice.occasion() else { return Ok(Asked::Nothing) };
    let details = serde_json::to_string(&Details::of(&notice))
        .map_err(|error| Reject::new("", error.to_string()))?;
    // What is no address may be of any length; the ledger's key is not, and with an
    // order's id of 1000 bytes it may have 2700. One more than an address may have.
    let recipient: String = notice.recipient().chars().take(321).collect();
    Ok(Asked::Mail(Box::new(Planned {
        occasion,
        order_id: notice.id().to_owned(),
        message_id: super::message_id(group, occasion, notice.id(), &recipient, domain),
        refused: Recipient::parse(&recipient).err(),
        recipient,
        details,
    })))
}
