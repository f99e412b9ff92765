//! From a row of some table to an event: columns named like fields, or like
//! their aliases, go where the event has them.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

use crate::events::{Field, Kind};

/// The members of an object; the values stay as they are written, so that no
/// digit of a number is lost.
type Members = BTreeMap<String, Box<RawValue>>;

/// Turns a row, as a JSON object of its columns, into the payload of an event.
/// A column that is already shaped like the event (`customer` of type json) is
/// left alone, and so is one that the kind has no field for.
///
/// # Errors
/// When the row is no JSON object.
pub fn payload(kind: Kind, row: &str) -> serde_json::Result<Vec<u8>> {
    let mut row: Members = serde_json::from_str(row)?;
    for field in kind.fields() {
        if let Some(value) = take(&mut row, field) {
            row.insert(field.name.to_owned(), value);
        }
    }
    if kind == Kind::Order && !row.contains_key("customer") {
        let address = part(&mut row, &["street", "city", "state", "postal_code"]);
        let mut customer = part(&mut row, &["name", "email"]);
        customer.insert("address".into(), to_raw_value(&address)?);
        row.insert("customer".into(), to_raw_value(&customer)?);
    }
    serde_json::to_vec(&row)
}

/// The value of the column for a field: of its name, else of its first alias.
fn take(row: &mut Members, field: &Field) -> Option<Box<RawValue>> {
    row.remove(field.name).or_else(|| field.aliases.iter().find_map(|alias| row.remove(*alias)))
}

fn part(row: &mut Members, names: &[&str]) -> Members {
    names.iter().filter_map(|name| Some(((*name).to_owned(), row.remove(*name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Value;

    #[test]
    fn a_row_of_the_default_table_becomes_an_order() {
        let row = r#"{"order_id":"o-1","name":"Ann","email":"a@example.com","street":"1 St",
            "city":"Boston","state":"MA","postal_code":"02101","product_name":"Tea","quantity":2,
            "order_date":"2023-06-09T00:00:00+00:00","priority":"low",
            "unit_price":12345678901234567890.10}"#;
        let payload = payload(Kind::Order, row).unwrap();
        let order = Kind::Order.parse(&payload).unwrap();
        assert_eq!(order.id(), "o-1");
        assert_eq!(order.value(4), Value::Text("Boston"));
        assert_eq!(order.value(11), Value::Decimal("12345678901234567890.10"));
    }

    #[test]
    fn columns_of_other_names_are_known_by_their_aliases() {
        let row = r#"{"id":7,"name":"Ann","email":"a@example.com","extra":[1]}"#;
        let payload = payload(Kind::User, row).unwrap();
        let user = Kind::User.parse(&payload).unwrap();
        assert_eq!((user.id(), user.value(1)), ("7", Value::Text("Ann")));
        assert!(String::from_utf8(payload).unwrap().contains(r#""extra":[1]"#));
    }

    #[test]
    fn a_customer_in_json_is_left_alone() {
        let row = r#"{"order_id":1,"customer":{"name":"Ann"}}"#;
        assert_eq!(
            payload(Kind::Order, row).unwrap(),
            br#"{"customer":{"name":"Ann"},"order_id":1}"#
        );
        assert!(payload(Kind::Order, "[]").is_err());
    }
}
