//! Where a consumer is in each of its partitions.

use crate::admin::OffsetSpec;
use std::collections::BTreeMap;

/// Where a partition's consumption begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The offset is known.
    Offset,
    /// It has to be asked for.
    Spec(OffsetSpec),
}

/// The state of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub start: Start,
    /// The next offset to fetch; ahead of `consumed` while records wait to be handed out.
    pub fetch_offset: i64,
    /// The next offset to hand out: what is committed.
    pub consumed: i64,
    /// Epoch of the last record handed out, -1 before the first.
    pub leader_epoch: i32,
    /// -1 until the first fetch.
    pub high_watermark: i64,
}

/// All partitions of a consumer, in order of topic and index.
#[derive(Debug, Default)]
pub struct Positions(BTreeMap<String, BTreeMap<i32, Position>>);

impl Positions {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn set_offset(&mut self, topic: &str, partition: i32, offset: i64) {
        let position = Position { start: Start::Offset, fetch_offset: offset, consumed: offset, leader_epoch: -1, high_watermark: -1 };
        self.0.entry(topic.to_owned()).or_default().insert(partition, position);
    }

    pub fn set_spec(&mut self, topic: &str, partition: i32, spec: OffsetSpec) {
        let position = Position { start: Start::Spec(spec), fetch_offset: -1, consumed: -1, leader_epoch: -1, high_watermark: -1 };
        self.0.entry(topic.to_owned()).or_default().insert(partition, position);
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Position> {
        self.0.get(topic)?.get(&partition)
    }

    pub fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Position> {
        self.0.get_mut(topic)?.get_mut(&partition)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &Position)> {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |(&index, p)| (topic.as_str(), index, p)))
    }

    /// A record before `offset` was handed out.
    pub fn consumed(&mut self, topic: &str, partition: i32, offset: i64, leader_epoch: i32) {
        if let Some(position) = self.get_mut(topic, partition) {
            position.consumed = offset;
            position.leader_epoch = leader_epoch;
        }
    }
}
