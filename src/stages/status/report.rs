//! What a look found, and how it is shown.

use std::fmt;

use indicatif::DecimalBytes;
use serde::Serialize;

use crate::console::{columns, escaped, plural};
use crate::edges::kafka::overview;

/// How many partitions' lag stands in one line.
const PARTITIONS_SHOWN: usize = 12;

/// Everything that was asked for; a section that was not is left out.
#[derive(Debug, Serialize)]
pub struct Status {
    /// When it was asked for, RFC 3339 in UTC.
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<TopicLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupLine>>,
    #[serde(rename = "city-topics", skip_serializing_if = "Option::is_none")]
    pub city_topics: Option<Vec<CityLine>>,
    /// Whether each partition of a topic has a line.
    #[serde(skip)]
    pub details_topics: bool,
    /// Whether each partition of a group has a line.
    #[serde(skip)]
    pub details_groups: bool,
}

/// The cluster and its brokers.
#[derive(Debug, Serialize)]
pub struct ClusterLine {
    id: Option<String>,
    controller: Option<i32>,
    brokers: Vec<BrokerLine>,
}

#[derive(Debug, Serialize)]
struct BrokerLine {
    id: i32,
    host: String,
    port: u16,
    rack: Option<String>,
}

impl From<overview::Cluster> for ClusterLine {
    fn from(found: overview::Cluster) -> ClusterLine {
        let overview::Cluster { id, controller, brokers } = found;
        let broker =
            |overview::Broker { id, host, port, rack }| BrokerLine { id, host, port, rack };
        ClusterLine { id, controller, brokers: brokers.into_iter().map(broker).collect() }
    }
}

/// A topic; numbers are none while a partition cannot be asked about.
#[derive(Debug, Serialize)]
pub struct TopicLine {
    pub topic: String,
    pub internal: bool,
    pub partition_count: usize,
    pub replication_factor: usize,
    pub records: Option<i64>,
    /// On the disks of the leaders; none where they do not tell.
    pub bytes: Option<u64>,
    pub partitions: Vec<PartitionLine>,
}

/// A partition of a topic.
#[derive(Debug, Serialize)]
pub struct PartitionLine {
    pub partition: i32,
    pub leader: Option<i32>,
    pub replicas: usize,
    pub in_sync: usize,
    pub low: Option<i64>,
    pub high: Option<i64>,
    pub records: Option<i64>,
    pub bytes: Option<u64>,
}

/// A consumer group.
#[derive(Debug, Serialize)]
pub struct GroupLine {
    pub group: String,
    pub state: String,
    pub protocol: String,
    pub member_count: usize,
    pub lag: i64,
    pub partitions: Vec<LagLine>,
    pub fault: Option<String>,
}

/// Where a group is in a partition; what it never committed, or what is no more,
/// is none.
#[derive(Debug, Serialize)]
pub struct LagLine {
    pub topic: String,
    pub partition: i32,
    pub committed: Option<i64>,
    pub high: Option<i64>,
    pub lag: Option<i64>,
    /// The member that has it: the client's name, and the address that it comes
    /// from.
    pub member: Option<String>,
}

/// A topic of a city, or of those that share one.
#[derive(Debug, Serialize)]
pub struct CityLine {
    pub topic: String,
    pub cities: Vec<String>,
    /// Whether not all records were read, or not all cities named.
    pub sampled: bool,
    pub shared: bool,
    pub partition_count: usize,
    pub records: Option<i64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.cluster.as_ref().map(cluster_text));
        if let Some(topics) = &self.topics {
            parts.push(topics_text(topics, self.details_topics));
        }
        if let Some(groups) = &self.groups {
            parts.push(match self.details_groups {
                true => group_details(groups),
                false => groups_text(groups),
            });
        }
        parts.extend(self.city_topics.as_deref().map(cities_text));
        f.write_str(&escaped(&parts.join("\n\n")))
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn cluster_text(cluster: &ClusterLine) -> String {
    let head = [
        vec!["cluster".to_owned(), or_dash(cluster.id.as_ref())],
        vec!["controller".to_owned(), or_dash(cluster.controller)],
    ];
    let mut rows = vec![row(["broker", "host", "port", "rack"])];
    rows.extend(cluster.brokers.iter().map(|one| {
        vec![one.id.to_string(), one.host.clone(), one.port.to_string(), or_dash(one.rack.as_ref())]
    }));
    format!("{}\n\n{}", columns(&head), columns(&rows))
}

fn topics_text(topics: &[TopicLine], with_partitions: bool) -> String {
    if topics.is_empty() {
        return "no topics".into();
    }
    let mut rows = vec![row(["topic", "partitions", "replicas", "records", "size", ""])];
    rows.extend(topics.iter().map(|one| {
        vec![
            one.topic.clone(),
            one.partition_count.to_string(),
            one.replication_factor.to_string(),
            or_dash(one.records),
            size(one.bytes),
            ailment(&one.partitions),
        ]
    }));
    let mut text = columns(&rows);
    if with_partitions {
        let placed = ["topic", "partition", "leader", "replicas", "in sync"];
        let head = placed.into_iter().chain(["low", "high", "records", "size"]);
        let mut rows = vec![head.map(str::to_owned).collect()];
        for topic in topics {
            rows.extend(topic.partitions.iter().map(|one| partition_cells(&topic.topic, one)));
        }
        text.push_str(&format!("\n\n{}", columns(&rows)));
    }
    text
}

fn partition_cells(topic: &str, one: &PartitionLine) -> Vec<String> {
    vec![
        topic.to_owned(),
        one.partition.to_string(),
        or_dash(one.leader),
        one.replicas.to_string(),
        one.in_sync.to_string(),
        or_dash(one.low),
        or_dash(one.high),
        or_dash(one.records),
        size(one.bytes),
    ]
}

/// `4.20 MB`, in powers of ten.
fn size(bytes: Option<u64>) -> String {
    or_dash(bytes.map(DecimalBytes))
}

/// What is wrong with a topic, if anything is.
fn ailment(partitions: &[PartitionLine]) -> String {
    let count = |is: fn(&PartitionLine) -> bool| partitions.iter().filter(|one| is(one)).count();
    let leaderless = count(|one| one.leader.is_none());
    let behind = count(|one| one.in_sync < one.replicas);
    let mut ailments = Vec::new();
    if leaderless > 0 {
        ailments.push(format!("{} without a leader", plural(leaderless as u64, "partition")));
    }
    if behind > 0 {
        ailments.push(format!("{} under-replicated", plural(behind as u64, "partition")));
    }
    ailments.join(", ")
}

fn groups_text(groups: &[GroupLine]) -> String {
    if groups.is_empty() {
        return "no consumer groups".into();
    }
    let head = ["group", "state", "members", "topic", "lag", "lag by partition"];
    let mut rows = vec![row(head)];
    for group in groups {
        let cells = |topic: &str, lag: String, by_partition: String| {
            let (name, state) = (group.group.clone(), group.state.clone());
            let members = group.member_count.to_string();
            vec![name, state, members, topic.to_owned(), lag, by_partition]
        };
        if let Some(fault) = &group.fault {
            rows.push(cells("-", "-".into(), fault.clone()));
        } else if group.partitions.is_empty() {
            rows.push(cells("-", "-".into(), String::new()));
        }
        for partitions in group.partitions.chunk_by(|one, other| one.topic == other.topic) {
            let known = partitions.iter().filter_map(|one| one.lag).reduce(|sum, lag| sum + lag);
            rows.push(cells(&partitions[0].topic, or_dash(known), by_partition(partitions)));
        }
    }
    columns(&rows)
}

/// `0:12 1:0 2:-`, as far as there is room.
fn by_partition(partitions: &[LagLine]) -> String {
    let shown = partitions.iter().take(PARTITIONS_SHOWN);
    let mut cells: Vec<String> =
        shown.map(|one| format!("{}:{}", one.partition, or_dash(one.lag))).collect();
    if partitions.len() > PARTITIONS_SHOWN {
        cells.push(format!("… {} more (--group)", partitions.len() - PARTITIONS_SHOWN));
    }
    cells.join(" ")
}

fn group_details(groups: &[GroupLine]) -> String {
    let one = |group: &GroupLine| {
        let mut head = vec![
            vec!["group".to_owned(), group.group.clone()],
            vec!["state".to_owned(), group.state.clone()],
            vec!["protocol".to_owned(), group.protocol.to_lowercase()],
            vec!["members".to_owned(), group.member_count.to_string()],
            vec!["lag".to_owned(), group.lag.to_string()],
        ];
        head.extend(group.fault.clone().map(|fault| vec!["fault".to_owned(), fault]));
        let mut rows = vec![row(["topic", "partition", "committed", "high", "lag", "member"])];
        rows.extend(group.partitions.iter().map(|one| {
            vec![
                one.topic.clone(),
                one.partition.to_string(),
                or_dash(one.committed),
                or_dash(one.high),
                or_dash(one.lag),
                or_dash(one.member.as_ref()),
            ]
        }));
        format!("{}\n\n{}", columns(&head), columns(&rows))
    };
    groups.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

fn cities_text(cities: &[CityLine]) -> String {
    if cities.is_empty() {
        return "no city topics".into();
    }
    let mut rows = vec![row(["city topic", "records", "cities"])];
    rows.extend(cities.iter().map(|one| {
        let mut names: Vec<String> =
            one.cities.iter().map(|city| escaped(city).replace(['\n', '\t'], " ")).collect();
        for name in names.iter_mut().filter(|name| name.trim().is_empty()) {
            *name = "(empty)".into();
        }
        if one.sampled {
            names.push("… perhaps others".into());
        }
        let mut text = names.join(", ");
        if one.shared {
            text = format!("(shared by cities beyond --max-topics) {text}");
        }
        vec![one.topic.clone(), or_dash(one.records), text]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32, leader: Option<i32>, in_sync: usize) -> PartitionLine {
        let records = leader.map(|_| 10);
        PartitionLine {
            partition,
            leader,
            replicas: 2,
            in_sync,
            low: Some(0),
            high: records,
            records,
            bytes: None,
        }
    }

    fn lag(topic: &str, partition: i32, lag: Option<i64>) -> LagLine {
        let topic = topic.to_owned();
        LagLine { topic, partition, committed: Some(1), high: None, lag, member: None }
    }

    #[test]
    fn what_is_wrong_with_a_topic_stands_beside_it() {
        let partitions = [partition(0, Some(1), 2), partition(1, None, 0)];
        assert_eq!(ailment(&partitions[..1]), "");
        assert_eq!(
            ailment(&partitions),
            "1 partition without a leader, 1 partition under-replicated"
        );
    }

    #[test]
    fn lags_stand_by_topic_and_are_cut_where_there_are_many() {
        let mut partitions = vec![lag("a", 0, Some(3)), lag("a", 1, None)];
        partitions.extend((0..20).map(|number| lag("b", number, Some(1))));
        let group = GroupLine {
            group: "g".into(),
            state: "Empty".into(),
            protocol: "Classic".into(),
            member_count: 0,
            lag: 23,
            partitions,
            fault: None,
        };
        let text = groups_text(&[group]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].ends_with("a      3    0:3 1:-"), "{text}");
        assert!(lines[2].contains("20") && lines[2].ends_with("… 8 more (--group)"), "{text}");
    }

    #[test]
    fn sections_that_were_not_asked_for_are_left_out() {
        let status = Status {
            time: "2026-06-09T00:00:00.000Z".into(),
            cluster: None,
            topics: None,
            groups: None,
            city_topics: Some(vec![CityLine {
                topic: "city-overflow--shared".into(),
                cities: vec!["Köln\u{1b}[31m".into(), String::new()],
                sampled: true,
                shared: true,
                partition_count: 1,
                records: Some(4),
            }]),
            details_topics: false,
            details_groups: false,
        };
        let json = serde_json::to_value(&status).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["city-topics", "time"]);
        let text = status.to_string();
        assert!(text.ends_with(
            "(shared by cities beyond --max-topics) Köln\\u001b[31m, (empty), … perhaps others"
        ));
    }
}
