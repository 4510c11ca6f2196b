//! Which neighbouring segments become one (`Cleaner.groupSegmentsBySize`).

use crate::config::LogConfig;
use crate::segment::meta::Segment;
use odradek_base::Offset;

/// Segments that are written as one: indexes of the first and after the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Base offsets, ascending; the new segment gets the first.
    pub bases: Vec<Offset>,
    /// Base offset of the segment after the group.
    pub next_base: Offset,
}

/// Groups of the segments that begin below `end`, none of them larger than one segment may be. The segment after the last group must be
/// among `segments`: the active one is never compacted.
pub fn groups(segments: &[Segment], end: Offset, config: &LogConfig) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut bytes, mut offset_entries, mut time_entries) = (0u64, 0usize, 0usize);
    for pair in segments.windows(2) {
        let [segment, next] = pair else { break };
        if segment.base_offset >= end {
            break;
        }
        let fits = groups.last().is_some_and(|group| {
            let base = group.bases.first().map_or(0, |base| base.get());
            bytes + segment.bytes <= u64::from(config.segment_bytes)
                && offset_entries + segment.offset_index.len() <= config.offset_index_entries_max()
                && time_entries + segment.time_index.len() <= config.time_index_entries_max()
                && next.base_offset.get() - 1 - base <= i64::from(i32::MAX)
        });
        if let Some(group) = groups.last_mut().filter(|_| fits) {
            group.bases.push(segment.base_offset);
            group.next_base = next.base_offset;
            bytes += segment.bytes;
            offset_entries += segment.offset_index.len();
            time_entries += segment.time_index.len();
        } else {
            groups.push(Group { bases: vec![segment.base_offset], next_base: next.base_offset });
            (bytes, offset_entries, time_entries) = (segment.bytes, segment.offset_index.len(), segment.time_index.len());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::Timestamp;

    fn of(sizes: &[(i64, u64)], end: i64, segment_bytes: u32) -> Vec<Vec<i64>> {
        let segments: Vec<Segment> = sizes
            .iter()
            .map(|(base, bytes)| {
                let mut segment = Segment::new(Offset(*base), Timestamp(0));
                segment.bytes = *bytes;
                segment
            })
            .collect();
        groups(&segments, Offset(end), &LogConfig { segment_bytes, ..LogConfig::default() })
            .into_iter()
            .map(|group| group.bases.iter().map(|base| base.get()).collect())
            .collect()
    }

    #[test]
    fn neighbours_join_up_to_a_segment() {
        let sizes = [(0, 40), (10, 30), (20, 30), (30, 0), (40, 90), (50, 5), (60, 1)];
        assert_eq!(of(&sizes, 60, 100), [vec![0, 10, 20, 30], vec![40, 50]], "never the active one");
        assert_eq!(of(&sizes, 60, 99), [vec![0, 10], vec![20, 30], vec![40, 50]]);
        assert_eq!(of(&sizes, 41, 100), [vec![0, 10, 20, 30], vec![40]], "the segment that contains the end counts");
        assert_eq!(of(&sizes, 40, 100), [vec![0, 10, 20, 30]]);
        let far = i64::from(i32::MAX);
        assert_eq!(of(&[(0, 1), (10, 1), (far + 1, 1), (far + 9, 1)], far + 9, 100), [vec![0, 10], vec![far + 1]]);
        assert_eq!(of(&[(0, 500)], 99, 100), Vec::<Vec<i64>>::new());
    }
}
