//! Consumer groups: their state, members and committed offsets, of the classic
//! protocol and of that of KIP-848.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::bindings as c;
use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;

use super::admin::{Event, Owned, Questions, failure, list, text};
use super::client::ClientLog;
use super::offsets::Place;
use super::topics::is_passing;
use crate::stop::Stop;

/// How many groups' offsets are asked for at the same time.
const ASKED_AT_ONCE: usize = 64;
/// How long a broker that is not ready yet is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// A consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Kafka's name for its state: `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
    /// `Classic`, or `Consumer` for the protocol of KIP-848.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<Member>,
    /// The offset that it would go on at, for each partition that it has committed.
    pub committed: BTreeMap<Place, i64>,
    /// What could not be found out, and why.
    pub fault: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name that its client gave itself.
    pub client_id: String,
    /// The address that it comes from.
    pub host: String,
    /// The partitions it has.
    pub partitions: Vec<Place>,
}

/// Every group that is wanted, by name.
///
/// # Errors
/// When no answer comes in time, or a stop is requested.
pub(super) fn all(
    client: &Client<ClientLog>,
    timeout: Duration,
    stop: &Stop,
    is_wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<Group>> {
    let mut names = names(client, timeout, stop)?;
    names.retain(|name| is_wanted(name));
    names.sort();
    let names = names.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let mut groups = BTreeMap::new();
    for some in names.chunks(ASKED_AT_ONCE) {
        describe(client, timeout, stop, some, &mut groups)?;
        ask_committed(client, timeout, stop, some, &mut groups)?;
    }
    Ok(groups.into_values().collect())
}

/// The names, once every broker has read its part of them, which takes a moment after
/// its start.
fn names(
    client: &Client<ClientLog>,
    timeout: Duration,
    stop: &Stop,
) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + timeout;
    loop {
        let (names, failed) = told_names(client, timeout, stop)?;
        match failed {
            Some((code, _)) if is_passing(code) && Instant::now() < deadline => {
                stop.wait_for(PAUSE);
            }
            Some((_, why)) if names.is_empty() => {
                bail!("cannot ask for the consumer groups: {why}")
            }
            _ => return Ok(names),
        }
    }
}

/// Why a broker does not tell.
type Failed = (RDKafkaErrorCode, String);

/// The names that brokers tell at once, and the error of one that does not.
#[allow(unsafe_code)]
fn told_names(
    client: &Client<ClientLog>,
    timeout: Duration,
    stop: &Stop,
) -> anyhow::Result<(Vec<String>, Option<Failed>)> {
    let sort = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS;
    let questions = Questions::new(client, sort, timeout)?;
    // SAFETY: the client outlives the question, and names are copied before the
    // event is freed.
    unsafe {
        c::rd_kafka_ListConsumerGroups(client.native_ptr(), questions.options(), questions.queue());
        let event = match questions.answer(Some(stop))? {
            Ok(event) => event,
            Err(error) => bail!("cannot ask for the consumer groups: {error}"),
        };
        let result = c::rd_kafka_event_ListConsumerGroups_result(event.as_ptr());
        let mut count = 0;
        let found = c::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
        let name = |one: &*const c::rd_kafka_ConsumerGroupListing_t| {
            text(c::rd_kafka_ConsumerGroupListing_group_id(*one))
        };
        let names: Vec<String> = list(found, count).iter().filter_map(name).collect();
        let errors = c::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
        let failed = list(errors, count).first().map(|error| {
            let why = text(c::rd_kafka_error_string(*error)).unwrap_or_default();
            (RDKafkaErrorCode::from(c::rd_kafka_error_code(*error)), why)
        });
        Ok((names, failed))
    }
}

/// State and members.
#[allow(unsafe_code)]
fn describe(
    client: &Client<ClientLog>,
    timeout: Duration,
    stop: &Stop,
    names: &[CString],
    groups: &mut BTreeMap<String, Group>,
) -> anyhow::Result<()> {
    let sort = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let questions = Questions::new(client, sort, timeout)?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: client and names outlive the question, and what is found is copied
    // before the event is freed.
    unsafe {
        c::rd_kafka_DescribeConsumerGroups(
            client.native_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            questions.options(),
            questions.queue(),
        );
        let event = match questions.answer(Some(stop))? {
            Ok(event) => event,
            Err(error) => bail!("cannot ask for the members of consumer groups: {error}"),
        };
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(event.as_ptr());
        let mut count = 0;
        let found = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        for one in list(found, count) {
            let group = described(*one);
            groups.insert(group.name.clone(), group);
        }
    }
    Ok(())
}

/// # Safety
/// A description of librdkafka's that lives during the call.
#[allow(unsafe_code)]
unsafe fn described(found: *const c::rd_kafka_ConsumerGroupDescription_t) -> Group {
    // SAFETY: as the caller promises; names of states and types are static.
    unsafe {
        let state = c::rd_kafka_ConsumerGroupDescription_state(found);
        let protocol = c::rd_kafka_ConsumerGroupDescription_type(found);
        let error = c::rd_kafka_ConsumerGroupDescription_error(found);
        let members = 0..c::rd_kafka_ConsumerGroupDescription_member_count(found);
        let members =
            members.map(|at| member(c::rd_kafka_ConsumerGroupDescription_member(found, at)));
        Group {
            name: text(c::rd_kafka_ConsumerGroupDescription_group_id(found)).unwrap_or_default(),
            state: text(c::rd_kafka_consumer_group_state_name(state)).unwrap_or_default(),
            protocol: text(c::rd_kafka_consumer_group_type_name(protocol)).unwrap_or_default(),
            members: members.collect(),
            committed: BTreeMap::new(),
            fault: failure(c::rd_kafka_error_code(error))
                .map(|error| format!("cannot ask for its members: {error}")),
        }
    }
}

/// # Safety
/// A member of librdkafka's that lives during the call.
#[allow(unsafe_code)]
unsafe fn member(found: *const c::rd_kafka_MemberDescription_t) -> Member {
    // SAFETY: as the caller promises; an assignment may be null.
    unsafe {
        let assignment = c::rd_kafka_MemberDescription_assignment(found);
        let partitions = match assignment.is_null() {
            true => ptr::null(),
            false => c::rd_kafka_MemberAssignment_partitions(assignment),
        };
        Member {
            client_id: text(c::rd_kafka_MemberDescription_client_id(found)).unwrap_or_default(),
            host: text(c::rd_kafka_MemberDescription_host(found)).unwrap_or_default(),
            partitions: elements(partitions).into_iter().map(|(place, _)| place).collect(),
        }
    }
}

/// Committed offsets, all groups' at the same time.
#[allow(unsafe_code)]
fn ask_committed(
    client: &Client<ClientLog>,
    timeout: Duration,
    stop: &Stop,
    names: &[CString],
    groups: &mut BTreeMap<String, Group>,
) -> anyhow::Result<()> {
    let sort = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let questions = Questions::new(client, sort, timeout)?;
    for name in names {
        // SAFETY: the client outlives the question, which librdkafka copies; null
        // stands for all partitions.
        unsafe {
            let asked = Owned::new(
                c::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null()),
                c::rd_kafka_ListConsumerGroupOffsets_destroy,
            )?;
            let (options, queue) = (questions.options(), questions.queue());
            let mut asked = [asked.as_ptr()];
            let native = client.native_ptr();
            c::rd_kafka_ListConsumerGroupOffsets(native, asked.as_mut_ptr(), 1, options, queue);
        }
    }
    let mut answered = Vec::new();
    let mut refusal = None;
    for _ in names {
        match questions.answer(Some(stop))? {
            Ok(event) => answered.extend(committed(&event, groups)),
            Err(error) => refusal = Some(error),
        }
    }
    if let Some(refusal) = refusal {
        for group in groups.values_mut() {
            let is_asked = names.iter().any(|name| name.to_str() == Ok(&group.name));
            if is_asked && !answered.contains(&group.name) {
                group.fault = Some(format!("cannot ask for its offsets: {refusal}"));
            }
        }
    }
    Ok(())
}

/// Takes an answer in; the groups that it is about.
#[allow(unsafe_code)]
fn committed(event: &Event, groups: &mut BTreeMap<String, Group>) -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: everything points into the event, and is copied.
    unsafe {
        let result = c::rd_kafka_event_ListConsumerGroupOffsets_result(event.as_ptr());
        let mut count = 0;
        let found = c::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        for one in list(found, count) {
            let Some(name) = text(c::rd_kafka_group_result_name(*one)) else { continue };
            let Some(group) = groups.get_mut(&name) else { continue };
            let error = c::rd_kafka_error_code(c::rd_kafka_group_result_error(*one));
            if let Some(error) = failure(error) {
                group.fault = Some(format!("cannot ask for its offsets: {error}"));
            }
            let offsets = elements(c::rd_kafka_group_result_partitions(*one));
            group.committed = offsets.into_iter().filter(|(_, offset)| *offset >= 0).collect();
            names.push(name);
        }
    }
    names
}

/// # Safety
/// Null, or a list of librdkafka's that lives during the call.
#[allow(unsafe_code)]
unsafe fn elements(found: *const c::rd_kafka_topic_partition_list_t) -> Vec<(Place, i64)> {
    if found.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    unsafe {
        let all = list((*found).elems, usize::try_from((*found).cnt).unwrap_or(0));
        let element = |one: &c::rd_kafka_topic_partition_t| {
            Some(((text(one.topic)?, one.partition), one.offset))
        };
        all.iter().filter_map(element).collect()
    }
}
