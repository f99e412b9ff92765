//! How much the topics take on the brokers' disks. librdkafka cannot ask for it, so
//! this one question goes over a connection of our own: DescribeLogDirs, version 1,
//! which all brokers from Kafka 2.0 on know (kafka.apache.org/protocol, key 35).
//!
//! Sizes are an extra. Who does not tell them, or wants a login by SASL first, which
//! is not spoken here, has none.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::offsets::Place;
use super::overview::Broker;
use crate::config::KafkaSettings;
use crate::edges::handshake::{Opening, call, shake_hands};
use crate::edges::trust::Trust;
use crate::stop::Stop;

/// How long a broker that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes: some 500,000 partitions.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
const DESCRIBE_LOG_DIRS: i16 = 35;
const VERSION: i16 = 1;
const CLIENT: &str = "orderctl";

/// Bytes on disk by partition.
pub type Bytes = BTreeMap<Place, u64>;

/// Asks brokers how much they hold.
pub struct Sizes {
    security: Security,
    /// Brokers that did not answer, and when.
    silent: BTreeMap<i32, Instant>,
}

/// How a connection begins.
enum Security {
    Plain,
    Tls(Box<Trust>),
    /// In a way that is not spoken here.
    Other,
}

impl Sizes {
    /// Nothing is contacted yet.
    pub fn new(settings: &KafkaSettings) -> Sizes {
        let protocol = settings.get("security.protocol").unwrap_or("plaintext");
        let security = match protocol.to_ascii_lowercase().as_str() {
            "plaintext" => Security::Plain,
            "ssl" => Trust::of_kafka(settings)
                .map_or(Security::Other, |trust| Security::Tls(Box::new(trust))),
            _ => Security::Other,
        };
        Sizes { security, silent: BTreeMap::new() }
    }

    /// What each broker holds, of those that tell; one that does not answer may take
    /// some seconds, once a minute.
    pub fn ask(&mut self, brokers: &[Broker], stop: &Stop) -> BTreeMap<i32, Bytes> {
        let mut told = BTreeMap::new();
        for broker in brokers {
            let is_silent = self.silent.get(&broker.id).is_some_and(|at| at.elapsed() < SILENCE);
            if is_silent || stop.requested() {
                continue;
            }
            match self.ask_one(broker) {
                Some(bytes) => drop(told.insert(broker.id, bytes)),
                None => drop(self.silent.insert(broker.id, Instant::now())),
            }
        }
        told
    }

    fn ask_one(&self, broker: &Broker) -> Option<Bytes> {
        let address = match broker.host.contains(':') {
            true => format!("[{}]:{}", broker.host, broker.port),
            false => format!("{}:{}", broker.host, broker.port),
        };
        let answer = match &self.security {
            Security::Plain => exchange(&mut call(&address).ok()?),
            Security::Tls(trust) => {
                let (shown, mut connection) = shake_hands(&address, Opening::AtOnce, trust).ok()?;
                if shown.distrust.is_some() {
                    return None;
                }
                exchange(&mut connection)
            }
            Security::Other => return None,
        };
        parse(&answer.ok()?)
    }
}

/// Sends the question and reads the answer, without its length.
fn exchange(stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
    stream.write_all(&question())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The question for all topics, behind its length.
fn question() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(DESCRIBE_LOG_DIRS.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    // The number that the answer repeats; it is the only one on its connection.
    body.extend(0_i32.to_be_bytes());
    body.extend((CLIENT.len() as i16).to_be_bytes());
    body.extend(CLIENT.as_bytes());
    // No list of topics: all.
    body.extend((-1_i32).to_be_bytes());
    let mut question = (body.len() as i32).to_be_bytes().to_vec();
    question.extend(body);
    question
}

/// What stands in an answer; none when it is none, or names nothing, as to a login
/// that may not ask.
fn parse(answer: &[u8]) -> Option<Bytes> {
    let mut rest = Rest(answer);
    let (_number, _throttle_ms) = (rest.int32()?, rest.int32()?);
    let mut bytes = Bytes::new();
    for _directory in 0..rest.int32()? {
        let (_error, _path) = (rest.int16()?, rest.text()?);
        for _topic in 0..rest.int32()? {
            let topic = rest.text()?;
            for _partition in 0..rest.int32()? {
                let partition = rest.int32()?;
                let (size, _lag, [is_future]) = (rest.int64()?, rest.int64()?, rest.take()?);
                // One that is on its way to another directory is there twice.
                if is_future == 0 {
                    bytes.insert((topic.to_owned(), partition), u64::try_from(size).ok()?);
                }
            }
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// What is left of an answer; all numbers are big-endian.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.int16()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of one directory, as a broker writes it.
    fn answer(partitions: &[(i32, i64, u8)]) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat();
        let mut answer = [[0; 4], [0; 4], 1_i32.to_be_bytes()].concat();
        answer
            .extend([&[0, 0][..], &text("/data"), &1_i32.to_be_bytes(), &text("orders")].concat());
        answer.extend((partitions.len() as i32).to_be_bytes());
        for (partition, size, is_future) in partitions {
            answer.extend(partition.to_be_bytes());
            answer.extend(size.to_be_bytes());
            answer.extend([0; 8]);
            answer.push(*is_future);
        }
        answer
    }

    #[test]
    fn an_answer_names_bytes_by_partition_but_not_those_of_copies_under_way() {
        let told = parse(&answer(&[(0, 17, 0), (3, 5_000_000_000, 0), (3, 4, 1)])).unwrap();
        let place = |partition| ("orders".to_owned(), partition);
        assert_eq!(told, Bytes::from([(place(0), 17), (place(3), 5_000_000_000)]));
    }

    #[test]
    fn an_answer_that_ends_early_or_names_nothing_tells_nothing() {
        let whole = answer(&[(0, 17, 0), (1, 18, 0)]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(parse(&answer(&[])), None);
        assert_eq!(parse(&answer(&[(0, -1, 0)])), None);
    }
}
