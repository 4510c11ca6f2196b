//! Assignments of replicas that a client chose.

use super::Controller;
use crate::placement::Placer;
use crate::protocol::{ErrorCode, Refusal, messages};
use odradek_base::BrokerId;
use odradek_settings::Advertise;

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
}

impl Controller<'_> {
    /// Checks the brokers that a client named for one partition and gives the shards that are meant: with
    /// `odradek.advertise=node` clients name nodes, and the least loaded shard of each is taken.
    pub(super) fn assigned_replicas(
        &self,
        wanted: &[messages::BrokerId],
        replication_factor: Option<usize>,
        placer: &mut Placer,
    ) -> Result<Vec<BrokerId>, Refusal> {
        if wanted.is_empty() {
            return Err(refuse("The manual partition assignment includes an empty replica list."));
        }
        let mut sorted: Vec<i32> = wanted.iter().map(|id| id.0).collect();
        sorted.sort_unstable();
        let unknown = sorted.iter().find(|&&id| !self.view.has_broker(self.image, BrokerId(id)));
        if let Some(id) = unknown {
            return Err(refuse(format!("The manual partition assignment includes broker {id}, but no such broker is registered.")));
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refuse(format!("The manual partition assignment includes the broker {} more than once.", pair[0])));
        }
        if let Some(factor) = replication_factor
            && factor != wanted.len()
        {
            return Err(refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
                 partitions, which have {factor} replica(s).",
                wanted.len()
            )));
        }
        let replicas = self.shards_for(wanted, placer)?;
        placer.count(&replicas);
        Ok(replicas)
    }

    fn shards_for(&self, wanted: &[messages::BrokerId], placer: &Placer) -> Result<Vec<BrokerId>, Refusal> {
        let mut replicas: Vec<BrokerId> = Vec::with_capacity(wanted.len());
        for id in wanted.iter().map(|id| BrokerId(id.0)) {
            let shard = match self.view.advertise {
                Advertise::Cores => Some(id),
                Advertise::Node => {
                    let node = odradek_base::NodeId(id.get());
                    placer.shard_on(node, &replicas).or_else(|| self.view.shards_of(self.image, id).map(|broker| broker.id).next())
                }
            };
            replicas.extend(shard);
        }
        for &replica in &replicas {
            let node = replica.node_and_shard().0;
            let there = replicas.iter().filter(|other| other.node_and_shard().0 == node).count();
            if there > self.settings.replicas_per_node() {
                return Err(refuse(format!(
                    "The manual partition assignment puts {there} replicas on node {node}; odradek.replicas.per.node allows {}.",
                    self.settings.replicas_per_node()
                )));
            }
        }
        Ok(replicas)
    }
}
