//! From a payload to an event: one pass over the bytes that borrows from them.
//! Only when that fails is the payload read again, slowly, to say which field
//! is at fault.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;

use super::value::Reject;

/// How deep objects and arrays may be nested, also in fields that are ignored.
const DEPTH_MAX: usize = 128;

/// Reads a payload as one JSON object.
pub(super) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Reject> {
    let text = text(payload)?;
    match serde_json::from_str::<Object<T>>(text) {
        Ok(event) => Ok(event.0),
        Err(_) => Err(explain::<T>(text)),
    }
}

/// What must hold before the parser is let loose on a payload.
fn text(payload: &[u8]) -> Result<&str, Reject> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        Reject::new("", format!("not UTF-8 from byte {}", error.valid_up_to() + 1))
    })?;
    // Counting is much cheaper than following strings, and almost always enough.
    if openers(payload) > DEPTH_MAX && depth_exceeds_max(payload) {
        return Err(Reject::new("", format!("nested more than {DEPTH_MAX} levels deep")));
    }
    Ok(text)
}

/// How many bytes open an object or an array, or would if they are in a string.
fn openers(payload: &[u8]) -> usize {
    // `[` and `{` differ in one bit. Chunks that a byte can count are what the
    // compiler turns into vector instructions.
    let in_chunk =
        |chunk: &[u8]| chunk.iter().fold(0u8, |count, byte| count + u8::from(byte | 0x20 == b'{'));
    payload.chunks(255).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

fn depth_exceeds_max(payload: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in payload {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// Reads a payload that was refused once more, to name the field and what was
/// found there.
#[cold]
fn explain<'a, T: Deserialize<'a>>(text: &'a str) -> Reject {
    if text.trim_ascii().is_empty() {
        return Reject::new("", "the payload is empty");
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let error = match serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) {
        Err(error) => error,
        Ok(_) => {
            let trailing = deserializer.end().err().map(|error| error.to_string());
            return Reject::new("", format!("not JSON: {}", trailing.unwrap_or_default()));
        }
    };
    let path = error.path().to_string();
    let error = error.into_inner();
    if error.classify() != Category::Data {
        return Reject::new("", format!("not JSON: {error}"));
    }
    let message = error.to_string();
    // The position is of use in a syntax error only.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
    let parent = if path == "." { "" } else { path.as_str() };
    if let Some(name) = named(message, "missing field `") {
        return Reject::new(join(parent, name), "is missing");
    }
    if let Some(name) = named(message, "duplicate field `") {
        return Reject::new(join(parent, name), "is there more than once");
    }
    Reject::new(parent, message)
}

fn named<'m>(message: &'m str, prefix: &str) -> Option<&'m str> {
    message.strip_prefix(prefix)?.strip_suffix('`')
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// A JSON object and nothing else: what serde derives for a struct would also
/// take an array of the fields in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}
