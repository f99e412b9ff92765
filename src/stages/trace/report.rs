//! Where an id was found and where it was looked for, and how both are shown.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::console::{columns, escaped, plural, rfc3339};

/// A place on the way of an event, in the order of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Where it was first published.
    Source,
    /// In a topic that has no meaning of its own here.
    Record,
    /// Enriched by a time or by tags.
    Enriched,
    /// In a table.
    Row,
    /// In the topic of its city.
    City,
    /// For the analysis.
    Analysis,
    /// Paid.
    Confirmed,
    /// Not paid.
    Declined,
    /// A mail about it.
    Mail,
    /// Rejected.
    DeadLetter,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Source => "source",
            Stage::Record => "record",
            Stage::Enriched => "enriched",
            Stage::Row => "row",
            Stage::City => "city",
            Stage::Analysis => "analysis",
            Stage::Confirmed => "confirmed",
            Stage::Declined => "declined",
            Stage::Mail => "mail",
            Stage::DeadLetter => "dead-letter",
        }
    }

    /// Whether it may have been published there by another program than this one.
    pub fn is_origin(self) -> bool {
        matches!(self, Stage::Source | Stage::Record)
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Where the event is; what does not apply is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    pub stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The number of a dead letter of the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letter: Option<i64>,
    /// RFC 3339 in UTC.
    pub time: Option<String>,
    /// Since the place before that has a time.
    pub after_ms: Option<i64>,
    /// What else is known: the city, the payment, the reason.
    pub detail: Option<String>,
    /// The time in milliseconds since 1970 UTC.
    #[serde(skip)]
    pub time_ms: Option<i64>,
}

impl Place {
    /// A place with nothing but its stage and time.
    pub fn new(stage: Stage, time_ms: Option<i64>) -> Place {
        Place {
            stage,
            topic: None,
            partition: None,
            offset: None,
            table: None,
            letter: None,
            time: time_ms.and_then(rfc3339),
            after_ms: None,
            detail: None,
            time_ms,
        }
    }

    fn whereabouts(&self) -> String {
        let record = self.topic.as_ref().map(|topic| {
            let number = |number: Option<String>| number.unwrap_or_else(|| "-".into());
            format!(
                "{topic}/{}/{}",
                number(self.partition.map(|partition| partition.to_string())),
                number(self.offset.map(|offset| offset.to_string()))
            )
        });
        let letter = self.letter.map(|letter| format!("letter {letter}"));
        let parts = [letter, self.table.clone(), record].into_iter().flatten();
        parts.collect::<Vec<_>>().join(" of ")
    }
}

/// Where it was looked in a topic.
#[derive(Debug, Clone, Serialize)]
pub struct Looked {
    pub topic: String,
    /// The partitions that were read, of so many.
    pub partitions: Vec<i32>,
    pub partition_count: usize,
    /// Whether only the partition that the id belongs to as a key was read.
    pub by_key: bool,
    /// The time that reading began at, RFC 3339 in UTC.
    pub since: Option<String>,
    pub records_read: u64,
    /// Offsets of the same partitions that were not looked at.
    pub not_looked_at: u64,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partitions.as_slice() {
            [one] if self.partition_count > 1 => {
                write!(f, "partition {one} of {}", self.partition_count)?;
            }
            some => f.write_str(&plural(some.len() as u64, "partition"))?,
        }
        if let Some(since) = &self.since {
            write!(f, " from {since} on")?;
        }
        write!(f, ", {} read", plural(self.records_read, "record"))?;
        match self.not_looked_at {
            0 => Ok(()),
            some => write!(f, ", {some} not looked at"),
        }
    }
}

/// Everything that came out.
#[derive(Debug, Serialize)]
pub struct Trace {
    pub id: String,
    /// The time that a UUIDv7 has in it, RFC 3339 in UTC.
    pub id_time: Option<String>,
    pub found: bool,
    pub places: Vec<Place>,
    /// From the first time to the last.
    pub total_ms: Option<i64>,
    pub looked: Vec<Looked>,
    /// Tables, letters and mails that were looked at.
    pub looked_in_database: Vec<String>,
    /// What was not looked at, and why.
    pub not_looked: Vec<String>,
}

impl Trace {
    /// Puts places in the order of their times, those without one behind.
    pub fn new(id: &str, id_time_ms: Option<i64>, mut places: Vec<Place>) -> Trace {
        places.sort_by_key(|one| (one.time_ms.is_none(), one.time_ms, one.stage));
        let times: Vec<Option<i64>> = places.iter().map(|one| one.time_ms).collect();
        for (at, place) in places.iter_mut().enumerate().skip(1) {
            place.after_ms = times[at].zip(times[at - 1]).map(|(now, before)| now - before);
        }
        let first = times.first().copied().flatten();
        let last = times.iter().copied().flatten().next_back();
        Trace {
            id: id.to_owned(),
            id_time: id_time_ms.and_then(rfc3339),
            found: !places.is_empty(),
            total_ms: first.zip(last).map(|(first, last)| last - first),
            places,
            looked: Vec::new(),
            looked_in_database: Vec::new(),
            not_looked: Vec::new(),
        }
    }
}

/// `+0.125 s`, `+2 min 3 s`.
fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..60 => format!("+{}.{:03} s", seconds, ms % 1000),
        60..3600 => format!("+{} min {} s", seconds / 60, seconds % 60),
        _ => format!("+{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = vec![vec!["id".to_owned(), self.id.clone()]];
        head.extend(self.id_time.clone().map(|time| vec!["made".to_owned(), time]));
        head.extend(self.total_ms.map(|ms| vec!["in all".to_owned(), span(ms)]));
        let mut text = columns(&head);
        text.push_str("\n\n");
        if self.places.is_empty() {
            text.push_str("found nowhere");
        } else {
            let heading = ["stage", "where", "time", "after", "detail"];
            let mut rows = vec![heading.map(str::to_owned).to_vec()];
            rows.extend(self.places.iter().map(|one| {
                let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
                vec![
                    one.stage.name().to_owned(),
                    one.whereabouts(),
                    or_dash(one.time.clone()),
                    or_dash(one.after_ms.map(span)),
                    one.detail.clone().unwrap_or_default().replace(['\n', '\t'], " "),
                ]
            }));
            text.push_str(&columns(&rows));
        }
        let mut rows: Vec<Vec<String>> = (self.looked.iter())
            .map(|one| vec!["looked in".to_owned(), one.topic.clone(), one.to_string()])
            .collect();
        rows.extend(
            self.looked_in_database.iter().map(|one| vec!["looked in".to_owned(), one.clone()]),
        );
        if !rows.is_empty() {
            text.push_str(&format!("\n\n{}", columns(&rows)));
        }
        for not_looked in &self.not_looked {
            text.push_str(&format!("\nnot looked in {not_looked}"));
        }
        f.write_str(&escaped(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_in_the_order_of_time_with_the_time_between_them() {
        let row = Place { table: Some("public.orders".into()), ..Place::new(Stage::Row, None) };
        let city = Place::new(Stage::City, Some(62_500));
        let source = Place::new(Stage::Source, Some(1_000));
        let trace = Trace::new("a", None, vec![row, city, source]);
        let stages: Vec<Stage> = trace.places.iter().map(|one| one.stage).collect();
        assert_eq!(stages, [Stage::Source, Stage::City, Stage::Row]);
        let after: Vec<Option<i64>> = trace.places.iter().map(|one| one.after_ms).collect();
        assert_eq!(after, [None, Some(61_500), None]);
        assert_eq!(trace.total_ms, Some(61_500));
        let text = trace.to_string();
        assert!(text.contains("+1 min 1 s") && text.contains("public.orders"), "{text}");
    }

    #[test]
    fn what_was_not_found_says_where_it_was_looked() {
        let mut trace = Trace::new("a", None, Vec::new());
        trace.looked.push(Looked {
            topic: "t".into(),
            partitions: vec![2],
            partition_count: 3,
            by_key: true,
            since: None,
            records_read: 1,
            not_looked_at: 7,
        });
        trace.not_looked.push("the database: none is named".into());
        let text = trace.to_string();
        assert!(text.contains("found nowhere") && !trace.found, "{text}");
        assert!(text.contains("partition 2 of 3, 1 record read, 7 not looked at"), "{text}");
        assert!(text.ends_with("not looked in the database: none is named"), "{text}");
    }

    #[test]
    fn spans_of_time_have_units_that_fit() {
        assert_eq!(span(125), "+0.125 s");
        assert_eq!(span(59_999), "+59.999 s");
        assert_eq!(span(123_000), "+2 min 3 s");
        assert_eq!(span(7_260_000), "+2 h 1 min");
    }
}
