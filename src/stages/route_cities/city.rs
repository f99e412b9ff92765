//! From a city's name to its topic's: legal, the same for ever, and another for
//! every other city.

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

/// What the names of cities' topics begin with unless told otherwise.
pub const PREFIX: &str = "city-";
/// The longest name of a topic that Kafka allows.
const TOPIC_MAX: usize = 249;
/// The most characters of a city's own name in its topic's.
const SLUG_MAX: usize = 60;
/// Bytes of the hash that tells cities apart whose slugs are alike: so many that
/// nobody finds two with the same, even who tries.
const HASH_BYTES: usize = 12;

/// The topic of a city. The same city in other letter case, or composed of other
/// code points, has the same topic.
///
/// The part behind the prefix is made of `a-z`, `0-9` and `-` only: Kafka takes
/// `.` and `_` for each other in the names of metrics.
pub fn topic(prefix: &str, city: &str) -> String {
    let folded = fold(city);
    let slug = slug(&folded);
    if slug == folded && !slug.is_empty() {
        return format!("{prefix}{slug}");
    }
    // Two hyphens are in no slug, so that no city's name looks like this.
    let slug = if slug.is_empty() { "city" } else { &slug };
    format!("{prefix}{slug}--{}", hash(&folded))
}

/// The topic that cities share once there are too many.
pub fn overflow_topic(prefix: &str) -> String {
    format!("{prefix}overflow--shared")
}

/// Whether a topic can be a city's, or the one that cities share: dead letters'
/// topics are none, as they have a `_` in their names.
pub fn is_topic(prefix: &str, name: &str) -> bool {
    let is_own = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.strip_prefix(prefix).is_some_and(|own| !own.is_empty() && own.bytes().all(is_own))
}

/// Whether a prefix leaves room for every city's name and is legal itself.
///
/// # Errors
/// What is wrong with it.
pub fn parse_prefix(prefix: &str) -> Result<String, String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let longest = TOPIC_MAX - SLUG_MAX - 2 - 2 * HASH_BYTES;
    if !prefix.chars().all(is_legal) {
        return Err("a topic's name can have letters, digits, '.', '_' and '-' only".into());
    }
    if prefix.is_empty() {
        return Err("give a prefix, so that cities' topics are told from others".into());
    }
    if prefix.len() > longest {
        return Err(format!("at most {longest} characters"));
    }
    Ok(prefix.to_owned())
}

fn fold(city: &str) -> String {
    // Lower case may need to be composed anew.
    city.trim().nfc().collect::<String>().to_lowercase().nfc().collect()
}

fn slug(folded: &str) -> String {
    let mut slug = String::new();
    // Letters without their accents, as far as they have any.
    for c in folded.nfkd().filter(|c| !unicode_normalization::char::is_combining_mark(*c)) {
        if slug.len() >= SLUG_MAX {
            break;
        }
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

fn hash(folded: &str) -> String {
    let digest = Sha256::digest(folded.as_bytes());
    digest[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn is_legal(topic: &str) -> bool {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !topic.is_empty() && topic.len() <= TOPIC_MAX && topic.chars().all(legal)
    }

    #[test]
    fn topics_of_plain_cities_are_their_names() {
        assert_eq!(topic("city-", "Berlin"), "city-berlin");
        assert_eq!(topic("city-", "new-york"), "city-new-york");
    }

    #[test]
    fn topics_of_other_cities_can_be_recognised() {
        for (city, start) in [
            ("Zürich", "city-zurich--"),
            ("São Paulo", "city-sao-paulo--"),
            ("St. John's", "city-st-john-s--"),
            ("東京", "city-city--"),
            ("", "city-city--"),
            ("..", "city-city--"),
            ("__consumer_offsets", "city-consumer-offsets--"),
            ("New York", "city-new-york--"),
        ] {
            let topic = topic("city-", city);
            assert!(topic.starts_with(start) && is_legal(&topic), "{city}: {topic}");
        }
        let long = topic("city-", &"Llanfair".repeat(40));
        assert!(is_legal(&long), "{long}");
    }

    #[test]
    fn names_do_not_change_from_version_to_version() {
        assert_eq!(topic("city-", "Zürich"), "city-zurich--201f10d5d64518d86d2d3a47");
    }

    #[test]
    fn spelling_variants_are_one_city_and_others_are_not() {
        assert_eq!(topic("c-", "ZÜRICH"), topic("c-", "zu\u{308}rich "));
        let cities =
            ["a_b", "a.b", "a-b", "a b", "A-B", "Zürich", "Zurich", "zurich--1", "", "city"];
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for city in cities {
            if let Some(other) = seen.insert(topic("c-", city), fold(city)) {
                assert_eq!(other, fold(city));
            }
        }
        assert_eq!(seen.len(), cities.len() - 1, "only a-b and A-B are the same");
    }

    proptest! {
        #[test]
        fn any_city_has_a_legal_topic_that_stays(city in "\\PC{0,300}") {
            let name = topic("city-", &city);
            prop_assert!(is_legal(&name), "{name}");
            let is_its = is_topic("city-", &name) && !is_topic("town-", &name);
            prop_assert!(is_its && !is_topic("city-", &format!("{name}_dead_letters")), "{name}");
            prop_assert_eq!(name, topic("city-", &fold(&city)));
        }

        #[test]
        fn two_cities_have_two_topics(one in "[a-c ._üÜ-]{0,4}", other in "[a-c ._üÜ-]{0,4}") {
            prop_assert_eq!(topic("p", &one) == topic("p", &other), fold(&one) == fold(&other));
        }
    }
}
