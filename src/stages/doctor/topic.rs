//! The checks of a topic and of a group that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::finding::{Check, Sheet, Status};
use super::hints::Provider;
use super::link::blocking;
use crate::config::KafkaSettings;
use crate::console::{Console, plural};
use crate::edges::kafka::inspect::{self, Answer, Facts, Topic};

/// A record from further in the future than this tells of a wrong clock, in
/// milliseconds.
const AHEAD_MS_MAX: i64 = 5_000;

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The topic.
    pub topic: String,
    /// The group that reads it.
    pub group: String,
    /// Whether it must be there; others are passed over when they are not.
    pub is_required: bool,
}

/// Looks at a topic and its group.
pub async fn look(
    settings: &KafkaSettings,
    wanted: &Wanted,
    provider: Option<Provider>,
    brokers: usize,
    console: &Console,
) -> Sheet {
    let mut sheet = Sheet::new("kafka");
    sheet.provider = provider;
    let Wanted { topic: name, group, is_required } = wanted;
    let (asked, topic, of, to) = (settings.clone(), name.clone(), group.clone(), console.clone());
    let facts = match blocking(move || inspect::topic(&asked, &topic, &of, &to)).await {
        Some(Ok(Topic::There(facts))) => facts,
        Some(Ok(Topic::Missing)) => {
            if *is_required {
                let text = format!(
                    "there is no topic {name}, or this login may not see it: publish to it with \
                     `orderctl produce --topic-name {name} --create-topic`, or name another with \
                     --topic-name"
                );
                sheet.failed(Check::Topic, name, text);
                sheet.skip(&[Check::Group], group, Check::Topic);
            }
            return sheet;
        }
        Some(Ok(Topic::Hidden)) => {
            if *is_required {
                let text = format!("this login may not see topic {name}: grant DESCRIBE and READ");
                sheet.failed(Check::Topic, name, text);
                sheet.skip(&[Check::Group], group, Check::Topic);
            }
            return sheet;
        }
        Some(Err(error)) => {
            sheet.failed(Check::Topic, name, format!("{error:#}: ask again with -v -v"));
            return sheet;
        }
        None => {
            sheet.failed(Check::Topic, name, "no answer in time: look at the brokers' logs");
            return sheet;
        }
    };
    // What Event Hubs does with a request that is to be refused is not known.
    let write = match provider {
        Some(Provider::EventHubs) => None,
        _ => {
            let (asked, topic, to) = (settings.clone(), name.clone(), console.clone());
            blocking(move || inspect::may_write(&asked, &topic, &to)).await
        }
    };
    note_topic(&mut sheet, name, &facts, write.as_ref(), brokers);
    note_group(&mut sheet, group, &facts.group);
    note_clock(&mut sheet, name, facts.newest_ms);
    sheet
}

fn note_topic(
    sheet: &mut Sheet,
    name: &str,
    facts: &Facts,
    write: Option<&Answer>,
    brokers: usize,
) {
    let mut faults = Vec::new();
    let mut doubts = Vec::new();
    if facts.leaderless > 0 {
        faults.push(format!(
            "{} of {} partitions have no leader: look at the brokers' logs",
            facts.leaderless, facts.partitions
        ));
    }
    match &facts.read {
        Answer::Allowed => {}
        Answer::Denied => faults.push("this login may not read it: grant READ".into()),
        Answer::Unclear(said) => faults.push(format!("it cannot be read: {said}")),
    }
    match write {
        Some(Answer::Denied) => {
            doubts.push("this login may not publish to it: grant WRITE if it is to".into());
        }
        Some(Answer::Unclear(said)) => doubts.push(format!("whether it may be published: {said}")),
        Some(Answer::Allowed) | None => {}
    }
    doubts.extend(replication(facts, brokers));
    if faults.is_empty() && doubts.is_empty() {
        let rights = if write.is_some() { "read and written" } else { "read" };
        let partitions = plural(facts.partitions as u64, "partition");
        let replicas = plural(facts.replicas as u64, "replica");
        return sheet.ok(Check::Topic, name, format!("{partitions}, {replicas}, may be {rights}"));
    }
    faults.into_iter().for_each(|fault| sheet.failed(Check::Topic, name, fault));
    doubts.into_iter().for_each(|doubt| sheet.warning(Check::Topic, name, doubt));
}

/// What replicas and `min.insync.replicas` mean for publishing.
fn replication(facts: &Facts, brokers: usize) -> Option<String> {
    let Facts { replicas, in_sync, min_in_sync, .. } = *facts;
    match min_in_sync {
        Some(min) if replicas < min => Some(format!(
            "a partition has {replicas} replicas but min.insync.replicas is {min}, so nothing can be \
             published with acks=all: raise the one or lower the other"
        )),
        Some(min) if in_sync < min => Some(format!(
            "a partition has {in_sync} replicas in step of the {min} that min.insync.replicas \
             wants, so publishing waits: look at the brokers' logs"
        )),
        Some(min) if replicas == min && min > 1 => Some(format!(
            "replicas and min.insync.replicas are both {min}, so publishing stops when one broker \
             is away: raise the replication factor"
        )),
        _ if replicas == 1 && brokers > 1 => Some(
            "its partitions have one replica, so they are lost with their broker: raise the \
             replication factor"
                .into(),
        ),
        _ => None,
    }
}

fn note_group(sheet: &mut Sheet, group: &str, answer: &Answer) {
    match answer {
        Answer::Allowed => sheet.ok(Check::Group, group, "its positions may be asked for"),
        Answer::Denied => sheet.failed(
            Check::Group,
            group,
            "this login may not use the group: grant READ on it, or name another with --group",
        ),
        Answer::Unclear(said) => {
            let text = format!("its coordinator gives no clear answer: {said}; try again later");
            sheet.warning(Check::Group, group, text);
        }
    }
}

fn note_clock(sheet: &mut Sheet, topic: &str, newest_ms: Option<i64>) {
    let Some(newest_ms) = newest_ms else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let ahead_ms = newest_ms - i64::try_from(now).unwrap_or(i64::MAX);
    match grade_clock(ahead_ms) {
        Status::Ok => {
            let text = "the newest record is not from the future; Kafka tells no time of its own";
            sheet.ok(Check::Clock, topic, text);
        }
        _ => {
            let text = format!(
                "the newest record is from {} s in the future: set the clocks of this machine, the \
                 producer and the brokers by NTP",
                ahead_ms / 1000
            );
            sheet.warning(Check::Clock, topic, text);
        }
    }
}

fn grade_clock(ahead_ms: i64) -> Status {
    if ahead_ms > AHEAD_MS_MAX { Status::Warning } else { Status::Ok }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            partitions: 6,
            leaderless: 0,
            replicas: 3,
            in_sync: 3,
            min_in_sync: Some(2),
            read: Answer::Allowed,
            group: Answer::Allowed,
            newest_ms: None,
        }
    }

    fn noted(facts: &Facts, write: Option<&Answer>, brokers: usize) -> Vec<(Status, String)> {
        let mut sheet = Sheet::new("kafka");
        note_topic(&mut sheet, "t", facts, write, brokers);
        sheet.findings.into_iter().map(|one| (one.status, one.message)).collect()
    }

    #[track_caller]
    fn assert_noted(facts: &Facts, write: Option<&Answer>, status: Status, words: &str) {
        let found = noted(facts, write, 3);
        assert!(found.iter().any(|(s, m)| *s == status && m.contains(words)), "{found:?}");
    }

    #[test]
    fn a_good_topic_is_one_line() {
        let found = noted(&facts(), Some(&Answer::Allowed), 3);
        let text = "6 partitions, 3 replicas, may be read and written".to_owned();
        assert_eq!(found, [(Status::Ok, text)]);
        assert!(noted(&facts(), None, 3)[0].1.ends_with("may be read"));
        let alone = Facts { replicas: 1, in_sync: 1, min_in_sync: Some(1), ..facts() };
        assert_eq!(noted(&alone, None, 1)[0].0, Status::Ok);
    }

    #[test]
    fn missing_rights_and_leaders_are_named_with_the_cure() {
        let denied = Answer::Denied;
        let unread = Facts { read: Answer::Denied, ..facts() };
        assert_noted(&unread, None, Status::Failed, "grant READ");
        assert_noted(&facts(), Some(&denied), Status::Warning, "grant WRITE");
        let leaderless = Facts { leaderless: 2, ..facts() };
        assert_noted(&leaderless, None, Status::Failed, "2 of 6 partitions have no leader");
        let unclear = Facts { read: Answer::Unclear("broken".into()), ..facts() };
        assert_noted(&unclear, None, Status::Failed, "broken");
    }

    #[test]
    fn replicas_that_keep_records_from_being_published_are_warned_about() {
        for (replicas, in_sync, min, words) in [
            (1, 1, Some(2), "nothing can be published"),
            (3, 1, Some(2), "publishing waits"),
            (2, 2, Some(2), "one broker is away"),
            (1, 1, Some(1), "lost with their broker"),
            (1, 1, None, "lost with their broker"),
        ] {
            let facts = Facts { replicas, in_sync, min_in_sync: min, ..facts() };
            assert_noted(&facts, None, Status::Warning, words);
        }
    }

    #[test]
    fn groups_and_clocks_are_graded() {
        for (answer, status) in [
            (Answer::Allowed, Status::Ok),
            (Answer::Denied, Status::Failed),
            (Answer::Unclear("away".into()), Status::Warning),
        ] {
            let mut sheet = Sheet::new("kafka");
            note_group(&mut sheet, "g", &answer);
            assert_eq!(sheet.findings[0].status, status);
        }
        assert_eq!(grade_clock(-60_000), Status::Ok);
        assert_eq!(grade_clock(5_001), Status::Warning);
    }
}
