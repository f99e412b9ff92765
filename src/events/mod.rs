//! The kinds of event: one file a kind, with its type, its parse (borrowed from
//! the payload), its generator and its table.

pub mod value;

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
