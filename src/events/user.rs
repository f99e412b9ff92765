//! A user, also as enriched by a time and two tags.

use serde::Deserialize;

use super::moment::Moment;
use super::value::{Id, Text, Value};
use super::{Field, Shape, optional};

/// The fields of a user, id first.
pub(super) const FIELDS: &[Field] = &[
    Field::required("user_id", &["id"], Shape::Id),
    Field::required("full_name", &["name"], Shape::Text),
    Field::required("email", &[], Shape::Text),
    Field::optional("phone", &["phone_number"], Shape::Code),
    Field::optional("address", &["street"], Shape::Text),
    Field::optional("city", &[], Shape::Text),
    Field::optional("country", &[], Shape::Text),
    Field::optional("date_of_birth", &["dob", "birth_date"], Shape::Moment),
    Field::optional("username", &["user_name", "login"], Shape::Text),
    Field::optional("registered_at", &["registered", "registration_date"], Shape::Moment),
    Field::optional("picture", &["picture_url"], Shape::Text),
    Field::optional("enriched_at", &[], Shape::Moment),
    Field::optional("major", &[], Shape::Text),
    Field::optional("hobby", &[], Shape::Text),
];

/// A user, borrowed from its payload.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct User<'a> {
    #[serde(borrow)]
    user_id: Id<'a>,
    #[serde(borrow)]
    full_name: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    phone: Option<Text<'a>>,
    #[serde(borrow)]
    address: Option<Text<'a>>,
    #[serde(borrow)]
    city: Option<Text<'a>>,
    #[serde(borrow)]
    country: Option<Text<'a>>,
    #[serde(borrow)]
    date_of_birth: Option<Moment<'a>>,
    #[serde(borrow)]
    username: Option<Text<'a>>,
    #[serde(borrow)]
    registered_at: Option<Moment<'a>>,
    #[serde(borrow)]
    picture: Option<Text<'a>>,
    #[serde(borrow)]
    enriched_at: Option<Moment<'a>>,
    #[serde(borrow)]
    major: Option<Text<'a>>,
    #[serde(borrow)]
    hobby: Option<Text<'a>>,
}

impl User<'_> {
    /// The user's identifier.
    pub fn id(&self) -> &str {
        self.user_id.as_str()
    }

    /// The value of the field at this index of the kind's fields.
    pub(super) fn value(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(self.user_id.as_str()),
            1 => self.full_name.value(),
            2 => self.email.value(),
            3 => optional(&self.phone),
            4 => optional(&self.address),
            5 => optional(&self.city),
            6 => optional(&self.country),
            7 => moment(&self.date_of_birth),
            8 => optional(&self.username),
            9 => moment(&self.registered_at),
            10 => optional(&self.picture),
            11 => moment(&self.enriched_at),
            12 => optional(&self.major),
            13 => optional(&self.hobby),
            _ => Value::Absent,
        }
    }
}

fn moment<'v>(field: &'v Option<Moment<'_>>) -> Value<'v> {
    field.as_ref().map_or(Value::Absent, Moment::value)
}
