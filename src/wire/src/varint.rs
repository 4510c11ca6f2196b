//! Variable-length integers: LEB128 as Kafka uses it, zigzag where signed.

use bytes::Buf;

/// Longest encoding of a 32-bit value.
pub const VARINT_BYTES_MAX: usize = 5;
/// Longest encoding of a 64-bit value.
pub const VARLONG_BYTES_MAX: usize = 10;

/// Reads an unsigned 32-bit value. `None` at the end of the bytes and for encodings longer than five bytes.
pub fn get_unsigned(buf: &mut impl Buf) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = buf.try_get_u8().ok()?;
        if shift == 28 && byte > 0x0f {
            return None;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Reads an unsigned value of at most `bits` (32 or 64) at `at`: the value and the position after it.
#[inline]
fn read(bytes: &[u8], mut at: usize, bits: u32) -> Option<(u64, usize)> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // The last byte may carry only the bits that are left of the type.
            let left = bits - shift;
            return (left >= 7 || byte >> left == 0).then_some((value, at));
        }
        shift += 7;
        if shift >= bits {
            return None;
        }
    }
}

/// Reads a zigzag 32-bit value at `at`: the value and the position after it.
#[inline]
pub fn read_i32(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let (raw, at) = read(bytes, at, 32)?;
    Some((unzigzag(raw) as i32, at))
}

/// Reads a zigzag 64-bit value at `at`: the value and the position after it.
#[inline]
pub fn read_i64(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let (raw, at) = read(bytes, at, 64)?;
    Some((unzigzag(raw), at))
}

/// Undoes zigzag.
#[inline]
pub const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Writes an unsigned value.
pub fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a zigzag value; 32-bit values have the same encoding.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bytes that [`put_unsigned`] writes.
pub const fn unsigned_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that [`put_signed`] writes.
pub const fn signed_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_at_every_length() {
        for shift in 0..64 {
            for near in [-1i64, 0, 1] {
                let value = (1i64 << shift).wrapping_add(near);
                for value in [value, value.wrapping_neg()] {
                    let mut out = Vec::new();
                    put_signed(&mut out, value);
                    assert_eq!(out.len(), signed_len(value));
                    assert_eq!(read_i64(&out, 0), Some((value, out.len())));
                    let fits = i32::try_from(value).ok().map(|value| (value, out.len()));
                    assert_eq!(read_i32(&out, 0), fits, "{value}");
                    assert_eq!(read_i64(&out[..out.len() - 1], 0), None);
                }
            }
        }
    }

    #[test]
    fn overlong_encodings_are_refused() {
        assert_eq!(read_i32(&[0x80; 20], 0), None);
        assert_eq!(read_i64(&[0x80; 20], 0), None);
        assert_eq!(get_unsigned(&mut &[0xffu8, 0xff, 0xff, 0xff, 0x0f][..]), Some(u32::MAX));
        assert_eq!(get_unsigned(&mut &[0xffu8, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(get_unsigned(&mut &[0x80u8, 0x80][..]), None);
    }
}
