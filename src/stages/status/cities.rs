//! Which city has which topic, as the headers of its records say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::look::Ends;
use super::report::CityLine;
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::excerpt::{Isolation, Reader, Span};
use crate::edges::kafka::overview::Topic;
use crate::stages::route_cities::{CITY_HEADER, city};

/// How far back from its end each partition is read, in offsets.
const OFFSETS_MAX: i64 = 100;
/// How many cities of one topic are named.
const CITIES_MAX: usize = 20;

/// Reads the cities of topics, and those of a topic again only when it has more.
pub struct Cities<'a> {
    prefix: &'a str,
    settings: &'a KafkaSettings,
    context: &'a Context,
    known: BTreeMap<String, Known>,
}

/// What was found in a topic that ended there.
struct Known {
    spans: Vec<Span>,
    names: Names,
    /// Whether there were records that nobody read.
    is_sample: bool,
}

/// The cities of one topic, as many as are named.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    cities: BTreeSet<String>,
    is_cut: bool,
}

impl Names {
    fn add(&mut self, city: String) {
        match self.cities.len() < CITIES_MAX || self.cities.contains(&city) {
            true => drop(self.cities.insert(city)),
            false => self.is_cut = true,
        }
    }
}

impl<'a> Cities<'a> {
    /// Knows nothing yet.
    pub fn new(prefix: &'a str, settings: &'a KafkaSettings, context: &'a Context) -> Cities<'a> {
        Cities { prefix, settings, context, known: BTreeMap::new() }
    }

    /// Whether this is the topic of a city.
    pub fn has(&self, topic: &str) -> bool {
        city::is_topic(self.prefix, topic)
    }

    /// The topics of cities with the cities that their last records name, and whether
    /// there may be others.
    ///
    /// # Errors
    /// When the topics cannot be read, or a stop is requested.
    pub fn look(&mut self, topics: &[Topic], ends: &Ends) -> anyhow::Result<Vec<CityLine>> {
        let wanted: Vec<&Topic> = topics.iter().filter(|topic| self.has(&topic.name)).collect();
        let mut unread: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for topic in &wanted {
            let spans = last_spans(topic, ends);
            if self.known.get(&topic.name).is_none_or(|known| known.spans != spans) {
                unread.insert(&topic.name, spans);
            }
        }
        self.read(unread, ends)?;
        Ok(wanted.into_iter().map(|topic| self.line(topic, ends)).collect())
    }

    fn read(&mut self, unread: BTreeMap<&str, Vec<Span>>, ends: &Ends) -> anyhow::Result<()> {
        let spans: Vec<(&str, &[Span])> =
            unread.iter().map(|(topic, spans)| (*topic, spans.as_slice())).collect();
        let mut found: BTreeMap<&str, Names> =
            unread.keys().map(|topic| (*topic, Names::default())).collect();
        if !spans.is_empty() {
            let Context { console, stop, .. } = self.context;
            let reader = Reader::new(self.settings, Isolation::Committed, console)?;
            reader.read(&spans, stop, |record| {
                let headers = record.headers();
                let city = headers.iter().find(|(name, _)| *name == CITY_HEADER);
                let city = city.and_then(|(_, value)| *value).map(String::from_utf8_lossy);
                if let (Some(city), Some(names)) = (city, found.get_mut(record.topic())) {
                    names.add(city.into_owned());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for (topic, mut names) in found {
            let before = self.known.remove(topic);
            let spans = unread.get(topic).cloned().unwrap_or_default();
            let read_before = before.as_ref().map_or(&[][..], |before| &before.spans);
            let low = |partition| ends.get(&(topic.to_owned(), partition)).map(|(low, _)| *low);
            let mut is_sample = has_gap(&spans, read_before, low);
            // What it said before still holds.
            if let Some(before) = before {
                is_sample |= before.is_sample;
                names.is_cut |= before.names.is_cut;
                before.names.cities.into_iter().for_each(|city| names.add(city));
            }
            self.known.insert(topic.to_owned(), Known { spans, names, is_sample });
        }
        Ok(())
    }

    fn line(&self, topic: &Topic, ends: &Ends) -> CityLine {
        let known = self.known.get(&topic.name);
        let end = |place| ends.get(&place).map(|(low, high)| high - low);
        CityLine {
            topic: topic.name.clone(),
            cities: known
                .map(|known| known.names.cities.iter().cloned().collect())
                .unwrap_or_default(),
            sampled: known.is_some_and(|known| known.is_sample || known.names.is_cut),
            shared: topic.name == city::overflow_topic(self.prefix),
            partition_count: topic.partitions.len(),
            records: topic.led().map(end).sum(),
        }
    }
}

fn last_spans(topic: &Topic, ends: &Ends) -> Vec<Span> {
    let span = |place: (String, i32)| {
        let (low, high) = *ends.get(&place)?;
        Some(Span { partition: place.1, from: low.max(high - OFFSETS_MAX), end: high })
    };
    topic.led().filter_map(span).collect()
}

/// Whether a partition has records before a span that were not read before either;
/// `low` is where each begins now.
fn has_gap(spans: &[Span], read_before: &[Span], low: impl Fn(i32) -> Option<i64>) -> bool {
    spans.iter().any(|span| {
        let same = read_before.iter().find(|one| one.partition == span.partition);
        let seen_to = same.map(|one| one.end).max(low(span.partition));
        seen_to.is_some_and(|seen_to| seen_to < span.from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_cities_than_are_named_are_cut_and_the_same_one_again_is_not() {
        let mut names = Names::default();
        let all = || (0..CITIES_MAX).map(|number| format!("c{number:02}"));
        all().chain(all()).for_each(|city| names.add(city));
        assert_eq!((names.cities.len(), names.is_cut), (CITIES_MAX, false));
        names.add("another".into());
        assert_eq!((names.cities.len(), names.is_cut), (CITIES_MAX, true));
    }

    #[test]
    fn a_topic_is_a_sample_when_records_of_it_were_never_read() {
        let span = |from, end| [Span { partition: 0, from, end }];
        let low = |low| move |_| Some(low);
        assert!(!has_gap(&span(5, 90), &[], low(5)), "all that there is");
        assert!(has_gap(&span(50, 150), &[], low(5)));
        assert!(!has_gap(&span(50, 150), &span(5, 60), low(5)), "the rest was read before");
        assert!(has_gap(&span(70, 170), &span(5, 60), low(5)));
        assert!(!has_gap(&span(70, 170), &span(5, 60), low(70)), "what was between is gone");
    }
}
