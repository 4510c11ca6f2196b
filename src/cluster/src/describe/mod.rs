//! Answers that describe the cluster: pure functions of an image, a view and a request.

mod cluster;
mod config_resources;
mod configs;
mod metadata;
mod topic_partitions;

pub use cluster::cluster;
pub use config_resources::config_resources;
pub use configs::configs;
pub use metadata::{MetadataAnswer, metadata};
pub use topic_partitions::topic_partitions;

use crate::image::{Image, Partition};
use crate::protocol::messages;
use crate::view::View;
use odradek_base::{BrokerId, TopicPartition};

/// What clients read as "not asked for" (`MetadataResponse.AUTHORIZED_OPERATIONS_OMITTED`).
const OPERATIONS_OMITTED: i32 = i32::MIN;

/// All operations on a topic, as a bit field of `AclOperation` codes: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS. Without an authorizer everybody may do everything.
const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// All operations on a cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS,
/// IDEMPOTENT_WRITE.
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// A partition as clients on one listener see it.
struct SeenPartition {
    error_code: i16,
    leader: messages::BrokerId,
    replicas: Vec<messages::BrokerId>,
    isr: Vec<messages::BrokerId>,
    offline: Vec<messages::BrokerId>,
}

fn ids(view: &View<'_>, brokers: &[BrokerId]) -> Vec<messages::BrokerId> {
    view.ids(brokers).into_iter().map(|id| messages::BrokerId(id.get())).collect()
}

fn see(image: &Image, view: &View<'_>, at: TopicPartition, partition: &Partition) -> SeenPartition {
    use crate::protocol::ErrorCode::{LeaderNotAvailable, ListenerNotFound};
    // A replica in a log directory that failed is as good as one on a broker that is gone (KIP-112, KIP-858).
    let failed = image.offline_replica(at);
    let alive = |id: BrokerId| failed != Some(id) && image.broker(id).is_some_and(|broker| !broker.fenced);
    let leader = partition.leader.filter(|&id| alive(id)).and_then(|id| image.broker(id));
    let (error_code, leader) = match leader {
        None => (LeaderNotAvailable.code(), -1),
        Some(broker) if broker.endpoint(view.listener).is_none() => (ListenerNotFound.code(), -1),
        Some(broker) => (0, view.id(broker.id).get()),
    };
    let offline: Vec<BrokerId> = partition.replicas.iter().copied().filter(|&id| !alive(id)).collect();
    SeenPartition {
        error_code,
        leader: messages::BrokerId(leader),
        replicas: ids(view, &partition.replicas),
        isr: ids(view, &partition.isr),
        offline: ids(view, &offline),
    }
}

#[cfg(test)]
mod tests;
