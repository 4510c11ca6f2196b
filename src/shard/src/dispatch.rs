//! From a frame to the handler of its API.

use crate::answer::Answer;
use crate::connection::Peer;
use crate::handlers;
use crate::shard::Shard;
use bytes::Bytes;
use odradek_wire::{Decodable, DecodeError, Encodable, EncodeError, HeaderError, Request, api};
use std::any::Any;
use std::rc::Rc;

/// Why a connection is closed instead of answered: what Kafka does with requests that it cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    #[error("unreadable request header: {0}")]
    Header(#[from] HeaderError),
    #[error("{api} version {version} is not supported", api = api::name(*.key))]
    UnsupportedVersion { key: i16, version: i16 },
    #[error("unreadable {api} request: {error}", api = api::name(*.key))]
    Body { key: i16, error: DecodeError },
    #[error("the answer could not be written: {0}")]
    Encode(#[from] EncodeError),
    #[error("a request of {bytes} bytes that carries no records is above odradek.request.control.max.bytes ({max})")]
    TooLarge { bytes: usize, max: usize },
    #[error("{0}")]
    Refused(&'static str),
}

/// A request with all that its handler may know of where it came from.
pub struct Context<'a> {
    pub request: &'a Request,
    pub peer: &'a Peer,
}

impl Context<'_> {
    pub fn version(&self) -> i16 {
        self.request.api_version
    }

    pub fn client_id(&self) -> &str {
        self.request.client_id.as_deref().unwrap_or("")
    }

    /// Reads the body; lengths are proved against what has arrived before anything is allocated.
    pub fn parse<T: Decodable + Default + Any>(&self) -> Result<T, Close> {
        let mut body = self.request.body.clone();
        odradek_wire::decode(self.request.api_key, &mut body, self.request.api_version)
            .map_err(|error| Close::Body { key: self.request.api_key, error })
    }

    pub fn respond<T: Encodable + Any>(&self, response: &T) -> Result<Answer, Close> {
        let frame = odradek_wire::encode_response(self.request.api_key, self.request.api_version, self.request.correlation_id, response)?;
        Ok(Answer::frame(frame))
    }
}

/// Whether a frame holds a Produce request.
pub fn is_produce(frame: &[u8]) -> bool {
    frame.first_chunk().is_some_and(|key| i16::from_be_bytes(*key) == api::PRODUCE)
}

/// Whether a request may wait for something other than this node's own work: records to come, other members of a group.
pub fn may_wait(frame: &[u8]) -> bool {
    let Some(key) = frame.first_chunk() else { return false };
    matches!(i16::from_be_bytes(*key), api::FETCH | api::JOIN_GROUP | api::SYNC_GROUP)
}

/// Handles one frame of a connection.
pub async fn handle(shard: &Rc<Shard>, peer: &Peer, frame: Bytes) -> Result<Answer, Close> {
    let bytes = frame.len();
    let request = odradek_wire::parse_header(frame)?;
    let context = Context { request: &request, peer };
    shard.counters.request(request.api_key);
    if request.api_key == api::PRODUCE {
        if !api::supported(api::PRODUCE, request.api_version) {
            return Err(Close::UnsupportedVersion { key: request.api_key, version: request.api_version });
        }
        return handlers::produce::handle(shard, &context).await;
    }
    if bytes > shard.config.control_request_bytes_max {
        return Err(Close::TooLarge { bytes, max: shard.config.control_request_bytes_max });
    }
    route(shard, &context).await
}

/// Hands a request that is not a produce to its handler.
pub async fn route(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let (key, version) = (context.request.api_key, context.request.api_version);
    if key == api::API_VERSIONS {
        return handlers::api_versions::handle(shard, context);
    }
    if !api::supported(key, version) {
        return Err(Close::UnsupportedVersion { key, version });
    }
    match key {
        api::FETCH => handlers::fetch::handle(shard, context).await,
        api::LIST_OFFSETS => handlers::list_offsets::handle(shard, context).await,
        api::METADATA => handlers::metadata::handle(shard, context).await,
        api::OFFSET_COMMIT => handlers::offset_commit::handle(shard, context).await,
        api::OFFSET_FETCH => handlers::offset_fetch::handle(shard, context).await,
        api::FIND_COORDINATOR => handlers::find_coordinator::handle(shard, context).await,
        api::JOIN_GROUP => handlers::join_group::handle(shard, context).await,
        api::CONSUMER_GROUP_HEARTBEAT => handlers::consumer_group_heartbeat::handle(shard, context).await,
        api::CONSUMER_GROUP_DESCRIBE => handlers::consumer_group_describe::handle(shard, context).await,
        api::HEARTBEAT => handlers::heartbeat::handle(shard, context).await,
        api::LEAVE_GROUP => handlers::leave_group::handle(shard, context).await,
        api::SYNC_GROUP => handlers::sync_group::handle(shard, context).await,
        api::DESCRIBE_GROUPS => handlers::describe_groups::handle(shard, context).await,
        api::LIST_GROUPS => handlers::list_groups::handle(shard, context).await,
        api::SASL_HANDSHAKE | api::SASL_AUTHENTICATE => handlers::sasl::handle(context),
        api::CREATE_TOPICS => handlers::create_topics::handle(shard, context).await,
        api::DELETE_TOPICS => handlers::delete_topics::handle(shard, context).await,
        api::DELETE_RECORDS => handlers::delete_records::handle(shard, context).await,
        api::INIT_PRODUCER_ID => handlers::init_producer_id::handle(shard, context).await,
        api::OFFSET_FOR_LEADER_EPOCH => handlers::offset_for_leader_epoch::handle(shard, context).await,
        api::DESCRIBE_ACLS => handlers::describe_acls::handle(context),
        api::DESCRIBE_CONFIGS => handlers::describe_configs::handle(shard, context),
        api::ALTER_CONFIGS => handlers::alter_configs::handle(shard, context).await,
        api::ALTER_REPLICA_LOG_DIRS => handlers::alter_replica_log_dirs::handle(shard, context).await,
        api::DESCRIBE_LOG_DIRS => handlers::describe_log_dirs::handle(shard, context).await,
        api::CREATE_PARTITIONS => handlers::create_partitions::handle(shard, context).await,
        api::DELETE_GROUPS => handlers::delete_groups::handle(shard, context).await,
        api::INCREMENTAL_ALTER_CONFIGS => handlers::incremental_alter_configs::handle(shard, context).await,
        api::OFFSET_DELETE => handlers::offset_delete::handle(shard, context).await,
        api::DESCRIBE_CLUSTER => handlers::describe_cluster::handle(shard, context),
        api::LIST_CONFIG_RESOURCES => handlers::list_config_resources::handle(shard, context),
        api::DESCRIBE_TOPIC_PARTITIONS => handlers::describe_topic_partitions::handle(shard, context),
        _ => Err(Close::UnsupportedVersion { key, version }),
    }
}
