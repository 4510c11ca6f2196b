//! Who may commit and fetch offsets in a consumer group (`ConsumerGroup.validateOffsetCommit`, `validateOffsetFetch`).

use super::state::{ConsumerState, Member};
use crate::turn::{RequestContext, Turn};
use crate::wire::ErrorCode;
use crate::wire::messages::OffsetCommitRequest;

/// Older commits cannot carry the errors of this protocol.
const COMMIT_VERSION_MIN: i16 = 9;

impl ConsumerState {
    pub(crate) fn validate_commit(&self, turn: &Turn, ctx: &RequestContext, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let epoch = request.generation_id_or_member_epoch;
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&*request.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if ctx.api_version < COMMIT_VERSION_MIN {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch == member.current.epoch {
            return Ok(());
        }
        if epoch > member.current.epoch {
            return Err(ErrorCode::StaleMemberEpoch);
        }
        // An older epoch is good for partitions that the member has had since then (KIP-1251).
        let partitions = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (&topic.name, p.partition_index)));
        for (topic, index) in partitions {
            if assigned_at(turn, member, topic, index).is_none_or(|since| epoch < since) {
                return Err(ErrorCode::StaleMemberEpoch);
            }
        }
        Ok(())
    }

    /// `member`: `None` asks as an outsider, which everybody may.
    pub(crate) fn validate_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(member.unwrap_or_default()).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.current.epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }
}

/// The epoch at which the member got a partition, if it has it, or is about to give it up.
fn assigned_at(turn: &Turn, member: &Member, topic: &str, index: i32) -> Option<i32> {
    let id = (turn.topics.by_name)(topic)?.id;
    let of = |assigned: &super::Assigned| assigned.get(&id)?.get(&index).copied();
    of(&member.current.assigned).or_else(|| of(&member.current.revoking))
}
