//! Writing a batch again with some of its records, for compaction (`MemoryRecords.filterTo`): offsets, codec, producer and every byte
//! of the records that stay are kept.

use super::{BatchView, CODEC_MASK, DELETE_HORIZON_BIT, HEADER_BYTES, TimestampType};
use crate::compress::{Codec, CompressError, Compressor};
use crate::records::RecordView;
use crate::records::builder::BatchHeader;
use crate::varint::{put_signed, signed_len};
use bytes::Bytes;
use odradek_base::Timestamp;

/// Collects small writes before they reach the codec.
const STAGE_BYTES: usize = 16 * 1024;
/// Largest batch that is written: its length field has 31 bits.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Takes the records that stay, in order.
#[derive(Debug)]
pub struct Rewrite {
    header: BatchHeader,
    original_base: Timestamp,
    keep_max_timestamp: bool,
    compressor: Compressor,
    stage: Vec<u8>,
}

impl Rewrite {
    /// `delete_horizon`: set for the first time; `None` leaves what the original says (KIP-534).
    ///
    /// # Errors
    /// When the codec cannot be started, or the original's is unknown.
    pub fn new(original: &BatchView<'_>, delete_horizon: Option<Timestamp>) -> Result<Self, CompressError> {
        let codec = original.compression().ok_or_else(|| CompressError::Corrupt {
            codec: Codec::None,
            reason: format!("unknown compression codec in attributes {}", original.attributes()),
        })?;
        let mut header = header_of(original);
        if let Some(horizon) = delete_horizon {
            header.attributes |= DELETE_HORIZON_BIT;
            header.base_timestamp = horizon;
        }
        // With the broker's time the header speaks for all records, whichever stay.
        let keep_max_timestamp = original.timestamp_type() == TimestampType::LogAppendTime;
        if !keep_max_timestamp {
            header.max_timestamp = Timestamp::NONE;
        }
        Ok(Self {
            header,
            original_base: original.base_timestamp(),
            keep_max_timestamp,
            compressor: Compressor::new(codec.into(), vec![0; HEADER_BYTES], BATCH_BYTES_MAX)?,
            stage: Vec::with_capacity(STAGE_BYTES),
        })
    }

    /// Keeps a record of the original.
    pub fn keep(&mut self, record: &RecordView<'_>) -> Result<(), CompressError> {
        let timestamp = Timestamp(self.original_base.get().wrapping_add(record.timestamp_delta));
        let delta = timestamp.get().wrapping_sub(self.header.base_timestamp.get());
        let offset_delta = i64::from(record.offset_delta);
        put_signed(&mut self.stage, (1 + signed_len(delta) + signed_len(offset_delta) + record.rest.len()) as i64);
        self.stage.push(record.attributes as u8);
        put_signed(&mut self.stage, delta);
        put_signed(&mut self.stage, offset_delta);
        if record.rest.len() >= STAGE_BYTES {
            self.flush()?;
            self.compressor.write(record.rest)?;
        } else {
            self.stage.extend_from_slice(record.rest);
        }
        if self.stage.len() >= STAGE_BYTES {
            self.flush()?;
        }
        if !self.keep_max_timestamp {
            self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        }
        self.header.record_count += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CompressError> {
        self.compressor.write(&self.stage)?;
        self.stage.clear();
        Ok(())
    }

    /// The new batch, CRC included.
    pub fn finish(mut self) -> Result<Bytes, CompressError> {
        self.flush()?;
        let mut batch = self.compressor.finish()?;
        self.header.seal(&mut batch);
        Ok(Bytes::from(batch))
    }
}

/// What remains of a batch whose records are gone but whose producer still needs its sequence or epoch
/// (`DefaultRecordBatch.writeEmptyHeader`).
pub fn without_records(original: &BatchView<'_>) -> Bytes {
    let mut header = header_of(original);
    header.attributes &= !(CODEC_MASK | DELETE_HORIZON_BIT);
    header.base_timestamp = Timestamp::NONE;
    let mut batch = vec![0; HEADER_BYTES];
    header.seal(&mut batch);
    Bytes::from(batch)
}

/// The header of `original` with no record counted yet.
fn header_of(original: &BatchView<'_>) -> BatchHeader {
    BatchHeader {
        base_offset: original.base_offset(),
        leader_epoch: original.leader_epoch(),
        attributes: original.attributes(),
        last_offset_delta: original.last_offset_delta(),
        base_timestamp: original.base_timestamp(),
        max_timestamp: original.max_timestamp(),
        producer_id: original.producer_id(),
        producer_epoch: original.producer_epoch(),
        base_sequence: original.base_sequence(),
        record_count: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, RecordReader, RecordStream, RecordsError};
    use odradek_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

    fn original(codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(codec)
            .base_offset(Offset(100))
            .leader_epoch(LeaderEpoch(4))
            .producer(ProducerId(9), ProducerEpoch(2), 17)
            .base_timestamp(Timestamp(5000));
        for i in 0..20i64 {
            // The same header key twice: legal, and it must come out twice.
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"h", None), (b"h", Some(b"1"))];
            builder.append(Timestamp(5000 + i * 3), Some(&[i as u8]), Some(&vec![i as u8; 40_000 * (i as usize % 2)]), headers);
        }
        builder.build()
    }

    fn rewrite(batch: &Bytes, horizon: Option<i64>, keep: impl Fn(i32) -> bool) -> Bytes {
        let view = BatchView::parse(batch).unwrap();
        let mut rewrite = Rewrite::new(&view, horizon.map(Timestamp)).unwrap();
        let mut stream = RecordStream::new(batch, usize::MAX).unwrap();
        while !stream
            .step::<RecordsError>(10_000, |record| if keep(record.offset_delta) { Ok(rewrite.keep(record)?) } else { Ok(()) })
            .unwrap()
        {}
        rewrite.finish().unwrap()
    }

    fn records(batch: &Bytes) -> Vec<crate::records::Record> {
        RecordReader::new(batch, 1 << 28).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_stays_is_what_was_there() {
        for codec in Codec::ALL {
            let batch = original(codec);
            let before = BatchView::parse(&batch).unwrap();
            for horizon in [None, Some(77_000), Some(3)] {
                let kept = rewrite(&batch, horizon, |delta| delta % 3 == 1);
                let after = BatchView::parse(&kept).unwrap();
                assert!(after.crc_valid());
                assert_eq!(after.compression(), Some(codec));
                assert_eq!((after.base_offset(), after.last_offset()), (before.base_offset(), before.last_offset()));
                assert_eq!((after.base_sequence(), after.producer_id(), after.leader_epoch()), (17, ProducerId(9), LeaderEpoch(4)));
                assert_eq!(after.has_delete_horizon(), horizon.is_some());
                assert_eq!(after.base_timestamp().get(), horizon.unwrap_or(5000));
                let expected: Vec<_> = records(&batch).into_iter().filter(|record| (record.offset.0 - 100) % 3 == 1).collect();
                assert_eq!(records(&kept), expected, "{codec}");
                assert_eq!(after.max_timestamp(), expected.last().unwrap().timestamp);
                // Once set, the horizon stays through later rewrites.
                let again = rewrite(&kept, None, |_| true);
                assert_eq!(again, kept);
            }
            let empty = without_records(&before);
            let view = BatchView::parse(&empty).unwrap();
            assert!(view.crc_valid() && view.total_bytes() == HEADER_BYTES && view.record_count() == 0);
            assert_eq!((view.last_offset(), view.base_sequence(), view.compression()), (before.last_offset(), 17, Some(Codec::None)));
            assert_eq!(records(&empty), []);
        }
    }
}
