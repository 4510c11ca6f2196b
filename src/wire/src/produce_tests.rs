use super::*;
use crate::messages::{self, ProduceRequest as CrateRequest, ProduceResponse as CrateResponse};
use crate::{decode_response, encode_request, response_header};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use odradek_base::Rng;
use uuid::Uuid;

fn crate_request(version: i16) -> CrateRequest {
    let partition = |index: i32, records: Option<&'static [u8]>| {
        PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from_static))
    };
    let topic = |name: &'static str, id: u128, partitions: Vec<PartitionProduceData>| {
        let topic = TopicProduceData::default().with_partition_data(partitions);
        if version >= TOPIC_ID_FROM {
            topic.with_topic_id(Uuid::from_u128(id))
        } else {
            topic.with_name(StrBytes::from_static_str(name).into())
        }
    };
    CrateRequest::default()
        .with_transactional_id(Some(StrBytes::from_static_str("tx").into()))
        .with_acks(-1)
        .with_timeout_ms(1500)
        .with_topic_data(vec![
            topic("first", 7, vec![partition(0, Some(b"some records")), partition(9, None)]),
            topic("empty", 8, vec![]),
            topic("last", 9, vec![partition(-1, Some(b""))]),
        ])
}

/// The body of a request as kafka-protocol writes it.
fn body(version: i16) -> Bytes {
    let frame = encode_request(api::PRODUCE, version, 5, Some("me"), &crate_request(version)).expect("encodes");
    crate::parse_header(frame.slice(4..)).expect("header").body
}

#[test]
fn requests_are_read_as_kafka_protocol_writes_them() {
    for version in 3..=13 {
        let body = body(version);
        let request = ProduceRequest::parse(&body, version).expect("valid");
        assert_eq!((request.transactional_id.as_deref(), request.acks, request.timeout_ms), (Some("tx"), -1, 1500));
        let name = |name: &'static str, id: u128| {
            if version >= TOPIC_ID_FROM {
                TopicReference::Id(TopicId(Uuid::from_u128(id)))
            } else {
                TopicReference::Name(StrBytes::from_static_str(name))
            }
        };
        let topics: Vec<_> = request.topics.iter().map(|topic| topic.topic.clone()).collect();
        assert_eq!(topics, [name("first", 7), name("empty", 8), name("last", 9)]);
        let partitions: Vec<_> = request
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| (partition.index.get(), partition.records.as_deref()))
            .collect();
        assert_eq!(partitions, [(0, Some(&b"some records"[..])), (9, None), (-1, Some(&b""[..]))]);
        let records = request.topics[0].partitions[0].records.as_ref().expect("records");
        assert!(body.as_ptr_range().contains(&records.as_ptr()), "records are a slice of the frame");
    }
}

#[test]
fn damaged_requests_agree_with_the_guarded_decoder() {
    for seed in 0..4000 {
        let mut rng = Rng::with_seed(seed);
        let version = 3 + rng.below(11) as i16;
        let mut bytes = body(version).to_vec();
        for _ in 0..=rng.below(2) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        if rng.chance(3) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        }
        let bytes = Bytes::from(bytes);
        let fast = ProduceRequest::parse(&bytes, version);
        let slow = crate::decode::<CrateRequest>(api::PRODUCE, &mut bytes.clone(), version);
        assert_eq!(fast.is_ok(), slow.is_ok(), "seed {seed} v{version}: {fast:?} {slow:?}");
        if let (Ok(fast), Ok(slow)) = (fast, slow) {
            assert_eq!(fast.topics.len(), slow.topic_data.len());
            assert_eq!(fast.acks, slow.acks);
        }
    }
}

#[test]
fn versions_that_are_only_advertised_are_refused() {
    assert!(matches!(ProduceRequest::parse(&body(3), 2), Err(DecodeError::UnsupportedVersion { version: 2, .. })));
    assert!(ProduceRequest::parse(&body(13), 14).is_err());
}

fn response(version: i16) -> ProduceResponse {
    let mut refused = PartitionProduceResponse::failed(PartitionIndex(1), ErrorCode::InvalidRecord);
    refused.record_errors = vec![
        RecordError { batch_index: 4, message: Some(StrBytes::from_static_str("no key")) },
        RecordError { batch_index: 5, message: None },
    ];
    refused.error_message = Some(StrBytes::from_static_str("refused"));
    let mut moved = PartitionProduceResponse::failed(PartitionIndex(2), ErrorCode::NotLeaderOrFollower);
    moved.current_leader = Some((BrokerId(3), LeaderEpoch(8)));
    let topic = if version >= TOPIC_ID_FROM {
        TopicReference::Id(TopicId(Uuid::from_u128(6)))
    } else {
        TopicReference::Name(StrBytes::from_static_str("t"))
    };
    ProduceResponse {
        topics: vec![TopicProduceResponse {
            topic,
            partitions: vec![PartitionProduceResponse::appended(PartitionIndex(0), Offset(10), Timestamp(99), Offset(2)), refused, moved],
        }],
        throttle_time_ms: 12,
        node_endpoints: vec![NodeEndpoint { node_id: BrokerId(3), host: StrBytes::from_static_str("h"), port: 9092, rack: None }],
    }
}

#[test]
fn responses_are_read_by_kafka_protocol() {
    for version in 3..=13 {
        let frame = encode_response(version, 77, &response(version));
        assert_eq!(frame.len() - 4, i32::from_be_bytes(frame[..4].try_into().expect("prefix")) as usize);
        let (correlation_id, mut body) = response_header(api::PRODUCE, version, frame.slice(4..)).expect("header");
        assert_eq!(correlation_id, 77);
        let got = decode_response::<CrateResponse>(api::PRODUCE, &mut body, version).expect("decodes");
        assert!(body.is_empty(), "v{version}");
        assert_eq!(got.throttle_time_ms, 12);
        let [ok, refused, moved] = &got.responses[0].partition_responses[..] else { panic!("three partitions") };
        assert_eq!((ok.index, ok.error_code, ok.base_offset, ok.log_append_time_ms), (0, 0, 10, 99));
        assert_eq!(ok.log_start_offset, if version >= 5 { 2 } else { -1 });
        assert_eq!((refused.error_code, refused.base_offset), (ErrorCode::InvalidRecord.code(), -1));
        assert_eq!(refused.record_errors.len(), if version >= 8 { 2 } else { 0 });
        assert_eq!(refused.error_message.as_deref(), (version >= 8).then_some("refused"));
        assert_eq!((moved.current_leader.leader_id.0, moved.current_leader.leader_epoch), if version >= 10 { (3, 8) } else { (-1, -1) });
        assert_eq!(got.node_endpoints.len(), usize::from(version >= 10));
        if version >= TOPIC_ID_FROM {
            assert_eq!(got.responses[0].topic_id, Uuid::from_u128(6));
        } else {
            assert_eq!(got.responses[0].name.as_str(), "t");
        }
    }
}
