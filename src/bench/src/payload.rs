//! Record values that prove themselves.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | run id, big endian |
//! | 8..12 | partition |
//! | 12..16 | lane: the connection that sent it; order holds within a lane |
//! | 16..24 | sequence of the record in its partition and lane, from 0 |
//! | 24..28 | CRC-32C of bytes 0..24 and of the filler |
//! | 28.. | filler, the same in every record of a run |

use odradek_base::Rng;

/// Bytes of a value before its filler, and so its least size.
pub const HEADER_BYTES: usize = 28;

/// What a value says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub run: u64,
    pub partition: i32,
    pub lane: u32,
    pub sequence: u64,
}

/// Filler of a run: random bytes, so that nothing on the way compresses them.
pub fn filler(run: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(run);
    (0..bytes).map(|_| rng.next_u64() as u8).collect()
}

/// Writes a value of `value.len()` bytes (at least [`HEADER_BYTES`]).
pub fn write(value: &mut [u8], stamp: Stamp, filler: &[u8]) {
    let (header, rest) = value.split_at_mut(HEADER_BYTES);
    header[0..8].copy_from_slice(&stamp.run.to_be_bytes());
    header[8..12].copy_from_slice(&stamp.partition.to_be_bytes());
    header[12..16].copy_from_slice(&stamp.lane.to_be_bytes());
    header[16..24].copy_from_slice(&stamp.sequence.to_be_bytes());
    rest.copy_from_slice(&filler[..rest.len()]);
    let sum = checksum(&header[..24], rest);
    header[24..28].copy_from_slice(&sum.to_be_bytes());
}

/// Reads a value back; `None` when it is not one of ours or is damaged.
pub fn read(value: &[u8]) -> Option<Stamp> {
    let header = value.get(..HEADER_BYTES)?;
    let sum = u32::from_be_bytes(header[24..28].try_into().ok()?);
    if checksum(&header[..24], &value[HEADER_BYTES..]) != sum {
        return None;
    }
    Some(Stamp {
        run: u64::from_be_bytes(header[0..8].try_into().ok()?),
        partition: i32::from_be_bytes(header[8..12].try_into().ok()?),
        lane: u32::from_be_bytes(header[12..16].try_into().ok()?),
        sequence: u64::from_be_bytes(header[16..24].try_into().ok()?),
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
        let stamp = Stamp { run: 7, partition: 3, lane: 9, sequence: 1 << 40 };
        let mut value = vec![0; 100];
        write(&mut value, stamp, &filler(7, 72));
        assert_eq!(read(&value), Some(stamp));
        for damaged in [3, 13, 20, 26, 99] {
            let mut copy = value.clone();
            copy[damaged] ^= 1;
            assert_eq!(read(&copy), None, "byte {damaged}");
        }
        assert_eq!(read(&value[..27]), None);
        assert_eq!(read(&value[..99]), None);
    }
}
