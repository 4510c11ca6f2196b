//! ConsumerGroupHeartbeat of members that leave: for good (-1), or for a while as static members (-2).

use super::draft::Draft;
use super::heartbeat::{fenced_instance, unknown_instance, unknown_member};
use super::refused::Refused;
use super::state::{Assigned, Current, EPOCH_STATIC_LEAVE};
use crate::turn::Turn;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::own;

pub(crate) fn leave(
    turn: &Turn,
    draft: &mut Draft,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
    let id = &*request.member_id;
    if let Some(instance) = request.instance_id.as_deref() {
        let (holder, _) = draft.next.holder(instance).ok_or_else(|| unknown_instance(instance))?;
        if **holder != *id {
            return Err(fenced_instance(id, instance, holder));
        }
    }
    let member = draft.member(id).cloned().ok_or_else(|| unknown_member(id))?;
    if request.member_epoch == EPOCH_STATIC_LEAVE {
        // Its partitions stay with it: commits of its former self are fenced by the epoch alone.
        let mut assigned = member.current.assigned.clone();
        assigned.values_mut().flat_map(|indexes| indexes.values_mut()).for_each(|epoch| *epoch = 0);
        let current = Current { epoch: EPOCH_STATIC_LEAVE, assigned, revoking: Assigned::new(), ..member.current };
        draft.set_current(id, &current);
    } else {
        draft.remove_member(id);
        draft.remove_unused_regexes();
        draft.bump_epoch(turn, true);
    }
    Ok(ConsumerGroupHeartbeatResponse::default().with_member_id(Some(own(id))).with_member_epoch(request.member_epoch))
}
