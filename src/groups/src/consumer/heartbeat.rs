//! ConsumerGroupHeartbeat of members that join or stay.

use super::draft::Draft;
use super::reconcile::Step;
use super::refused::Refused;
use super::state::{ConsumerState, Current, EPOCH_LEAVE, EPOCH_STATIC_LEAVE, Member, Subscription};
use super::{assign::Assignor, regex};
use crate::config::GroupsConfig;
use crate::turn::{RequestContext, Turn};
use crate::wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::{ErrorCode, own};
use odradek_base::{Rng, TopicId};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Since this version a member always brings an id of its own making.
const VERSION_CLIENT_MEMBER_ID: i16 = 1;
/// Longest string of a record's key, in bytes.
const KEY_STRING_BYTES_MAX: usize = i16::MAX as usize;

type Owned = BTreeMap<TopicId, BTreeSet<i32>>;

/// `GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid`
pub(crate) fn validate(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::InvalidRequest, message));
    let blank = |text: Option<&str>| text.is_some_and(|text| text.trim().is_empty());
    let epoch = request.member_epoch;
    if (version >= VERSION_CLIENT_MEMBER_ID || epoch > 0 || epoch == EPOCH_LEAVE) && blank(Some(&request.member_id)) {
        return invalid("MemberId can't be empty.");
    }
    if blank(Some(&request.group_id)) {
        return invalid("GroupId can't be empty.");
    }
    if blank(request.instance_id.as_deref()) {
        return invalid("InstanceId can't be empty.");
    }
    if blank(request.rack_id.as_deref()) {
        return invalid("RackId can't be empty.");
    }
    if [&**request.group_id, &*request.member_id].iter().any(|text| text.len() > KEY_STRING_BYTES_MAX) {
        return invalid("GroupId and MemberId can't have more than 32767 bytes.");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => return invalid("RebalanceTimeoutMs must be provided in first request."),
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        EPOCH_STATIC_LEAVE if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < EPOCH_STATIC_LEAVE => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match request.server_assignor.as_deref() {
        Some(name) if Assignor::by_name(name).is_none() => Err(Refused::new(
            ErrorCode::UnsupportedAssignor,
            format!("ServerAssignor {name} is not supported. Supported assignors: uniform, range."),
        )),
        _ => Ok(()),
    }
}

pub(crate) struct Heartbeat<'a, 't> {
    pub(crate) turn: &'a Turn<'t>,
    pub(crate) ctx: &'a RequestContext,
    pub(crate) config: &'a GroupsConfig,
    pub(crate) request: &'a ConsumerGroupHeartbeatRequest,
    /// Topics have changed since the group's last heartbeat.
    pub(crate) topics_changed: bool,
}

impl Heartbeat<'_, '_> {
    /// Works the heartbeat into the group.
    pub(crate) fn run(&self, draft: &mut Draft, rng: &mut Rng) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
        let request = self.request;
        let known = !request.member_id.is_empty() && draft.next.members.contains_key(&*request.member_id);
        if !known && draft.next.members.len() >= self.config.consumer_members_max {
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, "The consumer group has reached its maximum capacity."));
        }
        // Only version 0 lets the coordinator choose.
        let id = if request.member_id.is_empty() { rng.uuid().to_string() } else { request.member_id.to_string() };
        let owned = request.topic_partitions.as_ref().map(|topics| {
            let mut owned = Owned::new();
            for topic in topics {
                owned.entry(TopicId(topic.topic_id)).or_default().extend(&topic.partitions);
            }
            owned
        });
        let before = self.find_member(draft, &id, owned.as_ref())?;
        let changed = self.subscribe(draft, &id, &before)?;
        if self.topics_changed {
            self.resolve_again(draft);
        }
        if changed || self.topics_changed {
            draft.bump_epoch(self.turn, changed);
        }
        draft.update_targets(self.turn, self.config.consumer_assignment_interval);
        let current = self.reconcile(draft, &id, changed, owned.as_ref())?;

        let subscribes = request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
        let tells_all = request.rebalance_timeout_ms != -1 && subscribes && owned.is_some();
        let assignment = (request.member_epoch == 0 || tells_all || current.assigned != before.current.assigned).then(|| {
            let topics = current.assigned.iter().map(|(topic, partitions)| {
                TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions.keys().copied().collect())
            });
            Assignment::default().with_topic_partitions(topics.collect())
        });
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(own(&id)))
            .with_member_epoch(current.epoch)
            .with_heartbeat_interval_ms(self.config.consumer_heartbeat_interval.as_millis() as i32)
            .with_assignment(assignment))
    }

    /// The member as it was before this heartbeat; a new one has nothing yet.
    fn find_member(&self, draft: &mut Draft, id: &str, owned: Option<&Owned>) -> Result<Member, Refused> {
        let joins = self.request.member_epoch == 0;
        let known = draft.member(id).cloned();
        let Some(instance) = self.request.instance_id.as_deref() else {
            return match known {
                Some(member) => check_epoch(&member.current, self.request.member_epoch, owned).map(|()| member),
                None if joins => Ok(Member::default()),
                None => Err(unknown_member(id)),
            };
        };
        if !joins
            && let Some(member) = &known
            && member.subscription.instance.as_deref() == Some(instance)
        {
            return check_epoch(&member.current, self.request.member_epoch, owned).map(|()| member.clone());
        }
        match draft.next.holder(instance).map(|(id, member)| (id.clone(), member.clone())) {
            None if joins => Ok(known.unwrap_or_default()),
            None => Err(unknown_instance(instance)),
            Some((holder, member)) if joins && member.current.epoch != EPOCH_STATIC_LEAVE => Err(Refused::new(
                ErrorCode::UnreleasedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by member {holder}."
                ),
            )),
            Some((holder, member)) if joins => Ok(replace(draft, &holder, &member, id)),
            Some((holder, _)) => Err(fenced_instance(id, instance, &holder)),
        }
    }

    /// Takes over what the member tells about itself. True if it subscribes to something else than before.
    fn subscribe(&self, draft: &mut Draft, id: &str, before: &Member) -> Result<bool, Refused> {
        let subscription = self.updated(&before.subscription);
        if draft.member(id).is_none_or(|member| member.subscription != subscription) {
            draft.set_subscription(id, &subscription);
        }
        let regex_changed = subscription.regex != before.subscription.regex;
        if regex_changed {
            if let Some(regex) = &subscription.regex
                && !draft.next.regexes.contains_key(regex)
            {
                let resolved = if regex.len() > self.config.regex_bytes_max { None } else { regex::resolve(self.turn, regex) };
                let Some(resolved) = resolved else {
                    let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression, or too large.");
                    return Err(Refused::new(ErrorCode::InvalidRegularExpression, message));
                };
                draft.set_regex(regex, &resolved);
            }
            draft.remove_unused_regexes();
        }
        Ok(regex_changed || subscription.topics != before.subscription.topics)
    }

    /// The old subscription with what the request says; what it leaves out stays.
    fn updated(&self, old: &Subscription) -> Subscription {
        let request = self.request;
        let mut new = old.clone();
        new.client_id = Arc::from(&*self.ctx.client_id);
        new.client_host = Arc::from(&*self.ctx.client_host);
        if let Some(instance) = request.instance_id.as_deref() {
            new.instance = Some(Arc::from(instance));
        }
        if let Some(rack) = request.rack_id.as_deref() {
            new.rack = Some(Arc::from(rack));
        }
        if request.rebalance_timeout_ms != -1 {
            new.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(assignor) = request.server_assignor.as_deref() {
            new.assignor = Some(Arc::from(assignor));
        }
        if let Some(names) = &request.subscribed_topic_names {
            new.topics = names.iter().map(|name| Arc::from(&***name)).collect();
        }
        if let Some(regex) = request.subscribed_topic_regex.as_deref() {
            new.regex = (!regex.is_empty()).then(|| Arc::from(regex));
        }
        new
    }

    /// Looks for the topics of all expressions again.
    fn resolve_again(&self, draft: &mut Draft) {
        for (regex, old) in draft.next.regexes.clone() {
            let found = regex::resolve(self.turn, &regex).unwrap_or_default();
            if found.topics != old.topics {
                draft.set_regex(&regex, &found);
            }
        }
    }

    fn reconcile(&self, draft: &mut Draft, id: &str, changed: bool, owned: Option<&Owned>) -> Result<Current, Refused> {
        let state = &draft.next;
        let member = state.members.get(id).expect("subscribed above").clone();
        if !changed && member.current.is_reconciled_to(state.assignment_epoch) {
            return Ok(member.current.clone());
        }
        let target = state.targets.get(id).cloned().unwrap_or_default();
        let held = OnceCell::new();
        let step = Step {
            target_epoch: state.assignment_epoch,
            target: &target,
            subscribed: &|topic| (self.turn.topics.by_id)(topic).is_some_and(|name| state.reads(&member.subscription, &name)),
            subscription_changed: changed,
            owned,
            held: &|topic, index| held.get_or_init(|| partitions_of_others(state, id)).contains(&(topic, index)),
        };
        let next = step.take(&member.current).map_err(|_| {
            Refused::new(ErrorCode::FencedMemberEpoch, "The member is in an unknown state. It must abandon all its partitions and rejoin.")
        })?;
        if next != member.current {
            draft.set_current(id, &next);
        }
        Ok(next)
    }
}

fn partitions_of_others(state: &ConsumerState, id: &str) -> BTreeSet<(TopicId, i32)> {
    let others = state.members.iter().filter(|(other, _)| ***other != *id).map(|(_, member)| &member.current);
    let held = others.flat_map(|current| current.assigned.iter().chain(&current.revoking));
    held.flat_map(|(topic, indexes)| indexes.keys().map(|&index| (*topic, index))).collect()
}

/// A static member comes back under a new id: it takes over what its former self had.
fn replace(draft: &mut Draft, old: &str, member: &Member, id: &str) -> Member {
    let member =
        Member { subscription: member.subscription.clone(), current: Current { epoch: 0, previous_epoch: 0, ..member.current.clone() } };
    let target = draft.next.targets.get(old).cloned().unwrap_or_default();
    draft.remove_member(old);
    draft.set_subscription(id, &member.subscription);
    draft.set_target(id, &target);
    draft.set_current(id, &member.current);
    member
}

/// `throwIfConsumerGroupMemberEpochIsInvalid`: the current epoch, or the one before if the answer with the current one
/// was lost.
fn check_epoch(current: &Current, epoch: i32, owned: Option<&Owned>) -> Result<(), Refused> {
    let lost_answer = || {
        let has = |topic: &TopicId, index: &i32| current.assigned.get(topic).is_some_and(|indexes| indexes.contains_key(index));
        epoch == current.previous_epoch
            && owned.is_some_and(|owned| owned.iter().all(|(topic, indexes)| indexes.iter().all(|index| has(topic, index))))
    };
    if epoch == 0 || epoch == current.epoch || (epoch < current.epoch && lost_answer()) {
        return Ok(());
    }
    let than = if epoch > current.epoch { "greater" } else { "smaller" };
    Err(Refused::new(
        ErrorCode::FencedMemberEpoch,
        format!(
            "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group coordinator ({}). \
             The member must abandon all its partitions and rejoin.",
            current.epoch
        ),
    ))
}

pub(crate) fn unknown_member(id: &str) -> Refused {
    Refused::new(ErrorCode::UnknownMemberId, format!("Member {id} is not a member of the group."))
}

pub(crate) fn unknown_instance(instance: &str) -> Refused {
    Refused::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))
}

pub(crate) fn fenced_instance(id: &str, instance: &str, holder: &str) -> Refused {
    Refused::new(ErrorCode::FencedInstanceId, format!("Static member {id} with instance id {instance} was fenced by member {holder}."))
}
