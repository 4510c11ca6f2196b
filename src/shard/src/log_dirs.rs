//! What the log directories hold, by shard.

use crate::messages::{Call, LogDir, LogDirReplica, Reply};
use crate::shard::Shard;
use odradek_base::TopicPartition;
use odradek_settings::Advertise;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What this shard has in the log directories, of `wanted` or of all its partitions.
pub fn of(shard: &Shard, wanted: Option<&BTreeSet<TopicPartition>>) -> Vec<LogDir> {
    let Some(store) = shard.store_if_open() else { return Vec::new() };
    let mut dirs: Vec<LogDir> =
        store.log_dirs().into_iter().map(|dir| LogDir { path: dir.path, offline: dir.offline.is_some(), replicas: Vec::new() }).collect();
    let mut add = |path: &std::path::Path, replica| {
        // An offline directory says nothing of what is in it.
        if let Some(dir) = dirs.iter_mut().find(|dir| dir.path == path && !dir.offline) {
            dir.replicas.push(replica);
        }
    };
    for partition in store.partitions() {
        let tp = partition.tp();
        if wanted.is_some_and(|wanted| !wanted.contains(&tp)) {
            continue;
        }
        let current = LogDirReplica { tp, size_bytes: partition.size_bytes(), offset_lag: 0, is_future: false };
        add(partition.log_dir(), current);
        if let Some(future) = partition.future_replica() {
            let copy = LogDirReplica { tp, size_bytes: future.size_bytes, offset_lag: future.offset_lag, is_future: true };
            add(&future.log_dir, copy);
        }
    }
    dirs
}

/// What the broker that a client of this shard sees has: this shard's, or the whole node's. A directory that is offline for one of the shards is
/// offline; what the others have there is still theirs.
pub async fn of_broker(shard: &Rc<Shard>, wanted: Option<&BTreeSet<TopicPartition>>) -> Vec<LogDir> {
    let mut dirs = of(shard, wanted);
    if shard.config.advertise != Advertise::Node {
        return dirs;
    }
    for other in shard.node_shards().filter(|other| *other != shard.id) {
        let Ok(Reply::LogDirs(theirs)) = shard.mailbox.call(other, Call::LogDirs(wanted.cloned())).await else { continue };
        for dir in theirs {
            match dirs.iter_mut().find(|known| known.path == dir.path) {
                Some(known) => {
                    known.offline |= dir.offline;
                    known.replicas.extend(dir.replicas);
                }
                None => dirs.push(dir),
            }
        }
    }
    dirs
}
