//! Sans-io cluster metadata: records, image, controller, placement, and the answers that describe them.
//!
//! Purpose: the [`Controller`] turns requests into [`MetadataRecord`]s (Kafka's KRaft records, so that Kafka's tools can
//! read the log); an [`Image`] replays them; [`describe`] answers Metadata, DescribeTopicPartitions, DescribeCluster,
//! DescribeConfigs and ListConfigResources from an image. Who stores and replicates the records is none of its business.
//!
//! Invariants: [`Image::apply`] is the only thing that changes an image, and the same records give the same image; the
//! controller only reads an image, and its records always apply to that image; names map to topics one to one; nothing
//! reads a clock or draws randomness that was not passed in.
//!
//! Owner: the controller runs on one shard; images are immutable once published and shared by all shards (`Arc<Image>`;
//! a clone shares structure, so changing one topic of 20,000 costs a few nodes).
//!
//! Failure behaviour: requests of clients end in Kafka's error codes; records that cannot be decoded or do not apply are
//! errors that say which, because they mean a damaged log.

pub mod adopt;
pub mod controller;
pub mod describe;
pub mod image;
pub mod names;
pub mod placement;
pub mod protocol;
pub mod records;
mod resource;
mod view;

pub use controller::{AutoCreated, Controller, InternalTopic, Outcome, Registration};
pub use image::{ApplyError, Broker, Endpoint, Image, Partition, Topic, TopicSettings};
pub use records::{MetadataRecord, RecordError};
pub use resource::{ConfigSource, ResourceType};
pub use view::View;
