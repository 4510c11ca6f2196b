//! The table of APIs: what is served, at which versions, and which header each version has.

/// One served API and the versions advertised for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// Kafka's API key.
    pub key: i16,
    /// Lowest advertised version.
    pub min: i16,
    /// Highest advertised version.
    pub max: i16,
}

const fn range(key: i16, min: i16, max: i16) -> ApiRange {
    ApiRange { key, min, max }
}

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const OFFSET_COMMIT: i16 = 8;
pub const OFFSET_FETCH: i16 = 9;
pub const FIND_COORDINATOR: i16 = 10;
pub const JOIN_GROUP: i16 = 11;
pub const HEARTBEAT: i16 = 12;
pub const LEAVE_GROUP: i16 = 13;
pub const SYNC_GROUP: i16 = 14;
pub const DESCRIBE_GROUPS: i16 = 15;
pub const LIST_GROUPS: i16 = 16;
pub const SASL_HANDSHAKE: i16 = 17;
pub const API_VERSIONS: i16 = 18;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
pub const DESCRIBE_ACLS: i16 = 29;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const ALTER_CONFIGS: i16 = 33;
pub const ALTER_REPLICA_LOG_DIRS: i16 = 34;
pub const DESCRIBE_LOG_DIRS: i16 = 35;
pub const SASL_AUTHENTICATE: i16 = 36;
pub const CREATE_PARTITIONS: i16 = 37;
pub const DELETE_GROUPS: i16 = 42;
pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
pub const OFFSET_DELETE: i16 = 47;
pub const DESCRIBE_CLUSTER: i16 = 60;
pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
pub const CONSUMER_GROUP_DESCRIBE: i16 = 69;
pub const LIST_CONFIG_RESOURCES: i16 = 74;
pub const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;

/// What the broker serves, by key: the rows of its ApiVersions answer. One row per API.
///
/// Produce advertises 0 because librdkafka before 2.8 turns compression off otherwise (KAFKA-18659); see [`supported`].
pub const SUPPORTED: &[ApiRange] = &[
    range(PRODUCE, 0, 13),
    range(FETCH, 4, 18),
    range(LIST_OFFSETS, 1, 11),
    range(METADATA, 0, 13),
    range(OFFSET_COMMIT, 2, 10),
    range(OFFSET_FETCH, 1, 10),
    range(FIND_COORDINATOR, 0, 6),
    range(JOIN_GROUP, 0, 9),
    range(HEARTBEAT, 0, 4),
    range(LEAVE_GROUP, 0, 5),
    range(SYNC_GROUP, 0, 5),
    range(DESCRIBE_GROUPS, 0, 6),
    range(LIST_GROUPS, 0, 5),
    range(SASL_HANDSHAKE, 0, 1),
    range(API_VERSIONS, 0, 4),
    range(CREATE_TOPICS, 2, 7),
    range(DELETE_TOPICS, 1, 6),
    range(DELETE_RECORDS, 0, 2),
    range(INIT_PRODUCER_ID, 0, 5),
    range(OFFSET_FOR_LEADER_EPOCH, 2, 4),
    range(DESCRIBE_ACLS, 1, 3),
    range(DESCRIBE_CONFIGS, 1, 4),
    range(ALTER_CONFIGS, 0, 2),
    range(ALTER_REPLICA_LOG_DIRS, 1, 2),
    range(DESCRIBE_LOG_DIRS, 1, 4),
    range(SASL_AUTHENTICATE, 0, 2),
    range(CREATE_PARTITIONS, 0, 3),
    range(DELETE_GROUPS, 0, 2),
    range(INCREMENTAL_ALTER_CONFIGS, 0, 1),
    range(OFFSET_DELETE, 0, 0),
    range(DESCRIBE_CLUSTER, 0, 2),
    range(CONSUMER_GROUP_HEARTBEAT, 0, 1),
    range(CONSUMER_GROUP_DESCRIBE, 0, 1),
    range(LIST_CONFIG_RESOURCES, 0, 1),
    range(DESCRIBE_TOPIC_PARTITIONS, 0, 0),
];

/// Produce below this version carries message formats that Kafka 4 no longer accepts (KIP-896).
pub const PRODUCE_VERSION_MIN: i16 = 3;

/// Whether a request with this key and version is answered. False closes the connection, as Kafka does, except for
/// ApiVersions, which is answered at version 0 with UNSUPPORTED_VERSION (KIP-511).
pub fn supported(key: i16, version: i16) -> bool {
    if key == PRODUCE && version < PRODUCE_VERSION_MIN {
        return false; // advertised only, see SUPPORTED
    }
    SUPPORTED
        .binary_search_by_key(&key, |row| row.key)
        .is_ok_and(|at| SUPPORTED.get(at).is_some_and(|row| (row.min..=row.max).contains(&version)))
}

/// An API key's name and its first version with flexible encoding (KIP-482).
struct Api {
    key: i16,
    name: &'static str,
    flexible_from: i16,
}

/// No version of the API is flexible.
const NEVER: i16 = i16::MAX;

const fn api(key: i16, name: &'static str, flexible_from: i16) -> Api {
    Api { key, name, flexible_from }
}

/// All APIs this crate can name and frame, by key; more than [`SUPPORTED`].
const APIS: &[Api] = &[
    api(PRODUCE, "Produce", 9),
    api(FETCH, "Fetch", 12),
    api(LIST_OFFSETS, "ListOffsets", 6),
    api(METADATA, "Metadata", 9),
    api(OFFSET_COMMIT, "OffsetCommit", 8),
    api(OFFSET_FETCH, "OffsetFetch", 6),
    api(FIND_COORDINATOR, "FindCoordinator", 3),
    api(JOIN_GROUP, "JoinGroup", 6),
    api(HEARTBEAT, "Heartbeat", 4),
    api(LEAVE_GROUP, "LeaveGroup", 4),
    api(SYNC_GROUP, "SyncGroup", 4),
    api(DESCRIBE_GROUPS, "DescribeGroups", 5),
    api(LIST_GROUPS, "ListGroups", 3),
    api(SASL_HANDSHAKE, "SaslHandshake", NEVER),
    api(API_VERSIONS, "ApiVersions", 3),
    api(CREATE_TOPICS, "CreateTopics", 5),
    api(DELETE_TOPICS, "DeleteTopics", 4),
    api(DELETE_RECORDS, "DeleteRecords", 2),
    api(INIT_PRODUCER_ID, "InitProducerId", 2),
    api(OFFSET_FOR_LEADER_EPOCH, "OffsetForLeaderEpoch", 4),
    api(24, "AddPartitionsToTxn", 3),
    api(25, "AddOffsetsToTxn", 3),
    api(26, "EndTxn", 3),
    api(27, "WriteTxnMarkers", 1),
    api(28, "TxnOffsetCommit", 3),
    api(DESCRIBE_ACLS, "DescribeAcls", 2),
    api(30, "CreateAcls", 2),
    api(31, "DeleteAcls", 2),
    api(DESCRIBE_CONFIGS, "DescribeConfigs", 4),
    api(ALTER_CONFIGS, "AlterConfigs", 2),
    api(ALTER_REPLICA_LOG_DIRS, "AlterReplicaLogDirs", 2),
    api(DESCRIBE_LOG_DIRS, "DescribeLogDirs", 2),
    api(SASL_AUTHENTICATE, "SaslAuthenticate", 2),
    api(CREATE_PARTITIONS, "CreatePartitions", 2),
    api(38, "CreateDelegationToken", 2),
    api(39, "RenewDelegationToken", 2),
    api(40, "ExpireDelegationToken", 2),
    api(41, "DescribeDelegationToken", 2),
    api(DELETE_GROUPS, "DeleteGroups", 2),
    api(43, "ElectLeaders", 2),
    api(INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", 1),
    api(45, "AlterPartitionReassignments", 0),
    api(46, "ListPartitionReassignments", 0),
    api(OFFSET_DELETE, "OffsetDelete", NEVER),
    api(48, "DescribeClientQuotas", 1),
    api(49, "AlterClientQuotas", 1),
    api(50, "DescribeUserScramCredentials", 0),
    api(51, "AlterUserScramCredentials", 0),
    api(55, "DescribeQuorum", 0),
    api(57, "UpdateFeatures", 0),
    api(DESCRIBE_CLUSTER, "DescribeCluster", 0),
    api(61, "DescribeProducers", 0),
    api(64, "UnregisterBroker", 0),
    api(65, "DescribeTransactions", 0),
    api(66, "ListTransactions", 0),
    api(CONSUMER_GROUP_HEARTBEAT, "ConsumerGroupHeartbeat", 0),
    api(CONSUMER_GROUP_DESCRIBE, "ConsumerGroupDescribe", 0),
    api(71, "GetTelemetrySubscriptions", 0),
    api(72, "PushTelemetry", 0),
    api(LIST_CONFIG_RESOURCES, "ListConfigResources", 0),
    api(DESCRIBE_TOPIC_PARTITIONS, "DescribeTopicPartitions", 0),
];

fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key).ok().and_then(|at| APIS.get(at))
}

/// Kafka's name of the API; `"Unknown"` for a key this crate does not know.
pub fn name(key: i16) -> &'static str {
    find(key).map_or("Unknown", |api| api.name)
}

/// Whether this version of the API uses flexible encoding (compact lengths, tagged fields). `None` for an unknown key.
pub fn flexible(key: i16, version: i16) -> Option<bool> {
    find(key).map(|api| version >= api.flexible_from)
}

/// 1, or 2 with tagged fields. `None` for an unknown key.
pub fn request_header_version(key: i16, version: i16) -> Option<i16> {
    flexible(key, version).map(|flexible| if flexible { 2 } else { 1 })
}

/// 0, or 1 with tagged fields; ApiVersions always 0, so that any client can read it (KIP-511). `None` for an unknown key.
pub fn response_header_version(key: i16, version: i16) -> Option<i16> {
    if key == API_VERSIONS {
        return Some(0);
    }
    flexible(key, version).map(|flexible| if flexible { 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::ApiKey;

    #[test]
    fn tables_are_sorted_by_key() {
        assert!(SUPPORTED.is_sorted_by_key(|row| row.key));
        assert!(APIS.is_sorted_by_key(|api| api.key));
        assert!(SUPPORTED.iter().all(|row| row.min <= row.max && find(row.key).is_some()));
    }

    #[test]
    fn header_versions_agree_with_the_crate() {
        for api in APIS {
            let key = ApiKey::try_from(api.key).expect("known key");
            let versions = key.valid_versions();
            for version in versions.min..=versions.max {
                assert_eq!(request_header_version(api.key, version), Some(key.request_header_version(version)), "{} v{version}", api.name);
                assert_eq!(
                    response_header_version(api.key, version),
                    Some(key.response_header_version(version)),
                    "{} v{version}",
                    api.name
                );
            }
        }
    }

    #[test]
    fn versions_outside_the_table_are_not_served() {
        assert!(supported(PRODUCE, 3) && supported(PRODUCE, 13) && supported(OFFSET_COMMIT, 10));
        for (key, version) in
            [(PRODUCE, 2), (PRODUCE, 14), (FETCH, 3), (LIST_OFFSETS, 0), (CREATE_TOPICS, 1), (999, 0), (-1, 0), (METADATA, -1)]
        {
            assert!(!supported(key, version), "{key} v{version}");
        }
    }
}
