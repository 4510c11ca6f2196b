//! Transactions in batches that recovery finds: what they hold back, and where the aborted ones are known.

use super::*;
use crate::LogConfig;
use crate::segment::meta::BatchSummary;
use odradek_base::{PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use odradek_wire::batch::BatchView;
use odradek_wire::compress::Codec;
use odradek_wire::records::BatchBuilder;

/// Three records of a transaction from `base` on.
fn data(base: i64, sequence: i32) -> Bytes {
    let mut builder =
        BatchBuilder::new(Codec::None).base_offset(Offset(base)).producer(ProducerId(7), ProducerEpoch(0), sequence).transactional(true);
    (0..3).for_each(|_| builder.append(Timestamp(1), None, Some(b"value"), &[]));
    builder.build()
}

fn marker(base: i64, commit: bool) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None)
        .base_offset(Offset(base))
        .producer(ProducerId(7), ProducerEpoch(0), -1)
        .transactional(true)
        .control(true);
    builder.append(Timestamp(1), Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 1]), &[]);
    builder.build()
}

/// Two segments: an aborted transaction in the first; in the second an aborted one, a committed one and, perhaps, one that is open.
fn recovered(open: bool) -> PartitionLog {
    let batches = [data(0, 0), marker(3, false), data(4, 3), marker(7, false), data(8, 6), marker(11, true), data(12, 9)];
    let batches = &batches[..if open { 7 } else { 6 }];
    let mut segments = vec![Segment::new(Offset(0), Timestamp(0)), Segment::new(Offset(4), Timestamp(0))];
    for bytes in batches {
        let view = BatchView::parse(bytes).expect("a batch");
        let summary = BatchSummary {
            base_offset: view.base_offset(),
            last_offset: view.last_offset(),
            max_timestamp: view.max_timestamp(),
            bytes: bytes.len() as u32,
        };
        let segment = &mut segments[usize::from(view.base_offset() >= Offset(4))];
        segment.append(&summary, &LogConfig::default());
        segment.flushed_bytes = segment.bytes;
    }
    let end = segments[1].next_offset;
    let partition = TopicPartition::new(TopicId::NONE, PartitionIndex(0));
    let marks = Marks::settled(Offset(0), end);
    let (producers, epochs) = (ProducerState::default(), LeaderEpochs::default());
    let mut log = PartitionLog::restore(partition, LogConfig::default(), marks, segments, producers, epochs, Rng::with_seed(1));
    for bytes in batches {
        log.note_recovered(&BatchView::parse(bytes).expect("a batch"), bytes);
    }
    log
}

#[test]
fn only_an_open_transaction_holds_readers_back() {
    assert_eq!(recovered(false).marks().last_stable.offset(), Offset(12));
    assert_eq!(recovered(true).marks().last_stable.offset(), Offset(12));
    assert_eq!(recovered(true).marks().high_watermark.offset(), Offset(15));
}

#[test]
fn aborted_transactions_are_known_once_and_belong_to_their_segment() {
    let all = recovered(false).aborted_transactions(Offset(0), Offset(99));
    assert_eq!(all.iter().map(|aborted| (aborted.first_offset.get(), aborted.last_offset.get())).collect::<Vec<_>>(), [(0, 3), (4, 7)]);
    // The file of the first segment has its entry and one that is beyond it, that of the second is missing.
    let mut log = recovered(false);
    assert_eq!(log.restore_aborted(vec![(Offset(0), all.clone()), (Offset(4), Vec::new())]), [(Offset(0), 1), (Offset(4), 0)]);
    assert_eq!(log.aborted_transactions(Offset(0), Offset(99)), all);
    let unpersisted: Vec<_> = log.segments().iter().map(|segment| segment.aborted.unpersisted().1.to_vec()).collect();
    assert_eq!(unpersisted, [vec![], vec![all[1]]]);
    // Both files have theirs: nothing is written again.
    let mut log = recovered(false);
    log.restore_aborted(vec![(Offset(0), vec![all[0]]), (Offset(4), vec![all[1]])]);
    assert_eq!(log.aborted_transactions(Offset(0), Offset(99)), all);
    assert!(log.segments().iter().all(|segment| segment.aborted.unpersisted().1.is_empty()));
}
