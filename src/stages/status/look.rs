//! One look at the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::cities::Cities;
use super::report::{ClusterLine, GroupLine, LagLine, PartitionLine, Status, TopicLine};
use super::{Args, Section};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::groups::{Group, Member};
use crate::edges::kafka::offsets::Place;
use crate::edges::kafka::overview::{Overview, Partition, Topic};
use crate::edges::kafka::sizes::Sizes;
use crate::stop::Stop;

/// Looks again and again through the same clients.
pub struct Looker<'a> {
    args: &'a Args,
    overview: Overview,
    sizes: Sizes,
    cities: Cities<'a>,
    stop: &'a Stop,
}

/// The low and the high watermark by topic and partition.
pub type Ends = BTreeMap<Place, (i64, i64)>;

impl<'a> Looker<'a> {
    /// Makes the clients; nothing is contacted yet.
    ///
    /// # Errors
    /// When a property is unknown or has an impossible value.
    pub fn new(
        args: &'a Args,
        settings: &'a KafkaSettings,
        context: &'a Context,
    ) -> anyhow::Result<Looker<'a>> {
        let overview = Overview::new(settings, &context.console, &context.stop)?;
        let (sizes, cities) =
            (Sizes::new(settings, &context.console), Cities::new(&args.prefix, settings, context));
        Ok(Looker { args, overview, sizes, cities, stop: &context.stop })
    }

    /// What keeps us from the cluster and will not pass by itself, if anything.
    pub fn final_failure(&self) -> Option<String> {
        self.overview.final_failure()
    }

    /// Everything that is to be shown, as it is now.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses, or a stop is requested.
    pub fn look(&mut self) -> anyhow::Result<Status> {
        let (args, overview) = (self.args, &self.overview);
        let time = format!("{:.3}", jiff::Timestamp::now());
        let (topics, brokers) = overview.topics_and_brokers()?;
        let shows_topics = args.shows(Section::Topics);
        let cluster = match args.shows(Section::Cluster) {
            true => Some(overview.cluster()?),
            false => None,
        };
        let groups = match args.shows(Section::Groups) {
            true => Some(overview.groups(|name| args.wants_group(name))?),
            false => None,
        };
        let ends = overview.ends(&self.places(&topics, groups.as_deref().unwrap_or_default()))?;
        let city_topics = match args.shows(Section::CityTopics) {
            true => Some(self.cities.look(&topics, &ends)?),
            false => None,
        };
        if shows_topics {
            self.sizes.ask(&brokers, self.stop);
        }
        let wanted = || topics.iter().filter(|topic| args.wants_topic(&topic.name));
        Ok(Status {
            time,
            cluster: cluster.map(ClusterLine::from),
            topics: shows_topics
                .then(|| wanted().map(|topic| topic_line(topic, &ends, &self.sizes)).collect()),
            groups: groups.map(|groups| self.group_lines(groups, &topics, &ends)),
            city_topics,
            details_topics: !args.topic_name.is_empty(),
            details_groups: !args.group.is_empty(),
        })
    }

    /// The partitions whose ends are needed and can be asked for.
    fn places(&self, topics: &[Topic], groups: &[Group]) -> Vec<Place> {
        let read: BTreeSet<&str> = groups.iter().flat_map(topics_of).collect();
        let is_needed = |topic: &&Topic| {
            (self.args.shows(Section::Topics) && self.args.wants_topic(&topic.name))
                || (self.args.shows(Section::CityTopics) && self.cities.has(&topic.name))
                || read.contains(&*topic.name)
        };
        topics.iter().filter(is_needed).flat_map(Topic::led).collect()
    }

    fn group_lines(&self, groups: Vec<Group>, topics: &[Topic], ends: &Ends) -> Vec<GroupLine> {
        let lines = groups.into_iter().map(|group| {
            let read: BTreeSet<&str> = topics_of(&group).collect();
            let there = topics.iter().filter(|topic| read.contains(&*topic.name));
            let places: BTreeSet<Place> = there.flat_map(all_of).collect();
            group_line(group, places, ends, |topic| {
                self.args.topic_name.is_empty() || self.args.wants_topic(topic)
            })
        });
        match self.args.topic_name.as_slice() {
            [] => lines.collect(),
            // Named groups are shown even when they have nothing of the topic.
            _ => lines
                .filter(|line| !line.partitions.is_empty() || !self.args.group.is_empty())
                .collect(),
        }
    }
}

fn topic_line(topic: &Topic, ends: &Ends, sizes: &Sizes) -> TopicLine {
    let partition = |one: &Partition| {
        let place = (topic.name.clone(), one.id);
        let ends = ends.get(&place).copied();
        PartitionLine {
            partition: one.id,
            leader: one.leader,
            replicas: one.replicas,
            in_sync: one.in_sync,
            low: ends.map(|(low, _)| low),
            high: ends.map(|(_, high)| high),
            records: ends.map(|(low, high)| high - low),
            bytes: one.leader.and_then(|leader| sizes.on(leader, &place)),
        }
    };
    let partitions: Vec<PartitionLine> = topic.partitions.iter().map(partition).collect();
    TopicLine {
        topic: topic.name.clone(),
        internal: topic.is_internal(),
        partition_count: partitions.len(),
        replication_factor: partitions.iter().map(|one| one.replicas).max().unwrap_or(0),
        records: partitions.iter().map(|one| one.records).sum(),
        bytes: partitions.iter().map(|one| one.bytes).sum(),
        partitions,
    }
}

/// The topics that a group has committed offsets of, or that its members have.
fn topics_of(group: &Group) -> impl Iterator<Item = &str> {
    let assigned = group.members.iter().flat_map(|member| &member.partitions);
    group.committed.keys().chain(assigned).map(|(topic, _)| topic.as_str())
}

fn all_of(topic: &Topic) -> impl Iterator<Item = Place> {
    topic.partitions.iter().map(|partition| (topic.name.clone(), partition.id))
}

/// `places` are the partitions that there are of the topics that the group reads.
/// One without a committed offset is behind by all its records.
fn group_line(
    group: Group,
    mut places: BTreeSet<Place>,
    ends: &Ends,
    is_wanted: impl Fn(&str) -> bool,
) -> GroupLine {
    let Group { name, state, protocol, members, committed, fault } = group;
    let label = |member: &Member| format!("{} {}", member.client_id, member.host);
    let assigned = members.iter().flat_map(|member| {
        member.partitions.iter().map(move |place| (place.clone(), label(member)))
    });
    let mut owner: BTreeMap<Place, String> = assigned.collect();
    places.extend(committed.keys().cloned());
    places.retain(|(topic, _)| is_wanted(topic));
    let line = |place: Place| {
        let ends = ends.get(&place);
        let committed = committed.get(&place).copied();
        let lag = ends.map(|(low, high)| (high - committed.unwrap_or(*low)).max(0));
        let member = owner.remove(&place);
        let (topic, partition) = place;
        LagLine { topic, partition, committed, high: ends.map(|(_, high)| *high), lag, member }
    };
    let partitions: Vec<LagLine> = places.into_iter().map(line).collect();
    GroupLine {
        group: name,
        state,
        protocol,
        member_count: members.len(),
        lag: partitions.iter().filter_map(|one| one.lag).sum(),
        partitions,
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_without_a_committed_offset_is_behind_by_all_its_records() {
        let place = |partition| ("orders".to_owned(), partition);
        let group = Group {
            name: "g".into(),
            committed: BTreeMap::from([(place(0), 7), (("gone".into(), 0), 3)]),
            members: vec![Member {
                client_id: "c".into(),
                host: "/h".into(),
                partitions: vec![place(1)],
            }],
            ..Group::default()
        };
        let ends = BTreeMap::from([(place(0), (2, 10)), (place(1), (4, 10))]);
        let places = BTreeSet::from([place(0), place(1)]);
        let line = group_line(group, places, &ends, |_| true);
        let lags: Vec<_> =
            line.partitions.iter().map(|one| (&*one.topic, one.committed, one.lag)).collect();
        assert_eq!(
            lags,
            [("gone", Some(3), None), ("orders", Some(7), Some(3)), ("orders", None, Some(6))]
        );
        assert_eq!((line.lag, line.partitions[2].member.as_deref()), (9, Some("c /h")));
    }
}
