//! The shapes of all responses, for the client side; as [`super::requests`].

use super::schema::{BOOLEAN, BYTES, FLOAT64, INT8, INT16, INT32, INT64, STRING, Schema, UINT16, UUID, array, optional, record, schema};

pub(super) static RESPONSES: &[Schema] = &[
    // Produce
    schema(
        0,
        3,
        13,
        &[
            array(&record(&[
                STRING.until(12),
                UUID.from(13),
                array(&record(&[
                    INT32,
                    INT16,
                    INT64,
                    INT64,
                    INT64.from(5),
                    array(&record(&[INT32, STRING])).from(8),
                    STRING.from(8),
                    record(&[INT32, INT32]).tag(0).from(10),
                ])),
            ])),
            INT32,
            array(&record(&[INT32, STRING, INT32, STRING])).tag(0).from(10),
        ],
    ),
    // Fetch
    schema(
        1,
        4,
        18,
        &[
            INT32,
            INT16.from(7),
            INT32.from(7),
            array(&record(&[
                STRING.until(12),
                UUID.from(13),
                array(&record(&[
                    INT32,
                    INT16,
                    INT64,
                    INT64,
                    INT64.from(5),
                    array(&record(&[INT64, INT64])),
                    INT32.from(11),
                    BYTES,
                    record(&[INT32.from(12), INT64.from(12)]).tag(0),
                    record(&[INT32.from(12), INT32.from(12)]).tag(1),
                    record(&[INT64, INT32]).tag(2),
                ])),
            ])),
            array(&record(&[INT32, STRING, INT32, STRING])).tag(0).from(16),
        ],
    ),
    // ListOffsets
    schema(2, 1, 11, &[INT32.from(2), array(&record(&[STRING, array(&record(&[INT32, INT16, INT64, INT64, INT32.from(4)]))]))]),
    // Metadata
    schema(
        3,
        0,
        13,
        &[
            INT32.from(3),
            array(&record(&[INT32, STRING, INT32, STRING.from(1)])),
            STRING.from(2),
            INT32.from(1),
            array(&record(&[
                INT16,
                STRING,
                UUID.from(10),
                BOOLEAN.from(1),
                array(&record(&[INT16, INT32, INT32, INT32.from(7), array(&INT32), array(&INT32), array(&INT32).from(5)])),
                INT32.from(8),
            ])),
            INT32.between(8, 10),
            INT16.from(13),
        ],
    ),
    // OffsetCommit
    schema(8, 2, 10, &[INT32.from(3), array(&record(&[STRING.until(9), UUID.from(10), array(&record(&[INT32, INT16]))]))]),
    // OffsetFetch
    schema(
        9,
        1,
        10,
        &[
            INT32.from(3),
            array(&record(&[STRING, array(&record(&[INT32, INT64, INT32.from(5), STRING, INT16]))])).until(7),
            INT16.between(2, 7),
            array(&record(&[
                STRING,
                array(&record(&[STRING.until(9), UUID.from(10), array(&record(&[INT32, INT64, INT32, STRING, INT16]))])),
                INT16,
            ]))
            .from(8),
        ],
    ),
    // FindCoordinator
    schema(
        10,
        0,
        6,
        &[
            INT32.from(1),
            INT16.until(3),
            STRING.between(1, 3),
            INT32.until(3),
            STRING.until(3),
            INT32.until(3),
            array(&record(&[STRING, INT32, STRING, INT32, INT16, STRING])).from(4),
        ],
    ),
    // JoinGroup
    schema(
        11,
        0,
        9,
        &[
            INT32.from(2),
            INT16,
            INT32,
            STRING.from(7),
            STRING,
            STRING,
            BOOLEAN.from(9),
            STRING,
            array(&record(&[STRING, STRING.from(5), BYTES])),
        ],
    ),
    // Heartbeat
    schema(12, 0, 4, &[INT32.from(1), INT16]),
    // LeaveGroup
    schema(13, 0, 5, &[INT32.from(1), INT16, array(&record(&[STRING, STRING, INT16])).from(3)]),
    // SyncGroup
    schema(14, 0, 5, &[INT32.from(1), INT16, STRING.from(5), STRING.from(5), BYTES]),
    // DescribeGroups
    schema(
        15,
        0,
        6,
        &[
            INT32.from(1),
            array(&record(&[
                INT16,
                STRING.from(6),
                STRING,
                STRING,
                STRING,
                STRING,
                array(&record(&[STRING, STRING.from(4), STRING, STRING, BYTES, BYTES])),
                INT32.from(3),
            ])),
        ],
    ),
    // ListGroups
    schema(16, 0, 5, &[INT32.from(1), INT16, array(&record(&[STRING, STRING, STRING.from(4), STRING.from(5)]))]),
    // SaslHandshake
    schema(17, 0, 1, &[INT16, array(&STRING)]),
    // ApiVersions
    schema(
        18,
        0,
        4,
        &[
            INT16,
            array(&record(&[INT16, INT16, INT16])),
            INT32.from(1),
            array(&record(&[STRING.from(3), INT16.from(3), INT16.from(3)])).tag(0),
            INT64.tag(1),
            array(&record(&[STRING.from(3), INT16.from(3), INT16.from(3)])).tag(2),
            BOOLEAN.tag(3),
        ],
    ),
    // CreateTopics
    schema(
        19,
        2,
        7,
        &[
            INT32,
            array(&record(&[
                STRING,
                UUID.from(7),
                INT16,
                STRING,
                INT32.from(5),
                INT16.from(5),
                array(&record(&[STRING, STRING, BOOLEAN, INT8, BOOLEAN])).from(5),
                INT16.tag(0),
            ])),
        ],
    ),
    // DeleteTopics
    schema(20, 1, 6, &[INT32, array(&record(&[STRING, UUID.from(6), INT16, STRING.from(5)]))]),
    // DeleteRecords
    schema(21, 0, 2, &[INT32, array(&record(&[STRING, array(&record(&[INT32, INT64, INT16]))]))]),
    // InitProducerId
    schema(22, 0, 6, &[INT32, INT16, INT64, INT16, INT64.from(6), INT16.from(6)]),
    // OffsetForLeaderEpoch
    schema(23, 2, 4, &[INT32, array(&record(&[STRING, array(&record(&[INT16, INT32, INT32, INT64]))]))]),
    // AddPartitionsToTxn
    schema(
        24,
        0,
        5,
        &[
            INT32,
            INT16.from(4),
            array(&record(&[STRING, array(&record(&[STRING, array(&record(&[INT32, INT16]))]))])).from(4),
            array(&record(&[STRING, array(&record(&[INT32, INT16]))])).until(3),
        ],
    ),
    // AddOffsetsToTxn
    schema(25, 0, 4, &[INT32, INT16]),
    // EndTxn
    schema(26, 0, 5, &[INT32, INT16, INT64.from(5), INT16.from(5)]),
    // WriteTxnMarkers
    schema(27, 1, 1, &[array(&record(&[INT64, array(&record(&[STRING, array(&record(&[INT32, INT16]))]))]))]),
    // TxnOffsetCommit
    schema(28, 0, 5, &[INT32, array(&record(&[STRING, array(&record(&[INT32, INT16]))]))]),
    // DescribeAcls
    schema(29, 1, 3, &[INT32, INT16, STRING, array(&record(&[INT8, STRING, INT8, array(&record(&[STRING, STRING, INT8, INT8]))]))]),
    // CreateAcls
    schema(30, 1, 3, &[INT32, array(&record(&[INT16, STRING]))]),
    // DeleteAcls
    schema(
        31,
        1,
        3,
        &[INT32, array(&record(&[INT16, STRING, array(&record(&[INT16, STRING, INT8, STRING, INT8, STRING, STRING, INT8, INT8]))]))],
    ),
    // DescribeConfigs
    schema(
        32,
        1,
        4,
        &[
            INT32,
            array(&record(&[
                INT16,
                STRING,
                INT8,
                STRING,
                array(&record(&[
                    STRING,
                    STRING,
                    BOOLEAN,
                    INT8,
                    BOOLEAN,
                    array(&record(&[STRING, STRING, INT8])),
                    INT8.from(3),
                    STRING.from(3),
                ])),
            ])),
        ],
    ),
    // AlterConfigs
    schema(33, 0, 2, &[INT32, array(&record(&[INT16, STRING, INT8, STRING]))]),
    // AlterReplicaLogDirs
    schema(34, 1, 2, &[INT32, array(&record(&[STRING, array(&record(&[INT32, INT16]))]))]),
    // DescribeLogDirs
    schema(
        35,
        1,
        4,
        &[
            INT32,
            INT16.from(3),
            array(&record(&[
                INT16,
                STRING,
                array(&record(&[STRING, array(&record(&[INT32, INT64, INT64, BOOLEAN]))])),
                INT64.from(4),
                INT64.from(4),
            ])),
        ],
    ),
    // SaslAuthenticate
    schema(36, 0, 2, &[INT16, STRING, BYTES, INT64.from(1)]),
    // CreatePartitions
    schema(37, 0, 3, &[INT32, array(&record(&[STRING, INT16, STRING]))]),
    // CreateDelegationToken
    schema(38, 1, 3, &[INT16, STRING, STRING, STRING.from(3), STRING.from(3), INT64, INT64, INT64, STRING, BYTES, INT32]),
    // RenewDelegationToken
    schema(39, 1, 2, &[INT16, INT64, INT32]),
    // ExpireDelegationToken
    schema(40, 1, 2, &[INT16, INT64, INT32]),
    // DescribeDelegationToken
    schema(
        41,
        1,
        3,
        &[
            INT16,
            array(&record(&[
                STRING,
                STRING,
                STRING.from(3),
                STRING.from(3),
                INT64,
                INT64,
                INT64,
                STRING,
                BYTES,
                array(&record(&[STRING, STRING])),
            ])),
            INT32,
        ],
    ),
    // DeleteGroups
    schema(42, 0, 2, &[INT32, array(&record(&[STRING, INT16]))]),
    // ElectLeaders
    schema(43, 0, 2, &[INT32, INT16.from(1), array(&record(&[STRING, array(&record(&[INT32, INT16, STRING]))]))]),
    // IncrementalAlterConfigs
    schema(44, 0, 1, &[INT32, array(&record(&[INT16, STRING, INT8, STRING]))]),
    // AlterPartitionReassignments
    schema(45, 0, 1, &[INT32, BOOLEAN.from(1), INT16, STRING, array(&record(&[STRING, array(&record(&[INT32, INT16, STRING]))]))]),
    // ListPartitionReassignments
    schema(
        46,
        0,
        0,
        &[INT32, INT16, STRING, array(&record(&[STRING, array(&record(&[INT32, array(&INT32), array(&INT32), array(&INT32)]))]))],
    ),
    // OffsetDelete
    schema(47, 0, 0, &[INT16, INT32, array(&record(&[STRING, array(&record(&[INT32, INT16]))]))]),
    // DescribeClientQuotas
    schema(48, 0, 1, &[INT32, INT16, STRING, array(&record(&[array(&record(&[STRING, STRING])), array(&record(&[STRING, FLOAT64]))]))]),
    // AlterClientQuotas
    schema(49, 0, 1, &[INT32, array(&record(&[INT16, STRING, array(&record(&[STRING, STRING]))]))]),
    // DescribeUserScramCredentials
    schema(50, 0, 0, &[INT32, INT16, STRING, array(&record(&[STRING, INT16, STRING, array(&record(&[INT8, INT32]))]))]),
    // AlterUserScramCredentials
    schema(51, 0, 0, &[INT32, array(&record(&[STRING, INT16, STRING]))]),
    // DescribeQuorum
    schema(
        55,
        0,
        2,
        &[
            INT16,
            STRING.from(2),
            array(&record(&[
                STRING,
                array(&record(&[
                    INT32,
                    INT16,
                    STRING.from(2),
                    INT32,
                    INT32,
                    INT64,
                    array(&record(&[INT32, UUID.from(2), INT64, INT64.from(1), INT64.from(1)])),
                    array(&record(&[INT32, UUID.from(2), INT64, INT64.from(1), INT64.from(1)])),
                ])),
            ])),
            array(&record(&[INT32, array(&record(&[STRING, STRING, UINT16]))])).from(2),
        ],
    ),
    // UpdateFeatures
    schema(57, 0, 2, &[INT32, INT16, STRING, array(&record(&[STRING, INT16, STRING])).until(1)]),
    // DescribeCluster
    schema(
        60,
        0,
        2,
        &[INT32, INT16, STRING, INT8.from(1), STRING, INT32, array(&record(&[INT32, STRING, INT32, STRING, BOOLEAN.from(2)])), INT32],
    ),
    // DescribeProducers
    schema(
        61,
        0,
        0,
        &[
            INT32,
            array(&record(&[STRING, array(&record(&[INT32, INT16, STRING, array(&record(&[INT64, INT32, INT32, INT64, INT32, INT64]))]))])),
        ],
    ),
    // UnregisterBroker
    schema(64, 0, 0, &[INT32, INT16, STRING]),
    // DescribeTransactions
    schema(
        65,
        0,
        0,
        &[INT32, array(&record(&[INT16, STRING, STRING, INT32, INT64, INT64, INT16, array(&record(&[STRING, array(&INT32)]))]))],
    ),
    // ListTransactions
    schema(66, 0, 2, &[INT32, INT16, array(&STRING), array(&record(&[STRING, INT64, STRING]))]),
    // ConsumerGroupHeartbeat
    schema(68, 0, 1, &[INT32, INT16, STRING, STRING, INT32, INT32, optional(&[array(&record(&[UUID, array(&INT32)]))])]),
    // ConsumerGroupDescribe
    schema(
        69,
        0,
        1,
        &[
            INT32,
            array(&record(&[
                INT16,
                STRING,
                STRING,
                STRING,
                INT32,
                INT32,
                STRING,
                array(&record(&[
                    STRING,
                    STRING,
                    STRING,
                    INT32,
                    STRING,
                    STRING,
                    array(&STRING),
                    STRING,
                    record(&[array(&record(&[UUID, STRING, array(&INT32)]))]),
                    record(&[array(&record(&[UUID, STRING, array(&INT32)]))]),
                    INT8.from(1),
                ])),
                INT32,
            ])),
        ],
    ),
    // GetTelemetrySubscriptions
    schema(71, 0, 0, &[INT32, INT16, UUID, INT32, array(&INT8), INT32, INT32, BOOLEAN, array(&STRING)]),
    // PushTelemetry
    schema(72, 0, 0, &[INT32, INT16]),
    // ListConfigResources
    schema(74, 0, 1, &[INT32, INT16, array(&record(&[STRING, INT8.from(1)]))]),
    // DescribeTopicPartitions
    schema(
        75,
        0,
        0,
        &[
            INT32,
            array(&record(&[
                INT16,
                STRING,
                UUID,
                BOOLEAN,
                array(&record(&[INT16, INT32, INT32, INT32, array(&INT32), array(&INT32), array(&INT32), array(&INT32), array(&INT32)])),
                INT32,
            ])),
            optional(&[STRING, INT32]),
        ],
    ),
];
