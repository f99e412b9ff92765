//! The members of a JSON object as they are written, for what keeps fields that
//! it does not know.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::value::CowVisitor;

/// The members of an object, in order, repeated ones too; each value is the text
/// that the payload has. None when it is no object.
pub fn members(json: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(json).ok().map(|members| members.0)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CowVisitor("a name")).map(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_every_digit() {
        let json = r#"{"b":1.50,"\u0061":[1, 2],"b":12345678901234567890}"#;
        let found: Vec<(String, &str)> = members(json)
            .unwrap()
            .iter()
            .map(|(name, raw)| (name.to_string(), raw.get()))
            .collect();
        let expected = [("b", "1.50"), ("a", "[1, 2]"), ("b", "12345678901234567890")];
        assert_eq!(found, expected.map(|(name, json)| (name.to_owned(), json)));
        assert!(members("[1]").is_none() && members("{").is_none() && members("").is_none());
    }
}
