//! What a peer's bytes make this crate allocate: measured with a counting allocator, on this thread only.

use bytes::Bytes;
use odradek_base::{Rng, Timestamp};
use odradek_wire::batch::{self, ValidationRules};
use odradek_wire::compress::Codec;
use odradek_wire::decode::{self, sample};
use odradek_wire::frame::FrameReader;
use odradek_wire::messages::*;
use odradek_wire::produce::ProduceRequest;
use odradek_wire::records::BatchBuilder;
use odradek_wire::{api, parse_header};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn grow(bytes: usize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side for a moment.
        grow(size);
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Peak of bytes held at once beyond what was held before, and the number of allocations.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let (live, calls) = (LIVE.get(), CALLS.get());
    PEAK.set(live);
    let result = work();
    (result, PEAK.get() - live, CALLS.get() - calls)
}

/// Bytes held per byte of the message: structs of the message crate are up to this much larger than their encoding.
const BYTES_PER_BYTE: usize = 80;
/// What any message may cost: error texts, and the first elements of arrays.
const BYTES_FREE: usize = 4096;

fn check(key: i16, version: i16, body: Vec<u8>, decode: impl Fn(&mut Bytes) -> bool) -> bool {
    let length = body.len();
    let mut body = Bytes::from(body);
    let (accepted, peak, _) = measure(|| decode(&mut body));
    assert!(peak <= BYTES_FREE + BYTES_PER_BYTE * length, "{} v{version}: {peak} bytes for {length}", api::name(key));
    accepted
}

fn damage(body: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let at = rng.below(body.len().max(1) as u64) as usize;
        let Some(byte) = body.get_mut(at) else { return };
        *byte = match rng.below(4) {
            0 => 0x7f,
            1 => 0xff,
            2 => *byte ^ 1 << rng.below(8),
            _ => rng.next_u64() as u8,
        };
    }
    if rng.chance(4) {
        body.truncate(rng.below(body.len() as u64 + 1) as usize);
    }
}

macro_rules! for_served_apis {
    ($check:ident!) => {
        $check!(
            (0, ProduceRequest),
            (1, FetchRequest),
            (2, ListOffsetsRequest),
            (3, MetadataRequest),
            (8, OffsetCommitRequest),
            (9, OffsetFetchRequest),
            (10, FindCoordinatorRequest),
            (11, JoinGroupRequest),
            (12, HeartbeatRequest),
            (13, LeaveGroupRequest),
            (14, SyncGroupRequest),
            (15, DescribeGroupsRequest),
            (16, ListGroupsRequest),
            (17, SaslHandshakeRequest),
            (18, ApiVersionsRequest),
            (19, CreateTopicsRequest),
            (20, DeleteTopicsRequest),
            (21, DeleteRecordsRequest),
            (22, InitProducerIdRequest),
            (23, OffsetForLeaderEpochRequest),
            (29, DescribeAclsRequest),
            (32, DescribeConfigsRequest),
            (33, AlterConfigsRequest),
            (34, AlterReplicaLogDirsRequest),
            (35, DescribeLogDirsRequest),
            (36, SaslAuthenticateRequest),
            (37, CreatePartitionsRequest),
            (42, DeleteGroupsRequest),
            (44, IncrementalAlterConfigsRequest),
            (47, OffsetDeleteRequest),
            (60, DescribeClusterRequest),
            (68, ConsumerGroupHeartbeatRequest),
            (69, ConsumerGroupDescribeRequest),
            (74, ListConfigResourcesRequest),
            (75, DescribeTopicPartitionsRequest),
        )
    };
}

#[test]
fn no_request_allocates_more_than_a_small_multiple_of_itself() {
    let (mut accepted, mut refused, mut apis) = (0, 0, 0);
    macro_rules! check_api {
        ($(($key:literal, $request:ident)),* $(,)?) => {$({
            apis += 1;
            let (low, high) = decode::request_versions($key).expect("a schema");
            for version in low..=high {
                let decode = |body: &mut Bytes| decode::decode::<odradek_wire::messages::$request>($key, body, version).is_ok();
                for seed in 0..150 {
                    let mut rng = Rng::with_seed(seed);
                    let mut body = match rng.below(3) {
                        0 => (0..rng.below(200)).map(|_| rng.next_u64() as u8).collect(),
                        1 => (0..rng.below(200)).map(|_| rng.below(3) as u8).collect(),
                        _ => sample::request($key, version, &mut rng).expect("a schema"),
                    };
                    damage(&mut body, &mut rng);
                    if check($key, version, body, decode) { accepted += 1 } else { refused += 1 }
                }
            }
        })*};
    }
    for_served_apis!(check_api!);
    assert_eq!(apis, api::SUPPORTED.len());
    assert!(accepted > 500 && refused > 5000, "{accepted} {refused}");
}

#[test]
fn large_arrays_of_small_elements_stay_bounded() {
    // The worst multiples: as many of the smallest structs as fit.
    for (version, element) in [(1, &[0u8, 0][..]), (12, &[0; 18])] {
        for count in [1000usize, 100_000, 1_000_000] {
            let mut body = Vec::new();
            if version == 12 {
                odradek_wire::varint::put_unsigned(&mut body, count as u64 + 1);
            } else {
                body.extend_from_slice(&(count as i32).to_be_bytes());
            }
            body.extend(std::iter::repeat_n(element, count).flatten());
            body.extend_from_slice(&[0; 8]);
            check(api::METADATA, version, body, |body| decode::decode::<MetadataRequest>(api::METADATA, body, version).is_ok());
        }
    }
    // Tagged fields without content, two bytes each.
    let mut body = vec![1, 0, 0, 0];
    odradek_wire::varint::put_unsigned(&mut body, 100_000);
    for tag in 0..100_000 {
        odradek_wire::varint::put_unsigned(&mut body, tag);
        body.push(0);
    }
    check(api::METADATA, 12, body, |body| decode::decode::<MetadataRequest>(api::METADATA, body, 12).is_ok());
}

#[test]
fn the_produce_fast_path_is_bounded_too() {
    for seed in 0..5000 {
        let mut rng = Rng::with_seed(seed);
        let version = 3 + rng.below(11) as i16;
        let mut body = sample::request(api::PRODUCE, version, &mut rng).expect("a schema");
        damage(&mut body, &mut rng);
        check(api::PRODUCE, version, body, |body| ProduceRequest::parse(body, version).is_ok());
    }
}

#[test]
fn announced_frames_cost_nothing() {
    let chunk = Bytes::from([&(100i32 << 20).to_be_bytes()[..], &[0; 1024]].concat());
    let mut reader = FrameReader::new(100 << 20);
    let (frame, peak, _) = measure(|| {
        reader.push(chunk);
        reader.next()
    });
    assert_eq!(frame, Ok(None));
    assert!(peak < 4096, "{peak}");
}

#[test]
fn headers_are_bounded() {
    for seed in 0..5000 {
        let mut rng = Rng::with_seed(seed);
        let mut frame: Vec<u8> = vec![0, rng.below(76) as u8, 0, rng.below(14) as u8, 0, 0, 0, 1, 0, 2, b'm', b'e', 0];
        damage(&mut frame, &mut rng);
        check(-1, 0, frame, |frame| parse_header(frame.clone()).is_ok());
    }
}

#[test]
fn a_plain_batch_is_validated_without_allocating() {
    let mut builder = BatchBuilder::new(Codec::None);
    while builder.uncompressed_bytes() < 16 * 1024 {
        builder.append(Timestamp(1), Some(b"key"), Some(&[7; 100]), &[(b"h", Some(b"v"))]);
    }
    // As in the broker, the batch is a slice of a frame.
    let frame = Bytes::from([&[0; 100][..], &builder.build()].concat());
    let records = frame.slice(100..);
    let rules = ValidationRules::default();
    for _ in 0..2 {
        let (result, _, calls) = measure(|| batch::validate(&records, &rules, Timestamp(1)));
        assert_eq!(result.expect("valid").bytes, records);
        assert_eq!(calls, 0);
    }
}

#[test]
fn validating_a_bomb_needs_a_window() {
    let mut builder = BatchBuilder::new(Codec::Zstd);
    for _ in 0..100_000 {
        builder.append(Timestamp(1), None, None, &[]);
    }
    let unpacked = builder.uncompressed_bytes();
    let batch = builder.build();
    let (result, peak, _) = measure(|| batch::validate(&batch, &ValidationRules::default(), Timestamp(1)));
    assert_eq!(result.expect("valid").record_count, 100_000);
    assert!(unpacked > 700_000 && peak < 200_000, "{peak} bytes held for {unpacked}");
}

#[test]
fn damaged_compressed_batches_are_bounded_by_windows() {
    // lz4 reserves two blocks of up to 4 MiB; snappy 22 times a block.
    const WINDOWS_BYTES: usize = 9 << 20;
    for seed in 0..2000 {
        let mut rng = Rng::with_seed(seed);
        let codec = Codec::ALL[1 + rng.below(4) as usize];
        let mut builder = BatchBuilder::new(codec);
        for _ in 0..rng.below(50) {
            builder.append(Timestamp(1), Some(b"key"), Some(b"value"), &[]);
        }
        let mut bytes = builder.build().to_vec();
        for _ in 0..=rng.below(3) {
            let at = 21 + rng.below(bytes.len() as u64 - 21) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let crc = batch::crc(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let bytes = Bytes::from(bytes);
        let rules = ValidationRules { transactional_id: true, ..ValidationRules::default() };
        let (_, peak, _) = measure(|| batch::validate(&bytes, &rules, Timestamp(1)).is_ok());
        assert!(peak <= WINDOWS_BYTES, "seed {seed} {codec}: {peak}");
    }
}
