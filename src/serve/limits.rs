//! The limit of open files: raised as far as it may be, and shared out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that one shard needs besides segments: ring, listeners, journal, metadata log, what recovery and clean stop open at a time.
const SHARD_FILES: u64 = 128;

/// Raises the soft limit of open files to the hard one and returns it; `None` is no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    }
}

/// Segment files that each shard may keep open: what is wanted, but no more than half of the process's files, so that the others are left to
/// connections.
pub fn segment_files_per_shard(wanted: usize, limit: Option<u64>, shards: u16) -> usize {
    let Some(limit) = limit else { return wanted };
    let share = (limit / 2 / u64::from(shards.max(1))).saturating_sub(SHARD_FILES);
    wanted.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_segments() {
        assert_eq!(segment_files_per_shard(4096, None, 2), 4096);
        assert_eq!(segment_files_per_shard(4096, Some(1 << 20), 2), 4096);
        assert_eq!(segment_files_per_shard(4096, Some(4096), 2), 1024 - 128);
        assert_eq!(segment_files_per_shard(4096, Some(64), 2), 1);
    }

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, limit.maximum), (raised, raised));
    }
}
