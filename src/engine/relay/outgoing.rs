//! What a step makes of one record: records to be published.

use std::ops::Range;

/// Records to be published, in memory that is used again and again.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    records: Vec<Kept>,
    inherited: Inherited,
    counted: Vec<&'static str>,
}

/// The headers of a record, in order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// The headers of the record read, which travel on; a value may be null.
pub type Inherited = Vec<(String, Option<Vec<u8>>)>;

#[derive(Debug)]
struct Kept {
    topic: Range<usize>,
    key: Option<Range<usize>>,
    payload: Range<usize>,
    is_tombstone: bool,
    headers: Headers,
}

/// One record to be published.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its key, which decides the partition.
    pub key: Option<&'a [u8]>,
    /// Its payload; empty for a tombstone.
    pub payload: &'a [u8],
    /// Whether its payload is null.
    pub is_tombstone: bool,
    /// Its headers.
    pub headers: &'a Headers,
}

impl Outgoing {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.inherited.clear();
        self.counted.clear();
    }

    /// Counts something of this record by a name of the stage's own; it counts
    /// once the record's transaction is committed.
    pub fn count(&mut self, name: &'static str) {
        self.counted.push(name);
    }

    /// What was counted.
    pub fn counted(&self) -> &[&'static str] {
        &self.counted
    }

    /// Lets headers travel on with every record, but for those of which it has one
    /// of the same name.
    pub fn inherit(&mut self, headers: Inherited) {
        self.inherited = headers;
    }

    /// All headers of a record: its own, then those it inherits. None are null but
    /// inherited ones.
    pub fn headers<'o>(
        &'o self,
        output: &Output<'o>,
    ) -> impl Iterator<Item = (&'o str, Option<&'o [u8]>)> {
        let own = output.headers;
        let is_other =
            move |(name, _): &&(String, Option<Vec<u8>>)| own.iter().all(|(own, _)| own != name);
        let own = own.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
        let inherited = self.inherited.iter().filter(is_other);
        own.chain(inherited.map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    /// Adds a tombstone: a record whose payload is null.
    pub fn push_tombstone(&mut self, topic: &str, key: Option<&[u8]>, headers: Headers) {
        self.push(topic, key, &[], headers);
        if let Some(record) = self.records.last_mut() {
            record.is_tombstone = true;
        }
    }

    /// Adds a record.
    pub fn push(&mut self, topic: &str, key: Option<&[u8]>, payload: &[u8], headers: Headers) {
        let mut keep = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        let kept = Kept {
            topic: keep(topic.as_bytes()),
            key: key.map(&mut keep),
            payload: keep(payload),
            is_tombstone: false,
            headers,
        };
        self.records.push(kept);
    }

    /// The records in the order they were added.
    pub fn records(&self) -> impl Iterator<Item = Output<'_>> {
        self.records.iter().map(|kept| Output {
            // It was put in as text.
            topic: std::str::from_utf8(&self.bytes[kept.topic.clone()]).unwrap_or_default(),
            key: kept.key.clone().map(|key| &self.bytes[key]),
            payload: &self.bytes[kept.payload.clone()],
            is_tombstone: kept.is_tombstone,
            headers: &kept.headers,
        })
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_order() {
        let mut outgoing = Outgoing::default();
        outgoing.push("a", Some(b"k"), b"one", Headers::new());
        outgoing.push("b", None, b"", vec![("h".into(), b"v".to_vec())]);
        let out: Vec<_> = outgoing.records().collect();
        assert_eq!((out[0].topic, out[0].key, out[0].payload), ("a", Some(&b"k"[..]), &b"one"[..]));
        assert_eq!((out[1].topic, out[1].key, out[1].payload), ("b", None, &b""[..]));
        assert_eq!(out[1].headers[0].1, b"v");
        outgoing.clear();
        assert_eq!(outgoing.records().count(), 0);
    }
}
