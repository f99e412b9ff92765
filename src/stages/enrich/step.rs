//! What the steps make of one user (pure: the time is given to them).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::tags::Tags;
use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::events::members::members;
use crate::events::{Kind, Reject};

/// Publishes the user with the time at which this was done.
///
/// # Errors
/// When the record is no valid user.
pub fn timestamp(
    raw: &Raw<'_>,
    now: Timestamp,
    to: &str,
    outgoing: &mut Outgoing,
) -> Result<(), Reject> {
    let now = format!("{now:.6}");
    publish(raw, to, outgoing, |_| [("enriched_at", &now)])
}

/// Publishes the user with a major and a hobby.
///
/// # Errors
/// When the record is no valid user.
pub fn tags(
    raw: &Raw<'_>,
    tags: &Tags,
    seed: u64,
    to: &str,
    outgoing: &mut Outgoing,
) -> Result<(), Reject> {
    publish(raw, to, outgoing, |id| {
        let (major, hobby) = tags.choose(seed, id);
        [("major", major), ("hobby", hobby)]
    })
}

fn publish<'f, const N: usize>(
    raw: &Raw<'_>,
    to: &str,
    outgoing: &mut Outgoing,
    fields: impl FnOnce(&str) -> [(&'static str, &'f str); N],
) -> Result<(), Reject> {
    let payload = raw.payload.ok_or_else(|| Reject::new("", "no payload (a tombstone)"))?;
    let user = Kind::User.parse(payload)?;
    let known = std::str::from_utf8(payload).ok().and_then(members);
    let known = known.ok_or_else(|| Reject::new("", "not a JSON object"))?;
    let made = with_fields(&known, &fields(user.id()));
    outgoing.push(to, Some(user.id().as_bytes()), Some(&made), &[]);
    Ok(())
}

/// An object with some fields set: in the place of those of the same name, else
/// at the end. All others stay, each value as it is written.
fn with_fields(object: &[(Cow<'_, str>, &RawValue)], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut made = Vec::with_capacity(512);
    let is_set = |name: &str| fields.iter().any(|(field, _)| *field == name);
    for (name, value) in object.iter().filter(|(name, _)| !is_set(name)) {
        put(&mut made, name, value.get());
    }
    for (name, value) in fields {
        put(&mut made, name, &Value::from(*value).to_string());
    }
    made.push(b'}');
    made
}

fn put(made: &mut Vec<u8>, name: &str, json: &str) {
    made.push(if made.is_empty() { b'{' } else { b',' });
    made.extend_from_slice(Value::from(name).to_string().as_bytes());
    made.push(b':');
    made.extend_from_slice(json.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_732_000_000, 123_456_789);

    fn raw(payload: &[u8]) -> Raw<'_> {
        Raw { partition: 0, offset: 0, time_ms: None, key: None, payload: Some(payload) }
    }

    /// Both steps one after the other.
    fn enrich(payload: &[u8]) -> Result<Vec<u8>, Reject> {
        let mut first = Outgoing::default();
        timestamp(&raw(payload), NOW, "via", &mut first)?;
        let first = first.records().next().unwrap().payload.unwrap().to_vec();
        let mut second = Outgoing::default();
        tags(&raw(&first), &Tags::read(None).unwrap(), 1, "to", &mut second)?;
        let out = second.records().next().unwrap();
        assert_eq!((out.topic, out.key), ("to", Some(&b"u1"[..])));
        Ok(out.payload.unwrap().to_vec())
    }

    #[test]
    fn a_user_gets_a_time_and_two_tags_and_keeps_all_else_as_it_is_written() {
        let user = r#"{"user_id":"u1", "full_name":"Ann","email":"a@example.com",
            "score":12345678901234567890.10,"extra":{"b":[1, 2],"a":null},"n\u00e4me":"\u00fc"}"#;
        let made = String::from_utf8(enrich(user.as_bytes()).unwrap()).unwrap();
        let lists = Tags::read(None).unwrap();
        let (major, hobby) = lists.choose(1, "u1");
        assert_eq!(
            made,
            format!(
                r#"{{"user_id":"u1","full_name":"Ann","email":"a@example.com","score":12345678901234567890.10,"extra":{{"b":[1, 2],"a":null}},"näme":"\u00fc","enriched_at":"2024-11-19T07:06:40.123456Z","major":"{major}","hobby":"{hobby}"}}"#
            )
        );
        assert!(Kind::User.parse(made.as_bytes()).is_ok());
    }

    #[test]
    fn fields_that_are_there_already_are_set_anew_however_they_are_spelt() {
        let user = br#"{"enriched_\u0061t":null,"user_id":"u1","major":"x","full_name":"Ann","email":"a@b.c"}"#;
        let made: Value = serde_json::from_slice(&enrich(user).unwrap()).unwrap();
        assert_eq!(made["enriched_at"], "2024-11-19T07:06:40.123456Z");
        assert_ne!(made["major"], "x");
        assert!(Kind::User.parse(made.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_user_is_rejected_and_makes_nothing() {
        let mut outgoing = Outgoing::default();
        for (payload, field) in [
            (&b"{"[..], ""),
            (b"[]", ""),
            (br#"{"user_id":"u1","full_name":"Ann"}"#, "email"),
            (br#"{"user_id":"","full_name":"Ann","email":"a@b.c"}"#, "user_id"),
        ] {
            let reject = timestamp(&raw(payload), NOW, "via", &mut outgoing).unwrap_err();
            assert_eq!(reject.field, field);
        }
        let tombstone = Raw { payload: None, ..raw(b"") };
        assert!(timestamp(&tombstone, NOW, "via", &mut outgoing).is_err());
        assert_eq!(outgoing.records().count(), 0);
    }

    proptest! {
        #[test]
        fn unknown_fields_stay(
            extra in proptest::collection::btree_map("x\\PC{0,10}", "\\PC{0,20}", 0..6),
        ) {
            let mut user = json!({"user_id": "u1", "full_name": "Ann", "email": "a@b.c"});
            for (name, value) in &extra {
                user[name] = json!(value);
            }
            let made: Value =
                serde_json::from_slice(&enrich(user.to_string().as_bytes()).unwrap()).unwrap();
            for (name, value) in user.as_object().unwrap() {
                prop_assert_eq!(&made[name], value);
            }
            let length = user.as_object().unwrap().len() + 3;
            prop_assert_eq!(made.as_object().unwrap().len(), length);
        }
    }
}
