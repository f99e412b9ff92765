//! What a step makes of one record: records to be published.

use std::ops::Range;

/// Records to be published, in memory that is used again and again.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Names of topics and headers.
    names: String,
    /// Keys, payloads and values of headers.
    bytes: Vec<u8>,
    records: Vec<Kept>,
    headers: Vec<KeptHeader>,
    inherited: Inherited,
    counted: Vec<&'static str>,
}

/// The headers of the record read, which travel on; a value may be null.
pub type Inherited = Vec<(String, Option<Vec<u8>>)>;

#[derive(Debug)]
struct Kept {
    topic: Range<usize>,
    key: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    headers: Range<usize>,
}

#[derive(Debug)]
struct KeptHeader {
    name: Range<usize>,
    value: Range<usize>,
}

/// One record to be published.
#[derive(Debug, Clone)]
pub struct Output<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its key, which decides the partition.
    pub key: Option<&'a [u8]>,
    /// Its payload; none for a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Where its own headers are.
    headers: Range<usize>,
}

impl Outgoing {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.names.clear();
        self.bytes.clear();
        self.records.clear();
        self.headers.clear();
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

    /// Adds a record with its own headers; one without a payload is a tombstone.
    pub fn push(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let first = self.headers.len();
        for (name, value) in headers {
            let (name, value) = (self.keep_name(name), self.keep(value));
            self.headers.push(KeptHeader { name, value });
        }
        let kept = Kept {
            topic: self.keep_name(topic),
            key: key.map(|key| self.keep(key)),
            payload: payload.map(|payload| self.keep(payload)),
            headers: first..self.headers.len(),
        };
        self.records.push(kept);
    }

    fn keep_name(&mut self, name: &str) -> Range<usize> {
        let start = self.names.len();
        self.names.push_str(name);
        start..self.names.len()
    }

    fn keep(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records in the order they were added.
    pub fn records(&self) -> impl Iterator<Item = Output<'_>> {
        self.records.iter().map(|kept| Output {
            topic: &self.names[kept.topic.clone()],
            key: kept.key.clone().map(|key| &self.bytes[key]),
            payload: kept.payload.clone().map(|payload| &self.bytes[payload]),
            headers: kept.headers.clone(),
        })
    }

    /// All headers of a record: its own, then those it inherits. None are null but
    /// inherited ones.
    pub fn headers<'o>(
        &'o self,
        output: &Output<'o>,
    ) -> impl Iterator<Item = (&'o str, Option<&'o [u8]>)> {
        let own = || {
            let kept = self.headers[output.headers.clone()].iter();
            kept.map(|one| (&self.names[one.name.clone()], &self.bytes[one.value.clone()]))
        };
        let is_other =
            move |(name, _): &&(String, Option<Vec<u8>>)| own().all(|(own, _)| own != name);
        let inherited = self.inherited.iter().filter(is_other);
        own()
            .map(|(name, value)| (name, Some(value)))
            .chain(inherited.map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    /// As many headers as a record may have, or some more.
    pub fn headers_max(&self, output: &Output<'_>) -> usize {
        output.headers.len() + self.inherited.len()
    }

    /// Bytes of all records, with the headers they do not inherit.
    pub fn size(&self) -> usize {
        self.names.len() + self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(outgoing: &Outgoing, output: &Output<'_>) -> Vec<(String, Option<Vec<u8>>)> {
        let owned = |(name, value): (&str, Option<&[u8]>)| (name.into(), value.map(<[u8]>::to_vec));
        outgoing.headers(output).map(owned).collect()
    }

    #[test]
    fn what_was_put_in_comes_out_in_order() {
        let mut outgoing = Outgoing::default();
        outgoing.push("a", Some(b"k"), Some(b"one"), &[]);
        outgoing.push("b", None, Some(b""), &[("h", b"v"), ("i", b"")]);
        outgoing.push("c", Some(b""), None, &[("h", b"w")]);
        let out: Vec<_> = outgoing.records().collect();
        assert_eq!(outgoing.len(), 3);
        assert_eq!((out[0].topic, out[0].key), ("a", Some(&b"k"[..])));
        assert_eq!(out[0].payload, Some(&b"one"[..]));
        assert_eq!((out[1].topic, out[1].key, out[1].payload), ("b", None, Some(&b""[..])));
        assert_eq!((out[2].topic, out[2].key, out[2].payload), ("c", Some(&b""[..]), None));
        assert_eq!(headers(&outgoing, &out[0]), []);
        let own = [("h".into(), Some(b"v".to_vec())), ("i".into(), Some(Vec::new()))];
        assert_eq!(headers(&outgoing, &out[1]), own);
        assert_eq!(headers(&outgoing, &out[2]), [("h".into(), Some(b"w".to_vec()))]);
        outgoing.clear();
        assert!(outgoing.is_empty() && outgoing.records().next().is_none());
        assert_eq!(outgoing.size(), 0);
    }

    #[test]
    fn a_record_inherits_the_headers_that_it_has_not_itself() {
        let mut outgoing = Outgoing::default();
        outgoing.push("a", None, None, &[("city", b"Ulm")]);
        outgoing.push("b", None, None, &[]);
        let city = ("city".to_owned(), Some(b"Bonn".to_vec()));
        let null = ("null".to_owned(), None);
        outgoing.inherit(vec![city.clone(), null.clone()]);
        let out: Vec<_> = outgoing.records().collect();
        let own = ("city".to_owned(), Some(b"Ulm".to_vec()));
        assert_eq!(headers(&outgoing, &out[0]), [own, null.clone()]);
        assert_eq!(headers(&outgoing, &out[1]), [city, null]);
    }
}
