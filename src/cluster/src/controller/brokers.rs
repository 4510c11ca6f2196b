//! Registrations of shards, and what happens to the partitions of shards that are gone.

use super::{Controller, DIRECTORY_UNASSIGNED, Outcome};
use crate::placement::Placer;
use crate::records::{
    BrokerRegistrationChangeRecord, EndpointRecord, FeatureRecord, MetadataRecord, PartitionChangeRecord, RegisterBrokerRecord,
    UnregisterBrokerRecord,
};
use odradek_base::{BrokerId, NodeId};
use uuid::Uuid;

/// A shard that has started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    pub broker: BrokerId,
    /// Id of the process's run.
    pub incarnation: Uuid,
    pub endpoints: Vec<EndpointRecord>,
    pub features: Vec<FeatureRecord>,
    pub rack: Option<String>,
    pub fenced: bool,
}

impl Controller<'_> {
    /// Registers a shard under a new epoch, the response. A shard that registers exactly as it is registered already
    /// keeps its epoch and costs no record.
    pub fn register_broker(&self, registration: Registration) -> Outcome<i64> {
        let before = self.image.broker(registration.broker);
        let epoch = before.map_or(0, |broker| broker.epoch + 1);
        let record = RegisterBrokerRecord {
            broker: registration.broker,
            is_migrating_zk_broker: false,
            incarnation_id: registration.incarnation,
            broker_epoch: epoch,
            endpoints: registration.endpoints,
            features: registration.features,
            rack: registration.rack,
            fenced: registration.fenced,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        if let Some(broker) = before
            && broker.to_record() == (RegisterBrokerRecord { broker_epoch: broker.epoch, ..record.clone() })
        {
            return Outcome { records: Vec::new(), response: broker.epoch };
        }
        Outcome { records: vec![MetadataRecord::RegisterBroker(record)], response: epoch }
    }

    /// Fences a shard (clients no longer see it as a place for replicas), or takes it back.
    pub fn fence_broker(&self, broker: BrokerId, fenced: bool) -> Outcome<()> {
        let change = self.image.broker(broker).filter(|broker| broker.fenced != fenced).map(|registered| {
            MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker,
                broker_epoch: registered.epoch,
                fenced: Some(fenced),
                in_controlled_shutdown: false,
                log_dirs: Vec::new(),
            })
        });
        Outcome { records: change.into_iter().collect(), response: () }
    }

    /// A node came back with `shards` shards: replicas on shards that no longer exist move to those that do (files stay,
    /// only ownership moves), and the lost shards are unregistered. The response is the number of partitions moved.
    ///
    /// The remaining shards must be registered in the image.
    pub fn move_lost_shards(&self, node: NodeId, shards: u16) -> Outcome<usize> {
        let is_lost = |broker: BrokerId| broker.node_and_shard().0 == node && broker.node_and_shard().1.get() >= shards;
        let mut placer = self.placer();
        let mut records = Vec::new();
        for topic in self.image.topics() {
            for (&index, partition) in &topic.partitions {
                if !partition.replicas.iter().any(|&replica| is_lost(replica)) {
                    continue;
                }
                let replicas = replace_lost(&partition.replicas, &is_lost, &mut placer, node);
                let new_id = |old: &BrokerId| {
                    let at = partition.replicas.iter().position(|replica| replica == old);
                    at.and_then(|at| replicas.get(at)).copied().unwrap_or(*old)
                };
                records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                    partition: index,
                    topic_id: topic.id,
                    isr: Some(partition.isr.iter().map(new_id).collect()),
                    leader: partition.leader.filter(|&leader| is_lost(leader)).map(|leader| new_id(&leader)),
                    directories: Some(vec![DIRECTORY_UNASSIGNED; replicas.len()]),
                    replicas: Some(replicas),
                    ..PartitionChangeRecord::default()
                }));
            }
        }
        let moved = records.len();
        records.extend(
            self.image
                .brokers()
                .filter(|broker| is_lost(broker.id))
                .map(|broker| MetadataRecord::UnregisterBroker(UnregisterBrokerRecord { broker: broker.id, broker_epoch: broker.epoch })),
        );
        Outcome { records, response: moved }
    }
}

/// The same replicas, with the least loaded remaining shard of the node in place of each lost one. A replica whose node
/// has no shard left stays where it is.
fn replace_lost(replicas: &[BrokerId], is_lost: &impl Fn(BrokerId) -> bool, placer: &mut Placer, node: NodeId) -> Vec<BrokerId> {
    let mut after: Vec<BrokerId> = replicas.to_vec();
    let mut taken: Vec<BrokerId> = replicas.to_vec();
    for replica in &mut after {
        if is_lost(*replica)
            && let Some(shard) = placer.remaining_shard_on(node, &taken, is_lost)
        {
            *replica = shard;
            taken.push(shard);
            placer.count(&[shard]);
        }
    }
    after
}
