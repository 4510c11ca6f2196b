//! Telling the cluster which replicas this shard cannot serve, as a Kafka broker does with its offline log directories (KIP-858).

use crate::controller::{self, Command, CommandResult};
use crate::shard::Shard;
use crate::topics::TopicSpec;
use odradek_base::TopicPartition;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What the controller was told last.
#[derive(Default)]
pub struct Told(BTreeSet<TopicPartition>);

/// Tells the controller what is offline, when that is something else than before.
pub async fn tell(shard: &Rc<Shard>, told: &mut Told) {
    let offline = shard.store().offline();
    if offline == told.0 {
        return;
    }
    let image = shard.image();
    for back in told.0.difference(&offline) {
        // Made later than the metadata asked for it: its topic's settings may be others by now.
        if let (Some(partition), Some(topic)) = (shard.partition(*back), image.topic_by_id(back.topic)) {
            partition.set_config(TopicSpec::of(shard, &image, topic).config);
        }
    }
    match controller::call(shard, Command::Offline(shard.config.broker_of(shard.id), offline.clone())).await {
        Some(CommandResult::Offline) => told.0 = offline,
        _ => tracing::warn!("clients are not told of partitions that are offline: the controller cannot be reached"),
    }
}

/// Tells of every change until the shard stops.
pub async fn follow(shard: Rc<Shard>, mut told: Told) {
    while !shard.stopping.get() {
        let changed = shard.store().offline_changed();
        tell(&shard, &mut told).await;
        changed.await;
    }
}
