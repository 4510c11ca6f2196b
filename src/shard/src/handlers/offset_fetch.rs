//! OffsetFetch (key 9).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::messages::{GroupsCall, GroupsReply};
use crate::shard::Shard;
use odradek_base::TopicId;
use odradek_wire::messages::OffsetFetchRequest;
use odradek_wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

/// From this version on topics are named by id.
const TOPIC_ID_FROM: i16 = 10;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: OffsetFetchRequest = context.parse()?;
    let version = context.version();
    let require_stable = request.require_stable;
    let mut answers = Vec::new();
    for mut asked in odradek_groups::fetch::groups_of(request, version) {
        if version >= TOPIC_ID_FROM {
            let image = shard.image();
            for topic in asked.topics.iter_mut().flatten() {
                let name = image.topic_by_id(TopicId(topic.topic_id)).map_or_else(String::new, |known| known.name.to_string());
                topic.name = StrBytes::from_string(name).into();
            }
        }
        let failed =
            |error: ErrorCode| OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone()).with_error_code(error.code());
        let place = groups::by_shard(shard, std::iter::once(asked.group_id.0.as_str())).pop();
        let answer = match place {
            Some((_, Ok(owner))) => {
                let call = GroupsCall::FetchOffsets { group: asked.clone(), require_stable, version };
                match groups::call(shard, owner, call).await {
                    Some(GroupsReply::Offsets(answer)) => *answer,
                    _ => failed(ErrorCode::CoordinatorNotAvailable),
                }
            }
            Some((_, Err(error))) => failed(error),
            None => failed(ErrorCode::UnknownServerError),
        };
        answers.push(answer);
    }
    context.respond(&odradek_groups::fetch::response_of(answers, version))
}
