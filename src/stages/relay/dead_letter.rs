//! Dead letters of the stages from Kafka to Kafka: records of a topic, with
//! headers as Kafka Connect writes them, so that tools made for those read ours.

use crate::engine::record::Raw;
use crate::engine::relay::Outgoing;
use crate::events::{Reject, card};

/// The dead-letter topic of a topic, unless named.
pub fn default_topic(from: &str) -> String {
    format!("{from}_dead_letters")
}

/// Adds a record's dead letter: its own key and bytes, with where it was and why
/// it was rejected in the headers.
pub fn push(
    outgoing: &mut Outgoing,
    to: &str,
    stage: &str,
    from: &str,
    raw: &Raw<'_>,
    reject: &Reject,
) {
    let headers = headers(stage, from, raw, reject);
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    outgoing.push(to, raw.key, raw.payload, &headers);
}

/// Has `push` called with a record and its reject without card data.
pub fn cleaned(raw: &Raw<'_>, reject: &Reject, mut push: impl FnMut(&Raw<'_>, &Reject)) {
    let key = raw.key.map(|key| card::clean_beside(raw.payload, key));
    let payload = raw.payload.map(card::clean);
    let reason = card::mask_str(&reject.reason).into_owned();
    let raw = Raw { key: key.as_deref(), payload: payload.as_deref(), ..*raw };
    push(&raw, &Reject::new(reject.field.clone(), reason));
}

fn headers(stage: &str, from: &str, raw: &Raw<'_>, reject: &Reject) -> [(String, String); 10] {
    let message = match reject.field.as_ref() {
        "" => reject.reason.to_string(),
        field => format!("{field}: {}", reject.reason),
    };
    [
        ("topic", from.to_owned()),
        ("partition", raw.partition.to_string()),
        ("offset", raw.offset.to_string()),
        ("connector.name", format!("orderctl-{stage}")),
        ("task.id", "0".to_owned()),
        ("stage", "TRANSFORMATION".to_owned()),
        ("class.name", format!("orderctl.{stage}")),
        ("exception.class.name", "orderctl.Reject".to_owned()),
        ("exception.message", message),
        // Ours: Connect has no name for it.
        ("field", reject.field.to_string()),
    ]
    .map(|(name, value)| (format!("__connect.errors.{name}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_the_bytes_and_says_where_it_was_and_why() {
        let raw =
            Raw { partition: 3, offset: 14, time_ms: None, key: Some(b"k"), payload: Some(b"{") };
        let mut outgoing = Outgoing::default();
        push(&mut outgoing, "d", "confirm", "o", &raw, &Reject::new("quantity", "is missing"));
        let out: Vec<_> = outgoing.records().collect();
        assert_eq!((out[0].topic, out[0].key), ("d", Some(&b"k"[..])));
        assert_eq!(out[0].payload, Some(&b"{"[..]));
        let header = |name: &str| {
            let (_, value) = outgoing.headers(&out[0]).find(|(key, _)| *key == name).unwrap();
            std::str::from_utf8(value.unwrap()).unwrap()
        };
        assert_eq!(header("__connect.errors.topic"), "o");
        assert_eq!(header("__connect.errors.partition"), "3");
        assert_eq!(header("__connect.errors.offset"), "14");
        assert_eq!(header("__connect.errors.exception.message"), "quantity: is missing");
    }

    #[test]
    fn a_cleaned_dead_letter_has_no_card_number_in_key_payload_or_reason() {
        let payload = Some(&br#"{"order_id":"o","payment":"4111111111111111"}"#[..]);
        let key = Some(&b"4111 1111 1111 1111"[..]);
        let raw = Raw { partition: 0, offset: 0, time_ms: None, key, payload };
        let reject = Reject::new("quantity", "expected a number, found \"4111111111111111\"");
        let mut pushed = 0;
        cleaned(&raw, &reject, |raw, reject| {
            let text = format!("{:?} {:?} {reject}", raw.key, raw.payload);
            let bytes = [raw.key.unwrap(), raw.payload.unwrap(), reject.reason.as_bytes()];
            // The last four may stay.
            let is_held = |bytes: &[u8]| bytes.windows(5).any(|five| five == b"11111");
            assert!(!bytes.into_iter().any(is_held), "{text}");
            assert_eq!(reject.field, "quantity");
            pushed += 1;
        });
        assert_eq!(pushed, 1);
    }
}
