use super::*;
use crate::messages::FetchResponse;
use crate::{StrBytes, api, decode_response, response_header};
use odradek_base::TopicId;
use uuid::Uuid;

fn topics(version: i16) -> Vec<FetchTopic> {
    let topic = |n: u128| {
        if version >= TOPIC_ID_FROM {
            TopicReference::Id(TopicId(Uuid::from_u128(n)))
        } else {
            TopicReference::Name(StrBytes::from_static_str("t"))
        }
    };
    let full = FetchPartition {
        high_watermark: Offset(50),
        last_stable_offset: Offset(40),
        log_start_offset: Offset(3),
        aborted_transactions: Some(vec![AbortedTransaction { producer_id: ProducerId(9), first_offset: Offset(12) }]),
        records: vec![Bytes::from(vec![1; 300]), Bytes::new(), Bytes::from(vec![2; 20])],
        ..FetchPartition::empty(PartitionIndex(4))
    };
    let mut moved = FetchPartition::failed(PartitionIndex(5), ErrorCode::NotLeaderOrFollower);
    moved.current_leader = Some((BrokerId(2), LeaderEpoch(6)));
    moved.diverging_epoch = Some((LeaderEpoch(1), Offset(70)));
    let more = FetchPartition { records: vec![Bytes::from(vec![3; 7])], ..FetchPartition::empty(PartitionIndex(6)) };
    vec![FetchTopic { topic: topic(1), partitions: vec![full, moved] }, FetchTopic { topic: topic(2), partitions: vec![more] }]
}

#[test]
fn responses_are_read_by_kafka_protocol() {
    let endpoints =
        [NodeEndpoint { node_id: BrokerId(2), host: StrBytes::from_static_str("h"), port: 1, rack: Some(StrBytes::from_static_str("r")) }];
    for version in 4..=18 {
        let topics = topics(version);
        let parts = encode_response(version, 8, 3, Some(ErrorCode::FetchSessionIdNotFound), 77, &topics, &endpoints);
        let shared: Vec<_> = topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .flat_map(|partition| &partition.records)
            .filter(|slice| !slice.is_empty())
            .collect();
        for slice in &shared {
            assert!(parts.iter().any(|part| part.as_ptr() == slice.as_ptr()), "records are not copied");
        }
        let frame = Bytes::from(parts.concat());
        assert_eq!(frame.len() - 4, i32::from_be_bytes(frame[..4].try_into().expect("prefix")) as usize);
        let (correlation_id, mut body) = response_header(api::FETCH, version, frame.slice(4..)).expect("header");
        let got = decode_response::<FetchResponse>(api::FETCH, &mut body, version).expect("decodes");
        assert!(body.is_empty(), "v{version}");
        assert_eq!((correlation_id, got.throttle_time_ms), (8, 3));
        assert_eq!((got.error_code, got.session_id), if version >= 7 { (ErrorCode::FetchSessionIdNotFound.code(), 77) } else { (0, 0) });
        let [full, moved] = &got.responses[0].partitions[..] else { panic!("two partitions") };
        assert_eq!((full.partition_index, full.high_watermark, full.last_stable_offset), (4, 50, 40));
        assert_eq!(full.records.as_ref().map(Bytes::len), Some(320));
        let aborted = full.aborted_transactions.as_ref().expect("not null");
        assert_eq!((aborted[0].producer_id.0, aborted[0].first_offset), (9, 12));
        assert_eq!(moved.aborted_transactions, None);
        assert_eq!(moved.records.as_ref().map(Bytes::len), Some(0));
        assert_eq!((moved.current_leader.leader_id.0, moved.diverging_epoch.end_offset), if version >= 12 { (2, 70) } else { (-1, -1) });
        assert_eq!(got.responses[1].partitions[0].records.as_deref(), Some(&[3u8; 7][..]));
        assert_eq!(got.node_endpoints.len(), usize::from(version >= 16));
    }
}

#[test]
fn an_empty_response_is_one_buffer() {
    let parts = encode_response(12, 1, 0, None, 0, &[], &[]);
    assert_eq!(parts.len(), 1);
    // length, correlation id, tags, throttle, error, session, topics, tags
    assert_eq!(&parts[0][..], [0, 0, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
}
