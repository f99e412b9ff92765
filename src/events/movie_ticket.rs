//! A ticket for seats in a cinema.

use serde::Deserialize;

use super::value::{Id, Seats, Text, Value};
use super::{Field, Shape};

/// The fields of a movie ticket, id first.
pub(super) const FIELDS: &[Field] = &[
    Field::required("ticket_id", &["id"], Shape::Id),
    Field::required("theater", &["theatre", "theater_name", "cinema"], Shape::Text),
    Field::required("movie", &["movie_name", "title"], Shape::Text),
    Field::required("name", &["customer_name"], Shape::Text),
    Field::required("email", &["customer_email"], Shape::Text),
    Field::required("phone_number", &["phone"], Shape::Code),
    Field::required("seats", &["seat", "seat_numbers"], Shape::Code),
];

/// A movie ticket, borrowed from its payload.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MovieTicket<'a> {
    #[serde(borrow)]
    ticket_id: Id<'a>,
    #[serde(borrow)]
    theater: Text<'a>,
    #[serde(borrow)]
    movie: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    phone_number: Text<'a>,
    #[serde(borrow)]
    seats: Seats<'a>,
}

impl MovieTicket<'_> {
    /// The ticket's identifier.
    pub fn id(&self) -> &str {
        self.ticket_id.as_str()
    }

    /// The value of the field at this index of the kind's fields.
    pub(super) fn value(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(self.ticket_id.as_str()),
            1 => self.theater.value(),
            2 => self.movie.value(),
            3 => self.name.value(),
            4 => self.email.value(),
            5 => self.phone_number.value(),
            6 => Value::Text(self.seats.as_str()),
            _ => Value::Absent,
        }
    }
}
