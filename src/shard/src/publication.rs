//! Acting on new metadata: partitions are opened, made, changed and deleted to match the image.

use crate::coordinators::groups;
use crate::messages::{GroupsCall, Publication};
use crate::shard::Shard;
use crate::topics::{self, TopicSpec};
use odradek_base::{PartitionIndex, TopicId, TopicPartition};
use odradek_cluster::image::TopicChange;
use odradek_cluster::{Image, Topic};
use std::rc::Rc;

/// Takes a new image over. Returns when this shard serves what the image says.
pub async fn apply(shard: &Rc<Shard>, publication: Publication) {
    let before = shard.image();
    let image = publication.image;
    let changes = image.changes_since(&before);
    shard.set_image(image.clone(), publication.version);
    // Settings of the broker are defaults of every topic, so any change may concern any topic.
    shard.topics.forget_all();
    if shard.store_if_open().is_none() {
        return;
    }
    let mut deleted = Vec::new();
    let acting = async {
        for change in &changes {
            match change {
                TopicChange::Removed(topic) => {
                    delete(shard, topic).await;
                    deleted.push(topic.name.to_string());
                }
                TopicChange::Added(topic) | TopicChange::Changed { after: topic, .. } => follow(shard, &image, topic).await,
            }
        }
    };
    shard.while_applying(acting).await;
    if image.configs_differ(&before) {
        renew_configs(shard, &image);
    }
    shard.follow_coordinators();
    if !changes.is_empty() {
        groups::serve(shard, GroupsCall::TopicsChanged).await;
    }
    if !deleted.is_empty() {
        groups::serve(shard, GroupsCall::TopicsDeleted { names: deleted }).await;
    }
}

/// Makes the partitions of a topic that are this shard's and not there yet; gives the others their settings.
async fn follow(shard: &Rc<Shard>, image: &Image, topic: &Topic) {
    let mut missing = Vec::new();
    let spec = TopicSpec::of(shard, image, topic);
    for (index, _) in topic.partitions.iter().filter(|(_, partition)| shard.owns(partition)) {
        match shard.store().partition(TopicPartition::new(topic.id, *index)) {
            Some(open) => open.set_config(spec.config),
            // One that could not be opened stays as it is.
            None if shard.store().closed(TopicPartition::new(topic.id, *index)).is_some() => {}
            None => missing.push(spec.partition(*index)),
        }
    }
    if !missing.is_empty()
        && let Err(error) = shard.store().create_all(missing).await
    {
        tracing::error!(topic = %topic.name, %error, "partitions could not be made: for lack of room until there is some, otherwise until the next start");
    }
}

/// Gives every partition the settings that its topic has now, and the store the broker's.
fn renew_configs(shard: &Rc<Shard>, image: &Image) {
    shard.store().set_delete_delay(topics::delete_delay(shard, image));
    // In the order of their ids: the partitions of a topic follow each other.
    let mut spec: Option<(TopicId, TopicSpec<'_>)> = None;
    for partition in shard.store().partitions() {
        let id = partition.tp().topic;
        if spec.as_ref().is_none_or(|(known, _)| *known != id) {
            spec = image.topic_by_id(id).map(|topic| (id, TopicSpec::of(shard, image, topic)));
        }
        if let Some((_, spec)) = &spec {
            partition.set_config(spec.config);
        }
    }
}

async fn delete(shard: &Rc<Shard>, topic: &Topic) {
    for index in topic.partitions.keys() {
        delete_partition(shard, topic.id, *index).await;
    }
}

async fn delete_partition(shard: &Rc<Shard>, topic: TopicId, index: PartitionIndex) {
    let tp = TopicPartition::new(topic, index);
    if (shard.store().partition(tp).is_some() || shard.store().closed(tp).is_some())
        && let Err(error) = shard.store().delete(tp).await
    {
        tracing::error!(partition = %tp, %error, "the partition's files could not be deleted");
    }
}
