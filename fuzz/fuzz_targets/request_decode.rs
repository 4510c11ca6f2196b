//! The first two bytes choose API and version, the rest is the body of a request: the guard passes it or not, and what it passes
//! kafka-protocol decodes without asking for memory that did not arrive.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_wire::{decode, messages};

macro_rules! decode_request {
    ($key:expr, $body:expr, $version:expr, $($number:literal => $request:ident),* $(,)?) => {
        match $key {
            $($number => drop(decode::decode::<messages::$request>($number, $body, $version)),)*
            _ => drop(decode::check_request($key, $body, $version)),
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let [key, version, body @ ..] = data else { return };
    let (key, version) = (i16::from(*key % 80), i16::from(*version % 20));
    let mut body = Bytes::copy_from_slice(body);
    decode_request!(key, &mut body, version,
        0 => ProduceRequest, 1 => FetchRequest, 2 => ListOffsetsRequest, 3 => MetadataRequest, 8 => OffsetCommitRequest,
        9 => OffsetFetchRequest, 10 => FindCoordinatorRequest, 11 => JoinGroupRequest, 12 => HeartbeatRequest, 13 => LeaveGroupRequest,
        14 => SyncGroupRequest, 15 => DescribeGroupsRequest, 16 => ListGroupsRequest, 17 => SaslHandshakeRequest,
        18 => ApiVersionsRequest, 19 => CreateTopicsRequest, 20 => DeleteTopicsRequest, 21 => DeleteRecordsRequest,
        22 => InitProducerIdRequest, 23 => OffsetForLeaderEpochRequest, 24 => AddPartitionsToTxnRequest, 25 => AddOffsetsToTxnRequest,
        26 => EndTxnRequest, 28 => TxnOffsetCommitRequest, 29 => DescribeAclsRequest, 32 => DescribeConfigsRequest,
        33 => AlterConfigsRequest, 34 => AlterReplicaLogDirsRequest, 35 => DescribeLogDirsRequest, 36 => SaslAuthenticateRequest,
        37 => CreatePartitionsRequest, 42 => DeleteGroupsRequest, 43 => ElectLeadersRequest, 44 => IncrementalAlterConfigsRequest,
        45 => AlterPartitionReassignmentsRequest, 46 => ListPartitionReassignmentsRequest, 47 => OffsetDeleteRequest,
        48 => DescribeClientQuotasRequest, 49 => AlterClientQuotasRequest, 50 => DescribeUserScramCredentialsRequest,
        51 => AlterUserScramCredentialsRequest, 57 => UpdateFeaturesRequest, 60 => DescribeClusterRequest, 61 => DescribeProducersRequest,
        65 => DescribeTransactionsRequest, 66 => ListTransactionsRequest, 68 => ConsumerGroupHeartbeatRequest,
        69 => ConsumerGroupDescribeRequest, 74 => ListConfigResourcesRequest, 75 => DescribeTopicPartitionsRequest,
    );
});
