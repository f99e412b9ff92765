//! Which mail a record asks for, if any.

use sha2::{Digest as _, Sha256};

use super::templates::Details;
use crate::edges::postgres::mail::Planned;
use crate::edges::smtp::message::Recipient;
use crate::engine::record::Raw;
use crate::events::notice::{Notice, Occasion};
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
        message_id: message_id(group, occasion, notice.id(), &recipient, domain),
        refused: Recipient::parse(&recipient).err(),
        recipient,
        details,
    })))
}

/// The same for every try of the same mail, and for no other mail.
fn message_id(
    group: &str,
    occasion: Occasion,
    order_id: &str,
    recipient: &str,
    domain: &str,
) -> String {
    let mut hash = Sha256::new();
    for part in [group, occasion.name(), order_id, recipient] {
        // The length first: parts must not run into each other.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let letters: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<{letters}.{occasion}@{domain}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_stable_and_like_no_other() {
        let id = |group, occasion, order, to| message_id(group, occasion, order, to, "example.com");
        let one = id("g", Occasion::Order, "o-1", "a@b");
        assert_eq!(one, id("g", Occasion::Order, "o-1", "a@b"));
        assert!(one.starts_with('<') && one.ends_with(".order@example.com>"), "{one}");
        for other in [
            id("h", Occasion::Order, "o-1", "a@b"),
            id("g", Occasion::Confirmed, "o-1", "a@b"),
            id("g", Occasion::Order, "o-2", "a@b"),
            id("g", Occasion::Order, "o-1", "a@c"),
            id("g", Occasion::Order, "o-1a", "@b"),
        ] {
            assert_ne!(one, other);
        }
    }
}
