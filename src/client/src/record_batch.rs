//! Between records and the batches on the wire.

use crate::error::ClientError;
use crate::producer::ProducerRecord;
use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_wire::batch::{BatchView, TimestampType, batches};
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};
use std::collections::{BTreeSet, VecDeque};

/// Most bytes the records of one batch may decompress to.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Control record type of an abort marker (`ControlRecordType.ABORT`), in the second half of the key.
const ABORT_MARKER: [u8; 2] = [0, 0];

/// Identity and place of a batch of an idempotent producer.
#[derive(Debug, Clone, Copy)]
pub struct BatchIdentity {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// A record as consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// -1 where the batch does not say.
    pub leader_epoch: i32,
    /// Milliseconds since the Unix epoch; -1 for none.
    pub timestamp: i64,
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The records of a fetch, and where to go on.
#[derive(Debug)]
pub struct Decoded {
    pub records: Vec<ConsumerRecord>,
    pub next_offset: i64,
}

/// Encodes records (whose timestamps are set) as one batch.
pub fn encode_batch(records: &[(u64, ProducerRecord)], codec: Codec, identity: Option<BatchIdentity>) -> Result<Bytes, ClientError> {
    let mut builder = BatchBuilder::new(codec);
    if let Some(identity) = identity {
        builder = builder.producer(ProducerId(identity.producer_id), ProducerEpoch(identity.epoch), identity.sequence);
    }
    for (_, record) in records {
        let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
        builder.append(Timestamp(record.timestamp.unwrap_or(-1)), record.key.as_deref(), record.value.as_deref(), &headers);
    }
    if builder.record_count() == 0 {
        return Err(ClientError::Invalid("a batch without records".to_owned()));
    }
    Ok(builder.build())
}

/// Records from `from_offset` on, out of what a fetch returned: whole batches, the last possibly cut.
///
/// `aborted` is the response's list of aborted transactions (producer id, first offset) for read_committed, empty otherwise.
/// Control batches are never handed out.
pub fn decode_batches(
    records: Bytes,
    topic: &str,
    partition: i32,
    from_offset: i64,
    aborted: Vec<(i64, i64)>,
) -> Result<Decoded, ClientError> {
    let broken = |detail: String| ClientError::Protocol { address: format!("the leader of {topic}-{partition}"), detail };
    let mut aborted = {
        let mut sorted = aborted;
        sorted.sort_by_key(|&(_, first)| first);
        VecDeque::from(sorted)
    };
    let mut aborting: BTreeSet<i64> = BTreeSet::new();
    let mut decoded = Decoded { records: Vec::new(), next_offset: from_offset };
    let mut position = 0;
    for batch in batches(&records) {
        // The last batch may be cut by the fetch size: it comes whole with the next fetch.
        let Ok(view) = batch else { break };
        let bytes = records.slice(position..position + view.total_bytes());
        position += view.total_bytes();
        let last_offset = view.last_offset().get();
        if last_offset < decoded.next_offset {
            continue;
        }
        if !view.crc_valid() {
            return Err(broken(format!("the batch at offset {} fails its checksum", view.base_offset())));
        }
        while aborted.front().is_some_and(|&(_, first)| first <= last_offset) {
            aborting.extend(aborted.pop_front().map(|(id, _)| id));
        }
        if view.is_control() {
            if is_abort(&bytes) {
                aborting.remove(&view.producer_id().get());
            }
        } else if !(view.is_transactional() && aborting.contains(&view.producer_id().get())) {
            read_records(&view, &bytes, topic, partition, decoded.next_offset, &mut decoded.records).map_err(broken)?;
        }
        decoded.next_offset = last_offset + 1;
    }
    Ok(decoded)
}

fn read_records(
    view: &BatchView<'_>,
    bytes: &Bytes,
    topic: &str,
    partition: i32,
    from_offset: i64,
    out: &mut Vec<ConsumerRecord>,
) -> Result<(), String> {
    let leader_epoch = view.leader_epoch().get();
    let timestamp_type = view.timestamp_type();
    for record in RecordReader::new(bytes, DECOMPRESSED_BYTES_MAX).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        if record.offset.get() < from_offset {
            continue;
        }
        out.push(ConsumerRecord {
            topic: topic.to_owned(),
            partition,
            offset: record.offset.get(),
            leader_epoch,
            timestamp: record.timestamp.get(),
            timestamp_type,
            key: record.key,
            value: record.value,
            headers: record.headers.into_iter().map(|h| (h.key, h.value)).collect(),
        });
    }
    Ok(())
}

fn is_abort(batch: &Bytes) -> bool {
    let first = RecordReader::new(batch, DECOMPRESSED_BYTES_MAX).ok().and_then(|mut r| r.next()).and_then(Result::ok);
    first.and_then(|r| r.key).is_some_and(|key| key.get(2..4) == Some(&ABORT_MARKER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, values: &[&str], configure: impl Fn(BatchBuilder) -> BatchBuilder) -> Bytes {
        let mut builder = configure(BatchBuilder::new(Codec::None).base_offset(odradek_base::Offset(base)));
        for value in values {
            builder.append(Timestamp(5), None, Some(value.as_bytes()), &[]);
        }
        builder.build()
    }

    fn values(decoded: &Decoded) -> Vec<&[u8]> {
        decoded.records.iter().filter_map(|r| r.value.as_deref()).collect()
    }

    fn all(parts: &[Bytes]) -> Bytes {
        Bytes::from(parts.concat())
    }

    #[test]
    fn records_before_the_wanted_offset_and_cut_batches_are_left_out() {
        let whole = all(&[batch(10, &["a", "b", "c"], |b| b), batch(13, &["d"], |b| b)]);
        let decoded = decode_batches(whole.clone(), "t", 0, 11, vec![]).unwrap();
        assert_eq!((values(&decoded), decoded.next_offset), (vec![&b"b"[..], b"c", b"d"], 14));

        let cut = whole.slice(..whole.len() - 1);
        let decoded = decode_batches(cut, "t", 0, 10, vec![]).unwrap();
        assert_eq!((values(&decoded).len(), decoded.next_offset), (3, 13));
    }

    #[test]
    fn aborted_transactions_and_markers_are_not_handed_out() {
        let of = |id: i64| move |b: BatchBuilder| b.producer(ProducerId(id), ProducerEpoch(0), 0).transactional(true);
        let marker = |base: i64, id: i64, kind: u8| {
            let mut b = of(id)(BatchBuilder::new(Codec::None).base_offset(odradek_base::Offset(base))).control(true);
            b.append(Timestamp(5), Some(&[0, 0, 0, kind]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
            b.build()
        };
        let log = all(&[batch(0, &["x1"], of(1)), batch(1, &["y"], of(2)), marker(2, 1, 0), batch(3, &["x2"], of(1)), marker(4, 1, 1)]);
        let decoded = decode_batches(log.clone(), "t", 0, 0, vec![(1, 0)]).unwrap();
        assert_eq!((values(&decoded), decoded.next_offset), (vec![&b"y"[..], b"x2"], 5));
        let everything = decode_batches(log, "t", 0, 0, vec![]).unwrap();
        assert_eq!(values(&everything).len(), 3, "read_uncommitted sees the data, never the markers");
    }

    #[test]
    fn damage_is_an_error() {
        let mut bytes = batch(0, &["a"], |b| b).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(decode_batches(Bytes::from(bytes), "t", 0, 0, vec![]).is_err());
    }
}
