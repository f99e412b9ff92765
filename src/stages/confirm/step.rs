//! The pure step: an order in; a confirmed one, a declined one or a reject out.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::bank::{self, Answer};
use super::catalogue::Catalogue;
use super::money::{Currency, Price, Total, check_quantity};
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::events::members::members;
use crate::events::order::Order;
use crate::events::{Event, Kind, Reject, card};

/// Members of an order that are ours to write, and those that are card data.
const REPLACED: [&str; 9] = [
    "unit_price",
    "total_cost",
    "currency",
    "payment",
    "confirmed_at",
    "declined_at",
    "card",
    "card_token",
    "card_last4",
];

/// What confirming works with.
pub struct Confirm<'c> {
    /// Prices of products whose order has none.
    pub catalogue: &'c Catalogue,
    /// The currency where neither order nor catalogue says one.
    pub currency: Currency,
    /// Whether amounts choose the bank's answer.
    pub by_amount: bool,
    /// Where confirmed orders go, each to all of them.
    pub to: &'c [String],
    /// Where declined orders go.
    pub declined_to: &'c String,
    /// The clock.
    pub now: &'c dyn Fn() -> Timestamp,
}

/// What an order costs, and in which money.
struct Charge<'o> {
    price: Cow<'o, Price>,
    total: Total,
    currency: Currency,
}

impl Confirm<'_> {
    /// Makes the confirmed or declined order of a record.
    ///
    /// # Errors
    /// When it is no order, has no price or one beyond the bounds, or when the bank
    /// does not answer; no text of it has a card number.
    pub fn step(&self, raw: &Raw<'_>, outgoing: &mut Outgoing) -> Result<(), Reject> {
        self.confirm(raw, outgoing).map_err(|reject| Reject {
            reason: card::mask_str(&reject.reason).into_owned(),
            ..reject
        })
    }

    fn confirm(&self, raw: &Raw<'_>, outgoing: &mut Outgoing) -> Result<(), Reject> {
        let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
        let Event::Order(order) = Kind::Order.parse(payload)? else {
            return Err(Reject::new("", "not an order"));
        };
        let charge = self.charge(&order)?;
        let cleaned = card::clean(payload);
        let known = std::str::from_utf8(&cleaned).ok().and_then(members);
        let known = known.ok_or_else(|| Reject::new("", "not a JSON object"))?;
        let card = Card::find(&known);
        let reference = bank::reference(order.id());
        let answer = bank::charge(card.token.as_deref(), &charge.total, self.by_amount);
        let unanswered = |what: &str| {
            let cure = "redrive it: the reference stays, so that it is charged once";
            Reject::new("payment", format!("{what} payment {reference}; {cure}"))
        };
        let (topics, declined) = match answer {
            Answer::Approved => (self.to, None),
            Answer::Declined(code) => (std::slice::from_ref(self.declined_to), Some(code)),
            Answer::TimedOut => return Err(unanswered("the bank did not answer in time for")),
            Answer::Failed => return Err(unanswered("the bank failed at")),
        };
        let written = self.write(&known, &charge, &reference, &card, declined);
        for topic in topics {
            let key = order.id().as_bytes();
            outgoing.push(topic, Some(key), Some(written.as_bytes()), &[]);
        }
        outgoing.count(if declined.is_some() { "declined" } else { "confirmed" });
        Ok(())
    }

    fn charge<'o>(&'o self, order: &Order<'_>) -> Result<Charge<'o>, Reject> {
        check_quantity(order.quantity()).map_err(|wrong| Reject::new("quantity", wrong))?;
        let asked = order.currency().map(Currency::parse).transpose();
        let asked = asked.map_err(|wrong| Reject::new("currency", wrong))?;
        let of_price = |wrong: String| Reject::new("unit_price", wrong);
        let listed = self.catalogue.find(order.product_name());
        let listed_currency = listed.map(|listed| listed.currency.unwrap_or(self.currency));
        let currency = asked.or(listed_currency).unwrap_or(self.currency);
        let price = match (order.unit_price(), listed) {
            (Some(price), _) => Cow::Owned(Price::parse(price).map_err(of_price)?),
            (None, Some(listed)) if listed_currency == Some(currency) => {
                Cow::Borrowed(&listed.price)
            }
            (None, Some(_)) => {
                return Err(of_price(format!(
                    "is missing, and the catalogue has the price in {} while the order is in \
                     {currency}",
                    listed_currency.unwrap_or(self.currency)
                )));
            }
            (None, None) => {
                return Err(of_price(format!(
                    "is missing, and the catalogue has no price of {:?}",
                    order.product_name()
                )));
            }
        };
        let total = price.times(order.quantity(), currency);
        let total = total.map_err(|wrong| Reject::new("total_cost", wrong))?;
        Ok(Charge { price, total, currency })
    }

    /// The order with what it came to: its own members as they are, then ours.
    fn write(
        &self,
        known: &[(Cow<'_, str>, &RawValue)],
        charge: &Charge<'_>,
        reference: &str,
        card: &Card,
        declined: Option<&str>,
    ) -> String {
        let mut out = String::with_capacity(512);
        out.push('{');
        for (name, value) in known.iter().filter(|(name, _)| !REPLACED.contains(&&**name)) {
            push_name(&mut out, name);
            out.push_str(value.get());
            out.push(',');
        }
        let Charge { price, total, currency } = charge;
        let price = price.as_str();
        let _ = write!(
            out,
            r#""unit_price":"{price}","total_cost":"{total}","currency":"{currency}","payment":{{"#
        );
        let _ = match declined {
            None => write!(out, r#""status":"approved","#),
            Some(code) => write!(out, r#""status":"declined","code":"{code}","#),
        };
        let _ = write!(out, r#""reference":"{reference}""#);
        if let Some(last4) = &card.last4 {
            let _ = write!(out, r#","card_last4":"{last4}""#);
        }
        let moment = if declined.is_none() { "confirmed_at" } else { "declined_at" };
        let _ = write!(out, r#"}},"{moment}":"{:.3}"}}"#, (self.now)());
        out
    }
}

fn push_name(out: &mut String, name: &str) {
    if name.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        let _ = write!(out, "{}:", Value::from(name));
    } else {
        out.extend(["\"", name, "\":"]);
    }
}

/// What an order may say of the card.
#[derive(Debug, Default, PartialEq, Eq)]
struct Card {
    token: Option<String>,
    last4: Option<String>,
}

impl Card {
    /// Of an order that has no card data any more but this: in `payment`, however
    /// deep, else in `card`, else in the order itself.
    fn find(order: &[(Cow<'_, str>, &RawValue)]) -> Card {
        let member = |wanted: &str| {
            let found = order.iter().find(|(name, _)| name == wanted)?;
            serde_json::from_str::<Value>(found.1.get()).ok()
        };
        let [payment, card] = ["payment", "card"].map(member);
        let find = |wanted: &str| {
            let inside = [&payment, &card].into_iter().flatten();
            let found = inside.filter_map(|value| text_of(value, wanted)).next();
            found.or_else(|| text(&member(wanted)?))
        };
        let is_last4 = |text: &String| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        Card { token: find("card_token"), last4: find("card_last4").filter(is_last4) }
    }
}

/// The first text or number of this name within a value.
fn text_of(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(members) => members
            .get(name)
            .and_then(text)
            .or_else(|| members.values().find_map(|value| text_of(value, name))),
        Value::Array(items) => items.iter().find_map(|value| text_of(value, name)),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
