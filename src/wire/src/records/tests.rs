use super::*;
use crate::batch::{BatchView, TimestampType};
use crate::compress::Codec;
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

const LIMIT: usize = 1 << 20;

fn read_all(batch: &Bytes) -> Result<Vec<Record>, RecordsError> {
    RecordReader::new(batch, LIMIT)?.collect()
}

#[test]
fn records_survive_every_codec() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec)
            .base_offset(Offset(100))
            .leader_epoch(LeaderEpoch(4))
            .producer(ProducerId(5), ProducerEpoch(1), 20)
            .transactional(true)
            .control(false);
        let twice: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", Some(b"2")), (b"", None)];
        builder.append(Timestamp(5000), Some(b"k"), Some(b"v"), &twice);
        builder.append(Timestamp(4000), None, None, &[]);
        builder.append_at(7, Timestamp(6000), Some(b""), Some(&[9; 3000]), &[]);
        let batch = builder.build();
        let view = BatchView::parse(&batch).expect("whole");
        assert!(view.crc_valid() && view.is_transactional() && !view.is_control());
        assert_eq!((view.compression(), view.record_count(), view.last_offset()), (Some(codec), 3, Offset(107)));
        assert_eq!((view.base_timestamp(), view.max_timestamp()), (Timestamp(5000), Timestamp(6000)));
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (ProducerId(5), ProducerEpoch(1), 20));

        let records = read_all(&batch).expect("valid");
        assert_eq!(records.iter().map(|record| record.offset.get()).collect::<Vec<_>>(), [100, 101, 107]);
        assert_eq!(records.iter().map(|record| record.timestamp.get()).collect::<Vec<_>>(), [5000, 4000, 6000]);
        let headers: Vec<_> = records[0].headers.iter().map(|header| (&header.key[..], header.value.as_deref())).collect();
        assert_eq!(headers, twice);
        assert_eq!((records[1].key.as_ref(), records[1].value.as_ref()), (None, None));
        assert_eq!((records[2].key.as_deref(), records[2].value.as_ref().map(Bytes::len)), (Some(&b""[..]), Some(3000)));
    }
}

#[test]
fn append_time_is_every_records_time() {
    let mut builder = BatchBuilder::new(Codec::None).log_append_time(true);
    builder.append(Timestamp(1), None, Some(b"a"), &[]);
    builder.append(Timestamp(9), None, Some(b"b"), &[]);
    let batch = builder.build();
    assert_eq!(BatchView::parse(&batch).expect("whole").timestamp_type(), TimestampType::LogAppendTime);
    assert!(read_all(&batch).expect("valid").iter().all(|record| record.timestamp == Timestamp(9)));
}

/// A batch whose records section and count are given.
fn raw(records: &[u8], count: i32) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None).build().to_vec();
    batch.extend_from_slice(records);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    Bytes::from(batch)
}

#[test]
fn malformed_records_are_named() {
    // length, attributes, timestamp delta, offset delta, key, value, headers; zigzag: 1 is -1, 2 is 1
    let cases: [(&[u8], i32, Malformed); 12] = [
        (&[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0], 1, Malformed::Excess),
        (&[12, 0, 0, 0, 1, 1, 0], 2, Malformed::Missing),
        (&[9, 0, 0, 0, 1, 1, 0], 1, Malformed::Length),
        (&[14, 0, 0, 0, 1, 1, 0], 1, Malformed::Truncated),
        (&[14, 0, 0, 0, 1, 1, 0, 0], 1, Malformed::Size),
        (&[12, 0, 0, 0, 3, 1, 0], 1, Malformed::FieldLength),
        (&[12, 0, 0, 0, 20, 1, 0], 1, Malformed::FieldLength),
        (&[12, 0, 0, 0, 1, 1, 1], 1, Malformed::HeaderCount),
        (&[12, 0, 0, 0, 1, 1, 8], 1, Malformed::HeaderCount),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1, Malformed::HeaderKey),
        (&[16, 0, 0, 0, 1, 1, 2, 20, 1], 1, Malformed::HeaderKey),
        (&[12, 0, 0x80, 0x80, 0x80, 0x80, 0x80], 1, Malformed::Field),
    ];
    for (records, count, expected) in cases {
        match read_all(&raw(records, count)) {
            Err(RecordsError::Malformed { reason, .. }) => assert_eq!(reason, expected, "{records:?}"),
            other => panic!("{records:?}: {other:?}"),
        }
    }
    assert_eq!(read_all(&raw(&[12, 0, 0, 0, 1, 1, 0], 1)).expect("valid").len(), 1);
}

#[test]
fn a_reader_stops_at_the_first_error() {
    let mut reader =
        RecordReader::new(&raw(&[12, 0, 0, 0, 1, 1, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], 3), LIMIT).expect("counts fit");
    assert!(reader.next().expect("first").is_ok());
    assert!(reader.next().expect("second").is_err());
    assert!(reader.next().is_none());
    assert!(RecordReader::new(&raw(&[], i32::MAX), LIMIT).is_err(), "a count that cannot be");
    assert_eq!(RecordReader::new(&raw(&[], -5), LIMIT).expect("no records").count(), 0);
}
