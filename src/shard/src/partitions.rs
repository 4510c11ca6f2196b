//! Questions about single partitions, answered by the shard that owns them.

use crate::messages::{Call, PartitionCall, PartitionReply, Reply};
use crate::shard::Shard;
use crate::topics::Topic;
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicPartition};
use odradek_ring::sim::planted::{Mistake, is_planted};
use odradek_store::Partition;
use odradek_wire::ErrorCode;
use std::rc::Rc;

/// Kafka's special timestamps in ListOffsets (`ListOffsetsRequest`).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

/// Asks the owner of a partition; `call` is given the leader epoch that the metadata names.
pub async fn ask(
    shard: &Rc<Shard>,
    topic: &Result<Rc<Topic>, ErrorCode>,
    index: i32,
    call: impl FnOnce(LeaderEpoch) -> PartitionCall,
) -> PartitionReply {
    let topic = match topic {
        Ok(topic) => topic,
        Err(error) => return PartitionReply::Failed(*error),
    };
    let Some(route) = topic.partition(PartitionIndex(index)) else {
        return PartitionReply::Failed(ErrorCode::UnknownTopicOrPartition);
    };
    if !shard.serves(route) {
        return PartitionReply::Failed(ErrorCode::NotLeaderOrFollower);
    }
    let tp = TopicPartition::new(topic.id, PartitionIndex(index));
    let call = call(route.leader_epoch);
    if route.shard == shard.id {
        return answer(shard, tp, call).await;
    }
    match shard.mailbox.call(route.shard, Call::Partition(tp, call)).await {
        Ok(Reply::Partition(reply)) => reply,
        _ => PartitionReply::Failed(ErrorCode::NotLeaderOrFollower),
    }
}

/// The error of a reply that is not the one hoped for.
pub fn error_of(reply: &PartitionReply) -> i16 {
    match reply {
        PartitionReply::Failed(error) => error.code(),
        _ => ErrorCode::UnknownServerError.code(),
    }
}

/// Answers for a partition of this shard.
pub async fn answer(shard: &Rc<Shard>, tp: TopicPartition, call: PartitionCall) -> PartitionReply {
    let Some(partition) = shard.partition(tp) else {
        return PartitionReply::Failed(shard.missing(tp));
    };
    if let Err(error) = partition.check() {
        return PartitionReply::Failed(error.code());
    }
    let result = match call {
        PartitionCall::Offset { timestamp, read_committed, current_leader_epoch, leader_epoch } => {
            match check_epoch(current_leader_epoch, leader_epoch) {
                Ok(()) => offset_for(&partition, timestamp, read_committed, leader_epoch).await,
                Err(error) => Err(error),
            }
        }
        PartitionCall::DeleteRecords { before } => delete_records(&partition, before).await,
        PartitionCall::EndOffsetForEpoch { epoch, current_leader_epoch, leader_epoch } => {
            check_epoch(current_leader_epoch, leader_epoch).map(|()| end_offset(&partition, epoch, leader_epoch))
        }
        PartitionCall::AlterLogDir { path } => {
            partition.move_to(&path).map(|()| PartitionReply::LogDirAltered).map_err(|error| error.code())
        }
    };
    result.unwrap_or_else(PartitionReply::Failed)
}

/// A client that names the epoch it believes in is told when that is not the current one (KIP-320).
pub fn check_epoch(current_leader_epoch: LeaderEpoch, leader_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
    if current_leader_epoch.get() < 0 || current_leader_epoch == leader_epoch || is_planted(Mistake::NoEpochCheck) {
        Ok(())
    } else if current_leader_epoch < leader_epoch {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

async fn offset_for(partition: &Partition, timestamp: i64, read_committed: bool, epoch: LeaderEpoch) -> Result<PartitionReply, ErrorCode> {
    let marks = partition.marks();
    let at = |offset: Offset, leader_epoch: LeaderEpoch| PartitionReply::Offset {
        timestamp: -1,
        offset: offset.get(),
        leader_epoch: leader_epoch.get(),
    };
    let none = PartitionReply::Offset { timestamp: -1, offset: -1, leader_epoch: -1 };
    let found = match timestamp {
        LATEST => return Ok(at(if read_committed { marks.last_stable.0 } else { marks.high_watermark.0 }, epoch)),
        EARLIEST | EARLIEST_LOCAL => return Ok(at(marks.log_start.0, partition.epoch_at(marks.log_start.0).unwrap_or(epoch))),
        MAX_TIMESTAMP => partition.offset_of_max_timestamp().await,
        // Nothing is tiered here: there is no latest tiered offset and nothing pending upload.
        negative if negative < 0 => return Ok(none),
        _ => partition.offset_for_timestamp(Timestamp(timestamp)).await,
    };
    match found.map_err(|error| error.code())? {
        Some((time, offset, leader_epoch)) if offset < marks.high_watermark.0 => {
            Ok(PartitionReply::Offset { timestamp: time.get(), offset: offset.get(), leader_epoch: leader_epoch.get() })
        }
        _ => Ok(none),
    }
}

async fn delete_records(partition: &Partition, before: i64) -> Result<PartitionReply, ErrorCode> {
    let marks = partition.marks();
    // -1 means everything up to the high watermark (`DeleteRecordsRequest.HIGH_WATERMARK`).
    let before = if before == -1 { marks.high_watermark.0 } else { Offset(before) };
    if before < Offset::ZERO || before > marks.high_watermark.0 {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    partition.delete_records(before).await.map(PartitionReply::LowWatermark).map_err(|error| error.code())
}

fn end_offset(partition: &Partition, epoch: LeaderEpoch, leader_epoch: LeaderEpoch) -> PartitionReply {
    let none = PartitionReply::EndOffset { leader_epoch: -1, end_offset: -1 };
    if epoch.get() < 0 {
        return none;
    }
    if epoch == leader_epoch {
        // The current epoch ends where the log ends.
        return PartitionReply::EndOffset { leader_epoch: epoch.get(), end_offset: partition.marks().appended.0.get() };
    }
    match partition.end_offset_for_epoch(epoch) {
        Some((found, end)) => PartitionReply::EndOffset { leader_epoch: found.get(), end_offset: end.get() },
        None => none,
    }
}
