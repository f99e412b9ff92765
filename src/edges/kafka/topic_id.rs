//! The identity of a topic: a topic that was deleted and created again has the
//! same name and another id.
//!
//! librdkafka goes on at the old offset in the new topic without a word. So the
//! id is asked for when partitions are claimed, and from then on every change is
//! taken from the line that librdkafka logs at the moment it turns to the new
//! topic: it comes out of the same queue before the new topic's first record.

use std::ffi::{CString, c_int};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::admin::{Owned, Questions, failure, list, text};
use crate::engine::checkpoint::TopicId;

/// What librdkafka must log for [`changed_to`], of the property `debug`.
pub const LOGGED_BY: &str = "metadata";
/// The id that brokers before Kafka 2.8 give every topic.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The id that a topic has from now on, if a line of librdkafka's log says so.
pub fn changed_to(facility: &str, line: &str) -> Option<TopicId> {
    if facility != "METADATA" {
        return None;
    }
    let (_, ids) = line.split_once(" changed id from ")?;
    parse(ids.split_once(" to ")?.1)
}

fn parse(text: &str) -> Option<TopicId> {
    (text != NONE && !text.is_empty()).then(|| TopicId(text.to_owned()))
}

/// Asks the cluster for a topic's id; none when it gives topics no ids, as
/// brokers before Kafka 2.8, and when its controller is none of its brokers at
/// the moment.
///
/// # Errors
/// When no broker answers in time, or there is no such topic.
pub fn ask<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> anyhow::Result<Option<TopicId>> {
    let asked = match has_controller(client, topic, timeout) {
        Ok(true) => describe(client, topic, timeout),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    asked.with_context(|| format!("cannot ask for the id of topic {topic}"))
}

/// Whether the controller that the cluster names is one of its brokers: only it
/// is asked for ids, and the in-process cluster has none.
fn has_controller<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> anyhow::Result<bool> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let timeout_ms = c_int::try_from(timeout.as_millis())?;
    // SAFETY: the native client lives as long as `client`.
    #[allow(unsafe_code)]
    let controller = unsafe { c::rd_kafka_controllerid(client.native_ptr(), timeout_ms) };
    anyhow::ensure!(controller >= 0, "the cluster has no controller at the moment");
    Ok(metadata.brokers().iter().any(|broker| broker.id() == controller))
}

/// DescribeTopics, which the safe wrapper does not have.
#[allow(unsafe_code)]
fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> anyhow::Result<Option<TopicId>> {
    let name = CString::new(topic)?;
    let sort = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let questions = Questions::new(client, sort, timeout)?;
    // SAFETY: every object made here is freed at the end of this function, behind
    // everything that points into it, and what librdkafka returns is looked at only
    // after it was checked for null.
    unsafe {
        let mut names = [name.as_ptr()];
        let topics = Owned::new(
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            c::rd_kafka_TopicCollection_destroy,
        )?;
        let (options, queue) = (questions.options(), questions.queue());
        c::rd_kafka_DescribeTopics(client.native_ptr(), topics.as_ptr(), options, queue);
        let event = match questions.answer(None)? {
            Ok(event) => event,
            Err(RDKafkaErrorCode::UnsupportedFeature) => return Ok(None),
            Err(other) => bail!("{other}"),
        };
        let result = c::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut count = 0;
        let described = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let Some(described) = list(described, count).first().copied() else {
            bail!("the answer does not name the topic");
        };
        let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(described));
        if let Some(error) = failure(error) {
            bail!("{error}");
        }
        let id = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(described));
        Ok(text(id).and_then(|id| parse(&id)))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    #[test]
    fn a_change_is_read_from_the_log_and_other_lines_are_not() {
        let line = "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to \
                    mVJ8u5yXQ3aP2Zs0qQhZ6w";
        assert_eq!(changed_to("METADATA", line).unwrap().0, "mVJ8u5yXQ3aP2Zs0qQhZ6w");
        assert_eq!(changed_to("TOPIC", line), None);
        assert_eq!(changed_to("METADATA", "Topic orders partition 0 Leader 1"), None);
        let gone = "Topic t changed id from mVJ8u5yXQ3aP2Zs0qQhZ6w to AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(changed_to("METADATA", gone), None);
    }
    #[test]
    fn the_in_process_cluster_which_has_no_controller_gives_no_ids() {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 3, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let consumer: BaseConsumer = config.create().unwrap();
        let id = ask(consumer.client(), "orders", Duration::from_secs(20)).unwrap();
        assert_eq!(id, None);
    }
}
