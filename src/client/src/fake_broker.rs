//! A broker of one topic (`t`, one partition) on loopback, for tests: real enough for a producer, with faults on request.

use bytes::Bytes;
use odradek_wire::batch::BatchView;
use odradek_wire::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use odradek_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use odradek_wire::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use odradek_wire::messages::{BrokerId, InitProducerIdResponse, ProduceRequest, ProducerId};
use odradek_wire::records::RecordReader;
use odradek_wire::{api, decode, encode_response, parse_header};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const PRODUCE_VERSION: i16 = 9;

/// What happens to a Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this code, nothing appended.
    Error(i16),
    /// Appended, but the connection ends instead of an answer.
    LostAnswer,
}

/// The state behind all connections.
#[derive(Debug, Default)]
pub struct Log {
    pub values: Vec<Bytes>,
    /// Faults of the next Produce requests, first one first; `None` is no fault.
    pub faults: Vec<Option<Fault>>,
    pub produce_requests: usize,
    /// Producer id and the sequence it has to continue with.
    producer: (i64, i32),
    /// Base offset and first sequence of batches, to recognise duplicates.
    appended: Vec<(i64, i32, i64)>,
    next_producer_id: i64,
}

/// Starts a broker; its address and its log.
pub fn start() -> (String, Arc<Mutex<Log>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let log = Arc::new(Mutex::new(Log::default()));
    let shared = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = shared.clone();
            std::thread::spawn(move || while serve(&stream, port, &log).is_some() {});
        }
    });
    (format!("127.0.0.1:{port}"), log)
}

/// Answers one request; `None` ends the connection.
fn serve(mut stream: &TcpStream, port: u16, log: &Mutex<Log>) -> Option<()> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).ok()?;
    let mut request = parse_header(Bytes::from(frame)).ok()?;
    let (key, version, id) = (request.api_key, request.api_version, request.correlation_id);
    let answer = match key {
        api::API_VERSIONS => {
            let range = |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
            let keys = vec![
                range(api::PRODUCE, 3, PRODUCE_VERSION),
                range(api::METADATA, 0, 12),
                range(api::API_VERSIONS, 0, 3),
                range(api::INIT_PRODUCER_ID, 0, 4),
            ];
            encode_response(key, version, id, &ApiVersionsResponse::default().with_api_keys(keys))
        }
        api::METADATA => encode_response(key, version, id, &metadata(port)),
        api::INIT_PRODUCER_ID => {
            let mut log = log.lock().expect("no panic while locked");
            log.next_producer_id += 1;
            log.producer = (log.next_producer_id, 0);
            let response = InitProducerIdResponse::default().with_producer_id(ProducerId(log.next_producer_id)).with_producer_epoch(0);
            encode_response(key, version, id, &response)
        }
        api::PRODUCE => {
            let produce: ProduceRequest = decode(key, &mut request.body, version).ok()?;
            let records = produce.topic_data.first()?.partition_data.first()?.records.clone()?;
            let (code, offset) = log.lock().expect("no panic while locked").produce(&records)?;
            let partition = PartitionProduceResponse::default()
                .with_index(0)
                .with_error_code(code)
                .with_base_offset(offset)
                .with_log_append_time_ms(-1);
            let topic = TopicProduceResponse::default().with_name(crate::topic_name("t")).with_partition_responses(vec![partition]);
            encode_response(key, version, id, &ProduceResponse::default().with_responses(vec![topic]))
        }
        _ => return None,
    };
    stream.write_all(&answer.ok()?).ok()
}

fn metadata(port: u16) -> MetadataResponse {
    let partition = MetadataResponsePartition::default().with_partition_index(0).with_leader_id(BrokerId(1));
    let topic = MetadataResponseTopic::default().with_name(Some(crate::topic_name("t"))).with_partitions(vec![partition]);
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(crate::text("127.0.0.1")).with_port(port.into());
    MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1)).with_topics(vec![topic])
}

impl Log {
    /// Error code and base offset; `None` where the answer gets lost.
    fn produce(&mut self, records: &Bytes) -> Option<(i16, i64)> {
        const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
        self.produce_requests += 1;
        let fault = if self.faults.is_empty() { None } else { self.faults.remove(0) };
        if let Some(Fault::Error(code)) = fault {
            return Some((code, -1));
        }
        let view = BatchView::parse(records).ok()?;
        let (producer, sequence) = (view.producer_id().get(), view.base_sequence());
        if producer >= 0 {
            if let Some((_, _, offset)) = self.appended.iter().find(|(p, s, _)| (*p, *s) == (producer, sequence)) {
                return Some((0, *offset));
            }
            if (producer, sequence) != self.producer {
                return Some((OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
            }
            self.producer.1 += view.record_count();
        }
        let offset = self.values.len() as i64;
        self.appended.push((producer, sequence, offset));
        self.values.extend(RecordReader::new(records, 1 << 20).ok()?.flatten().filter_map(|r| r.value));
        if fault == Some(Fault::LostAnswer) { None } else { Some((0, offset)) }
    }
}
