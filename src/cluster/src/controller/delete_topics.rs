//! DeleteTopics, by name (KIP-4) and by id (KIP-516).

use super::{Controller, Outcome};
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::protocol::{ErrorCode, Refusal, topic_name};
use crate::records::{MetadataRecord, RemoveTopicRecord};
use odradek_base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// From this version on topics are given by name or id, one structure each.
const FIRST_VERSION_WITH_IDS: i16 = 6;

/// Before this version clients do not know TOPIC_DELETION_DISABLED.
const FIRST_VERSION_WITH_DISABLED: i16 = 3;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    name: Option<String>,
    id: TopicId,
}

impl Controller<'_> {
    /// Each topic succeeds or fails on its own.
    pub fn delete_topics(&self, request: &DeleteTopicsRequest, version: i16) -> Outcome<DeleteTopicsResponse> {
        let wanted: Vec<Wanted> = if version >= FIRST_VERSION_WITH_IDS {
            let of = |topic: &crate::protocol::messages::delete_topics_request::DeleteTopicState| Wanted {
                name: topic.name.as_ref().map(|name| name.to_string()),
                id: TopicId(topic.topic_id),
            };
            request.topics.iter().map(of).collect()
        } else {
            request.topic_names.iter().map(|name| Wanted { name: Some(name.to_string()), id: TopicId::NONE }).collect()
        };
        let mut times: BTreeMap<&Wanted, usize> = BTreeMap::new();
        wanted.iter().for_each(|topic| *times.entry(topic).or_default() += 1);
        let mut removed: BTreeSet<TopicId> = BTreeSet::new();
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut results = Vec::with_capacity(wanted.len());
        for topic in &wanted {
            let Some(count) = times.remove(topic) else { continue };
            let found = self.find_for_deletion(topic, count, version).and_then(|(id, name)| {
                if !removed.insert(id) {
                    let message = "The provided topic name maps to an ID that was already supplied.";
                    return Err(Refusal::new(ErrorCode::InvalidRequest, message));
                }
                records.push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id }));
                Ok((id, name))
            });
            results.push(match found {
                Ok((id, name)) => DeletableTopicResult::default().with_name(Some(topic_name(&name))).with_topic_id(id.0),
                Err(refusal) => DeletableTopicResult::default()
                    .with_name(topic.name.as_deref().map(topic_name))
                    .with_topic_id(topic.id.0)
                    .with_error_code(refusal.code.code())
                    .with_error_message(refusal.message()),
            });
        }
        Outcome { records, response: DeleteTopicsResponse::default().with_responses(results) }
    }

    fn find_for_deletion(&self, wanted: &Wanted, count: usize, version: i16) -> Result<(TopicId, String), Refusal> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        if !self.settings.delete_topics() {
            let code = if version < FIRST_VERSION_WITH_DISABLED { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
            return Err(Refusal::new(code, "Topic deletion is disabled."));
        }
        let topic = match (&wanted.name, wanted.id) {
            (None, TopicId::NONE) => return invalid("Neither topic name nor id were specified."),
            (Some(_), id) if id != TopicId::NONE => return invalid("You may not specify both topic name and topic id."),
            (Some(_), _) if count > 1 => return invalid("Duplicate topic name."),
            (None, _) if count > 1 => return invalid("Duplicate topic id."),
            (Some(name), _) => self
                .image
                .topic(name)
                .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."))?,
            (None, id) => self
                .image
                .topic_by_id(id)
                .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID."))?,
        };
        Ok((topic.id, topic.name.to_string()))
    }
}
