//! The shapes of all requests: one row per API, from the public message schemas of Kafka (`clients/src/main/resources/common/message`).

use super::schema::{BOOLEAN, BYTES, FLOAT64, INT8, INT16, INT32, INT64, STRING, Schema, UUID, array, optional, record, schema};

pub(super) static REQUESTS: &[Schema] = &[
    // Produce
    schema(0, 3, 13, &[STRING, INT16, INT32, array(&record(&[STRING.until(12), UUID.from(13), array(&record(&[INT32, BYTES]))]))]),
    // Fetch
    schema(
        1,
        4,
        18,
        &[
            INT32.until(14),
            INT32,
            INT32,
            INT32,
            INT8,
            INT32.from(7),
            INT32.from(7),
            array(&record(&[
                STRING.until(12),
                UUID.from(13),
                array(&record(&[
                    INT32,
                    INT32.from(9),
                    INT64,
                    INT32.from(12),
                    INT64.from(5),
                    INT32,
                    UUID.tag(0).from(17),
                    INT64.tag(1).from(18),
                ])),
            ])),
            array(&record(&[STRING.until(12), UUID.from(13), array(&INT32)])).from(7),
            STRING.from(11),
            STRING.tag(0),
            record(&[INT32, INT64]).tag(1).from(15),
        ],
    ),
    // ListOffsets
    schema(2, 1, 11, &[INT32, INT8.from(2), array(&record(&[STRING, array(&record(&[INT32, INT32.from(4), INT64]))])), INT32.from(10)]),
    // Metadata
    schema(3, 0, 13, &[array(&record(&[UUID.from(10), STRING])), BOOLEAN.from(4), BOOLEAN.between(8, 10), BOOLEAN.from(8)]),
    // OffsetCommit
    schema(
        8,
        2,
        10,
        &[
            STRING,
            INT32,
            STRING,
            STRING.from(7),
            INT64.until(4),
            array(&record(&[STRING.until(9), UUID.from(10), array(&record(&[INT32, INT64, INT32.from(6), STRING]))])),
        ],
    ),
    // OffsetFetch
    schema(
        9,
        1,
        10,
        &[
            STRING.until(7),
            array(&record(&[STRING, array(&INT32)])).until(7),
            array(&record(&[STRING, STRING.from(9), INT32.from(9), array(&record(&[STRING.until(9), UUID.from(10), array(&INT32)]))]))
                .from(8),
            BOOLEAN.from(7),
        ],
    ),
    // FindCoordinator
    schema(10, 0, 6, &[STRING.until(3), INT8.from(1), array(&STRING).from(4)]),
    // JoinGroup
    schema(11, 0, 9, &[STRING, INT32, INT32.from(1), STRING, STRING.from(5), STRING, array(&record(&[STRING, BYTES])), STRING.from(8)]),
    // Heartbeat
    schema(12, 0, 4, &[STRING, INT32, STRING, STRING.from(3)]),
    // LeaveGroup
    schema(13, 0, 5, &[STRING, STRING.until(2), array(&record(&[STRING, STRING, STRING.from(5)])).from(3)]),
    // SyncGroup
    schema(14, 0, 5, &[STRING, INT32, STRING, STRING.from(3), STRING.from(5), STRING.from(5), array(&record(&[STRING, BYTES]))]),
    // DescribeGroups
    schema(15, 0, 6, &[array(&STRING), BOOLEAN.from(3)]),
    // ListGroups
    schema(16, 0, 5, &[array(&STRING).from(4), array(&STRING).from(5)]),
    // SaslHandshake
    schema(17, 0, 1, &[STRING]),
    // ApiVersions
    schema(18, 0, 4, &[STRING.from(3), STRING.from(3)]),
    // CreateTopics
    schema(
        19,
        2,
        7,
        &[
            array(&record(&[STRING, INT32, INT16, array(&record(&[INT32, array(&INT32)])), array(&record(&[STRING, STRING]))])),
            INT32,
            BOOLEAN,
        ],
    ),
    // DeleteTopics
    schema(20, 1, 6, &[array(&record(&[STRING, UUID])).from(6), array(&STRING).until(5), INT32]),
    // DeleteRecords
    schema(21, 0, 2, &[array(&record(&[STRING, array(&record(&[INT32, INT64]))])), INT32]),
    // InitProducerId
    schema(22, 0, 5, &[STRING, INT32, INT64.from(3), INT16.from(3)]),
    // OffsetForLeaderEpoch
    schema(23, 2, 4, &[INT32.from(3), array(&record(&[STRING, array(&record(&[INT32, INT32, INT32]))]))]),
    // AddPartitionsToTxn
    schema(
        24,
        0,
        5,
        &[
            array(&record(&[STRING, INT64, INT16, BOOLEAN, array(&record(&[STRING, array(&INT32)]))])).from(4),
            STRING.until(3),
            INT64.until(3),
            INT16.until(3),
            array(&record(&[STRING, array(&INT32)])).until(3),
        ],
    ),
    // AddOffsetsToTxn
    schema(25, 0, 4, &[STRING, INT64, INT16, STRING]),
    // EndTxn
    schema(26, 0, 5, &[STRING, INT64, INT16, BOOLEAN]),
    // WriteTxnMarkers
    schema(27, 1, 1, &[array(&record(&[INT64, INT16, BOOLEAN, array(&record(&[STRING, array(&INT32)])), INT32]))]),
    // TxnOffsetCommit
    schema(
        28,
        0,
        5,
        &[
            STRING,
            STRING,
            INT64,
            INT16,
            INT32.from(3),
            STRING.from(3),
            STRING.from(3),
            array(&record(&[STRING, array(&record(&[INT32, INT64, INT32.from(2), STRING]))])),
        ],
    ),
    // DescribeAcls
    schema(29, 1, 3, &[INT8, STRING, INT8, STRING, STRING, INT8, INT8]),
    // CreateAcls
    schema(30, 1, 3, &[array(&record(&[INT8, STRING, INT8, STRING, STRING, INT8, INT8]))]),
    // DeleteAcls
    schema(31, 1, 3, &[array(&record(&[INT8, STRING, INT8, STRING, STRING, INT8, INT8]))]),
    // DescribeConfigs
    schema(32, 1, 4, &[array(&record(&[INT8, STRING, array(&STRING)])), BOOLEAN, BOOLEAN.from(3)]),
    // AlterConfigs
    schema(33, 0, 2, &[array(&record(&[INT8, STRING, array(&record(&[STRING, STRING]))])), BOOLEAN]),
    // AlterReplicaLogDirs
    schema(34, 1, 2, &[array(&record(&[STRING, array(&record(&[STRING, array(&INT32)]))]))]),
    // DescribeLogDirs
    schema(35, 1, 4, &[array(&record(&[STRING, array(&INT32)]))]),
    // SaslAuthenticate
    schema(36, 0, 2, &[BYTES]),
    // CreatePartitions
    schema(37, 0, 3, &[array(&record(&[STRING, INT32, array(&record(&[array(&INT32)]))])), INT32, BOOLEAN]),
    // CreateDelegationToken
    schema(38, 1, 3, &[STRING.from(3), STRING.from(3), array(&record(&[STRING, STRING])), INT64]),
    // RenewDelegationToken
    schema(39, 1, 2, &[BYTES, INT64]),
    // ExpireDelegationToken
    schema(40, 1, 2, &[BYTES, INT64]),
    // DescribeDelegationToken
    schema(41, 1, 3, &[array(&record(&[STRING, STRING]))]),
    // DeleteGroups
    schema(42, 0, 2, &[array(&STRING)]),
    // ElectLeaders
    schema(43, 0, 2, &[INT8.from(1), array(&record(&[STRING, array(&INT32)])), INT32]),
    // IncrementalAlterConfigs
    schema(44, 0, 1, &[array(&record(&[INT8, STRING, array(&record(&[STRING, INT8, STRING]))])), BOOLEAN]),
    // AlterPartitionReassignments
    schema(45, 0, 1, &[INT32, BOOLEAN.from(1), array(&record(&[STRING, array(&record(&[INT32, array(&INT32)]))]))]),
    // ListPartitionReassignments
    schema(46, 0, 0, &[INT32, array(&record(&[STRING, array(&INT32)]))]),
    // OffsetDelete
    schema(47, 0, 0, &[STRING, array(&record(&[STRING, array(&record(&[INT32]))]))]),
    // DescribeClientQuotas
    schema(48, 0, 1, &[array(&record(&[STRING, INT8, STRING])), BOOLEAN]),
    // AlterClientQuotas
    schema(49, 0, 1, &[array(&record(&[array(&record(&[STRING, STRING])), array(&record(&[STRING, FLOAT64, BOOLEAN]))])), BOOLEAN]),
    // DescribeUserScramCredentials
    schema(50, 0, 0, &[array(&record(&[STRING]))]),
    // AlterUserScramCredentials
    schema(51, 0, 0, &[array(&record(&[STRING, INT8])), array(&record(&[STRING, INT8, INT32, BYTES, BYTES]))]),
    // DescribeQuorum
    schema(55, 0, 2, &[array(&record(&[STRING, array(&record(&[INT32]))]))]),
    // UpdateFeatures
    schema(57, 0, 2, &[INT32, array(&record(&[STRING, INT16, BOOLEAN.until(0), INT8.from(1)])), BOOLEAN.from(1)]),
    // DescribeCluster
    schema(60, 0, 2, &[BOOLEAN, INT8.from(1), BOOLEAN.from(2)]),
    // DescribeProducers
    schema(61, 0, 0, &[array(&record(&[STRING, array(&INT32)]))]),
    // UnregisterBroker
    schema(64, 0, 0, &[INT32]),
    // DescribeTransactions
    schema(65, 0, 0, &[array(&STRING)]),
    // ListTransactions
    schema(66, 0, 2, &[array(&STRING), array(&INT64), INT64.from(1), STRING.from(2)]),
    // ConsumerGroupHeartbeat
    schema(
        68,
        0,
        1,
        &[STRING, STRING, INT32, STRING, STRING, INT32, array(&STRING), STRING.from(1), STRING, array(&record(&[UUID, array(&INT32)]))],
    ),
    // ConsumerGroupDescribe
    schema(69, 0, 1, &[array(&STRING), BOOLEAN]),
    // GetTelemetrySubscriptions
    schema(71, 0, 0, &[UUID]),
    // PushTelemetry
    schema(72, 0, 0, &[UUID, INT32, BOOLEAN, INT8, BYTES]),
    // ListConfigResources
    schema(74, 0, 1, &[array(&INT8).from(1)]),
    // DescribeTopicPartitions
    schema(75, 0, 0, &[array(&record(&[STRING])), INT32, optional(&[STRING, INT32])]),
];
