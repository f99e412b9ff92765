//! An order of a product by a customer.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decimal::Decimal;
use super::moment::Moment;
use super::parse::{self, Object};
use super::plain::{Plain, fill};
use super::value::{Id, Priority, Quantity, Reject, Text, Value};
use super::{Field, Shape, optional};

/// The fields of an order, id first.
pub(super) const FIELDS: &[Field] = &[
    Field::required("order_id", &["id"], Shape::Id),
    Field::required("name", &["customer_name"], Shape::Text),
    Field::required("email", &["customer_email"], Shape::Text),
    Field::required("street", &["street_address", "customer_street"], Shape::Text),
    Field::required("city", &["customer_city"], Shape::Text),
    Field::required("state", &["customer_state"], Shape::Text),
    Field::required("postal_code", &["zip", "zip_code", "customer_postal_code"], Shape::Code),
    Field::required("product_name", &["product"], Shape::Text),
    Field::required("quantity", &[], Shape::Integer),
    Field::required("order_date", &["ordered_at"], Shape::Moment),
    Field::required("priority", &[], Shape::Text),
    Field::optional("unit_price", &["price"], Shape::Decimal).outside_default_table(),
    Field::optional("currency", &[], Shape::Text).outside_default_table(),
    Field::optional("restaurant", &[], Shape::Text).outside_default_table(),
    // Of confirmed and declined orders.
    Field::optional("total_cost", &["total"], Shape::Decimal).outside_default_table(),
    Field::optional("payment_status", &[], Shape::Text).outside_default_table(),
    Field::optional("payment_reference", &[], Shape::Text).outside_default_table(),
    Field::optional("card_last4", &[], Shape::Code).outside_default_table(),
    Field::optional("confirmed_at", &[], Shape::Moment).outside_default_table(),
    Field::optional("declined_at", &[], Shape::Moment).outside_default_table(),
];

/// An order, borrowed from its payload.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Order<'a> {
    #[serde(borrow)]
    order_id: Id<'a>,
    #[serde(borrow)]
    customer: Object<Customer<'a>>,
    #[serde(borrow)]
    product_name: Text<'a>,
    quantity: Quantity,
    #[serde(borrow)]
    order_date: Moment<'a>,
    priority: Priority,
    #[serde(borrow)]
    unit_price: Option<Decimal<'a>>,
    #[serde(borrow)]
    currency: Option<Text<'a>>,
    #[serde(borrow)]
    restaurant: Option<Text<'a>>,
    // Of confirmed and declined orders.
    #[serde(borrow)]
    total_cost: Option<Decimal<'a>>,
    #[serde(borrow)]
    payment: Option<Payment<'a>>,
    #[serde(borrow)]
    confirmed_at: Option<Moment<'a>>,
    #[serde(borrow)]
    declined_at: Option<Moment<'a>>,
}

/// What became of the payment. In an order that is not confirmed yet it may be
/// anything, which is no error.
#[derive(Debug, Clone, Default, PartialEq)]
struct Payment<'a> {
    status: Option<Text<'a>>,
    reference: Option<Text<'a>>,
    card_last4: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct PaymentFields<'a> {
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    reference: Option<Text<'a>>,
    #[serde(borrow)]
    card_last4: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Payment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        Ok(serde_json::from_str::<Object<PaymentFields<'a>>>(json).map_or_else(
            |_| Payment::default(),
            |Object(PaymentFields { status, reference, card_last4 })| Payment {
                status,
                reference,
                card_last4,
            },
        ))
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Customer<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    address: Object<Address<'a>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Address<'a> {
    #[serde(borrow)]
    street: Text<'a>,
    #[serde(borrow)]
    city: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    postal_code: Text<'a>,
}

/// Reads an order, the quick way when it is written plainly.
pub(super) fn parse(payload: &[u8]) -> Result<Order<'_>, Reject> {
    match std::str::from_utf8(payload).ok().and_then(Order::plain) {
        Some(order) => Ok(order),
        None => parse::parse(payload),
    }
}

impl<'a> Order<'a> {
    /// Reads an order that is written plainly, as nearly all are; none leaves it
    /// to the general parser.
    pub(super) fn plain(text: &'a str) -> Option<Order<'a>> {
        let (mut order_id, mut customer, mut product_name) = (None, None, None);
        let (mut quantity, mut order_date, mut priority) = (None, None, None);
        let (mut unit_price, mut currency, mut restaurant) = (None, None, None);
        let (mut total_cost, mut payment) = (None, None);
        let (mut confirmed_at, mut declined_at) = (None, None);
        let mut json = Plain::new(text);
        json.object(|json, key| match key {
            "order_id" => fill(&mut order_id, Id::plain(text_or_digits(json)?)),
            "customer" => fill(&mut customer, Customer::plain(json)),
            "product_name" => fill(&mut product_name, json.string().map(Text::plain)),
            "quantity" => fill(&mut quantity, Quantity::new(json.digits()?.parse().ok()?)),
            "order_date" => fill(&mut order_date, Moment::plain(json.string()?)),
            "priority" => fill(&mut priority, Priority::parse(json.string()?)),
            "unit_price" => fill(&mut unit_price, Decimal::parse(json.string()?)),
            "currency" => fill(&mut currency, json.string().map(Text::plain)),
            "restaurant" => fill(&mut restaurant, json.string().map(Text::plain)),
            "total_cost" => fill(&mut total_cost, Decimal::parse(json.string()?)),
            "payment" => fill(&mut payment, Payment::plain(json)),
            "confirmed_at" => fill(&mut confirmed_at, Moment::plain(json.string()?)),
            "declined_at" => fill(&mut declined_at, Moment::plain(json.string()?)),
            _ => None,
        })?;
        json.end()?;
        Some(Order {
            order_id: order_id?,
            customer: Object(customer?),
            product_name: product_name?,
            quantity: quantity?,
            order_date: order_date?,
            priority: priority?,
            unit_price,
            currency,
            restaurant,
            total_cost,
            payment,
            confirmed_at,
            declined_at,
        })
    }
}

fn text_or_digits<'a>(json: &mut Plain<'a>) -> Option<&'a str> {
    if json.is_at_string() { json.string() } else { json.digits() }
}

impl<'a> Payment<'a> {
    fn plain(json: &mut Plain<'a>) -> Option<Payment<'a>> {
        let (mut status, mut reference, mut card_last4) = (None, None, None);
        json.object(|json, key| match key {
            "status" => fill(&mut status, json.string().map(Text::plain)),
            "reference" => fill(&mut reference, json.string().map(Text::plain)),
            "card_last4" => fill(&mut card_last4, json.string().map(Text::plain)),
            // The code of a declined one, the token of one to be confirmed.
            "code" | "card_token" => json.string().map(|_| ()),
            _ => None,
        })?;
        Some(Payment { status, reference, card_last4 })
    }
}

impl<'a> Customer<'a> {
    fn plain(json: &mut Plain<'a>) -> Option<Customer<'a>> {
        let (mut name, mut email, mut address) = (None, None, None);
        json.object(|json, key| match key {
            "name" => fill(&mut name, json.string().map(Text::plain)),
            "email" => fill(&mut email, json.string().map(Text::plain)),
            "address" => fill(&mut address, Address::plain(json)),
            _ => None,
        })?;
        Some(Customer { name: name?, email: email?, address: Object(address?) })
    }
}

impl<'a> Address<'a> {
    fn plain(json: &mut Plain<'a>) -> Option<Address<'a>> {
        let (mut street, mut city, mut state, mut postal_code) = (None, None, None, None);
        json.object(|json, key| match key {
            "street" => fill(&mut street, json.string().map(Text::plain)),
            "city" => fill(&mut city, json.string().map(Text::plain)),
            "state" => fill(&mut state, json.string().map(Text::plain)),
            "postal_code" => fill(&mut postal_code, json.string().map(Text::plain)),
            _ => None,
        })?;
        Some(Address { street: street?, city: city?, state: state?, postal_code: postal_code? })
    }
}

impl Order<'_> {
    /// The order's identifier.
    pub fn id(&self) -> &str {
        self.order_id.as_str()
    }

    /// The city it goes to, as the order has it.
    pub fn city(&self) -> &str {
        self.customer.0.address.0.city.as_str()
    }

    /// The product's name.
    pub fn product_name(&self) -> &str {
        self.product_name.as_str()
    }

    /// How many pieces, at least 1.
    pub fn quantity(&self) -> i64 {
        self.quantity.get()
    }

    /// What one piece costs, in plain notation, when the order says so.
    pub fn unit_price(&self) -> Option<&str> {
        self.unit_price.as_ref().map(Decimal::as_str)
    }

    /// The currency, as the order has it.
    pub fn currency(&self) -> Option<&str> {
        self.currency.as_ref().map(Text::as_str)
    }

    /// The value of the field at this index of the kind's fields.
    pub(super) fn value(&self, field: usize) -> Value<'_> {
        let customer = &self.customer.0;
        let address = &customer.address.0;
        match field {
            0 => Value::Text(self.order_id.as_str()),
            1 => customer.name.value(),
            2 => customer.email.value(),
            3 => address.street.value(),
            4 => address.city.value(),
            5 => address.state.value(),
            6 => address.postal_code.value(),
            7 => self.product_name.value(),
            8 => Value::Integer(self.quantity.get()),
            9 => self.order_date.value(),
            10 => Value::Text(self.priority.name()),
            11 => self.unit_price.as_ref().map_or(Value::Absent, Decimal::value),
            12 => optional(&self.currency),
            13 => optional(&self.restaurant),
            14 => self.total_cost.as_ref().map_or(Value::Absent, Decimal::value),
            15 => self.payment.as_ref().map_or(Value::Absent, |paid| optional(&paid.status)),
            16 => self.payment.as_ref().map_or(Value::Absent, |paid| optional(&paid.reference)),
            17 => self.payment.as_ref().map_or(Value::Absent, |paid| optional(&paid.card_last4)),
            18 => self.confirmed_at.as_ref().map_or(Value::Absent, Moment::value),
            19 => self.declined_at.as_ref().map_or(Value::Absent, Moment::value),
            _ => Value::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::events::fake::{Generator, IdStyle};
    use crate::events::{Kind, nasty};

    fn generated(index: u64) -> String {
        // Its pools take a while to make.
        static GENERATOR: LazyLock<Generator> =
            LazyLock::new(|| Generator::new(Kind::Order, 7, 0, IdStyle::V7));
        let (mut key, mut payload) = (Vec::new(), Vec::new());
        GENERATOR.write(index, &mut key, &mut payload);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn generated_orders_are_plain() {
        let plain = (0..1000).filter(|index| Order::plain(&generated(*index)).is_some()).count();
        assert!(plain > 950, "only {plain} of 1000");
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_general_parser() {
        let order = generated(1);
        let unknown = order.replacen('{', "{\"unknown\":1,", 1);
        let escaped = order.replacen("\"name\":\"", "\"name\":\"\\u0041", 1);
        let twice = order.replacen('{', "{\"priority\":\"low\",", 1);
        for payload in [&unknown, &escaped, &twice] {
            assert_eq!(Order::plain(payload), None, "{payload}");
        }
        assert!(parse(unknown.as_bytes()).is_ok() && parse(escaped.as_bytes()).is_ok());
        assert!(parse(twice.as_bytes()).is_err());
    }

    /// Any character, more often one that means something in JSON.
    fn character() -> impl Strategy<Value = char> {
        let telling: Vec<char> = "\"\\{}[]:,.-+eE019 \n\tntu".chars().collect();
        prop_oneof![3 => prop::sample::select(telling), 1 => any::<char>()]
    }

    proptest! {
        #[test]
        fn a_nasty_order_that_is_plain_the_general_parser_reads_the_same(
            order in nasty::with_fragments(Kind::Order),
        ) {
            if let Some(plain) = Order::plain(&order) {
                prop_assert_eq!(Ok(plain), parse::parse::<Order<'_>>(order.as_bytes()));
            }
        }

        #[test]
        fn whatever_is_plain_the_general_parser_reads_the_same(
            index in 0u64..50,
            changes in prop::collection::vec((any::<prop::sample::Index>(), character()), 0..3),
        ) {
            let mut order: Vec<char> = generated(index).chars().collect();
            for (at, character) in changes {
                let at = at.index(order.len());
                order[at] = character;
            }
            let order: String = order.into_iter().collect();
            if let Some(plain) = Order::plain(&order) {
                prop_assert_eq!(Ok(plain), parse::parse::<Order<'_>>(order.as_bytes()));
            }
        }
    }
}
