//! Which shards get the replicas of a partition.
//!
//! - The first replica, which leads, goes to the shard with the fewest leaders of the topic: so no shard ever leads more
//!   than one partition of a topic more than another. Among those, to the one with the fewest replicas of other
//!   topics: so topics with few partitions start on different shards. Among those, to the lowest id.
//! - The other replicas go to other nodes, first to racks that have none yet, then to the shard with the fewest replicas
//!   of the topic, then by the same order. A node gets at most `odradek.replicas.per.node` replicas of one partition, a
//!   shard at most one.
//! - Only active brokers are asked.

use crate::image::{Image, Topic};
use odradek_base::{BrokerId, NodeId};
use std::collections::BTreeMap;

/// Why replicas cannot be placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlacementError {
    #[error("The target replication factor of {wanted} cannot be reached because only {reachable} node(s) are registered.")]
    TooFewNodes { wanted: usize, reachable: usize },
    #[error("All brokers are currently fenced or in controlled shutdown.")]
    NoActiveBroker,
}

#[derive(Clone, Debug)]
struct Shard {
    id: BrokerId,
    rack: Option<String>,
    /// Replicas of all topics.
    load: u32,
}

/// Replicas of the topic at hand on one shard.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct OfTopic {
    leaders: u32,
    replicas: u32,
}

/// Places partitions of several topics one after the other and remembers what it gave to whom.
#[derive(Clone, Debug)]
pub struct Placer {
    shards: Vec<Shard>,
    replicas_per_node: usize,
}

fn node(broker: BrokerId) -> NodeId {
    broker.node_and_shard().0
}

impl Placer {
    pub fn new(image: &Image, replicas_per_node: usize) -> Self {
        let active = image.brokers().filter(|broker| broker.is_active());
        let shards =
            active.map(|broker| Shard { id: broker.id, rack: broker.rack.clone(), load: image.replica_count(broker.id) }).collect();
        Self { shards, replicas_per_node }
    }

    /// The most replicas that one partition can have.
    pub fn reachable(&self) -> usize {
        let mut per_node: BTreeMap<NodeId, usize> = BTreeMap::new();
        for shard in &self.shards {
            let count = per_node.entry(node(shard.id)).or_default();
            *count = self.replicas_per_node.min(*count + 1);
        }
        per_node.values().sum()
    }

    /// Replicas for `count` new partitions of a topic, of which `existing` is there already. Each list starts with the
    /// leader.
    ///
    /// # Errors
    /// Not enough nodes.
    pub fn place(
        &mut self,
        existing: Option<&Topic>,
        count: usize,
        replication_factor: usize,
    ) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
        if self.shards.is_empty() {
            return Err(PlacementError::NoActiveBroker);
        }
        let reachable = self.reachable();
        if replication_factor > reachable {
            return Err(PlacementError::TooFewNodes { wanted: replication_factor, reachable });
        }
        let mut of_topic = self.counts(existing);
        Ok((0..count).map(|_| self.place_one(&mut of_topic, replication_factor)).collect())
    }

    /// One shard of a node for a replica, the least loaded of those not in `taken`.
    pub fn shard_on(&self, wanted: NodeId, taken: &[BrokerId]) -> Option<BrokerId> {
        self.remaining_shard_on(wanted, taken, &|_| false)
    }

    /// As [`Placer::shard_on`], without the shards that are lost.
    pub fn remaining_shard_on(&self, wanted: NodeId, taken: &[BrokerId], is_lost: &impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        let free = self.shards.iter().filter(|shard| node(shard.id) == wanted && !taken.contains(&shard.id) && !is_lost(shard.id));
        free.min_by_key(|shard| (shard.load, shard.id)).map(|shard| shard.id)
    }

    /// Remembers replicas that were chosen by hand.
    pub fn count(&mut self, replicas: &[BrokerId]) {
        for shard in &mut self.shards {
            shard.load += u32::from(replicas.contains(&shard.id));
        }
    }

    fn counts(&self, existing: Option<&Topic>) -> Vec<OfTopic> {
        let mut counts = vec![OfTopic::default(); self.shards.len()];
        for partition in existing.into_iter().flat_map(|topic| topic.partitions.values()) {
            for (rank, replica) in partition.replicas.iter().enumerate() {
                if let Ok(at) = self.shards.binary_search_by_key(replica, |shard| shard.id) {
                    counts[at].replicas += 1;
                    counts[at].leaders += u32::from(rank == 0);
                }
            }
        }
        counts
    }

    fn place_one(&mut self, of_topic: &mut [OfTopic], replication_factor: usize) -> Vec<BrokerId> {
        let mut chosen: Vec<usize> = Vec::with_capacity(replication_factor);
        while chosen.len() < replication_factor {
            let leads = chosen.is_empty();
            let on_node = |id: BrokerId| chosen.iter().filter(|&&at| node(self.shards[at].id) == node(id)).count();
            let rack_is_taken = |shard: &Shard| chosen.iter().any(|&at| self.shards[at].rack == shard.rack);
            let best = (0..self.shards.len())
                .filter(|&at| !chosen.contains(&at) && on_node(self.shards[at].id) < self.replicas_per_node)
                .min_by_key(|&at| {
                    let shard = &self.shards[at];
                    let of_others = shard.load - of_topic[at].replicas;
                    let of_this = if leads { (0, of_topic[at].leaders) } else { (on_node(shard.id), of_topic[at].replicas) };
                    (rack_is_taken(shard), of_this, of_others, shard.id)
                })
                .expect("the replication factor is reachable");
            of_topic[best].replicas += 1;
            of_topic[best].leaders += u32::from(leads);
            chosen.push(best);
        }
        for &at in &chosen {
            self.shards[at].load += 1;
        }
        chosen.into_iter().map(|at| self.shards[at].id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placer(shards: &str, replicas_per_node: usize) -> Placer {
        // id, or id@rack, or id:load
        let shards = shards
            .split_whitespace()
            .map(|word| {
                let (word, rack) = word.split_once('@').map_or((word, None), |(word, rack)| (word, Some(rack.to_owned())));
                let (id, load) = word.split_once(':').unwrap_or((word, "0"));
                Shard { id: BrokerId(id.parse().unwrap()), rack, load: load.parse().unwrap() }
            })
            .collect();
        Placer { shards, replicas_per_node }
    }

    fn show(placed: Result<Vec<Vec<BrokerId>>, PlacementError>) -> String {
        match placed {
            Ok(lists) => {
                let list = |list: &Vec<BrokerId>| list.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",");
                lists.iter().map(list).collect::<Vec<_>>().join(" ")
            }
            Err(PlacementError::TooFewNodes { reachable, .. }) => format!("at most {reachable}"),
            Err(PlacementError::NoActiveBroker) => "no broker".to_owned(),
        }
    }

    /// shards | replicas per node | partitions x factor ... | what comes out, one topic after the other
    const TABLE: &str = "
        1000                               | 1 | 3x1         | 1000 1000 1000
        1000 1001                          | 1 | 3x1 1x1     | 1000 1001 1000 ; 1001
        1000 1001 1002                     | 1 | 1x1 1x1 1x1 | 1000 ; 1001 ; 1002
        1000:5 1001:1 1002:3               | 1 | 4x1         | 1001 1002 1000 1001
        1000 1001                          | 1 | 1x2         | at most 1
        1000 1001                          | 2 | 2x2         | 1000,1001 1001,1000
        1000 1001                          | 3 | 1x3         | at most 2
        1000 2000                          | 1 | 2x2         | 1000,2000 2000,1000
        1000 1001 2000 2001                | 1 | 4x2         | 1000,2000 1001,2001 2000,1000 2001,1001
        1000 2000 3000                     | 1 | 3x2         | 1000,2000 2000,3000 3000,1000
        1000@a 2000@a 3000@b               | 1 | 1x2         | 1000,3000
                                           | 1 | 1x1         | no broker
    ";

    #[test]
    fn a_table_of_placements() {
        for line in TABLE.lines().filter(|line| line.contains('|')) {
            let mut columns = line.split('|').map(str::trim);
            let mut next = || columns.next().unwrap();
            let mut placer = placer(next(), next().parse().unwrap());
            let got: Vec<String> = next()
                .split_whitespace()
                .map(|topic| {
                    let (count, factor) = topic.split_once('x').unwrap();
                    show(placer.place(None, count.parse().unwrap(), factor.parse().unwrap()))
                })
                .collect();
            assert_eq!(got.join(" ; "), next(), "{line}");
        }
    }

    #[test]
    fn leaders_of_a_topic_never_differ_by_more_than_one() {
        let mut rng = odradek_base::Rng::with_seed(3);
        for _ in 0..200 {
            let shards: Vec<String> = (0..1 + rng.below(7)).map(|i| format!("{}:{}", 1000 + i, rng.below(50))).collect();
            let mut placer = placer(&shards.join(" "), 1);
            let placed = placer.place(None, rng.below(40) as usize, 1).unwrap();
            let leaders = |id: BrokerId| placed.iter().filter(|list| list[0] == id).count();
            let counts: Vec<usize> = placer.shards.iter().map(|shard| leaders(shard.id)).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn replicas_of_a_partition_never_share_a_node() {
        let mut placer = placer("1000 1001 1002 2000 2001 3000:9", 1);
        for list in placer.place(None, 50, 3).unwrap() {
            let mut nodes: Vec<NodeId> = list.iter().map(|&id| node(id)).collect();
            nodes.sort();
            nodes.dedup();
            assert_eq!(nodes.len(), 3, "{list:?}");
        }
    }
}
