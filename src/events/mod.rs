//! The kinds of event: one file a kind, with its type, its parse (borrowed from
//! the payload), its generator and its table.

pub mod card;
pub mod decimal;
pub mod fake;
pub mod members;
pub mod moment;
pub mod movie_ticket;
pub mod notice;
pub mod order;
mod parse;
mod plain;
pub mod user;
pub mod value;

#[cfg(test)]
pub(crate) mod nasty;
#[cfg(test)]
mod tests;

use movie_ticket::MovieTicket;
use order::Order;
use user::User;
use value::Text;
pub use value::{Reject, Value};

/// The kinds of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, clap::ValueEnum)]
pub enum Kind {
    /// An order of a product by a customer.
    #[default]
    Order,
    /// A ticket for seats in a cinema.
    MovieTicket,
    /// A user, as enriched by tags.
    User,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Kind; 3] = [Kind::Order, Kind::MovieTicket, Kind::User];

    /// The kind's name on the command line and in the ledger: `order`,
    /// `movie-ticket`, `user`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Order => "order",
            Kind::MovieTicket => "movie-ticket",
            Kind::User => "user",
        }
    }

    /// The topic that events of this kind are published to unless named.
    pub fn default_topic(self) -> &'static str {
        match self {
            Kind::Order => "product_orders",
            Kind::MovieTicket => "movie_app",
            Kind::User => "users_info",
        }
    }

    /// The table that events of this kind are stored in unless named.
    pub fn default_table(self) -> &'static str {
        match self {
            Kind::Order => "orders",
            Kind::MovieTicket => "movie_ticket",
            Kind::User => "users",
        }
    }

    /// The fields a row can be made of, id first.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Kind::Order => order::FIELDS,
            Kind::MovieTicket => movie_ticket::FIELDS,
            Kind::User => user::FIELDS,
        }
    }

    /// Reads one payload, borrowing from it. Fields that the kind does not have
    /// are ignored.
    ///
    /// # Errors
    /// The first field that is missing, there twice or invalid and what was
    /// found there, or what is wrong with the payload as a whole.
    pub fn parse(self, payload: &[u8]) -> Result<Event<'_>, Reject> {
        match self {
            Kind::Order => order::parse(payload).map(Event::Order),
            Kind::MovieTicket => parse::parse(payload).map(Event::MovieTicket),
            Kind::User => parse::parse(payload).map(Event::User),
        }
    }
}

/// One valid event, borrowed from its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// An order.
    Order(Order<'a>),
    /// A movie ticket.
    MovieTicket(MovieTicket<'a>),
    /// A user.
    User(User<'a>),
}

impl Event<'_> {
    /// The identifier: never empty, free of NUL. It is the record's key and the
    /// row's.
    pub fn id(&self) -> &str {
        match self {
            Event::Order(order) => order.id(),
            Event::MovieTicket(ticket) => ticket.id(),
            Event::User(user) => user.id(),
        }
    }

    /// The value of the field at this index of [`Kind::fields`];
    /// [`Value::Absent`] beyond their end.
    pub fn value(&self, field: usize) -> Value<'_> {
        match self {
            Event::Order(order) => order.value(field),
            Event::MovieTicket(ticket) => ticket.value(field),
            Event::User(user) => user.value(field),
        }
    }
}

/// The value of an optional text.
fn optional<'v>(field: &'v Option<Text<'_>>) -> Value<'v> {
    field.as_ref().map_or(Value::Absent, Text::value)
}

/// What a field of an event can hold, before any table is looked at. It decides
/// which column types can take the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An identifier: text, which may be all digits or a UUID.
    Id,
    /// Free text.
    Text,
    /// Text that is often all digits: a postal code, a telephone number, seats.
    Code,
    /// A whole number.
    Integer,
    /// A decimal number, never floating point.
    Decimal,
    /// A date, or a moment with offset.
    Moment,
}

/// One field that a row can be made of.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The column's name in a table of ours.
    pub name: &'static str,
    /// Other names that a table made by someone else may use for it.
    pub aliases: &'static [&'static str],
    /// What it can hold.
    pub shape: Shape,
    /// Whether an event without it is rejected.
    pub required: bool,
    /// Whether a table that db-setup creates has a column for it.
    pub in_default_table: bool,
}

impl Field {
    const fn required(name: &'static str, aliases: &'static [&'static str], shape: Shape) -> Field {
        Field { name, aliases, shape, required: true, in_default_table: true }
    }

    const fn optional(name: &'static str, aliases: &'static [&'static str], shape: Shape) -> Field {
        Field { required: false, ..Field::required(name, aliases, shape) }
    }

    const fn outside_default_table(self) -> Field {
        Field { in_default_table: false, ..self }
    }
}
