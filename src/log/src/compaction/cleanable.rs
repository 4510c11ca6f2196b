//! How much of a log may be compacted (`LogCleanerManager.cleanableOffsets`, `LogToClean`).

use crate::config::LogConfig;
use crate::marks::Marks;
use crate::segment::meta::Segment;
use odradek_base::{Offset, Timestamp};

/// A log that has something to compact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleanable {
    /// Everything below was compacted before.
    pub first_dirty: Offset,
    /// Nothing from here on may be touched; base offset of a segment.
    pub first_uncleanable: Offset,
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// A record has waited for `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Cleanable {
    /// Share of the bytes that were not compacted before.
    pub fn dirty_ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.clean_bytes + self.dirty_bytes).max(1) as f64
    }

    /// Whether it is worth the work (`min.cleanable.dirty.ratio`, `max.compaction.lag.ms`).
    pub fn is_due(&self, config: &LogConfig) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() > config.min_cleanable_dirty_ratio)
    }
}

/// What may be compacted of a log, `None` when there is nothing. `segments` is in order, the last one is active. `checkpoint`: where the last
/// compaction ended.
pub fn cleanable(segments: &[Segment], marks: &Marks, config: &LogConfig, checkpoint: Option<Offset>, now: Timestamp) -> Option<Cleanable> {
    if !config.cleanup.compact {
        return None;
    }
    let (start, end) = (marks.log_start.offset(), marks.appended.offset());
    // A checkpoint beyond the log is of another log of that name.
    let first_dirty = checkpoint.filter(|checkpoint| *checkpoint <= end).unwrap_or(start).max(start);
    let inactive = &segments[..segments.len().saturating_sub(1)];
    let next_base = |at: usize| segments.get(at + 1).map_or(end, |next| next.base_offset);
    // The part behind this is dirty.
    let clean = (0..inactive.len()).take_while(|at| next_base(*at) <= first_dirty).count();
    let young = |segment: &Segment| {
        config.min_compaction_lag_ms > 0 && segment.largest_timestamp().get() > now.get().saturating_sub(config.min_compaction_lag_ms)
    };
    let stable = marks.last_stable.offset().min(marks.high_watermark.offset()).min(marks.flushed.offset());
    let dirty = (clean..inactive.len())
        .take_while(|at| next_base(*at) <= stable && inactive[*at].flushed_bytes == inactive[*at].bytes && !young(&inactive[*at]))
        .count();
    if dirty == 0 {
        return None;
    }
    let bytes = |segments: &[Segment]| segments.iter().map(|segment| segment.bytes).sum();
    let earliest = inactive[clean..clean + dirty]
        .iter()
        .filter_map(|segment| segment.first_timestamp)
        .filter(|timestamp| timestamp.get() > 0)
        .min()
        .unwrap_or(Timestamp(i64::MAX));
    Some(Cleanable {
        first_dirty,
        first_uncleanable: next_base(clean + dirty - 1),
        clean_bytes: bytes(&inactive[..clean]),
        dirty_bytes: bytes(&inactive[clean..clean + dirty]),
        overdue: earliest.get() < now.get().saturating_sub(config.max_compaction_lag_ms.max(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CleanupPolicy;
    use crate::marks::{Flushed, HighWatermark, LastStable, LogStart};
    use crate::segment::meta::BatchSummary;

    /// Segments of ten offsets and 100 bytes; segment i has timestamps from i * 1000 on.
    fn segments() -> Vec<Segment> {
        (0..5)
            .map(|i| {
                let mut segment = Segment::new(Offset(i * 10), Timestamp(0));
                let last_offset = Offset(i * 10 + 9);
                let batch = BatchSummary { base_offset: Offset(i * 10), last_offset, max_timestamp: Timestamp(1 + i * 1000), bytes: 100 };
                segment.append(&batch, &LogConfig::default());
                segment.flushed_bytes = 100;
                segment
            })
            .collect()
    }

    #[test]
    fn which_segments_are_cleanable() {
        let compact = LogConfig { cleanup: CleanupPolicy { delete: false, compact: true }, ..LogConfig::default() };
        let all = Marks::settled(Offset(0), Offset(50));
        type Change = fn(&mut Marks, &mut LogConfig, &mut Vec<Segment>);
        // checkpoint, change -> first dirty, first uncleanable, clean bytes, dirty bytes, overdue
        type Expected = Option<(i64, i64, u64, u64, bool)>;
        let table: &[(&str, Option<i64>, Change, Expected)] = &[
            ("never compacted: all but the active segment", None, |_, _, _| {}, Some((0, 40, 0, 400, false))),
            ("from the checkpoint on", Some(20), |_, _, _| {}, Some((20, 40, 200, 200, false))),
            ("a checkpoint within a segment makes it dirty", Some(25), |_, _, _| {}, Some((25, 40, 200, 200, false))),
            ("everything was compacted", Some(40), |_, _, _| {}, None),
            ("a checkpoint beyond the end is of another log", Some(51), |_, _, _| {}, Some((0, 40, 0, 400, false))),
            ("not below the log start", Some(5), |marks, _, _| marks.log_start = LogStart(Offset(12)), Some((12, 40, 100, 300, false))),
            (
                "not beyond an open transaction",
                None,
                |marks, _, _| marks.last_stable = LastStable(Offset(29)),
                Some((0, 20, 0, 200, false)),
            ),
            (
                "not beyond the high watermark",
                None,
                |marks, _, _| {
                    marks.last_stable = LastStable(Offset(10));
                    marks.high_watermark = HighWatermark(Offset(10));
                },
                Some((0, 10, 0, 100, false)),
            ),
            (
                "not what is not flushed",
                Some(10),
                |marks, _, segments| {
                    marks.flushed = Flushed(Offset(25));
                    segments[2].flushed_bytes = 50;
                },
                Some((10, 20, 100, 100, false)),
            ),
            ("not what is too young", None, |_, config, _| config.min_compaction_lag_ms = 2000, Some((0, 30, 0, 300, false))),
            ("all are too young", None, |_, config, _| config.min_compaction_lag_ms = 9000, None),
            (
                "the oldest dirty record waited too long",
                None,
                |_, config, _| config.max_compaction_lag_ms = 4500,
                Some((0, 40, 0, 400, true)),
            ),
            (
                "only dirty ones count for that",
                Some(10),
                |_, config, _| config.max_compaction_lag_ms = 4500,
                Some((10, 40, 100, 300, false)),
            ),
            ("the policy is delete", None, |_, config, _| config.cleanup.compact = false, None),
        ];
        for (name, checkpoint, change, expected) in table {
            let (mut marks, mut config, mut segments) = (all, compact, segments());
            change(&mut marks, &mut config, &mut segments);
            let found = cleanable(&segments, &marks, &config, checkpoint.map(Offset), Timestamp(5000));
            let row = found.map(|f| (f.first_dirty.get(), f.first_uncleanable.get(), f.clean_bytes, f.dirty_bytes, f.overdue));
            assert_eq!(row, *expected, "{name}");
        }
    }

    #[test]
    fn due_by_ratio_or_by_age() {
        let of = |clean_bytes, dirty_bytes, overdue| Cleanable {
            first_dirty: Offset(0),
            first_uncleanable: Offset(9),
            clean_bytes,
            dirty_bytes,
            overdue,
        };
        let config = LogConfig { min_cleanable_dirty_ratio: 0.5, ..LogConfig::default() };
        let due = |c: Cleanable| c.is_due(&config);
        assert!(!due(of(100, 100, false)) && due(of(100, 101, false)), "strictly more than the ratio, as in Kafka");
        assert!(due(of(100, 1, true)) && !due(of(100, 0, true)));
    }
}
