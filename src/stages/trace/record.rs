//! Whether a record is of an id, and what it tells.

use serde_json::Value;

use super::report::{Place, Stage};
use crate::edges::kafka::excerpt::Record;
use crate::events::Kind;
use crate::stages::relay::dead_letter;
use crate::stages::route_cities::{CITY_HEADER, city};

/// Topics with a meaning in the chain of stages; a test holds the verbs' defaults
/// against them.
const MEANINGS: [(&str, Stage); 10] = [
    ("product_orders", Stage::Source),
    ("recieved_orders", Stage::Source),
    ("order", Stage::Source),
    ("confirmed_orders", Stage::Confirmed),
    ("order_confirm", Stage::Confirmed),
    ("declined_orders", Stage::Declined),
    ("analysis_topic", Stage::Analysis),
    ("movie_app", Stage::Source),
    ("users_info", Stage::Source),
    ("enriched_users_info_timestamp", Stage::Enriched),
];
/// The last topic of the chain of users.
const ENRICHED: &str = "enriched_users_info_randomtopics";

/// The topics that are looked into unless named, each before its dead letters.
pub fn default_topics() -> Vec<String> {
    let topics = MEANINGS.iter().map(|(topic, _)| *topic).chain([ENRICHED]);
    topics.flat_map(|topic| [topic.to_owned(), dead_letter::default_topic(topic)]).collect()
}

/// What a topic means, `city_prefix` being what those of cities begin with.
pub fn stage_of(topic: &str, city_prefix: &str) -> Stage {
    let meaning = MEANINGS.iter().find(|(name, _)| *name == topic);
    match meaning {
        Some((_, stage)) => *stage,
        None if topic == ENRICHED => Stage::Enriched,
        None if topic.ends_with(&dead_letter::default_topic("")) => Stage::DeadLetter,
        None if city::is_topic(city_prefix, topic) => Stage::City,
        None => Stage::Record,
    }
}

/// Whether key or payload say that an event has this id.
pub fn is_of(id: &str, key: Option<&[u8]>, payload: Option<&[u8]>) -> bool {
    key == Some(id.as_bytes()) || payload.is_some_and(|payload| has_id(id, payload))
}

fn has_id(id: &str, payload: &[u8]) -> bool {
    // Looked at more closely only where the text is in it: most records have
    // another id.
    let Ok(text) = std::str::from_utf8(payload) else { return false };
    if !text.contains(id) {
        return false;
    }
    let Ok(event) = serde_json::from_str::<Value>(text) else { return false };
    Kind::ALL.into_iter().any(|kind| match event.get(kind.fields()[0].name) {
        Some(Value::String(text)) => text == id,
        Some(Value::Number(number)) => number.to_string() == id,
        _ => false,
    })
}

/// The city of an order's customer.
pub fn city(payload: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(payload).ok()?;
    event.pointer("/customer/address/city")?.as_str().map(str::to_owned)
}

/// The place that a record is.
pub fn place(record: &Record<'_>, city_prefix: &str) -> Place {
    let raw = record.raw();
    let stage = stage_of(record.topic(), city_prefix);
    let headers = record.headers();
    let header = |name: &str| {
        let found = headers.iter().find(|(header, _)| *header == name)?;
        found.1.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let detail = match stage {
        Stage::City => header(CITY_HEADER),
        Stage::DeadLetter => rejection(header),
        Stage::Confirmed | Stage::Declined | Stage::Analysis => raw.payload.and_then(payment),
        _ => None,
    };
    Place {
        topic: Some(record.topic().to_owned()),
        partition: Some(raw.partition),
        offset: Some(raw.offset),
        detail: detail.or_else(|| raw.payload.is_none().then(|| "no payload (a tombstone)".into())),
        ..Place::new(stage, raw.time_ms)
    }
}

fn rejection(header: impl Fn(&str) -> Option<String>) -> Option<String> {
    let header = |name: &str| header(&format!("__connect.errors.{name}"));
    let reason = header("exception.message")?;
    let origin = [header("topic"), header("partition"), header("offset")];
    let origin: Vec<String> = origin.into_iter().flatten().collect();
    Some(format!("{reason} (of {})", origin.join("/")))
}

fn payment(payload: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(payload).ok()?;
    let text = |pointer: &str| event.pointer(pointer)?.as_str().map(str::to_owned);
    let total = [text("/total_cost"), text("/currency")].into_iter().flatten();
    let total = total.collect::<Vec<_>>().join(" ");
    let parts = [text("/payment/status"), text("/payment/code"), Some(total)];
    let told: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    Some(told.join(", ")).filter(|told| !told.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::route_cities::city;

    #[test]
    fn a_record_is_of_an_id_by_its_key_or_by_its_payload() {
        assert!(is_of("90123", Some(b"90123"), None));
        assert!(is_of("90123", None, Some(br#"{"order_id": 90123}"#)));
        assert!(is_of("a", Some(b"b"), Some(br#"{"ticket_id": "a"}"#)));
        for other in [
            r#"{"order_id": 190123}"#,
            r#"{"order_id": "9", "note": "90123"}"#,
            r#"{"order_id": [90123]}"#,
            "90123",
            "{90123",
        ] {
            assert!(!is_of("90123", Some(b"x"), Some(other.as_bytes())), "{other}");
        }
        assert!(!is_of("90123", None, Some(b"\xff90123")));
    }

    #[test]
    fn topics_mean_what_their_names_say() {
        assert_eq!(stage_of("recieved_orders", "city-"), Stage::Source);
        assert_eq!(stage_of("declined_orders", "city-"), Stage::Declined);
        assert_eq!(stage_of(ENRICHED, "city-"), Stage::Enriched);
        assert_eq!(stage_of("product_orders_dead_letters", "city-"), Stage::DeadLetter);
        assert_eq!(stage_of("town.berlin", "town."), Stage::City);
        assert_eq!(stage_of("mine", "city-"), Stage::Record);
        assert!(default_topics().contains(&"order_dead_letters".to_owned()));
    }

    /// What a verb reads or publishes to unless told otherwise.
    fn defaults<A: clap::Args>(flag: &str) -> Vec<String> {
        let command = A::augment_args(clap::Command::new("verb"));
        let argument = command.get_arguments().find(|one| one.get_long() == Some(flag));
        let values = argument.unwrap_or_else(|| panic!("--{flag}")).get_default_values();
        let topics = values.iter().flat_map(|value| value.to_str().unwrap().split(','));
        topics.map(str::to_owned).collect()
    }

    #[test]
    fn the_default_topics_of_every_verb_have_a_meaning() {
        use crate::stages::{confirm, enrich, notify, route_cities, status};
        let check = |topics: Vec<String>, meanings: &[Stage]| {
            let found: Vec<Stage> = topics.iter().map(|topic| stage_of(topic, "city-")).collect();
            assert_eq!(found, meanings, "{topics:?}");
            for topic in topics {
                assert!(default_topics().contains(&topic), "{topic}");
            }
        };
        for kind in Kind::ALL {
            check(vec![kind.default_topic().to_owned()], &[Stage::Source]);
        }
        check(defaults::<route_cities::Args>("from"), &[Stage::Source]);
        let mailed = notify::FROM.map(str::to_owned).to_vec();
        check(mailed, &[Stage::Source, Stage::Confirmed, Stage::Declined]);
        check(defaults::<confirm::Args>("from"), &[Stage::Source]);
        check(defaults::<confirm::Args>("to"), &[Stage::Confirmed, Stage::Analysis]);
        check(defaults::<confirm::Args>("declined-to"), &[Stage::Declined]);
        check(defaults::<enrich::Args>("from"), &[Stage::Source]);
        check(defaults::<enrich::Args>("via"), &[Stage::Enriched]);
        check(defaults::<enrich::Args>("to"), &[Stage::Enriched]);
        let prefixes =
            [defaults::<route_cities::Args>("prefix"), defaults::<status::Args>("prefix")];
        assert_eq!(prefixes, [[city::PREFIX], [city::PREFIX]]);
    }

    #[test]
    fn what_was_paid_is_told() {
        let confirmed = br#"{"total_cost": "12.50", "currency": "EUR",
            "payment": {"status": "approved", "card_last4": "4242"}}"#;
        assert_eq!(payment(confirmed).unwrap(), "approved, 12.50 EUR");
        let declined = br#"{"payment": {"status": "declined", "code": "expired_card"}}"#;
        assert_eq!(payment(declined).unwrap(), "declined, expired_card");
        assert_eq!(payment(b"{}"), None);
    }

    #[test]
    fn a_city_is_where_orders_have_it() {
        let order = r#"{"customer": {"address": {"city": "Zürich"}}}"#;
        assert_eq!(city(order.as_bytes()).unwrap(), "Zürich");
        assert_eq!(city(b"{}"), None);
    }
}
