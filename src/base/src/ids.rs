//! Identifiers, each its own type, so that two numbers cannot be swapped unnoticed.

use std::fmt;
use uuid::Uuid;

/// Shards per node that broker ids leave room for: `broker.id = node.id * 1000 + shard`.
pub const SHARDS_PER_NODE_MAX: u16 = 1000;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id!(
    /// One odradek process: Kafka's `node.id`.
    NodeId(i32)
);
id!(
    /// One pinned thread of a node, counted from 0.
    ShardId(u16)
);
id!(
    /// What clients call a broker: one shard (`node.id * 1000 + shard`), or the node itself with `odradek.advertise=node`.
    BrokerId(i32)
);
id!(
    /// Index of a partition within its topic, from 0. Negative values come only from peers and name no partition.
    PartitionIndex(i32)
);
id!(
    /// Counts the leaderships of one partition (KIP-101). -1 is "unknown".
    LeaderEpoch(i32)
);
id!(
    /// Id of an idempotent or transactional producer (KIP-98). -1 is "none".
    ProducerId(i64)
);
id!(
    /// Epoch of a producer id (KIP-98). -1 is "none".
    ProducerEpoch(i16)
);

impl LeaderEpoch {
    pub const UNKNOWN: Self = Self(-1);
}

impl ProducerId {
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    pub const NONE: Self = Self(-1);
}

impl BrokerId {
    /// The broker id of one shard of a node.
    pub const fn of_shard(node: NodeId, shard: ShardId) -> Self {
        Self(node.0 * SHARDS_PER_NODE_MAX as i32 + shard.0 as i32)
    }

    /// The node and shard behind a broker id of ours; the inverse of [`BrokerId::of_shard`].
    pub const fn node_and_shard(self) -> (NodeId, ShardId) {
        let per_node = SHARDS_PER_NODE_MAX as i32;
        (NodeId(self.0 / per_node), ShardId((self.0 % per_node) as u16))
    }
}

/// A topic's id (KIP-516). The nil id means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub Uuid);

impl TopicId {
    pub const NONE: Self = Self(Uuid::nil());

    pub fn is_none(self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Display for TopicId {
    /// Kafka prints ids as unpadded URL-safe base64 of the 16 bytes (`org.apache.kafka.common.Uuid`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_to_kafka_string(self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const KAFKA_UUID_LENGTH: usize = 22;

/// A UUID in Kafka's notation: 22 characters of URL-safe base64 without padding.
pub fn uuid_to_kafka_string(id: Uuid) -> String {
    let bits = id.as_u128();
    (0..KAFKA_UUID_LENGTH)
        .map(|i| {
            // 22 x 6 = 132 bits: the last character carries the lowest 2 bits, shifted up by 4.
            let shift = 122 - 6 * i as i32;
            let six = if shift >= 0 { (bits >> shift) & 63 } else { (bits << -shift) & 63 };
            BASE64_URL[six as usize] as char
        })
        .collect()
}

/// Parses Kafka's notation of a UUID; `None` where the text is not one.
pub fn uuid_from_kafka_string(text: &str) -> Option<Uuid> {
    if text.len() != KAFKA_UUID_LENGTH {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, c) in text.bytes().enumerate() {
        let six = BASE64_URL.iter().position(|&x| x == c)? as u128;
        let shift = 122 - 6 * i as i32;
        if shift >= 0 {
            bits |= six << shift;
        } else {
            if six & 0b1111 != 0 {
                return None;
            }
            bits |= six >> -shift;
        }
    }
    Some(Uuid::from_u128(bits))
}

/// One partition of one topic, by topic id: names can be reused, ids never are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: PartitionIndex,
}

impl TopicPartition {
    pub const fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_ids_name_node_and_shard() {
        let id = BrokerId::of_shard(NodeId(7), ShardId(12));
        assert_eq!(id, BrokerId(7012));
        assert_eq!(id.node_and_shard(), (NodeId(7), ShardId(12)));
    }

    #[test]
    fn kafka_uuid_text_round_trips() {
        for bits in [0u128, 1, 2, 3, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = Uuid::from_u128(bits);
            let text = uuid_to_kafka_string(id);
            assert_eq!(text.len(), 22);
            assert_eq!(uuid_from_kafka_string(&text), Some(id));
        }
        // Kafka's own constants: Uuid.ONE_UUID and the metadata topic id.
        assert_eq!(uuid_to_kafka_string(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(uuid_from_kafka_string("AAAAAAAAAAAAAAAAAAAAA/"), None);
        assert_eq!(uuid_from_kafka_string("AAAAAAAAAAAAAAAAAAAAAB"), None);
        assert_eq!(uuid_from_kafka_string("short"), None);
    }
}
