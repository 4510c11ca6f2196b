//! Walking the records of a batch as a stream of chunks, cut anywhere: nothing is kept but the position inside the current record.
//!
//! Records that lie whole in a chunk are read in place; only those that cross chunks, or are larger than one, go byte by byte.

use crate::records::{HEADER_BYTES_MIN, Malformed, RecordView};
use crate::varint::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX, unzigzag};

/// Is shown every record of a batch.
pub(super) trait Visitor {
    type Stop;

    /// The fixed fields of a record are known, `rest_bytes` of its body follow, through [`Visitor::rest`].
    fn start(&mut self, timestamp_delta: i64, offset_delta: i32, rest_bytes: usize) -> Result<(), Self::Stop>;

    /// The next part of the body behind the offset delta.
    fn rest(&mut self, bytes: &[u8]) -> Result<(), Self::Stop>;

    /// The record is complete and well-formed.
    fn end(&mut self, has_key: bool) -> Result<(), Self::Stop>;
}

/// Why a scan ended.
#[derive(Debug)]
pub(super) enum Ended<S> {
    Malformed(Malformed),
    Stop(S),
}

impl<S> From<Malformed> for Ended<S> {
    fn from(reason: Malformed) -> Self {
        Ended::Malformed(reason)
    }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Length,
    Attributes,
    TimestampDelta,
    OffsetDelta,
    KeyLength,
    ValueLength,
    HeaderCount,
    HeaderKeyLength,
    HeaderValueLength,
    /// Bytes of a field, then the given.
    Skip(usize, After),
    /// Nothing: the record is complete.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    ValueLength,
    HeaderCount,
    HeaderValueLength,
    Header,
}

#[derive(Debug)]
pub(super) struct Scanner {
    expect: Expect,
    /// A varint under way: value, bits so far, bytes so far.
    varint: (u64, u32, usize),
    /// Bytes of the current record's body not yet seen.
    body_left: usize,
    timestamp_delta: i64,
    has_key: bool,
    headers_left: usize,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { expect: Expect::Length, varint: (0, 0, 0), body_left: 0, timestamp_delta: 0, has_key: false, headers_left: 0 }
    }

    /// Whether the bytes so far end with a record.
    pub(super) fn at_boundary(&self) -> bool {
        self.expect == Expect::Length && self.varint.2 == 0
    }

    /// Takes the next chunk.
    pub(super) fn feed<V: Visitor>(&mut self, mut chunk: &[u8], visitor: &mut V) -> Result<(), Ended<V::Stop>> {
        while !chunk.is_empty() {
            if self.at_boundary() {
                match RecordView::read(chunk) {
                    Ok((record, size)) => {
                        visitor.start(record.timestamp_delta, record.offset_delta, record.rest.len()).map_err(Ended::Stop)?;
                        visitor.rest(record.rest).map_err(Ended::Stop)?;
                        visitor.end(record.key.is_some()).map_err(Ended::Stop)?;
                        chunk = chunk.get(size..).unwrap_or_default();
                        continue;
                    }
                    Err(Malformed::Truncated) => {}
                    Err(reason) => return Err(reason.into()),
                }
            }
            let used = self.advance(chunk, visitor)?;
            chunk = chunk.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// One step of the slow way: a field's bytes or one byte of a number. Returns the bytes used.
    fn advance<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<usize, Ended<V::Stop>> {
        let used = match self.expect {
            Expect::Skip(left, after) => {
                let part = chunk.get(..left.min(chunk.len())).unwrap_or_default();
                visitor.rest(part).map_err(Ended::Stop)?;
                self.body_left -= part.len();
                self.expect = if part.len() == left { self.after(after) } else { Expect::Skip(left - part.len(), after) };
                part.len()
            }
            Expect::Length => {
                let byte = chunk.first().copied().unwrap_or_default();
                if let Some(length) = self.number(byte, VARINT_BYTES_MAX, Malformed::Length)? {
                    self.body_left = usize::try_from(length).map_err(|_| Malformed::Length)?;
                    self.expect = Expect::Attributes;
                    if self.body_left == 0 {
                        return Err(Malformed::Field.into());
                    }
                }
                return Ok(1);
            }
            _ => {
                let byte = chunk.first().copied().unwrap_or_default();
                self.body_left = self.body_left.checked_sub(1).ok_or(Malformed::Field)?;
                self.body_byte(byte, visitor)?;
                1
            }
        };
        if self.expect == Expect::End {
            if self.body_left != 0 {
                return Err(Malformed::Size.into());
            }
            self.expect = Expect::Length;
            visitor.end(self.has_key).map_err(Ended::Stop)?;
        }
        Ok(used)
    }

    fn body_byte<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Result<(), Ended<V::Stop>> {
        let in_rest = !matches!(self.expect, Expect::Attributes | Expect::TimestampDelta | Expect::OffsetDelta);
        if in_rest {
            visitor.rest(&[byte]).map_err(Ended::Stop)?;
        }
        if self.expect == Expect::Attributes {
            self.expect = Expect::TimestampDelta;
            return Ok(());
        }
        let bytes_max = if self.expect == Expect::TimestampDelta { VARLONG_BYTES_MAX } else { VARINT_BYTES_MAX };
        let Some(value) = self.number(byte, bytes_max, Malformed::Field)? else { return Ok(()) };
        self.expect = match self.expect {
            Expect::TimestampDelta => {
                self.timestamp_delta = value;
                Expect::OffsetDelta
            }
            Expect::OffsetDelta => {
                visitor.start(self.timestamp_delta, value as i32, self.body_left).map_err(Ended::Stop)?;
                Expect::KeyLength
            }
            Expect::KeyLength => {
                self.has_key = value >= 0;
                self.field(value, After::ValueLength)?
            }
            Expect::ValueLength => self.field(value, After::HeaderCount)?,
            Expect::HeaderCount => {
                self.headers_left = usize::try_from(value).map_err(|_| Malformed::HeaderCount)?;
                if self.headers_left > self.body_left / HEADER_BYTES_MIN {
                    return Err(Malformed::HeaderCount.into());
                }
                self.after(After::Header)
            }
            Expect::HeaderKeyLength if value < 0 || value as usize > self.body_left => return Err(Malformed::HeaderKey.into()),
            Expect::HeaderKeyLength => {
                self.headers_left -= 1;
                self.field(value, After::HeaderValueLength)?
            }
            Expect::HeaderValueLength => self.field(value, After::Header)?,
            Expect::Length | Expect::Attributes | Expect::Skip(..) | Expect::End => unreachable!("no number is read here"),
        };
        Ok(())
    }

    /// What follows a length: the field's bytes, or the next field at once.
    fn field(&self, length: i64, after: After) -> Result<Expect, Malformed> {
        if length == -1 || length == 0 {
            return Ok(self.after(after));
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.body_left => Ok(Expect::Skip(length, after)),
            _ => Err(Malformed::FieldLength),
        }
    }

    fn after(&self, after: After) -> Expect {
        match after {
            After::ValueLength => Expect::ValueLength,
            After::HeaderCount => Expect::HeaderCount,
            After::HeaderValueLength => Expect::HeaderValueLength,
            After::Header if self.headers_left > 0 => Expect::HeaderKeyLength,
            After::Header => Expect::End,
        }
    }

    /// Adds a byte to the varint under way; the zigzag value when it is complete.
    fn number(&mut self, byte: u8, bytes_max: usize, malformed: Malformed) -> Result<Option<i64>, Malformed> {
        let (value, shift, bytes) = self.varint;
        let value = value | u64::from(byte & 0x7f) << shift;
        // In the last byte only the bits that are left of the type may be set.
        let last_bits = if bytes_max == VARINT_BYTES_MAX { 4 } else { 1 };
        if bytes + 1 == bytes_max && byte >> last_bits != 0 {
            return Err(malformed);
        }
        if byte < 0x80 {
            self.varint = (0, 0, 0);
            return Ok(Some(unzigzag(value)));
        }
        self.varint = (value, shift + 7, bytes + 1);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, RecordView};
    use odradek_base::{Rng, Timestamp};

    #[derive(Default, Debug, PartialEq)]
    struct Collected(Vec<(i64, i32, Vec<u8>, Option<bool>)>);

    impl Visitor for Collected {
        type Stop = ();

        fn start(&mut self, timestamp_delta: i64, offset_delta: i32, rest_bytes: usize) -> Result<(), ()> {
            self.0.push((timestamp_delta, offset_delta, Vec::with_capacity(rest_bytes), None));
            Ok(())
        }

        fn rest(&mut self, bytes: &[u8]) -> Result<(), ()> {
            self.0.last_mut().ok_or(())?.2.extend_from_slice(bytes);
            Ok(())
        }

        fn end(&mut self, has_key: bool) -> Result<(), ()> {
            let last = self.0.last_mut().ok_or(())?;
            assert_eq!(last.2.len(), last.2.capacity(), "the announced number of bytes");
            last.3 = Some(has_key);
            Ok(())
        }
    }

    fn scan(bytes: &[u8], mut cut: impl FnMut() -> usize) -> (Collected, Result<bool, Malformed>) {
        let (mut scanner, mut collected, mut at) = (Scanner::new(), Collected::default(), 0);
        while at < bytes.len() {
            let end = (at + cut().max(1)).min(bytes.len());
            match scanner.feed(&bytes[at..end], &mut collected) {
                Ok(()) => at = end,
                Err(Ended::Malformed(reason)) => return (collected, Err(reason)),
                Err(Ended::Stop(())) => panic!("order of calls"),
            }
        }
        let boundary = scanner.at_boundary();
        (collected, Ok(boundary))
    }

    fn random_records(rng: &mut Rng) -> Vec<u8> {
        let mut builder = BatchBuilder::new(crate::compress::Codec::None).base_timestamp(Timestamp(0));
        for _ in 0..rng.below(20) {
            let mut field = || {
                let size = if rng.chance(8) { rng.below(400) } else { rng.below(6) } as usize;
                (!rng.chance(4)).then(|| vec![size as u8; size])
            };
            let (key, value, a, b) = (field(), field(), field().unwrap_or_default(), field());
            let headers = [(&a[..], b.as_deref()), (&a[..], None)];
            let count = rng.below(3) as usize;
            builder.append(Timestamp(rng.next_u64() as i64 >> rng.below(63)), key.as_deref(), value.as_deref(), &headers[..count]);
        }
        builder.build()[crate::batch::HEADER_BYTES..].to_vec()
    }

    #[test]
    fn chunking_changes_nothing_not_even_for_damaged_records() {
        let mut refused = 0;
        for seed in 0..3000 {
            let mut rng = Rng::with_seed(seed);
            let mut bytes = random_records(&mut rng);
            if rng.chance(2) && !bytes.is_empty() {
                for _ in 0..=rng.below(3) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next_u64() as u8;
                }
            }
            let (whole, end) = scan(&bytes, || usize::MAX);
            let (cut, cut_end) = scan(&bytes, || 1 + rng.below(9) as usize);
            // A damaged record is refused either way, be it only because its end never comes.
            assert_eq!(end == Ok(true), cut_end == Ok(true), "seed {seed}: {end:?} {cut_end:?}");
            let complete = |collected: &Collected| collected.0.iter().filter(|record| record.3.is_some()).cloned().collect::<Vec<_>>();
            assert_eq!(complete(&whole), complete(&cut), "seed {seed}");
            refused += usize::from(end != Ok(true));
        }
        assert!(refused > 300, "only {refused} damaged batches");
    }

    #[test]
    fn whole_records_are_seen_as_the_reader_sees_them() {
        let bytes = random_records(&mut Rng::with_seed(5));
        let (collected, end) = scan(&bytes, || 3);
        assert_eq!(end, Ok(true));
        let mut at = 0;
        for (timestamp_delta, offset_delta, rest, has_key) in collected.0 {
            let (view, size) = RecordView::read(&bytes[at..]).expect("well-formed");
            at += size;
            assert_eq!(
                (view.timestamp_delta, view.offset_delta, view.rest, Some(view.key.is_some())),
                (timestamp_delta, offset_delta, &rest[..], has_key)
            );
        }
        assert_eq!(at, bytes.len());
    }
}
