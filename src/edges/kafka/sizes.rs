//! How much the topics take on the brokers' disks. librdkafka cannot ask for it, so
//! this one question goes over a connection of our own. Sizes are an extra: who does
//! not tell them, or wants a login of a kind that is not spoken here, has none.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::offsets::Place;
use super::overview::Broker;
use super::sasl::Login;
use super::wire::{Api, Rest, exchange};
use crate::config::address::join_address;
use crate::config::{KafkaSettings, SecurityProtocol};
use crate::console::Console;
use crate::edges::handshake::{Opening, call, shake_hands};
use crate::edges::trust::Trust;
use crate::stop::Stop;

/// How long all brokers together may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How often a stop is looked for meanwhile.
const SLICE: Duration = Duration::from_millis(50);
/// How long an answer holds: sizes change slowly, and each question is a login.
const AGE: Duration = Duration::from_secs(10);
/// How long a broker that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(60);
/// All brokers from Kafka 2.0 on know it.
const DESCRIBE_LOG_DIRS: Api = Api { key: 35, version: 1 };
/// Instead of a list of topics: all.
const ALL_TOPICS: [u8; 4] = (-1_i32).to_be_bytes();

/// Bytes on disk by partition.
type Bytes = BTreeMap<Place, u64>;

/// Asks brokers how much they hold.
pub struct Sizes {
    console: Console,
    security: Arc<anyhow::Result<Security>>,
    /// What each broker answered, if it did, and when.
    asked: BTreeMap<i32, (Instant, Option<Bytes>)>,
}

/// How a connection begins.
struct Security {
    tls: Option<Trust>,
    login: Option<Login>,
}

impl Security {
    fn of(settings: &KafkaSettings) -> anyhow::Result<Security> {
        let protocol = settings.get("security.protocol").unwrap_or("plaintext");
        let protocol = SecurityProtocol::parse(protocol).context("an unknown protocol")?;
        let tls = protocol.has_tls().then(|| Trust::of_kafka(settings)).transpose()?;
        let login = protocol.has_login().then(|| Login::of(settings)).transpose()?;
        Ok(Security { tls, login })
    }

    fn ask(&self, address: &str) -> anyhow::Result<Bytes> {
        let Some(trust) = &self.tls else {
            return ask_over(&mut call(address)?, self.login.as_ref());
        };
        let (shown, mut connection) = shake_hands(address, Opening::AtOnce, trust)?;
        match shown.fault(address, trust) {
            None => ask_over(&mut connection, self.login.as_ref()),
            // Not told anything, least of all a password.
            Some(fault) => bail!(fault),
        }
    }
}

impl Sizes {
    /// Nothing is contacted yet.
    pub fn new(settings: &KafkaSettings, console: &Console) -> Sizes {
        let security = Arc::new(Security::of(settings));
        Sizes { console: console.clone(), security, asked: BTreeMap::new() }
    }

    /// Asks those whose last answer is more than 10 s old. Takes 5 s at most; who has
    /// not answered then is not asked for a minute.
    pub fn ask(&mut self, brokers: &[Broker], stop: &Stop) {
        let is_known = |broker: &&Broker| {
            let asked = self.asked.get(&broker.id);
            asked
                .is_some_and(|(at, told)| at.elapsed() < if told.is_some() { AGE } else { SILENCE })
        };
        let (_, due): (Vec<&Broker>, _) = brokers.iter().partition(is_known);
        let answers = self.question(&due);
        let deadline = Instant::now() + LIMIT;
        let mut told = BTreeMap::new();
        while told.len() < due.len() && Instant::now() < deadline && !stop.requested() {
            match answers.recv_timeout(SLICE) {
                Ok((id, answer)) => drop(told.insert(id, answer)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for broker in due {
            let answer = told.remove(&broker.id).unwrap_or_else(|| bail!("no answer in time"));
            if let Err(why) = &answer {
                let (id, host) = (broker.id, &broker.host);
                self.console.detail(format!("no sizes from broker {id} at {host}: {why:#}"));
            }
            self.asked.insert(broker.id, (Instant::now(), answer.ok()));
        }
    }

    /// What a broker holds of a partition, as far as it has told.
    pub fn on(&self, broker: i32, place: &Place) -> Option<u64> {
        let (_, told) = self.asked.get(&broker)?;
        told.as_ref()?.get(place).copied()
    }

    /// Asks brokers, each on a thread of its own: names are looked up without a limit
    /// of time. Who answers too late ends with the process.
    fn question(&self, brokers: &[&Broker]) -> Receiver<(i32, anyhow::Result<Bytes>)> {
        let (sender, answers) = mpsc::channel();
        for broker in brokers {
            let (sender, security) = (sender.clone(), Arc::clone(&self.security));
            let (id, address) = (broker.id, join_address(&broker.host, broker.port));
            std::thread::spawn(move || {
                let answer = match &*security {
                    Ok(security) => security.ask(&address),
                    Err(why) => Err(anyhow::anyhow!("{why:#}")),
                };
                // The receiver is gone when it took too long.
                let _ = sender.send((id, answer));
            });
        }
        answers
    }
}

fn ask_over(stream: &mut (impl Read + Write), login: Option<&Login>) -> anyhow::Result<Bytes> {
    if let Some(login) = login {
        login.log_in(stream)?;
    }
    let answer = exchange(stream, DESCRIBE_LOG_DIRS, &ALL_TOPICS)?;
    let (directories, bytes) = parse(&answer).context("an answer that is none")?;
    ensure!(directories > 0, "this login may not describe the cluster");
    Ok(bytes)
}

/// How many directories stand in an answer, and what is in them; none when it is no
/// answer.
fn parse(answer: &[u8]) -> Option<(i32, Bytes)> {
    let mut rest = Rest(answer);
    let _throttle_ms = rest.int32()?;
    let directories = rest.int32()?;
    let mut bytes = Bytes::new();
    for _directory in 0..directories {
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
    Some((directories, bytes))
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
        assert_eq!(told, (1, Bytes::from([(place(0), 17), (place(3), 5_000_000_000)])));
        assert_eq!(parse(&answer(&[])), Some((1, Bytes::new())));
    }

    #[test]
    fn an_answer_that_ends_early_or_has_an_impossible_size_is_none() {
        let whole = answer(&[(0, 17, 0), (1, 18, 0)]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(parse(&answer(&[(0, -1, 0)])), None);
    }
}
