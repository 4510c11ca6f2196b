//! What is offline: log directories that failed, the partitions in them, and partitions that could not be opened.
//!
//! With several log directories an I/O error in one takes that directory and its partitions of this shard offline until a restart, as in Kafka
//! (`LogManager.handleLogDirFailure`). With a single one that would be the whole shard, so only the partition concerned goes. The pending
//! batches of a partition that goes are put aside ([`crate::strand`]), so that it does not hold the journal of the others.

use crate::error::StoreError;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use crate::strand;
use odradek_base::{TopicPartition, disk};
use odradek_ring::sync::Event;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::rc::Rc;

/// Why a partition that this shard owns is not open.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub error: StoreError,
}

pub(crate) struct Offline {
    /// Per log directory: what went wrong there.
    directories: RefCell<Vec<Option<Rc<str>>>>,
    closed: RefCell<BTreeMap<TopicPartition, Closed>>,
    /// A partition went offline, or one that was is gone.
    pub changed: Event,
}

impl Offline {
    pub fn new(directories: Vec<Option<Rc<str>>>) -> Self {
        Self { directories: RefCell::new(directories), closed: RefCell::default(), changed: Event::new() }
    }

    pub fn reason(&self, directory: usize) -> Option<Rc<str>> {
        self.directories.borrow().get(directory).cloned().flatten()
    }

    pub fn is_online(&self, directory: usize) -> bool {
        self.reason(directory).is_none()
    }

    pub fn any(&self) -> bool {
        self.directories.borrow().iter().any(Option::is_some)
    }

    fn set(&self, directory: usize, reason: &str) {
        if let Some(place) = self.directories.borrow_mut().get_mut(directory) {
            *place = Some(reason.into());
        }
    }

    /// Notes that an owned partition stays closed.
    pub fn close(&self, partition: TopicPartition, error: StoreError) {
        self.closed.borrow_mut().insert(partition, Closed { error });
        self.changed.notify_all();
    }

    pub fn closed(&self, partition: TopicPartition) -> Option<StoreError> {
        self.closed.borrow().get(&partition).map(|closed| closed.error.clone())
    }

    /// Those that stay closed.
    pub fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.closed.borrow().keys().copied().collect()
    }

    pub fn closed_count(&self) -> usize {
        self.closed.borrow().len()
    }

    pub fn forget(&self, partition: TopicPartition) -> bool {
        let known = self.closed.borrow_mut().remove(&partition).is_some();
        self.changed.notify_all();
        known
    }
}

/// Whether an error says that the device or its file system is at fault, rather than one file, a bound of the process, or a lack of room.
pub(crate) fn condemns_directory(error: &StoreError) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let StoreError::Io { error, .. } = error else { return false };
    let bounded = matches!(error.raw_os_error(), Some(ENFILE | EMFILE));
    !bounded
        && !disk::is_full(error)
        && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::OutOfMemory | ErrorKind::Interrupted | ErrorKind::AlreadyExists)
}

impl Shared {
    /// An owned partition stays closed for good; the operator is told.
    pub fn keep_closed(&self, partition: TopicPartition, topic: &str, error: StoreError) {
        tracing::error!(%partition, topic, "partition stays closed: {error}");
        self.offline.close(partition, error);
    }

    /// A write or a flush of `partition` failed for good.
    pub fn fail_partition(self: &Rc<Self>, partition: &Rc<PartitionShared>, error: &StoreError) {
        if condemns_directory(error) && self.config.log_dirs.len() > 1 {
            self.fail_directory(partition.path.directory(), error);
        }
        self.take_offline(partition, &error.to_string());
    }

    /// A read failed. Other partitions of a single log directory, and the rest of this one, may well be readable.
    pub fn read_failed(self: &Rc<Self>, partition: &Rc<PartitionShared>, error: &StoreError) {
        if condemns_directory(error) && self.config.log_dirs.len() > 1 {
            self.fail_partition(partition, error);
        }
    }

    /// Takes a log directory and its partitions offline.
    pub fn fail_directory(self: &Rc<Self>, directory: usize, error: &StoreError) {
        if !self.offline.is_online(directory) {
            return;
        }
        let path = self.config.log_dirs.get(directory).cloned().unwrap_or_default();
        tracing::error!(
            directory = %path.display(),
            "log directory offline, its partitions are not served until a restart with the disk repaired or the directory taken out of log.dirs: {error}"
        );
        let reason = format!("log directory {} is offline: {error}", path.display());
        self.offline.set(directory, &reason);
        for partition in self.sorted_partitions().into_iter().filter(|partition| partition.path.directory() == directory) {
            self.take_offline(&partition, &reason);
        }
    }

    fn take_offline(self: &Rc<Self>, partition: &Rc<PartitionShared>, reason: &str) {
        if *partition.health.borrow() != PartitionHealth::Online {
            return;
        }
        tracing::error!(partition = %partition.tp, topic = %partition.topic_name, "partition taken offline: {reason}");
        *partition.health.borrow_mut() = PartitionHealth::Offline(reason.into());
        self.offline.changed.notify_all();
        self.read_ahead.forget(partition.tp);
        self.files.forget_below(&partition.path);
        partition.changed.notify_all();
        let (shared, partition) = (self.clone(), partition.clone());
        self.ring.spawn(async move { strand::put_aside(&shared, &partition).await });
    }
}
