//! What the caller brings to every call: the time, and what it knows about topics and the client.

use crate::wire::StrBytes;
use odradek_base::{Instant, Timestamp, TopicId};

/// One call into the coordinator.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The ring's monotonic clock: timeouts.
    pub now: Instant,
    /// Kafka's wall clock: timestamps in records, retention.
    pub wall: Timestamp,
    pub topics: Topics<'a>,
}

/// Calls back with each topic name.
pub type EachName<'a> = dyn Fn(&mut dyn FnMut(&str)) + 'a;

/// What the coordinator asks about topics, answered from the caller's metadata image.
#[derive(Clone, Copy)]
pub struct Topics<'a> {
    /// Id and partition count of a topic.
    pub by_name: &'a dyn Fn(&str) -> Option<TopicInfo>,
    /// Name of a topic.
    pub by_id: &'a dyn Fn(TopicId) -> Option<StrBytes>,
    /// Calls back once for each topic name there is; the order does not matter.
    pub each_name: &'a EachName<'a>,
    /// Grows whenever topics or partition counts change.
    pub version: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: TopicId,
    pub partitions: i32,
}

impl<'a> Topics<'a> {
    /// A cluster without topics.
    pub fn none() -> Topics<'a> {
        Topics { by_name: &|_| None, by_id: &|_| None, each_name: &|_| {}, version: 0 }
    }

    pub(crate) fn has_partition(&self, topic: &str, partition: i32) -> bool {
        (self.by_name)(topic).is_some_and(|info| (0..info.partitions).contains(&partition))
    }
}

/// Who sent a request, and in which version.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub client_id: StrBytes,
    /// As Kafka prints it: `/127.0.0.1`.
    pub client_host: StrBytes,
    pub api_version: i16,
}
