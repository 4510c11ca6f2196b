//! What one connection writes to one partition, and the requests that carry it.

use crate::BenchError;
use crate::payload::{self, HEADER_BYTES, Stamp};
use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_client::producer::{Acks, wall_clock_ms};
use odradek_client::{text, topic_name};
use odradek_wire::compress::Codec;
use odradek_wire::messages::TransactionalId;
use odradek_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use odradek_wire::records::{BatchBuilder, RecordReader};
use odradek_wire::{api, encode_request};
use uuid::Uuid;

/// Produce version from which topics are named by id.
pub const TOPIC_ID_VERSION: i16 = 13;
/// Positions in a record batch: CRC, first byte it covers, base and maximal timestamp, base sequence.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const BASE_SEQUENCE_AT: usize = 53;
/// Values take turns with this many bytes of filler, in steps of its grain, so that two records in a row differ.
pub const FILLER_BYTES: usize = 1 << 20;
const FILLER_STEP: usize = 64 * 131;

/// A record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// When it was meant to be sent, in nanoseconds of the run's clock.
    pub due: u64,
    /// Bytes of its value.
    pub size: u32,
    pub key: Option<u32>,
}

/// What all lanes of a run share.
#[derive(Debug)]
pub struct Encoder {
    pub run: u64,
    pub version: i16,
    pub client_id: String,
    pub acks: Acks,
    pub codec: Codec,
    /// [`FILLER_BYTES`] and the largest value more.
    pub filler: Vec<u8>,
    /// Size and count of records of a full batch, where all are alike and without key or compression: such requests are patched,
    /// not built.
    pub uniform: Option<(usize, usize)>,
    pub scratch: Vec<u8>,
}

/// A request that only needs new stamps.
#[derive(Debug)]
struct Template {
    frame: Vec<u8>,
    batch_at: usize,
    batch_bytes: usize,
    /// Where each value begins, within the batch.
    values_at: Vec<usize>,
}

/// One connection's share in one partition.
#[derive(Debug)]
pub struct Lane {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition: i32,
    /// The connection.
    pub lane: u32,
    /// Identity of an idempotent producer.
    pub producer: Option<(i64, i16)>,
    /// Of a transactional producer; each of its batches belongs to a transaction.
    pub transactional_id: Option<String>,
    pub next_sequence: u64,
    /// Records of this producer in this partition over all runs.
    written: u64,
    /// Records acknowledged; with answers in order, exactly the first so many where nothing failed.
    pub acknowledged: u64,
    /// An error came back: what is stored after it is not known.
    pub failed: bool,
    /// The batch that is filling, and how often it was closed.
    pub open: Vec<Planned>,
    pub open_bytes: usize,
    pub generation: u64,
    template: Option<Template>,
}

impl Lane {
    pub fn new(topic: &str, topic_id: Uuid, partition: i32, lane: u32, producer: Option<(i64, i16)>) -> Self {
        Self {
            topic: topic.to_owned(),
            topic_id,
            partition,
            lane,
            producer,
            transactional_id: None,
            next_sequence: 0,
            written: 0,
            acknowledged: 0,
            failed: false,
            open: Vec::new(),
            open_bytes: 0,
            generation: 0,
            template: None,
        }
    }

    /// Begins another run: sequences start again.
    pub fn restart(&mut self) {
        (self.next_sequence, self.acknowledged, self.failed) = (0, 0, false);
    }

    /// The next request, ready to be sent, and the bytes of its batch.
    pub fn request(&mut self, encoder: &mut Encoder, records: &[Planned]) -> Result<(Bytes, usize), BenchError> {
        let alike = encoder.uniform.is_some_and(|(_, count)| count == records.len());
        if !alike {
            let batch = self.build(encoder, records);
            return Ok((self.frame(encoder, &batch)?, batch.len()));
        }
        if self.template.is_none() {
            let batch = self.build(encoder, records);
            self.next_sequence -= records.len() as u64;
            self.written -= records.len() as u64;
            self.template = Some(Template::new(&self.frame(encoder, &batch)?, &batch)?);
        }
        let mut template = self.template.take().expect("just made");
        self.stamp(&mut template, encoder, records);
        let request = (Bytes::copy_from_slice(&template.frame), template.batch_bytes);
        self.template = Some(template);
        Ok(request)
    }

    fn stamp_of(&self, encoder: &Encoder, due: u64) -> Stamp {
        Stamp { run: encoder.run, partition: self.partition, lane: self.lane, sequence: self.next_sequence, due }
    }

    fn base_sequence(&self) -> i32 {
        (self.written & 0x7fff_ffff) as i32
    }

    fn build(&mut self, encoder: &mut Encoder, records: &[Planned]) -> Bytes {
        let mut builder = BatchBuilder::new(encoder.codec).transactional(self.transactional_id.is_some());
        if let Some((id, epoch)) = self.producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), self.base_sequence());
        }
        let now = Timestamp(wall_clock_ms());
        for record in records {
            let mut value = std::mem::take(&mut encoder.scratch);
            value.resize(record.size as usize, 0);
            payload::write(&mut value, self.stamp_of(encoder, record.due), filler_at(&encoder.filler, self.next_sequence));
            let key = record.key.map(key_bytes);
            builder.append(now, key.as_ref().map(|k| &k[..]), Some(&value), &[]);
            encoder.scratch = value;
            self.next_sequence += 1;
        }
        self.written += records.len() as u64;
        builder.build()
    }

    fn frame(&self, encoder: &Encoder, batch: &Bytes) -> Result<Bytes, BenchError> {
        let named = encoder.version < TOPIC_ID_VERSION;
        let topic = TopicProduceData::default()
            .with_name(topic_name(if named { &self.topic } else { "" }))
            .with_topic_id(if named { Uuid::nil() } else { self.topic_id })
            .with_partition_data(vec![PartitionProduceData::default().with_index(self.partition).with_records(Some(batch.clone()))]);
        let transactional_id = self.transactional_id.as_deref().map(|id| TransactionalId(text(id)));
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id)
            .with_acks(encoder.acks.code())
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        encode_request(api::PRODUCE, encoder.version, 0, Some(&encoder.client_id), &request)
            .map_err(|e| BenchError::Arguments(format!("a Produce request of the scenario: {e}")))
    }

    /// Puts fresh sequences and timestamps into the template and seals it.
    fn stamp(&mut self, template: &mut Template, encoder: &Encoder, records: &[Planned]) {
        let batch = &mut template.frame[template.batch_at..template.batch_at + template.batch_bytes];
        let now = wall_clock_ms().to_be_bytes();
        batch[BASE_TIMESTAMP_AT..BASE_TIMESTAMP_AT + 8].copy_from_slice(&now);
        batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now);
        if self.producer.is_some() {
            batch[BASE_SEQUENCE_AT..BASE_SEQUENCE_AT + 4].copy_from_slice(&self.base_sequence().to_be_bytes());
        }
        for (&at, record) in template.values_at.iter().zip(records) {
            let value = &mut batch[at..at + record.size as usize];
            payload::write(value, self.stamp_of(encoder, record.due), filler_at(&encoder.filler, self.next_sequence));
            self.next_sequence += 1;
        }
        self.written += records.len() as u64;
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

impl Template {
    fn new(frame: &Bytes, batch: &Bytes) -> Result<Self, BenchError> {
        let broken = |reason: String| BenchError::Arguments(format!("the request template: {reason}"));
        let values_at = RecordReader::new(batch, batch.len())
            .and_then(|reader| {
                reader
                    .map(|r| r.map(|r| r.value.map_or(0, |v| v.as_ptr() as usize - batch.as_ptr() as usize)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|e| broken(e.to_string()))?;
        let batch_at = frame.windows(batch.len()).position(|w| w == &batch[..]).ok_or_else(|| broken("it lacks its batch".to_owned()))?;
        Ok(Self { frame: frame.to_vec(), batch_at, batch_bytes: batch.len(), values_at })
    }
}

/// The key's bytes, as long as OpenMessaging's.
pub fn key_bytes(key: u32) -> [u8; 8] {
    let mut bytes = *b"key-\0\0\0\0";
    bytes[4..].copy_from_slice(&key.to_be_bytes());
    bytes
}

fn filler_at(filler: &[u8], sequence: u64) -> &[u8] {
    let turn = filler.len().min(FILLER_BYTES) / FILLER_STEP;
    &filler[(sequence % turn.max(1) as u64) as usize * FILLER_STEP..]
}

/// Filler for values of at most `size_max` bytes, random or cut from a file.
pub fn filler(run: u64, size_max: usize, random_ratio: f64, file: Option<&std::path::Path>) -> Result<Vec<u8>, BenchError> {
    let bytes = FILLER_BYTES + size_max.saturating_sub(HEADER_BYTES);
    let Some(file) = file else { return Ok(payload::filler(run, bytes, random_ratio)) };
    let content = std::fs::read(file).map_err(|e| BenchError::Arguments(format!("record.payload_file {}: {e}", file.display())))?;
    if content.is_empty() {
        return Err(BenchError::Arguments(format!("record.payload_file {} is empty", file.display())));
    }
    Ok(content.iter().copied().cycle().take(bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Found;
    use odradek_wire::batch::{BatchView, total_bytes};

    fn encoder(codec: Codec, uniform: Option<(usize, usize)>) -> Encoder {
        Encoder {
            run: 9,
            version: 9,
            client_id: "me".into(),
            acks: Acks::All,
            codec,
            filler: filler(9, 500, 1.0, None).unwrap(),
            uniform,
            scratch: Vec::new(),
        }
    }

    /// The stamps of a request's batch, checked.
    fn stamps(frame: &Bytes, batch_bytes: usize) -> (Vec<Stamp>, i32, Vec<Option<Bytes>>) {
        let at = (0..frame.len() - 60).find(|&at| total_bytes(&frame[at..]).ok().flatten() == Some(batch_bytes)).expect("a batch");
        let batch = frame.slice(at..at + batch_bytes);
        let view = BatchView::parse(&batch).unwrap();
        assert!(view.crc_valid());
        let records: Vec<_> = RecordReader::new(&batch, 100_000).unwrap().map(Result::unwrap).collect();
        let stamps = records
            .iter()
            .map(|r| match payload::read(r.value.as_ref().unwrap()) {
                Found::Ours(stamp) => stamp,
                other => panic!("{other:?}"),
            })
            .collect();
        (stamps, view.base_sequence(), records.into_iter().map(|r| r.key).collect())
    }

    #[test]
    fn patched_and_built_requests_carry_the_same_kind_of_records() {
        let records = |first: u64, size: u32| -> Vec<Planned> { (first..first + 3).map(|due| Planned { due, size, key: None }).collect() };
        let mut encoder = encoder(Codec::None, Some((100, 3)));
        let mut lane = Lane::new("t", Uuid::nil(), 4, 2, Some((77, 1)));
        for round in 0..2u64 {
            let (frame, bytes) = lane.request(&mut encoder, &records(round * 10, 100)).unwrap();
            let expected: Vec<Stamp> =
                (0..3).map(|i| Stamp { run: 9, partition: 4, lane: 2, sequence: round * 3 + i, due: round * 10 + i }).collect();
            assert_eq!(stamps(&frame, bytes), (expected, round as i32 * 3, vec![None; 3]));
        }
        // Fewer records than the template has.
        let (frame, bytes) = lane.request(&mut encoder, &records(50, 100)[..2]).unwrap();
        let (found, base, _) = stamps(&frame, bytes);
        assert_eq!((found.len(), found[1].sequence, found[1].due, base), (2, 7, 51, 6));
    }

    #[test]
    fn keys_sizes_and_codecs() {
        for codec in Codec::ALL {
            let mut encoder = encoder(codec, None);
            let mut lane = Lane::new("t", Uuid::nil(), 0, 0, None);
            let records = [Planned { due: 1, size: 40, key: Some(5) }, Planned { due: 2, size: 500, key: None }];
            let (frame, bytes) = lane.request(&mut encoder, &records).unwrap();
            let (found, base, keys) = stamps(&frame, bytes);
            assert_eq!((found.len(), base), (2, -1), "{codec:?}");
            assert_eq!(keys, [Some(Bytes::copy_from_slice(&key_bytes(5))), None]);
        }
    }
}
