//! An order of a product by a customer.

use serde::Deserialize;

use super::decimal::Decimal;
use super::moment::Moment;
use super::parse::Object;
use super::value::{Id, Priority, Quantity, Text, Value};
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

impl Order<'_> {
    /// The order's identifier.
    pub fn id(&self) -> &str {
        self.order_id.as_str()
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
            _ => Value::Absent,
        }
    }
}
