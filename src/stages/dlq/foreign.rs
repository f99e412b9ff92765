//! Dead-letter topics that others write: what their headers say.
//!
//! | | Kafka Connect (KIP-298) | Spring Kafka (`DeadLetterPublishingRecoverer`) |
//! |---|---|---|
//! | names | `__connect.errors.…` | `kafka_dlt-…` |
//! | topic, reason | text | text |
//! | partition, offset | decimal digits | 4 and 8 bytes, big-endian |
//!
//! Our own stages write Connect's, and one more for the field at fault.

use std::ops::ControlFlow;

use super::Filter;
use crate::edges::kafka::excerpt::{Excerpt, Record, Span};
use crate::stop::Stop;

const CONNECT: &str = "__connect.errors.";
const SPRING: &str = "kafka_dlt-";

/// Where a letter came from and why it is one, as far as its headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The topic it was read from.
    pub topic: Option<String>,
    /// Its partition there.
    pub partition: Option<i32>,
    /// Its offset there.
    pub offset: Option<i64>,
    /// The connector or consumer group that gave it up.
    pub group: Option<String>,
    /// The field at fault, where one of our own stages gave it up; empty for the
    /// record as a whole.
    pub field: Option<String>,
    /// The exception's class.
    pub class: Option<String>,
    /// The exception's message.
    pub reason: Option<String>,
}

/// Reads the headers of a letter; those that are not understood say nothing.
pub fn origin(headers: &[(&str, Option<&[u8]>)]) -> Origin {
    let find = |prefix: &str, name: &str| {
        let is_it = |(key, _): &&(&str, Option<&[u8]>)| key.strip_prefix(prefix) == Some(name);
        // The last one: a letter that failed again has them added anew.
        headers.iter().rev().find(is_it).and_then(|(_, value)| *value)
    };
    let text = |connect: &str, spring: &str| {
        let value = find(CONNECT, connect).or_else(|| find(SPRING, spring))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let digits = |name: &str| std::str::from_utf8(find(CONNECT, name)?).ok()?.parse::<i64>().ok();
    let spring = |name: &str| find(SPRING, name);
    let field = text("field", "field");
    Origin {
        topic: text("topic", "original-topic"),
        partition: (digits("partition").and_then(|number| i32::try_from(number).ok()))
            .or_else(|| Some(i32::from_be_bytes(spring("original-partition")?.try_into().ok()?))),
        offset: digits("offset")
            .or_else(|| Some(i64::from_be_bytes(spring("original-offset")?.try_into().ok()?))),
        group: text("connector.name", "original-consumer-group"),
        class: text("exception.class.name", "exception-cause-fqcn")
            .or_else(|| text("exception.class.name", "exception-fqcn")),
        reason: text("exception.message", "exception-message").map(|reason| {
            let begins = field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
            reason.strip_prefix(&begins).map(str::to_owned).unwrap_or(reason)
        }),
        field,
    }
}

/// Whether a header tells of the failure, and is no part of the record itself.
pub fn is_about_failure(name: &str) -> bool {
    name.starts_with(CONNECT) || name.starts_with(SPRING)
}

/// Whether a filter finds a letter; what the headers do not say, no filter for
/// it finds.
pub fn matches(filter: &Filter, time_ms: Option<i64>, origin: &Origin) -> bool {
    let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    let says = |part: &String| {
        let part = part.to_lowercase();
        let texts = [&origin.reason, &origin.field, &origin.class];
        texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&part))
    };
    is(&filter.topic, &origin.topic)
        && is(&filter.group, &origin.group)
        && filter.reason.as_ref().is_none_or(says)
        && filter.since_ms.is_none_or(|since| time_ms.is_some_and(|time| time >= since))
        && filter.until_ms.is_none_or(|until| time_ms.is_some_and(|time| time < until))
}

/// Reads the letters of a topic that a filter finds, and those of these places
/// only when there are any.
///
/// # Errors
/// As [`Excerpt::read`].
pub fn read(
    excerpt: &Excerpt,
    spans: &[Span],
    filter: &Filter,
    places: Option<&[(i32, i64)]>,
    stop: &Stop,
    mut take: impl FnMut(&Record<'_>, Origin) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    excerpt.read(&narrowed(spans, places), stop, |record| {
        let raw = record.raw();
        if places.is_some_and(|places| !places.contains(&(raw.partition, raw.offset))) {
            return Ok(ControlFlow::Continue(()));
        }
        let origin = origin(&record.headers());
        match matches(filter, raw.time_ms, &origin) {
            true => take(record, origin),
            false => Ok(ControlFlow::Continue(())),
        }
    })
}

/// What has to be read of each partition to see these places.
fn narrowed(spans: &[Span], places: Option<&[(i32, i64)]>) -> Vec<Span> {
    let Some(places) = places else { return spans.to_vec() };
    let narrow = |span: &Span| {
        let wanted = places.iter().filter(|(partition, _)| *partition == span.partition);
        let offsets: Vec<i64> = wanted.map(|(_, offset)| *offset).collect();
        let from = offsets.iter().min().map_or(span.end, |first| span.from.max(*first));
        let end = offsets.iter().max().map_or(span.end, |last| span.end.min(*last + 1));
        Span { from, end, ..*span }
    };
    spans.iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_headers_of_kafka_connect_are_read() {
        let headers: [(&str, Option<&[u8]>); 6] = [
            ("__connect.errors.topic", Some(b"orders")),
            ("__connect.errors.partition", Some(b"3")),
            ("__connect.errors.offset", Some(b"42")),
            ("__connect.errors.connector.name", Some(b"sink")),
            ("__connect.errors.exception.class.name", Some(b"a.DataException")),
            ("__connect.errors.exception.message", Some(b"no such field")),
        ];
        let expected = Origin {
            topic: Some("orders".into()),
            partition: Some(3),
            offset: Some(42),
            group: Some("sink".into()),
            field: None,
            class: Some("a.DataException".into()),
            reason: Some("no such field".into()),
        };
        assert_eq!(origin(&headers), expected);
    }

    #[test]
    fn the_headers_of_spring_are_read_from_their_bytes() {
        let headers: [(&str, Option<&[u8]>); 6] = [
            ("kafka_dlt-original-topic", Some(b"orders")),
            ("kafka_dlt-original-partition", Some(&[0, 0, 0, 3])),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 1, 0])),
            ("kafka_dlt-original-consumer-group", Some(b"shop")),
            ("kafka_dlt-exception-fqcn", Some(b"a.ListenerException")),
            ("kafka_dlt-exception-message", Some(b"boom")),
        ];
        let found = origin(&headers);
        assert_eq!((found.partition, found.offset), (Some(3), Some(256)));
        assert_eq!(found.class.as_deref(), Some("a.ListenerException"));
        assert_eq!((found.group.as_deref(), found.reason.as_deref()), (Some("shop"), Some("boom")));
    }

    #[test]
    fn a_filter_for_what_the_headers_do_not_say_finds_nothing() {
        let filter = Filter { topic: Some("orders".into()), ..Filter::default() };
        assert!(!matches(&filter, Some(1), &Origin::default()));
        let known = Origin { topic: Some("orders".into()), ..Origin::default() };
        assert!(matches(&filter, None, &known));
        let late = Filter { since_ms: Some(2), ..Filter::default() };
        assert!(!matches(&late, Some(1), &known) && !matches(&late, None, &known));
    }

    #[test]
    fn only_what_holds_the_places_is_read() {
        let spans = [0, 1].map(|partition| Span { partition, from: 10, end: 100 });
        let places = [(0, 50), (0, 20)];
        let expected =
            [Span { from: 20, end: 51, ..spans[0] }, Span { from: 100, end: 100, ..spans[1] }];
        assert_eq!(narrowed(&spans, Some(&places)), expected);
    }

    proptest! {
        #[test]
        fn any_header_is_read(value in prop::option::of(prop::collection::vec(any::<u8>(), 0..12))) {
            for name in ["original-partition", "original-offset", "original-topic"] {
                origin(&[(&format!("{SPRING}{name}"), value.as_deref())]);
            }
            origin(&[("__connect.errors.partition", value.as_deref())]);
        }
    }
}
