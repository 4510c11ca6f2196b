//! What shards of one node say to each other.

use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use odradek_cluster::Image;
use odradek_wire::ErrorCode;
use odradek_wire::Request;
use odradek_wire::batch::validate::ValidBatch;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::controller::{Command, CommandResult};

/// One message on the mesh.
pub enum Message {
    Call { id: u64, call: Call },
    Reply { id: u64, reply: Reply },
}

/// What one shard asks of another.
pub enum Call {
    /// A change of the metadata; shard 0 runs the controller.
    Controller(Box<Command>),
    /// New metadata; answered when this shard has acted on it.
    Publish(Publication),
    /// Answered when this shard's partitions are open.
    AwaitOpen,
    Append(AppendCall),
    Read(ReadCall),
    /// Answered when one of these partitions has news for a reader.
    Watch(WatchCall),
    Partition(TopicPartition, PartitionCall),
    /// What a shard has in the log directories, of these partitions or of all.
    LogDirs(Option<BTreeSet<TopicPartition>>),
    /// A whole request that another shard's coordinator has to answer.
    Forward(Forwarded),
    /// The part of a group request that concerns this shard's groups.
    Groups(Box<GroupsCall>),
}

/// The answer to a [`Call`], in the same order of kinds.
pub enum Reply {
    Controller(Box<CommandResult>),
    Published,
    Open,
    Appended(Vec<AppendOutcome>),
    Read(Vec<ReadOutcome>),
    News,
    Partition(PartitionReply),
    LogDirs(Vec<LogDir>),
    /// A whole response frame, or `None` when the connection has to be closed.
    Forwarded(Option<Vec<Bytes>>),
    Groups(Box<GroupsReply>),
}

/// A new image.
#[derive(Clone)]
pub struct Publication {
    pub image: Arc<Image>,
    /// Grows with every change of the metadata log.
    pub version: u64,
}

pub struct AppendCall {
    pub items: Vec<AppendItem>,
    pub acks: i16,
}

pub struct AppendItem {
    pub tp: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    pub batch: ValidBatch,
    pub now: Timestamp,
}

#[derive(Debug, Clone)]
pub enum AppendOutcome {
    Appended { base_offset: Offset, log_append_time: Timestamp, log_start_offset: Offset },
    Failed(ErrorCode),
}

/// Reads for one fetch; the first item that has records may give more than `bytes_max` when `at_least_one`.
pub struct ReadCall {
    pub items: Vec<ReadItem>,
    pub bytes_max: usize,
    pub at_least_one: bool,
    pub read_committed: bool,
}

#[derive(Debug, Clone)]
pub struct ReadItem {
    pub tp: TopicPartition,
    pub offset: Offset,
    pub bytes_max: usize,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
}

/// What one partition gave.
#[derive(Debug, Clone, Default)]
pub struct ReadOutcome {
    pub error: Option<ErrorCode>,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    pub aborted: Vec<odradek_wire::fetch::AbortedTransaction>,
    pub diverging: Option<(LeaderEpoch, Offset)>,
    pub records: Vec<Bytes>,
}

impl ReadOutcome {
    pub fn failed(error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            ..Self::default()
        }
    }

    pub fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// Partitions and the offsets that their readers wait to see passed.
pub struct WatchCall {
    pub items: Vec<(TopicPartition, Offset)>,
    pub read_committed: bool,
    pub wait_max: std::time::Duration,
}

/// Questions about one partition that only its owner can answer.
pub enum PartitionCall {
    /// ListOffsets: Kafka's special negative timestamps or a time.
    Offset {
        timestamp: i64,
        read_committed: bool,
        current_leader_epoch: LeaderEpoch,
        leader_epoch: LeaderEpoch,
    },
    DeleteRecords {
        before: i64,
    },
    EndOffsetForEpoch {
        epoch: LeaderEpoch,
        current_leader_epoch: LeaderEpoch,
        leader_epoch: LeaderEpoch,
    },
    /// Moves it to another log directory.
    AlterLogDir {
        path: PathBuf,
    },
}

pub enum PartitionReply {
    Failed(ErrorCode),
    Offset {
        timestamp: i64,
        offset: i64,
        leader_epoch: i32,
    },
    LowWatermark(Offset),
    EndOffset {
        leader_epoch: i32,
        end_offset: i64,
    },
    /// The move was begun, or there is nothing to move.
    LogDirAltered,
}

/// A log directory as one shard sees it.
pub struct LogDir {
    pub path: PathBuf,
    pub offline: bool,
    pub replicas: Vec<LogDirReplica>,
}

/// A partition in a log directory.
pub struct LogDirReplica {
    pub tp: TopicPartition,
    pub size_bytes: u64,
    pub offset_lag: i64,
    /// The unfinished copy of a partition that is being moved there.
    pub is_future: bool,
}

/// A request of a client of another shard.
pub struct Forwarded {
    pub request: Request,
    pub address: SocketAddr,
}

/// Requests about many groups, split by the shard that coordinates them.
pub enum GroupsCall {
    Describe {
        groups: Vec<String>,
        version: i16,
    },
    DescribeConsumer {
        group: String,
        version: i16,
    },
    List {
        states: Vec<String>,
        types: Vec<String>,
        version: i16,
    },
    Delete {
        groups: Vec<String>,
    },
    FetchOffsets {
        group: odradek_wire::messages::offset_fetch_request::OffsetFetchRequestGroup,
        require_stable: bool,
        version: i16,
    },
    /// Topics are gone: so are the offsets committed for them.
    TopicsDeleted {
        names: Vec<String>,
    },
    /// Topics were made, deleted, or got more partitions.
    TopicsChanged,
}

pub enum GroupsReply {
    Described(Vec<odradek_wire::messages::describe_groups_response::DescribedGroup>),
    DescribedConsumer(Box<odradek_wire::messages::consumer_group_describe_response::DescribedGroup>),
    Listed(Result<Vec<odradek_wire::messages::list_groups_response::ListedGroup>, ErrorCode>),
    Deleted(Vec<(String, ErrorCodeOrNone)>),
    Offsets(Box<odradek_wire::messages::offset_fetch_response::OffsetFetchResponseGroup>),
    Done,
}

/// `None` is success.
pub type ErrorCodeOrNone = Option<ErrorCode>;
