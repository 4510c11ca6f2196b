//! The guard against kafka-protocol itself: what one side writes, both sides read.

use super::*;
use crate::messages::*;
use crate::{Encodable, encode_request, encode_response, parse_header};
use odradek_base::Rng;

/// Calls `$check` for every message with a schema: key, request type, response type.
macro_rules! for_all {
    ($check:ident!) => {
        $check! {
            (0, ProduceRequest, ProduceResponse),
            (1, FetchRequest, FetchResponse),
            (2, ListOffsetsRequest, ListOffsetsResponse),
            (3, MetadataRequest, MetadataResponse),
            (8, OffsetCommitRequest, OffsetCommitResponse),
            (9, OffsetFetchRequest, OffsetFetchResponse),
            (10, FindCoordinatorRequest, FindCoordinatorResponse),
            (11, JoinGroupRequest, JoinGroupResponse),
            (12, HeartbeatRequest, HeartbeatResponse),
            (13, LeaveGroupRequest, LeaveGroupResponse),
            (14, SyncGroupRequest, SyncGroupResponse),
            (15, DescribeGroupsRequest, DescribeGroupsResponse),
            (16, ListGroupsRequest, ListGroupsResponse),
            (17, SaslHandshakeRequest, SaslHandshakeResponse),
            (18, ApiVersionsRequest, ApiVersionsResponse),
            (19, CreateTopicsRequest, CreateTopicsResponse),
            (20, DeleteTopicsRequest, DeleteTopicsResponse),
            (21, DeleteRecordsRequest, DeleteRecordsResponse),
            (22, InitProducerIdRequest, InitProducerIdResponse),
            (23, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse),
            (24, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse),
            (25, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse),
            (26, EndTxnRequest, EndTxnResponse),
            (27, WriteTxnMarkersRequest, WriteTxnMarkersResponse),
            (28, TxnOffsetCommitRequest, TxnOffsetCommitResponse),
            (29, DescribeAclsRequest, DescribeAclsResponse),
            (30, CreateAclsRequest, CreateAclsResponse),
            (31, DeleteAclsRequest, DeleteAclsResponse),
            (32, DescribeConfigsRequest, DescribeConfigsResponse),
            (33, AlterConfigsRequest, AlterConfigsResponse),
            (34, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse),
            (35, DescribeLogDirsRequest, DescribeLogDirsResponse),
            (36, SaslAuthenticateRequest, SaslAuthenticateResponse),
            (37, CreatePartitionsRequest, CreatePartitionsResponse),
            (38, CreateDelegationTokenRequest, CreateDelegationTokenResponse),
            (39, RenewDelegationTokenRequest, RenewDelegationTokenResponse),
            (40, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse),
            (41, DescribeDelegationTokenRequest, DescribeDelegationTokenResponse),
            (42, DeleteGroupsRequest, DeleteGroupsResponse),
            (43, ElectLeadersRequest, ElectLeadersResponse),
            (44, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse),
            (45, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse),
            (46, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse),
            (47, OffsetDeleteRequest, OffsetDeleteResponse),
            (48, DescribeClientQuotasRequest, DescribeClientQuotasResponse),
            (49, AlterClientQuotasRequest, AlterClientQuotasResponse),
            (50, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse),
            (51, AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse),
            (55, DescribeQuorumRequest, DescribeQuorumResponse),
            (57, UpdateFeaturesRequest, UpdateFeaturesResponse),
            (60, DescribeClusterRequest, DescribeClusterResponse),
            (61, DescribeProducersRequest, DescribeProducersResponse),
            (64, UnregisterBrokerRequest, UnregisterBrokerResponse),
            (65, DescribeTransactionsRequest, DescribeTransactionsResponse),
            (66, ListTransactionsRequest, ListTransactionsResponse),
            (68, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse),
            (69, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse),
            (71, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse),
            (72, PushTelemetryRequest, PushTelemetryResponse),
            (74, ListConfigResourcesRequest, ListConfigResourcesResponse),
            (75, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse),
        }
    };
}

const ROUNDS: u64 = 20;

/// A written message is read to its end; what the crate writes again is accepted again.
fn round_trip<T: Decodable + Encodable + Any + std::fmt::Debug + PartialEq>(
    key: i16,
    version: i16,
    body: Vec<u8>,
    decode: fn(i16, &mut Bytes, i16) -> Result<T, DecodeError>,
    encode: fn(i16, i16, &T) -> Option<Bytes>,
) -> bool {
    let context = format!("{} v{version} {}", api::name(key), std::any::type_name::<T>());
    let mut bytes = Bytes::from(body);
    let message = decode(key, &mut bytes, version).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(bytes.is_empty(), "{context}: {} bytes left", bytes.len());
    // Versions may forbid what a random message holds; then there is nothing to compare.
    let Some(mut again) = encode(key, version, &message) else { return false };
    let whole = again.len();
    let read = decode(key, &mut again, version).unwrap_or_else(|error| panic!("{context} written by the crate: {error}"));
    assert_eq!((read, again.len()), (message, 0), "{context}: {whole} bytes");
    true
}

fn request_body<T: Encodable + Any>(key: i16, version: i16, message: &T) -> Option<Bytes> {
    let frame = encode_request(key, version, 1, Some("c"), message).ok()?;
    Some(parse_header(frame.slice(4..)).expect("our own header").body)
}

fn response_body<T: Encodable + Any>(key: i16, version: i16, message: &T) -> Option<Bytes> {
    let frame = encode_response(key, version, 1, message).ok()?;
    Some(response_header(key, version, frame.slice(4..)).expect("our own header").1)
}

#[test]
fn guard_and_crate_agree_on_every_version() {
    let mut encoded = 0;
    macro_rules! check {
        ($(($key:literal, $request:ident, $response:ident),)*) => {$(
            let (low, high) = request_versions($key).expect("a schema");
            for version in low..=high {
                for seed in 0..ROUNDS {
                    let body = sample::request($key, version, &mut Rng::with_seed(seed)).expect("a schema");
                    encoded += usize::from(round_trip::<$request>($key, version, body, decode, request_body));
                }
                if let Some(body) = request_body($key, version, &$request::default()) {
                    assert!(check_request($key, &body, version).is_ok(), "default {} v{version}", api::name($key));
                }
            }
            let (low, high) = response_versions($key).expect("a schema");
            for version in low..=high {
                for seed in 0..ROUNDS {
                    let body = sample::response($key, version, &mut Rng::with_seed(seed)).expect("a schema");
                    encoded += usize::from(round_trip::<$response>($key, version, body, decode_response, response_body));
                }
            }
        )*};
    }
    for_all!(check!);
    assert!(encoded > 5000, "{encoded}");
}

#[test]
fn damaged_messages_are_values_of_an_error() {
    let mut refused = 0;
    macro_rules! check {
        ($(($key:literal, $request:ident, $response:ident),)*) => {$(
            let (low, high) = request_versions($key).expect("a schema");
            for version in low..=high {
                for seed in 0..ROUNDS {
                    let mut rng = Rng::with_seed(seed);
                    let mut body = sample::request($key, version, &mut rng).expect("a schema");
                    for _ in 0..=rng.below(3) {
                        let at = rng.below(body.len().max(1) as u64) as usize;
                        if let Some(byte) = body.get_mut(at) {
                            *byte = if rng.chance(2) { 0xff } else { rng.next_u64() as u8 };
                        }
                    }
                    refused += usize::from(decode::<$request>($key, &mut Bytes::from(body), version).is_err());
                }
            }
        )*};
    }
    for_all!(check!);
    assert!(refused > 500, "{refused}");
}

#[test]
fn announced_lengths_must_be_there() {
    // Metadata v1: an array of 2 billion topics, 4 bytes long.
    let mut body = Bytes::copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(decode::<MetadataRequest>(api::METADATA, &mut body, 1), Err(DecodeError::Array { .. })));
    // v12: the same as a compact length.
    let mut body = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    assert!(matches!(decode::<MetadataRequest>(api::METADATA, &mut body, 12), Err(DecodeError::Array { .. })));
    // Half a million topics of 2 bytes are there, but too many.
    let mut body = Bytes::from([&524_288i32.to_be_bytes()[..], &vec![0; 1_048_576]].concat());
    assert!(matches!(decode::<MetadataRequest>(api::METADATA, &mut body, 1), Err(DecodeError::TooManyElements)));
    // A tagged field that is longer than it says: tag 0 (a string of 2 bytes with its length) in 9 bytes.
    let mut rng = Rng::with_seed(1);
    let mut fetch = sample::request(api::FETCH, 12, &mut rng).expect("a schema");
    let tag =
        fetch.windows(3).rposition(|window| window[0] == 0 && usize::from(window[2]) == usize::from(window[1])).expect("tag, size, length");
    fetch[tag + 1] += 7;
    let error = decode::<FetchRequest>(api::FETCH, &mut Bytes::from(fetch), 12).expect_err("a lie");
    assert!(matches!(error, DecodeError::TaggedField), "{error}");
    assert!(matches!(decode::<MetadataRequest>(api::METADATA, &mut Bytes::new(), 99), Err(DecodeError::UnsupportedVersion { .. })));
}

#[test]
fn trailing_bytes_are_tolerated() {
    let mut body = Bytes::from_static(&[0, 0, 0, 0, 9, 9, 9]);
    assert!(decode::<MetadataRequest>(api::METADATA, &mut body, 0).is_ok());
    assert_eq!(&body[..], [9, 9, 9]);
}

#[test]
fn newer_versions_carry_topic_ids() {
    let id = uuid::Uuid::from_u128(77);
    let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_topic_id(id);
    let request = OffsetCommitRequest::default().with_topics(vec![topic]);
    let mut body = request_body(api::OFFSET_COMMIT, 10, &request).expect("encodes");
    // group, generation, member, instance; one topic: id, no partitions, tags; tags
    assert_eq!(&body[..], [&[1, 255, 255, 255, 255, 1, 0, 2][..], id.as_bytes(), &[1, 0, 0]].concat());
    assert_eq!(decode::<OffsetCommitRequest>(api::OFFSET_COMMIT, &mut body, 10).expect("decodes"), request);
    let body = request_body(api::LIST_OFFSETS, 11, &ListOffsetsRequest::default()).expect("encodes");
    assert_eq!(Some(body), request_body(api::LIST_OFFSETS, 10, &ListOffsetsRequest::default()));
}
