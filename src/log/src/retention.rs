//! Which segments may go (Kafka's `UnifiedLog.deleteOldSegments`).

use crate::config::LogConfig;
use crate::marks::Marks;
use crate::segment::meta::Segment;
use odradek_base::Timestamp;

/// How many segments from the oldest on may be deleted; only those that are flushed and wholly below the high watermark. `segments` is in
/// order, the last one is the active one, which counts only when it is not empty.
pub fn deletable(segments: &[Segment], marks: &Marks, config: &LogConfig, now: Timestamp) -> usize {
    let start = below_log_start(segments, marks);
    if !config.cleanup.delete {
        return start;
    }
    start.max(expired(segments, marks, config, now)).max(oversize(segments, marks, config))
}

/// An empty active segment stays; compaction may have emptied one that is not active (then its next offset is its base offset).
fn may_go(segment: &Segment, marks: &Marks) -> bool {
    let active = segment.next_offset == marks.appended.offset();
    !(active && segment.is_empty()) && segment.next_offset <= marks.high_watermark.offset() && segment.next_offset <= marks.flushed.offset()
}

/// Segments without an offset that readers may ask for: the next one begins at or below the log start. (Where a segment's own batches end says
/// less: compaction may have taken the last ones, or all.)
pub fn below_log_start(segments: &[Segment], marks: &Marks) -> usize {
    let with_next = segments.iter().zip(segments.iter().skip(1));
    with_next.take_while(|(segment, next)| next.base_offset <= marks.log_start.offset() && may_go(segment, marks)).count()
}

fn expired(segments: &[Segment], marks: &Marks, config: &LogConfig, now: Timestamp) -> usize {
    if config.retention_ms < 0 {
        return 0;
    }
    segments
        .iter()
        .take_while(|segment| may_go(segment, marks) && now.get().saturating_sub(segment.largest_timestamp().get()) > config.retention_ms)
        .count()
}

fn oversize(segments: &[Segment], marks: &Marks, config: &LogConfig) -> usize {
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let Ok(limit) = u64::try_from(config.retention_bytes) else { return 0 };
    let mut excess = total.saturating_sub(limit);
    segments
        .iter()
        .take_while(|segment| {
            let goes = may_go(segment, marks) && segment.bytes <= excess;
            if goes {
                excess -= segment.bytes;
            }
            goes
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CleanupPolicy;
    use crate::segment::meta::BatchSummary;
    use odradek_base::Offset;

    fn segments() -> Vec<Segment> {
        (0..4)
            .map(|i| {
                let mut segment = Segment::new(Offset(i * 10), Timestamp(0));
                let batch = BatchSummary {
                    base_offset: Offset(i * 10),
                    last_offset: Offset(i * 10 + 9),
                    max_timestamp: Timestamp(i * 1000),
                    bytes: 100,
                };
                segment.append(&batch, &LogConfig::default());
                segment
            })
            .collect()
    }

    #[test]
    fn time_size_and_start() {
        let marks = Marks::settled(Offset(0), Offset(40));
        let count = |config: LogConfig, marks: &Marks, now| deletable(&segments(), marks, &config, Timestamp(now));
        let time = LogConfig { retention_ms: 1000, ..LogConfig::default() };
        assert_eq!((count(time, &marks, 1000), count(time, &marks, 2500), count(time, &marks, 999_999)), (0, 2, 4));
        let size = |bytes| LogConfig { retention_bytes: bytes, retention_ms: -1, ..LogConfig::default() };
        assert_eq!(
            (count(size(400), &marks, 0), count(size(301), &marks, 0), count(size(300), &marks, 0), count(size(0), &marks, 0)),
            (0, 0, 1, 4)
        );
        let compacted = LogConfig { cleanup: CleanupPolicy { delete: false, compact: true }, ..time };
        assert_eq!(count(compacted, &marks, 999_999), 0);
        let started = Marks::settled(Offset(20), Offset(40));
        assert_eq!(count(compacted, &started, 0), 2);
        let mut emptied = segments();
        for segment in &mut emptied[..2] {
            *segment = Segment::new(segment.base_offset, Timestamp(0));
        }
        let below = |start| deletable(&emptied, &Marks::settled(Offset(start), Offset(40)), &compacted, Timestamp(0));
        assert_eq!((below(0), below(9), below(10), below(20)), (0, 0, 1, 2), "what compaction emptied still has its offsets");
        let mut unflushed = marks;
        unflushed.flushed = crate::marks::Flushed(Offset(19));
        assert_eq!(count(time, &unflushed, 999_999), 1, "what is not flushed stays");
    }
}
