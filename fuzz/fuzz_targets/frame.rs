//! Any cutting of any stream gives the same frames, and memory follows what arrived.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_wire::frame::FrameReader;

const MAX_FRAME_BYTES: usize = 1 << 20;

fn read(chunks: impl Iterator<Item = Bytes>) -> (Vec<Bytes>, bool) {
    let (mut reader, mut frames) = (FrameReader::new(MAX_FRAME_BYTES), Vec::new());
    for chunk in chunks {
        reader.push(chunk);
        loop {
            match reader.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(Bytes::copy_from_slice(stream)));
    let pieces = read(stream.chunks(usize::from(cut).max(1)).map(Bytes::copy_from_slice));
    assert_eq!(whole, pieces);
});
