//! Reading a batch's records piece by piece, so that a batch that expands enormously neither fills memory nor holds the thread up.

use super::{Malformed, RecordView, RecordsError};
use crate::batch::{BatchView, HEADER_BYTES};
use crate::compress::{CompressError, Decompressor};
use bytes::Bytes;

/// Bytes that are decompressed at once.
const FILL_BYTES: usize = 32 * 1024;

/// The records of one batch as a stream. Memory: one piece and the largest record.
#[derive(Debug)]
pub struct RecordStream {
    input: Decompressor,
    buffer: Vec<u8>,
    /// Read so far of `buffer`.
    at: usize,
    produced: usize,
    max_bytes: usize,
    ended: bool,
    read: usize,
    count: usize,
}

impl RecordStream {
    /// `batch` starts with a whole batch. `max_bytes` bounds the decompressed records. The CRC is not looked at.
    pub fn new(batch: &Bytes, max_bytes: usize) -> Result<Self, RecordsError> {
        let view = BatchView::parse(batch)?;
        let codec = view.compression().ok_or(RecordsError::Codec(view.attributes()))?;
        let count = usize::try_from(view.record_count()).unwrap_or(0);
        let section = batch.slice(HEADER_BYTES..view.total_bytes());
        Ok(Self {
            // A batch without records has nothing that a codec could have written.
            ended: count == 0 && section.is_empty(),
            input: Decompressor::new(if section.is_empty() { crate::compress::Codec::None } else { codec }, section)?,
            buffer: Vec::new(),
            at: 0,
            produced: 0,
            max_bytes,
            read: 0,
            count,
        })
    }

    /// Gives records to `visit` until about `budget` bytes were worked through. True once all of them were read.
    pub fn step<E: From<RecordsError>>(
        &mut self,
        budget: usize,
        mut visit: impl FnMut(&RecordView<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut spent = 0;
        loop {
            while self.read < self.count {
                match RecordView::read(self.buffer.get(self.at..).unwrap_or_default()) {
                    Ok((record, size)) => {
                        visit(&record)?;
                        self.at += size;
                        self.read += 1;
                        spent += size;
                    }
                    Err(Malformed::Truncated) if !self.ended => break,
                    Err(Malformed::Truncated) if self.at == self.buffer.len() => return Err(self.malformed(Malformed::Missing).into()),
                    Err(reason) => return Err(self.malformed(reason).into()),
                }
                if spent >= budget && self.read < self.count {
                    return Ok(false);
                }
            }
            if self.read == self.count {
                if self.at < self.buffer.len() {
                    return Err(self.malformed(Malformed::Excess).into());
                }
                if self.ended {
                    return Ok(true);
                }
            }
            spent += self.fill()?;
            if spent >= budget && !self.ended {
                return Ok(false);
            }
        }
    }

    fn malformed(&self, reason: Malformed) -> RecordsError {
        RecordsError::Malformed { index: self.read, reason }
    }

    /// Decompresses the next piece behind what is left of the buffer.
    fn fill(&mut self) -> Result<usize, RecordsError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + FILL_BYTES, 0);
        let read = self.input.read(&mut self.buffer[before..])?;
        self.buffer.truncate(before + read);
        self.produced += read;
        self.ended = read == 0;
        if self.produced > self.max_bytes {
            return Err(CompressError::TooLarge { max: self.max_bytes }.into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Codec;
    use crate::records::{BatchBuilder, RecordReader};
    use odradek_base::Timestamp;

    #[test]
    fn gives_the_records_that_the_reader_gives() {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(codec);
            for i in 0..500usize {
                let value = vec![i as u8; (i * i) % 3000];
                builder.append(Timestamp(i as i64), Some(&i.to_be_bytes()), (i % 7 != 0).then_some(&value), &[]);
            }
            let batch = builder.build();
            let whole: Vec<_> = RecordReader::new(&batch, 1 << 24).unwrap().map(Result::unwrap).collect();
            for budget in [1, 1000, 1 << 20] {
                let (mut stream, mut found, mut steps) = (RecordStream::new(&batch, 1 << 24).unwrap(), Vec::new(), 1);
                while !stream
                    .step::<RecordsError>(budget, |record| {
                        found.push((record.offset_delta, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)));
                        Ok(())
                    })
                    .unwrap()
                {
                    steps += 1;
                }
                assert!(steps > 1 || budget == 1 << 20);
                let expected: Vec<_> = whole
                    .iter()
                    .map(|record| {
                        (record.offset.0 as i32, record.key.as_deref().map(<[u8]>::to_vec), record.value.as_deref().map(<[u8]>::to_vec))
                    })
                    .collect();
                assert_eq!(found, expected, "{codec}");
            }
            let mut bounded = RecordStream::new(&batch, 10_000).unwrap();
            let end = loop {
                match bounded.step::<RecordsError>(1 << 20, |_| Ok(())) {
                    Ok(true) => break Ok(()),
                    Ok(false) => {}
                    Err(error) => break Err(error),
                }
            };
            assert!(matches!(end, Err(RecordsError::Compress(CompressError::TooLarge { .. }))), "{codec}: {end:?}");
        }
    }
}
