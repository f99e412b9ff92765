//! One look at the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::cities::Cities;
use super::report::{ClusterLine, GroupLine, LagLine, PartitionLine, Status, TopicLine};
use super::{Args, Section};
use crate::cli::Context;
use crate::config::KafkaSettings;
use crate::edges::kafka::groups::Group;
use crate::edges::kafka::offsets::Place;
use crate::edges::kafka::overview::{Overview, Topic};

/// Looks again and again through the same connections.
pub struct Looker<'a> {
    args: &'a Args,
    overview: Overview,
    cities: Cities<'a>,
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
        Ok(Looker { args, overview, cities: Cities::new(&args.prefix, settings, context) })
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
        let topics = overview.topics()?;
        let cluster = match args.shows(Section::Cluster) {
            true => Some(ClusterLine::from(overview.cluster()?)),
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
        let wanted = || topics.iter().filter(|topic| args.wants_topic(&topic.name));
        Ok(Status {
            time,
            cluster,
            topics: args
                .shows(Section::Topics)
                .then(|| wanted().map(|topic| topic_line(topic, &ends)).collect()),
            groups: groups.map(|groups| self.group_lines(groups, &ends)),
            city_topics,
            details_topics: !args.topic_name.is_empty(),
            details_groups: !args.group.is_empty(),
        })
    }

    /// The partitions whose ends are needed and can be asked for.
    fn places(&self, topics: &[Topic], groups: &[Group]) -> Vec<Place> {
        let committed: BTreeSet<&str> =
            groups.iter().flat_map(|one| one.committed.keys()).map(|(name, _)| &**name).collect();
        let is_needed = |topic: &&Topic| {
            (self.args.shows(Section::Topics) && self.args.wants_topic(&topic.name))
                || (self.args.shows(Section::CityTopics) && self.cities.has(&topic.name))
                || committed.contains(&*topic.name)
        };
        topics.iter().filter(is_needed).flat_map(Topic::led).collect()
    }

    fn group_lines(&self, groups: Vec<Group>, ends: &Ends) -> Vec<GroupLine> {
        let lines = groups.into_iter().map(|group| group_line(group, ends, self.args));
        match self.args.topic_name.as_slice() {
            [] => lines.collect(),
            // Named groups are shown even when they have nothing of the topic.
            _ => lines
                .filter(|line| !line.partitions.is_empty() || !self.args.group.is_empty())
                .collect(),
        }
    }
}

fn topic_line(topic: &Topic, ends: &Ends) -> TopicLine {
    let partition = |one: &crate::edges::kafka::overview::Partition| {
        let ends = ends.get(&(topic.name.clone(), one.id)).copied();
        PartitionLine {
            partition: one.id,
            leader: one.leader,
            replicas: one.replicas,
            in_sync: one.in_sync,
            low: ends.map(|(low, _)| low),
            high: ends.map(|(_, high)| high),
            records: ends.map(|(low, high)| high - low),
        }
    };
    let partitions: Vec<PartitionLine> = topic.partitions.iter().map(partition).collect();
    TopicLine {
        topic: topic.name.clone(),
        internal: topic.is_internal(),
        partition_count: partitions.len(),
        replication_factor: partitions.iter().map(|one| one.replicas).max().unwrap_or(0),
        records: partitions.iter().map(|one| one.records).sum(),
        partitions,
    }
}

fn group_line(group: Group, ends: &Ends, args: &Args) -> GroupLine {
    let Group { name, state, protocol, members, committed, fault } = group;
    let owner: BTreeMap<&Place, String> = members
        .iter()
        .flat_map(|member| {
            let label = format!("{} {}", member.client_id, member.host);
            member.partitions.iter().map(move |place| (place, label.clone()))
        })
        .collect();
    let places: BTreeSet<&Place> = committed.keys().chain(owner.keys().copied()).collect();
    let is_wanted = |place: &&&Place| args.topic_name.is_empty() || args.wants_topic(&place.0);
    let line = |place: &Place| {
        let high = ends.get(place).map(|(_, high)| *high);
        let committed = committed.get(place).copied();
        let lag = high.zip(committed).map(|(high, committed)| (high - committed).max(0));
        let (topic, partition) = place.clone();
        LagLine { topic, partition, committed, high, lag, member: owner.get(place).cloned() }
    };
    let partitions: Vec<LagLine> =
        places.iter().filter(is_wanted).map(|place| line(place)).collect();
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
