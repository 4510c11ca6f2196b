use super::*;
use odradek_base::Rng;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn text(bytes: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(7);
    (0..bytes).map(|at| if at % 64 < 48 { b"the quick brown fox"[at % 19] } else { rng.next_u64() as u8 }).collect()
}

fn unpack(codec: Codec, input: &[u8], max: usize) -> Result<Bytes, CompressError> {
    decompress(codec, &Bytes::copy_from_slice(input), max)
}

#[test]
fn what_goes_in_comes_out() {
    for codec in Codec::ALL {
        for bytes in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300_000] {
            let input = text(bytes);
            for level in [None, Some(1), Some(6), Some(9), Some(17)] {
                let packed = compress(Compression { codec, level }, &input).expect("into memory");
                assert_eq!(unpack(codec, &packed, bytes).expect("valid"), input, "{codec} {bytes}");
            }
        }
    }
}

#[test]
fn levels_differ() {
    let input = text(300_000);
    let size = |codec, level| compress(Compression { codec, level: Some(level) }, &input).expect("into memory").len();
    // 9 is lz4's fast compressor, every other level the high one.
    assert!(size(Codec::Lz4, 12) < size(Codec::Lz4, 9) && size(Codec::Lz4, 17) == size(Codec::Lz4, 12));
    assert!(size(Codec::Gzip, 9) < size(Codec::Gzip, 1));
    assert!(size(Codec::Zstd, 22) < size(Codec::Zstd, -5));
    assert_eq!(compress(Codec::Lz4, &input).expect("into memory").len(), size(Codec::Lz4, 9));
}

#[test]
fn ids_and_names() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_id(codec.id()), Some(codec));
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!((Codec::from_id(5), Codec::from_name("producer")), (None, None));
}

#[test]
fn the_bound_holds_for_bombs() {
    let zeros = vec![0; 4 << 20];
    for codec in CODECS {
        let packed = compress(codec, &zeros).expect("into memory");
        assert!(matches!(unpack(codec, &packed, 1000), Err(CompressError::TooLarge { max: 1000 })), "{codec}");
        assert!(matches!(unpack(codec, &packed, zeros.len() - 1), Err(CompressError::TooLarge { .. })), "{codec}");
    }
    assert!(matches!(unpack(Codec::None, &zeros, 10), Err(CompressError::TooLarge { .. })));
}

#[test]
fn compression_stops_at_its_bound() {
    let noise: Vec<u8> = {
        let mut rng = Rng::with_seed(3);
        (0..100_000).map(|_| rng.next_u64() as u8).collect()
    };
    for codec in Codec::ALL {
        let mut compressor = Compressor::new(codec.into(), vec![0; 61], 50_000).expect("starts");
        let result = compressor.write(&noise).and_then(|()| compressor.finish());
        assert!(matches!(result, Err(CompressError::TooLarge { max: 50_000 })), "{codec}");
    }
}

#[test]
fn cut_off_streams_are_damaged() {
    let input = text(100_000);
    for codec in CODECS {
        let packed = compress(codec, &input).expect("into memory");
        for cut in [0, 1, 5, 17, packed.len() / 2, packed.len() - 9, packed.len() - 4, packed.len() - 1] {
            let result = unpack(codec, &packed[..cut], 1 << 20);
            // A snappy stream that ends with a block, and nothing at all, are streams too.
            let empty = result.as_ref().is_ok_and(Bytes::is_empty);
            assert!(result.is_err() || (empty && cut <= 17), "{codec} cut at {cut}");
        }
    }
}

#[test]
fn a_damaged_gzip_trailer_is_refused() {
    let packed = compress(Codec::Gzip, &text(1000)).expect("into memory");
    for at in packed.len() - 8..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 1;
        assert!(matches!(unpack(Codec::Gzip, &damaged, 1 << 20), Err(CompressError::Corrupt { codec: Codec::Gzip, .. })));
    }
}

#[test]
fn bytes_behind_the_stream_are_refused() {
    for codec in CODECS {
        let mut packed = compress(codec, &text(1000)).expect("into memory");
        packed.extend_from_slice(b"garbage");
        assert!(unpack(codec, &packed, 1 << 20).is_err(), "{codec}");
    }
}

#[test]
fn snappy_comes_framed_or_bare() {
    let input = text(5000);
    let bare = snap::raw::Encoder::new().compress_vec(&input).expect("into memory");
    assert_eq!(unpack(Codec::Snappy, &bare, 5000).expect("bare block"), input);
    // Two streams one after the other, as snappy-java allows.
    let one = compress(Codec::Snappy, &input).expect("into memory");
    assert_eq!(&one[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(unpack(Codec::Snappy, &[one.clone(), one].concat(), 10_000).expect("two streams").len(), 10_000);
}

#[test]
fn snappy_lengths_are_not_believed() {
    // A bare block of 6 bytes that claims 2 GiB.
    assert!(unpack(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x07, 0], usize::MAX).is_err());
    let mut framed = compress(Codec::Snappy, b"abc").expect("into memory");
    framed[16..20].copy_from_slice(&(-1i32).to_be_bytes());
    assert!(unpack(Codec::Snappy, &framed, usize::MAX).is_err());
}

#[test]
fn lz4_frames_kafka_does_not_read_are_refused() {
    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let linked = FrameInfo::new().block_mode(BlockMode::Linked);
    let mut encoder = FrameEncoder::with_frame_info(linked, Vec::new());
    encoder.write_all(&text(200_000)).expect("into memory");
    assert!(unpack(Codec::Lz4, &encoder.finish().expect("into memory"), 1 << 20).is_err());
    let checked = FrameInfo::new().block_mode(BlockMode::Independent).block_checksums(true).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(checked, Vec::new());
    encoder.write_all(&text(200_000)).expect("into memory");
    let packed = encoder.finish().expect("into memory");
    assert_eq!(unpack(Codec::Lz4, &packed, 1 << 20).expect("checksums are read"), text(200_000));
    let mut damaged = packed;
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(unpack(Codec::Lz4, &damaged, 1 << 20).is_err());
}

#[test]
fn mutations_never_panic() {
    for seed in 0..3000 {
        let mut rng = Rng::with_seed(seed);
        let codec = CODECS[rng.below(4) as usize];
        let mut packed = compress(codec, &text(rng.below(3000) as usize)).expect("into memory");
        for _ in 0..=rng.below(4) {
            let at = rng.below(packed.len() as u64) as usize;
            packed[at] = rng.next_u64() as u8;
        }
        let _ = unpack(codec, &packed, 1 << 20);
    }
}
