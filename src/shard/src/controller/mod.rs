//! The controller: one task on shard 0 that changes the metadata, one change after the other.
//!
//! A command becomes records (`odradek_cluster::Controller`), the records are flushed to the metadata log, the image
//! replays them, every shard is given the new image and acts on it (makes directories, closes partitions), and only
//! then is the command answered: a client that was told of a topic finds it on every shard of this node.

pub mod adopt;
pub mod metadata_log;

use crate::messages::{Call, Publication, Reply};
use crate::publication;
use crate::shard::Shard;
use futures_util::future::join_all;
use metadata_log::MetadataLog;
use odradek_base::{BrokerId, ShardId, TopicPartition};
use odradek_cluster::{AutoCreated, Controller as Logic, Image, InternalTopic, MetadataRecord, Outcome, View};
use odradek_ring::sync::{Event, oneshot};
use odradek_wire::ErrorCode;
use odradek_wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// The shard that runs the controller.
pub const CONTROLLER_SHARD: ShardId = ShardId(0);
/// Commands that may wait at the same time.
const COMMANDS_QUEUED_MAX: usize = 10_000;

/// A change of the metadata.
pub enum Command {
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest, i16),
    CreatePartitions(CreatePartitionsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    AlterConfigs(AlterConfigsRequest),
    /// Topics that a Metadata request named and nobody made.
    AutoCreate(Vec<String>),
    CreateInternal(InternalTopic),
    AllocateProducerIds(BrokerId),
    /// The replicas that a shard cannot serve now; changes no record.
    Offline(BrokerId, BTreeSet<TopicPartition>),
}

pub enum CommandResult {
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    AlterConfigs(AlterConfigsResponse),
    AutoCreate(Vec<AutoCreated>),
    CreateInternal,
    ProducerIds(Range<i64>),
    Offline,
    Failed(ErrorCode),
}

/// The queue in front of the controller's task.
#[derive(Default)]
pub struct Controller {
    waiting: RefCell<VecDeque<(Command, oneshot::Sender<CommandResult>)>>,
    arrived: Event,
}

/// Gives a command to the controller, wherever it is. `None` when the controller cannot be reached.
pub async fn call(shard: &Rc<Shard>, command: Command) -> Option<CommandResult> {
    if shard.id == CONTROLLER_SHARD {
        return Some(serve(shard, command).await);
    }
    match shard.mailbox.call(CONTROLLER_SHARD, Call::Controller(Box::new(command))).await {
        Ok(Reply::Controller(result)) => Some(*result),
        _ => None,
    }
}

/// Makes one of Kafka's internal topics if it is not there.
pub async fn create_internal_topic(shard: &Rc<Shard>, topic: InternalTopic) -> Result<(), ErrorCode> {
    match call(shard, Command::CreateInternal(topic)).await {
        Some(CommandResult::CreateInternal) => Ok(()),
        Some(CommandResult::Failed(error)) => Err(error),
        _ => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Queues a command on the controller's shard and waits for its result.
pub async fn serve(shard: &Rc<Shard>, command: Command) -> CommandResult {
    let Some(controller) = shard.controller.get() else { return CommandResult::Failed(ErrorCode::NotController) };
    let receiver = {
        let mut waiting = controller.waiting.borrow_mut();
        if waiting.len() >= COMMANDS_QUEUED_MAX {
            return CommandResult::Failed(ErrorCode::ThrottlingQuotaExceeded);
        }
        let (sender, receiver) = oneshot::channel();
        waiting.push_back((command, sender));
        receiver
    };
    controller.arrived.notify_all();
    receiver.await.unwrap_or(CommandResult::Failed(ErrorCode::NotController))
}

/// The controller's task: owns the metadata log.
pub async fn run(shard: Rc<Shard>, mut log: MetadataLog) {
    let Some(controller) = shard.controller.get() else { return };
    loop {
        let next = controller.waiting.borrow_mut().pop_front();
        match next {
            Some((command, sender)) => {
                let result = execute(&shard, &mut log, command).await;
                // A client that has gone needs no answer.
                let _ = sender.send(result);
            }
            None => controller.arrived.listen().await,
        }
    }
}

async fn execute(shard: &Rc<Shard>, log: &mut MetadataLog, command: Command) -> CommandResult {
    let image = shard.image();
    let listener = shard.config.listener.clone();
    let view = View { advertise: shard.config.advertise, listener: &listener, controller: shard.config.broker_of(CONTROLLER_SHARD) };
    let logic = Logic { image: &image, settings: &shard.config.settings, view: &view };
    let rng = || shard.rng.borrow_mut();
    let (records, result) = match command {
        Command::CreateTopics(request) => split(logic.create_topics(&request, &mut rng()), CommandResult::CreateTopics),
        Command::DeleteTopics(request, version) => split(logic.delete_topics(&request, version), CommandResult::DeleteTopics),
        Command::CreatePartitions(request) => split(logic.create_partitions(&request), CommandResult::CreatePartitions),
        Command::IncrementalAlterConfigs(request) => {
            split(logic.incremental_alter_configs(&request), CommandResult::IncrementalAlterConfigs)
        }
        Command::AlterConfigs(request) => split(logic.alter_configs(&request), CommandResult::AlterConfigs),
        Command::AutoCreate(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            split(logic.auto_create(&names, &mut rng()), CommandResult::AutoCreate)
        }
        Command::CreateInternal(topic) => split(logic.create_internal(topic, &mut rng()), |created| match created {
            Ok(()) => CommandResult::CreateInternal,
            Err(refusal) => {
                tracing::error!(topic = topic.name(), reason = %refusal.message, "an internal topic could not be made");
                CommandResult::Failed(refusal.code)
            }
        }),
        Command::AllocateProducerIds(broker) => split(logic.allocate_producer_ids(broker), |ids| match ids {
            Ok(ids) => CommandResult::ProducerIds(ids),
            Err(refusal) => CommandResult::Failed(refusal.code),
        }),
        Command::Offline(broker, partitions) => {
            let mut image = Image::clone(&image);
            image.set_offline(broker, partitions);
            publish(shard, Publication { image: Arc::new(image), version: shard.metadata_version() }).await;
            return CommandResult::Offline;
        }
    };
    if records.is_empty() {
        return result;
    }
    match commit(shard, log, &records).await {
        Ok(()) => result,
        Err(error) => {
            tracing::error!(%error, "the metadata could not be changed");
            CommandResult::Failed(ErrorCode::KafkaStorageError)
        }
    }
}

fn split<R>(outcome: Outcome<R>, wrap: impl FnOnce(R) -> CommandResult) -> (Vec<MetadataRecord>, CommandResult) {
    (outcome.records, wrap(outcome.response))
}

/// Flushes records, replays them and lets every shard act on the new image.
pub async fn commit(shard: &Rc<Shard>, log: &mut MetadataLog, records: &[MetadataRecord]) -> Result<(), CommitError> {
    log.append(records, shard.ring.wall_clock()).await?;
    let mut image = Image::clone(&shard.image());
    for record in records {
        image.apply(record)?;
    }
    publish(shard, Publication { image: Arc::new(image), version: log.next_offset().get() as u64 }).await;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Log(#[from] metadata_log::MetadataLogError),
    #[error("a record of our own does not apply: {0}")]
    Apply(#[from] odradek_cluster::ApplyError),
}

/// Gives a new image to every shard and waits until each has acted on it.
pub async fn publish(shard: &Rc<Shard>, publication: Publication) {
    let others = shard.node_shards().filter(|other| *other != shard.id);
    let calls: Vec<_> = others.map(|other| shard.mailbox.call(other, Call::Publish(publication.clone()))).collect();
    let (_, replies) = futures_util::future::join(publication::apply(shard, publication.clone()), join_all(calls)).await;
    for reply in replies {
        if let Err(error) = reply {
            tracing::error!(%error, "a shard did not take new metadata");
        }
    }
}
