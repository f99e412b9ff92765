//! How much the topics take on the brokers' disks. librdkafka cannot ask for it, so
//! this one question goes over a connection of our own. Sizes are an extra: who does
//! not tell them, or wants a login of a kind that is not spoken here, has none.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::offsets::Place;
use super::overview::Broker;
use super::sasl::Login;
use super::wire::{Api, Rest, exchange};
use crate::config::KafkaSettings;
use crate::edges::handshake::{Opening, call, shake_hands};
use crate::edges::trust::Trust;
use crate::stop::Stop;

/// How long a broker that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(60);
/// All brokers from Kafka 2.0 on know it.
const DESCRIBE_LOG_DIRS: Api = Api { key: 35, version: 1 };
/// Instead of a list of topics: all.
const ALL_TOPICS: [u8; 4] = (-1_i32).to_be_bytes();

/// Bytes on disk by partition.
pub type Bytes = BTreeMap<Place, u64>;

/// Asks brokers how much they hold.
pub struct Sizes {
    /// None when it cannot be spoken here.
    security: Option<Security>,
    /// Brokers that did not answer, and when.
    silent: BTreeMap<i32, Instant>,
}

/// How a connection begins.
struct Security {
    tls: Option<Trust>,
    login: Option<Login>,
}

impl Security {
    fn of(settings: &KafkaSettings) -> Option<Security> {
        let protocol = settings.get("security.protocol").unwrap_or("plaintext");
        let (has_tls, has_login) = match protocol.to_ascii_lowercase().as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return None,
        };
        let tls = if has_tls { Some(Trust::of_kafka(settings).ok()?) } else { None };
        let login = if has_login { Some(Login::of(settings)?) } else { None };
        Some(Security { tls, login })
    }
}

impl Sizes {
    /// Nothing is contacted yet.
    pub fn new(settings: &KafkaSettings) -> Sizes {
        Sizes { security: Security::of(settings), silent: BTreeMap::new() }
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
        let Security { tls, login } = self.security.as_ref()?;
        let Some(trust) = tls else {
            return ask_over(&mut call(&address).ok()?, login.as_ref());
        };
        let (shown, mut connection) = shake_hands(&address, Opening::AtOnce, trust).ok()?;
        if shown.distrust.is_some() {
            return None;
        }
        ask_over(&mut connection, login.as_ref())
    }
}

fn ask_over(stream: &mut (impl Read + Write), login: Option<&Login>) -> Option<Bytes> {
    if let Some(login) = login {
        login.log_in(stream)?;
    }
    parse(&exchange(stream, DESCRIBE_LOG_DIRS, &ALL_TOPICS).ok()?)
}

/// What stands in an answer; none when it is none, or names nothing, as to a login
/// that may not ask.
fn parse(answer: &[u8]) -> Option<Bytes> {
    let mut rest = Rest(answer);
    let _throttle_ms = rest.int32()?;
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

#[cfg(test)]
mod tests {
    use super::super::wire::text;
    use super::*;

    /// An answer of one directory, as a broker writes it.
    fn answer(partitions: &[(i32, i64, u8)]) -> Vec<u8> {
        let mut answer = [[0; 4], 1_i32.to_be_bytes()].concat();
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
