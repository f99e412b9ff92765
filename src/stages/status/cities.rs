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
    cities: BTreeSet<String>,
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

    /// The topics of cities with the cities that their last records name.
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
        self.read(unread)?;
        Ok(wanted.into_iter().map(|topic| self.line(topic, ends)).collect())
    }

    fn read(&mut self, unread: BTreeMap<&str, Vec<Span>>) -> anyhow::Result<()> {
        let spans: Vec<(&str, &[Span])> =
            unread.iter().map(|(topic, spans)| (*topic, spans.as_slice())).collect();
        let mut found: BTreeMap<&str, BTreeSet<String>> =
            unread.keys().map(|topic| (*topic, BTreeSet::new())).collect();
        if !spans.is_empty() {
            let Context { console, stop, .. } = self.context;
            let reader = Reader::new(self.settings, Isolation::Committed, console)?;
            reader.read(&spans, stop, |record| {
                let headers = record.headers();
                let city = headers.iter().find(|(name, _)| *name == CITY_HEADER);
                let city = city.and_then(|(_, value)| *value).map(String::from_utf8_lossy);
                if let (Some(city), Some(cities)) = (city, found.get_mut(record.topic()))
                    && cities.len() < CITIES_MAX
                {
                    cities.insert(city.into_owned());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for (topic, mut cities) in found {
            // What it said before still holds.
            if let Some(before) = self.known.remove(topic) {
                let room = CITIES_MAX.saturating_sub(cities.len());
                cities.extend(before.cities.into_iter().take(room));
            }
            let spans = unread.get(topic).cloned().unwrap_or_default();
            self.known.insert(topic.to_owned(), Known { spans, cities });
        }
        Ok(())
    }

    fn line(&self, topic: &Topic, ends: &Ends) -> CityLine {
        let known = self.known.get(&topic.name);
        let end = |place| ends.get(&place).map(|(low, high)| high - low);
        CityLine {
            topic: topic.name.clone(),
            cities: known.map(|known| known.cities.iter().cloned().collect()).unwrap_or_default(),
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
