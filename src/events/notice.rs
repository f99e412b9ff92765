//! What a mail about an order needs to know: an order as it was placed, or as it
//! came out of its confirmation.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::parse::{self, Object};
use super::value::{Id, Priority, Quantity, Reject, Text};

/// The longest order id, in bytes: it is part of the ledger's key.
const ID_BYTES_MAX: usize = 1_000;

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occasion {
    /// An order was placed.
    Order,
    /// It was paid and is confirmed.
    Confirmed,
    /// Its payment was declined.
    Declined,
}

impl Occasion {
    /// All of them, in the order of a customer's way.
    pub const ALL: [Occasion; 3] = [Occasion::Order, Occasion::Confirmed, Occasion::Declined];

    /// The name in the ledger: `order`, `confirmed`, `declined`.
    pub fn name(self) -> &'static str {
        match self {
            Occasion::Order => "order",
            Occasion::Confirmed => "confirmed",
            Occasion::Declined => "declined",
        }
    }

    /// The occasion of a name.
    pub fn parse(name: &str) -> Option<Occasion> {
        Occasion::ALL.into_iter().find(|occasion| occasion.name() == name)
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An order as far as mails go, borrowed from its payload. The customer's address
/// for mail may be missing: that is no reason to know nothing of the order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Notice<'a> {
    #[serde(borrow)]
    order_id: Id<'a>,
    #[serde(borrow)]
    customer: Object<Customer<'a>>,
    #[serde(borrow)]
    product_name: Text<'a>,
    quantity: Quantity,
    priority: Priority,
    #[serde(borrow)]
    total_cost: Option<Decimal<'a>>,
    #[serde(borrow)]
    currency: Option<Text<'a>>,
    #[serde(borrow)]
    payment: Option<Payment<'a>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Customer<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    email: Option<Text<'a>>,
}

/// What became of the payment. In an order that was not confirmed yet it may be
/// anything, which is no error.
#[derive(Debug, Clone, Default, PartialEq)]
struct Payment<'a> {
    status: Option<Text<'a>>,
    code: Option<Text<'a>>,
    reference: Option<Text<'a>>,
    card_last4: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct PaymentFields<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    card_last4: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Payment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&'a RawValue>::deserialize(deserializer)?.get();
        let Ok(Object(fields)) = serde_json::from_str::<Object<PaymentFields<'a>>>(json) else {
            return Ok(Payment::default());
        };
        let text = |json: Option<&'a RawValue>| serde_json::from_str::<Text<'a>>(json?.get()).ok();
        Ok(Payment {
            status: text(fields.status),
            code: text(fields.code),
            reference: text(fields.reference),
            card_last4: text(fields.card_last4),
        })
    }
}

impl<'a> Notice<'a> {
    /// Reads one payload.
    ///
    /// # Errors
    /// The first field that is missing or invalid, or what is wrong with the
    /// payload as a whole.
    pub fn parse(payload: &'a [u8]) -> Result<Notice<'a>, Reject> {
        let notice: Notice<'a> = parse::parse(payload)?;
        if notice.id().len() > ID_BYTES_MAX {
            return Err(Reject::new("order_id", format!("longer than {ID_BYTES_MAX} bytes")));
        }
        Ok(notice)
    }

    /// What the customer is to be told; none of an order that is not urgent and was
    /// only placed.
    pub fn occasion(&self) -> Option<Occasion> {
        let occasion = match self.status() {
            Some("approved") => Occasion::Confirmed,
            Some("declined") => Occasion::Declined,
            _ => Occasion::Order,
        };
        (occasion != Occasion::Order || self.priority == Priority::High).then_some(occasion)
    }

    /// The order's identifier, at most 1000 bytes.
    pub fn id(&self) -> &str {
        self.order_id.as_str()
    }

    /// The customer's name.
    pub fn name(&self) -> &str {
        self.customer.0.name.as_str()
    }

    /// Where the mail goes, as the event has it; empty where it has nothing.
    pub fn recipient(&self) -> &str {
        self.customer.0.email.as_ref().map_or("", Text::as_str).trim()
    }

    /// What was ordered.
    pub fn product(&self) -> &str {
        self.product_name.as_str()
    }

    /// How many of it, at least 1.
    pub fn quantity(&self) -> i64 {
        self.quantity.get()
    }

    /// What it costs, with its currency where that is known.
    pub fn total(&self) -> Option<String> {
        let total = self.total_cost.as_ref()?.as_str();
        Some(match &self.currency {
            Some(currency) => format!("{total} {}", currency.as_str()),
            None => total.to_owned(),
        })
    }

    /// Why the payment was declined, as the bank's code.
    pub fn code(&self) -> Option<&str> {
        self.payment()?.code.as_ref().map(Text::as_str)
    }

    /// The payment's reference.
    pub fn reference(&self) -> Option<&str> {
        self.payment()?.reference.as_ref().map(Text::as_str)
    }

    /// The last four digits of the card; nothing longer is told, be it a number.
    pub fn card_last4(&self) -> Option<&str> {
        let digits = self.payment()?.card_last4.as_ref()?.as_str();
        let is_short = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_short.then_some(digits)
    }

    fn status(&self) -> Option<&str> {
        self.payment()?.status.as_ref().map(Text::as_str)
    }

    fn payment(&self) -> Option<&Payment<'a>> {
        self.payment.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(priority: &str, more: Value) -> Vec<u8> {
        let mut event = json!({
            "order_id": 7, "customer": {"name": "A", "email": " a@example.com "},
            "product_name": "tea", "quantity": 2, "priority": priority, "unknown": [1],
        });
        let fields = more.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(fields);
        event.to_string().into_bytes()
    }

    #[test]
    fn the_event_decides_what_the_mail_is_about() {
        let card = json!({"payment": {"card_token": "t", "card_last4": "4242"}});
        for (priority, more, occasion) in [
            ("high", json!({}), Some(Occasion::Order)),
            ("high", card.clone(), Some(Occasion::Order)),
            ("low", json!({}), None),
            ("medium", card, None),
            ("low", json!({"payment": {"status": "approved"}}), Some(Occasion::Confirmed)),
            ("high", json!({"payment": {"status": "declined"}}), Some(Occasion::Declined)),
        ] {
            let event = event(priority, more.clone());
            assert_eq!(Notice::parse(&event).unwrap().occasion(), occasion, "{priority} {more}");
        }
        for odd in [json!("4111111111111111"), json!({"status": "maybe"}), json!([]), json!(null)] {
            let event = event("high", json!({ "payment": odd }));
            assert_eq!(Notice::parse(&event).unwrap().occasion(), Some(Occasion::Order), "{odd}");
        }
        let odd = json!({"payment": {"status": "approved", "card_last4": 4242, "code": [1]}});
        let event = event("low", odd);
        assert_eq!(Notice::parse(&event).unwrap().occasion(), Some(Occasion::Confirmed));
    }

    #[test]
    fn no_whole_card_number_is_taken_for_its_last_digits() {
        for (given, told) in [("4242", Some("4242")), ("4111111111111111", None), ("٤٢", None)] {
            let event = event("high", json!({"payment": {"card_last4": given}}));
            assert_eq!(Notice::parse(&event).unwrap().card_last4(), told, "{given}");
        }
    }

    #[test]
    fn what_a_mail_shows_is_read() {
        let more = json!({
            "total_cost": "25.00", "currency": "EUR",
            "payment": {"status": "declined", "code": "insufficient_funds", "card_last4": "4242"},
        });
        let event = event("low", more);
        let notice = Notice::parse(&event).unwrap();
        assert_eq!((notice.id(), notice.recipient()), ("7", "a@example.com"));
        assert_eq!((notice.product(), notice.quantity()), ("tea", 2));
        assert_eq!(notice.total().as_deref(), Some("25.00 EUR"));
        assert_eq!(
            (notice.code(), notice.card_last4(), notice.reference()),
            (Some("insufficient_funds"), Some("4242"), None)
        );
    }

    #[test]
    fn an_order_without_an_address_is_read_and_one_without_a_product_is_not() {
        let nameless = event("high", json!({"customer": {"name": "A"}}));
        assert_eq!(Notice::parse(&nameless).unwrap().recipient(), "");
        let reject = Notice::parse(br#"{"order_id":"a","customer":{"name":"A"}}"#).unwrap_err();
        assert_eq!(reject.field, "product_name");
        let long = event("high", json!({"order_id": "a".repeat(1001)}));
        assert_eq!(Notice::parse(&long).unwrap_err().field, "order_id");
    }
}
