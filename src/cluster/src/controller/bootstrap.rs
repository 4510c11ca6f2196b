//! The first records of a new cluster.

use super::Controller;
use crate::records::{ConfigRecord, FeatureLevelRecord, MetadataRecord};
use crate::resource::ResourceType;

/// Feature levels of a cluster that Kafka 4.3.1 formats, as far as they say something about Odradek. The metadata
/// version names the schemas that the log is written in.
pub const FEATURES: [(&str, i16); 3] = [("metadata.version", 30), ("group.version", 1), ("transaction.version", 2)];

impl Controller<'_> {
    /// Records for a metadata log that is empty. As in Kafka since eligible leader replicas (KIP-966),
    /// `min.insync.replicas` of the properties file becomes a dynamic config of all brokers.
    pub fn bootstrap(&self) -> Vec<MetadataRecord> {
        let feature = |&(name, level): &(&str, i16)| MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), level });
        let mut records: Vec<MetadataRecord> = FEATURES.iter().map(feature).collect();
        records.push(MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Broker.code(),
            resource_name: String::new(),
            name: "min.insync.replicas".to_owned(),
            value: self.settings.text("min.insync.replicas").map(str::to_owned),
        }));
        records
    }
}
