//! How `odradek.memory.bytes` is split over shards and uses. No I/O: settings, number of shards and the machine's memory in, bounds out.
//!
//! Every shard gets the same. A part that has a setting of its own gets what that says, before anything is shared out; the others get their least
//! and share the rest in proportion to their defaults. Without `odradek.memory.bytes` every part has its default, but all together no
//! more than half of the memory that the process may have. [docs/MEMORY.md] says what is counted in each part, and what is in none.
//!
//! [docs/MEMORY.md]: ../../../docs/MEMORY.md

use odradek_settings::Settings;
use std::fmt;

const MIB: u64 = 1 << 20;

/// Bytes of segments that are written at the same time, and their unaligned ends (`store/src/flusher.rs`).
const SEGMENT_WRITES_BYTES: u64 = 4 * MIB + 128 * 1024;
/// Buffers of `log.cleaner.io.buffer.size` that a compaction holds: read, filled, being written, and the batch between them.
const COMPACTION_BUFFERS: u64 = 4;
/// The buffers, and what is copied out of them when few are left.
const RECEIVED_TWICE: u64 = 2;
/// What a request holds beside one batch.
const REQUEST_REST_BYTES: u64 = 64 * 1024;

/// A use of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Receive buffers of the ring, and as much of what was copied out of them and is not read yet.
    Receive,
    /// Recent batches for consumers at the tail.
    Tail,
    /// Batches that are not in a segment yet, beside the tail.
    Pending,
    /// Requests that arrive or are worked on.
    Requests,
    /// Answers that wait for their clients.
    Answers,
    /// Cold data kept for readers that go on.
    ReadAhead,
    /// Cold data being read.
    ColdReads,
    /// Segments being written, buffers of compaction.
    Writes,
    /// The compaction's table of keys.
    Compaction,
    /// Fetch sessions.
    Sessions,
}

impl Part {
    pub const ALL: [Part; 10] = [
        Part::Receive,
        Part::Tail,
        Part::Pending,
        Part::Requests,
        Part::Answers,
        Part::ReadAhead,
        Part::ColdReads,
        Part::Writes,
        Part::Compaction,
        Part::Sessions,
    ];

    /// As the start-up line, the metrics and the documentation call it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Receive => "receive",
            Part::Tail => "tail",
            Part::Pending => "pending",
            Part::Requests => "requests",
            Part::Answers => "answers",
            Part::ReadAhead => "read_ahead",
            Part::ColdReads => "cold_reads",
            Part::Writes => "writes",
            Part::Compaction => "compaction",
            Part::Sessions => "sessions",
        }
    }
}

/// `odradek.memory.bytes` cannot hold what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "odradek.memory.bytes={given} is too little for {shards} shards: it takes at least {least} ({} MiB for each shard, settings of single \
     parts included). Raise it, or lower odradek.shards",
    (least / u64::from(*shards)).div_ceil(MIB)
)]
pub struct TooLittle {
    pub given: u64,
    pub least: u64,
    pub shards: u16,
}

/// Bounds of one shard, in bytes; the same for every shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySplit {
    shards: u16,
    parts: [u64; Part::ALL.len()],
}

/// What a part may have.
enum Wish {
    /// So much, whatever the budget is.
    Fixed(u64),
    /// At least `least`; `default` when nobody says anything.
    Share { least: u64, default: u64 },
}

impl Wish {
    fn least(&self) -> u64 {
        match *self {
            Wish::Fixed(bytes) => bytes,
            Wish::Share { least, .. } => least,
        }
    }

    fn default(&self) -> u64 {
        match *self {
            Wish::Fixed(bytes) => bytes,
            Wish::Share { default, .. } => default,
        }
    }
}

impl MemorySplit {
    /// `available`: bytes that the process may have, where that is known.
    pub fn new(settings: &Settings, shards: u16, available: Option<u64>) -> Result<Self, TooLittle> {
        let count = u64::from(shards.max(1));
        let wishes = Part::ALL.map(|part| wish(settings, part, count));
        let least: u64 = wishes.iter().map(Wish::least).sum();
        let default: u64 = wishes.iter().map(Wish::default).sum();
        let bytes = match settings.memory_bytes() {
            Some(given) if given < least * count => return Err(TooLittle { given, least: least * count, shards: shards.max(1) }),
            Some(given) => given / count,
            None => available.map_or(default, |available| default.min(available / 2 / count)).max(least),
        };
        let (rest, wanted) = (u128::from(bytes - least), u128::from(default - least));
        let parts = wishes.map(|wish| {
            let more = u128::from(wish.default() - wish.least());
            wish.least() + (rest * more).checked_div(wanted).unwrap_or(0) as u64
        });
        Ok(Self { shards: shards.max(1), parts })
    }

    /// Bound of one part in each shard.
    pub fn bytes(&self, part: Part) -> u64 {
        self.parts[part as usize]
    }

    /// Bytes of each shard.
    pub fn shard_bytes(&self) -> u64 {
        self.parts.iter().sum()
    }

    /// Bytes of all shards.
    pub fn total_bytes(&self) -> u64 {
        self.shard_bytes() * u64::from(self.shards)
    }
}

fn wish(settings: &Settings, part: Part, shards: u64) -> Wish {
    let block = settings.journal_block_bytes() as u64;
    let batch = settings.message_max_bytes();
    let given_or = |given: Option<u64>, least: u64, default: u64| match given {
        Some(given) => Wish::Fixed(given),
        None => Wish::Share { least, default: default.max(least) },
    };
    match part {
        Part::Receive => Wish::Fixed(RECEIVED_TWICE * u64::from(settings.receive_buffers()) * u64::from(settings.receive_buffer_bytes())),
        Part::Tail => {
            // What is pending is in memory all the same: the tail is never smaller.
            let least = settings.unflushed_bytes_max().unwrap_or(0).max(4 * block);
            given_or(settings.tail_cache_bytes().map(|given| given.max(settings.unflushed_bytes_max().unwrap_or(0))), least, 64 * MIB)
        }
        Part::Pending => given_or(settings.unflushed_bytes_max(), 4 * block, 64 * MIB),
        Part::Requests => {
            let least = (4 * MIB).max(batch + REQUEST_REST_BYTES).max(settings.socket_request_max_bytes_given().unwrap_or(0));
            let default = settings.socket_request_max_bytes() as u64 + 4 * MIB;
            given_or(settings.shard_queued_bytes().map(|given| given.max(least)), least, default)
        }
        Part::Answers => {
            let least = (4 * MIB).max(batch);
            given_or(settings.shard_queued_bytes().map(|given| given.max(least)), least, 64 * MIB)
        }
        Part::ReadAhead => given_or(settings.read_ahead_bytes(), 2 * MIB, 32 * MIB),
        Part::ColdReads => Wish::Share { least: 3 * MIB, default: 8 * MIB },
        Part::Writes => Wish::Fixed(
            SEGMENT_WRITES_BYTES + COMPACTION_BUFFERS * u64::from(settings.log_cleaner_io_buffer_size()).clamp(64 << 10, 8 * MIB),
        ),
        Part::Compaction => given_or(settings.log_cleaner_dedupe_buffer_size_given().map(|bytes| bytes / shards), MIB, 64 * MIB),
        Part::Sessions => Wish::Share { least: MIB, default: 8 * MIB },
    }
}

impl fmt::Display for MemorySplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB; each of {} shards has {} MiB:", self.total_bytes() / MIB, self.shards, self.shard_bytes() / MIB)?;
        for (at, part) in Part::ALL.into_iter().enumerate() {
            write!(f, "{} {} {}", if at == 0 { "" } else { "," }, part.name(), self.bytes(part).div_ceil(MIB))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(overrides: &[&str], shards: u16, available: Option<u64>) -> Result<MemorySplit, TooLittle> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        MemorySplit::new(&Settings::load(None, &overrides).unwrap().0, shards, available)
    }

    fn mib(split: &MemorySplit) -> Vec<u64> {
        Part::ALL.iter().map(|part| split.bytes(*part) / MIB).collect()
    }

    #[test]
    fn without_a_budget_every_part_has_its_default_up_to_half_of_the_machine() {
        let whole = split(&[], 2, None).unwrap();
        assert_eq!(mib(&whole), [8, 64, 64, 104, 64, 32, 8, 6, 64, 8]);
        assert_eq!(split(&[], 2, Some(1 << 40)).unwrap(), whole);
        let half = split(&[], 2, Some(800 * MIB)).unwrap();
        assert!(half.total_bytes() <= 400 * MIB && half.total_bytes() > 399 * MIB, "{half}");
        // A machine that is too small gets the least there is.
        let tiny = split(&[], 2, Some(MIB)).unwrap();
        assert_eq!(split(&[&format!("odradek.memory.bytes={}", tiny.total_bytes())], 2, None).unwrap(), tiny);
    }

    #[test]
    fn a_budget_is_shared_out_whole_and_never_exceeded() {
        let least = split(&["odradek.memory.bytes=16777216"], 3, None).unwrap_err().least;
        for more in [0, 1, 12345, 100 * MIB, 10 << 30, 1 << 50] {
            let bytes = least + more;
            let split = split(&[&format!("odradek.memory.bytes={bytes}")], 3, Some(MIB)).unwrap();
            let rounded = 3 * (Part::ALL.len() as u64 + 1);
            assert!(split.total_bytes() <= bytes && split.total_bytes() + rounded >= bytes, "{bytes}: {}", split.total_bytes());
            assert!(split.bytes(Part::Tail) >= split.bytes(Part::Pending));
        }
    }

    #[test]
    fn settings_of_single_parts_are_taken_out_first() {
        let budget = "odradek.memory.bytes=536870912";
        let plain = split(&[budget], 2, None).unwrap();
        let given = [
            budget,
            "odradek.tail.cache.bytes=100000000",
            "odradek.unflushed.bytes.max=1048576",
            "odradek.read.ahead.bytes=1048576",
            "log.cleaner.dedupe.buffer.size=4000000",
        ];
        let some = split(&given, 2, None).unwrap();
        let of = |part| some.bytes(part);
        assert_eq!(
            (of(Part::Tail), of(Part::Pending), of(Part::ReadAhead), of(Part::Compaction)),
            (100_000_000, 1 << 20, 1 << 20, 2_000_000)
        );
        assert!(some.total_bytes() <= 512 * MIB && some.bytes(Part::Answers) != plain.bytes(Part::Answers));
        // Beside a default budget they come on top of it.
        let on_top = split(&["odradek.tail.cache.bytes=1073741824"], 2, None).unwrap();
        assert_eq!(on_top.shard_bytes(), split(&[], 2, None).unwrap().shard_bytes() + 960 * MIB);
        // What is pending is in the tail too.
        let pending = split(&["odradek.tail.cache.bytes=1048576", "odradek.unflushed.bytes.max=4194304"], 1, None).unwrap();
        assert_eq!(pending.bytes(Part::Tail), 4 * MIB);
        // Both kinds of queue.
        let queued = split(&["odradek.shard.queued.bytes=33554432"], 1, None).unwrap();
        assert_eq!((queued.bytes(Part::Requests), queued.bytes(Part::Answers)), (32 * MIB, 32 * MIB));
    }

    #[test]
    fn too_little_says_the_least_that_works() {
        let error = split(&["odradek.memory.bytes=16777216"], 4, None).unwrap_err();
        assert!(error.to_string().contains(&format!("at least {}", error.least)), "{error}");
        assert!(split(&[&format!("odradek.memory.bytes={}", error.least)], 4, None).is_ok());
        assert_eq!(split(&[&format!("odradek.memory.bytes={}", error.least - 1)], 4, None).unwrap_err().least, error.least);
        // A large request must fit when its size was asked for.
        let large = split(&["odradek.memory.bytes=16777216", "socket.request.max.bytes=50000000"], 4, None).unwrap_err();
        assert!(large.least >= error.least + 4 * (50_000_000 - 4 * MIB));
    }
}
