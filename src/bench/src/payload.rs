//! Record values that prove themselves.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `odb2` |
//! | 4..8 | partition |
//! | 8..16 | run id, big endian |
//! | 16..20 | lane: the connection that sent it; order holds within a lane |
//! | 20..28 | sequence of the record in its partition and lane, from 0 |
//! | 28..36 | the moment it was meant to be sent, in nanoseconds of the run's clock |
//! | 36..40 | CRC-32C of bytes 0..36 and of the filler |
//! | 40.. | filler |

use odradek_base::Rng;

/// Bytes of a value before its filler, and so its least size.
pub const HEADER_BYTES: usize = 40;
const MAGIC: [u8; 4] = *b"odb2";
const SUM_AT: usize = 36;

/// What a value says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub run: u64,
    pub partition: i32,
    pub lane: u32,
    pub sequence: u64,
    /// Nanoseconds of the run's clock.
    pub due: u64,
}

/// What a value turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Ours(Stamp),
    /// It begins like one of ours and its checksum fails.
    Damaged,
    /// Somebody else's record.
    Foreign,
}

/// Filler of a run: random bytes, so that nothing on the way compresses them, as far as `random_ratio` (0 to 1) says; in each 64
/// bytes the rest is one letter.
pub fn filler(run: u64, bytes: usize, random_ratio: f64) -> Vec<u8> {
    let mut rng = Rng::with_seed(run);
    let random = (random_ratio * 64.0).round() as usize;
    (0..bytes).map(|at| if at % 64 < random { rng.next_u64() as u8 } else { b'x' }).collect()
}

/// Writes a value of `value.len()` bytes (at least [`HEADER_BYTES`]); `filler` is at least as long as what follows the header.
pub fn write(value: &mut [u8], stamp: Stamp, filler: &[u8]) {
    let (header, rest) = value.split_at_mut(HEADER_BYTES);
    header[0..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&stamp.partition.to_be_bytes());
    header[8..16].copy_from_slice(&stamp.run.to_be_bytes());
    header[16..20].copy_from_slice(&stamp.lane.to_be_bytes());
    header[20..28].copy_from_slice(&stamp.sequence.to_be_bytes());
    header[28..36].copy_from_slice(&stamp.due.to_be_bytes());
    rest.copy_from_slice(&filler[..rest.len()]);
    let sum = checksum(&header[..SUM_AT], rest);
    header[SUM_AT..].copy_from_slice(&sum.to_be_bytes());
}

/// Reads a value back.
pub fn read(value: &[u8]) -> Found {
    let Some(header) = value.first_chunk::<HEADER_BYTES>() else { return Found::Foreign };
    if header[..4] != MAGIC {
        return Found::Foreign;
    }
    let four = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    let eight = |at: usize| (u64::from(u32::from_be_bytes(four(at))) << 32) | u64::from(u32::from_be_bytes(four(at + 4)));
    if checksum(&header[..SUM_AT], &value[HEADER_BYTES..]) != u32::from_be_bytes(four(SUM_AT)) {
        return Found::Damaged;
    }
    Found::Ours(Stamp {
        partition: i32::from_be_bytes(four(4)),
        run: eight(8),
        lane: u32::from_be_bytes(four(16)),
        sequence: eight(20),
        due: eight(28),
    })
}

fn checksum(header: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_prove_themselves() {
        let stamp = Stamp { run: 7 << 40, partition: 3, lane: 9, sequence: 1 << 40, due: 5 << 33 };
        let mut value = vec![0; 100];
        write(&mut value, stamp, &filler(7, 60, 1.0));
        assert_eq!(read(&value), Found::Ours(stamp));
        for damaged in [5, 13, 20, 26, 38, 99] {
            let mut copy = value.clone();
            copy[damaged] ^= 1;
            assert_eq!(read(&copy), Found::Damaged, "byte {damaged}");
        }
        assert_eq!(read(&value[..99]), Found::Damaged);
        assert_eq!(read(&value[..39]), Found::Foreign);
        value[0] = b'x';
        assert_eq!(read(&value), Found::Foreign);
    }

    #[test]
    fn the_filler_is_as_random_as_asked() {
        let letters = |ratio| filler(1, 6400, ratio).iter().filter(|&&b| b == b'x').count();
        assert_eq!(letters(0.0), 6400);
        assert!((3200..3400).contains(&letters(0.5)));
        assert!(letters(1.0) < 100);
    }
}
