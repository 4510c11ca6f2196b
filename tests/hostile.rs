//! Peers that send nonsense, lie about sizes, never read or never speak: the others notice nothing, and memory stays bounded.
//!
//! Resident memory is that of the whole test process, which holds the test's own buffers too; the bounds are generous multiples of
//! what is expected, and far below what a broker needs that believes what it is told.

mod support;

use bytes::{BufMut, Bytes, BytesMut};
use odradek_base::{Offset, Rng, Timestamp};
use odradek_client::admin::NewTopic;
use odradek_client::{Cluster, Connection};
use odradek_wire::batch::BatchView;
use odradek_wire::compress::{Codec, Compression, Compressor};
use odradek_wire::messages::{ApiKey, ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use odradek_wire::records::BatchBuilder;
use odradek_wire::{ErrorCode, api, decode};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::raw::{RawConnection, request, resident_bytes};
use support::records::{
    FETCH_NAMED, FetchOptions, PRODUCE_NAMED, batch, fetch, fetch_request, leader, produce_ok, produce_request, produced, read_all,
};
use support::{Mode, SHARDS, TestBroker, code, eventually};

both_modes!(
    impossible_frame_lengths_end_the_connection,
    unknown_apis_and_versions_end_the_connection,
    random_bytes_hurt_nobody,
    truncated_requests_end_the_connection,
    absurd_array_lengths_cost_nothing,
    claims_of_large_frames_cost_nothing,
    large_requests_of_many_wait_for_each_other,
    clients_that_never_read_are_held_back,
    idle_connections_are_closed_and_busy_ones_are_not,
    a_batch_that_expands_to_millions_of_records_stalls_nobody,
    connections_have_a_bound,
    clients_that_left_give_their_place_back,
);

const MIB: u64 = 1 << 20;
/// Rounds of the bystander that must succeed while something goes on.
const ROUNDS: usize = 10;

/// Memory is the process's: tests that measure it run one at a time, and so do the others, for they would disturb the measurement.
static ALONE: Mutex<()> = Mutex::new(());

/// A client that does its work all the while, on every partition, and must not notice anything.
struct Bystander {
    rounds: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bystander {
    fn start(broker: &TestBroker) -> Self {
        let (rounds, answers, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut cluster = broker.cluster();
        let partitions = i32::from(SHARDS);
        create(&mut cluster, "bystander", partitions);
        let (count, heard, stopped) = (rounds.clone(), answers.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for round in 0.. {
                for partition in 0..partitions {
                    let offset = produce_ok(&mut cluster, "bystander", partition, batch(&[format!("round {round}")]));
                    assert_eq!(offset, round);
                    heard.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(fetch(&mut cluster, "bystander", partition, offset).high_watermark, offset + 1);
                    heard.fetch_add(1, Ordering::Relaxed);
                }
                count.fetch_add(1, Ordering::Relaxed);
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { rounds, answers, stop, thread: Some(thread) }
    }

    fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Waits until the bystander has done some more rounds.
    fn goes_on(&self) {
        let before = self.rounds();
        eventually("the bystander goes on", || {
            let over = self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
            (over || self.rounds() >= before + ROUNDS).then_some(())
        });
    }

    /// Ends the bystander; fails when anything went wrong for it.
    fn finish(mut self) {
        self.goes_on();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("running").join().expect("the bystander noticed something");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}

fn create(cluster: &mut Cluster, name: &str, partitions: i32) {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
}

/// Runs an attack beside a bystander and checks that the process's memory grows by less than `bytes_max` meanwhile.
fn beside(mode: Mode, settings: &[&str], bytes_max: u64, attack: impl FnOnce(&TestBroker, &Bystander)) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let broker = TestBroker::start_with(mode, settings);
    let bystander = Bystander::start(&broker);
    bystander.goes_on();
    let before = resident_bytes();
    attack(&broker, &bystander);
    bystander.goes_on();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < bytes_max, "memory grew by {} MiB", grown / MIB);
    bystander.finish();
}

/// A connection that was answered once: it is past everything that happens when it is accepted.
fn established(broker: &TestBroker) -> RawConnection {
    let mut raw = RawConnection::open(broker);
    raw.send(&request(api::API_VERSIONS, 0, 1, &[]));
    raw.answer().expect("an answer");
    raw
}

/// A whole frame for an API, with the header that its version wants.
fn framed(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let flexible = ApiKey::try_from(key).is_ok_and(|k| k.request_header_version(version) >= 2);
    if !flexible {
        return request(key, version, 1, body);
    }
    // No tagged fields in the header.
    request(key, version, 1, &[&[0], body].concat())
}

fn impossible_frame_lengths_end_the_connection(mode: Mode) {
    beside(mode, &["socket.request.max.bytes=1000000"], 64 * MIB, |broker, _| {
        for length in [i32::MIN, -1, 0, 3, 1_000_001, 100 << 20, i32::MAX] {
            let mut raw = established(broker);
            raw.send(&length.to_be_bytes());
            raw.send(&[0; 64]);
            raw.expect_closed(&format!("a frame of {length} bytes"));
        }
        // The largest that is allowed is read, and judged by what it holds.
        let mut raw = established(broker);
        raw.send(&1_000_000i32.to_be_bytes());
        raw.send(&vec![0xff; 1_000_000]);
        raw.expect_closed("a frame of nonsense");
    });
}

fn unknown_apis_and_versions_end_the_connection(mode: Mode) {
    beside(mode, &[], 64 * MIB, |broker, _| {
        for (key, version) in [(-1, 0), (i16::MIN, 0), (i16::MAX, 0), (500, 0), (4, 0), (1, 3), (1, 99), (3, -1), (0, 2), (0, 99)] {
            let mut raw = established(broker);
            raw.send(&framed(key, version, &[0; 40]));
            raw.expect_closed(&format!("API {key} version {version}"));
        }
    });
}

fn random_bytes_hurt_nobody(mode: Mode) {
    beside(mode, &[], 128 * MIB, |broker, bystander| {
        let mut rng = Rng::with_seed(7);
        let mut random = |len: u64| -> Vec<u8> { (0..rng.below(len)).map(|_| rng.next_u64() as u8).collect() };
        for _ in 0..100 {
            let mut raw = RawConnection::open(broker);
            raw.send(&random(3000));
        }
        // Random bodies behind good headers, each on a connection that goes away without waiting.
        for range in api::SUPPORTED {
            for version in [range.min, range.max] {
                for len in [1, 20, 200] {
                    let mut raw = RawConnection::open(broker);
                    let frames: Vec<u8> = (0..3).flat_map(|_| framed(range.key, version, &random(len))).collect();
                    raw.send(&frames);
                }
            }
        }
        bystander.goes_on();
    });
}

fn truncated_requests_end_the_connection(mode: Mode) {
    beside(mode, &[], 128 * MIB, |broker, _| {
        let mut rng = Rng::with_seed(11);
        for range in api::SUPPORTED {
            for version in [range.min.max(3 * i16::from(range.key == api::PRODUCE)), range.max] {
                let Some(body) = decode::sample::request(range.key, version, &mut rng) else { continue };
                // The newest versions are not in the header's table; a cut anywhere is a cut all the same.
                for cut in [1, body.len() / 2, body.len()] {
                    if cut > body.len() || cut == 0 || range.key == api::API_VERSIONS {
                        continue;
                    }
                    let mut raw = RawConnection::open(broker);
                    raw.send(&framed(range.key, version, &body[..body.len() - cut]));
                    let what = format!("{} version {version} without its last {cut} of {} bytes", api::name(range.key), body.len());
                    raw.expect_closed(&what);
                }
            }
        }
        // A frame that never becomes whole: the client closes its side in the middle.
        let mut raw = RawConnection::open(broker);
        let whole = request(api::API_VERSIONS, 0, 1, &[]);
        raw.send(&whole[..whole.len() - 1]);
        raw.stream.shutdown(Shutdown::Write).expect("open");
        raw.expect_closed("half a request");
    });
}

fn absurd_array_lengths_cost_nothing(mode: Mode) {
    beside(mode, &[], 96 * MIB, |broker, _| {
        let huge = i32::MAX.to_be_bytes();
        let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let text = |s: &str| [&(s.len() as i16).to_be_bytes()[..], s.as_bytes()].concat();
        let fetch_head = [&(-1i32).to_be_bytes()[..], &[0; 8], &(1i32 << 20).to_be_bytes(), &[0]].concat();
        let cases: Vec<(i16, i16, Vec<u8>)> = vec![
            (api::METADATA, 1, huge.to_vec()),
            (api::METADATA, 12, compact.to_vec()),
            (api::METADATA, 12, [&compact[..], &[0; 20]].concat()),
            (api::CREATE_TOPICS, 2, huge.to_vec()),
            (api::CREATE_TOPICS, 7, compact.to_vec()),
            (api::FETCH, 4, [&fetch_head[..], &huge].concat()),
            (api::FETCH, 4, [&fetch_head[..], &1i32.to_be_bytes(), &text("bystander"), &huge].concat()),
            (api::PRODUCE, 3, [&(-1i16).to_be_bytes()[..], &1i16.to_be_bytes(), &[0; 4], &huge].concat()),
            (api::PRODUCE, 9, [&[0][..], &1i16.to_be_bytes(), &[0; 4], &compact].concat()),
            (api::JOIN_GROUP, 0, [&text("g")[..], &[0; 4], &text(""), &text("consumer"), &huge].concat()),
            (api::OFFSET_FETCH, 1, [&text("g")[..], &huge].concat()),
            (api::DESCRIBE_CONFIGS, 1, huge.to_vec()),
            (api::DELETE_TOPICS, 1, huge.to_vec()),
            (api::FIND_COORDINATOR, 4, [&[0][..], &compact].concat()),
            // A string that claims more than there is.
            (api::FIND_COORDINATOR, 0, i16::MAX.to_be_bytes().to_vec()),
        ];
        for _ in 0..8 {
            for (key, version, body) in &cases {
                let mut raw = RawConnection::open(broker);
                raw.send(&framed(*key, *version, body));
                raw.expect_closed(&format!("{} version {version}: {body:?}", api::name(*key)));
            }
        }
    });
}

fn claims_of_large_frames_cost_nothing(mode: Mode) {
    beside(mode, &[], 128 * MIB, |broker, bystander| {
        let mut claims: Vec<RawConnection> = (0..64).map(|_| established(broker)).collect();
        for raw in &mut claims {
            assert!(raw.send(&(100i32 << 20).to_be_bytes()) && raw.send(&[0; 1024]));
        }
        bystander.goes_on();
        // They are within their rights so far; new clients find their place beside them.
        broker.connection().call(&ApiVersionsRequest::default()).expect("answered");
    });
}

fn large_requests_of_many_wait_for_each_other(mode: Mode) {
    // All together are far more than a shard gives for unfinished requests: they are read one after the other, none is refused. Those that
    // stop in the middle stand in the way for a moment only.
    beside(mode, &["odradek.shard.queued.bytes=1048576"], 256 * MIB, |broker, bystander| {
        let large = request(api::API_VERSIONS, 0, 1, &vec![0; 1_000_000]); // Bytes after the body are tolerated.
        let mut stopped: Vec<RawConnection> = (0..8).map(|_| established(broker)).collect();
        for raw in &mut stopped {
            raw.send(&large[..600_000]);
        }
        let whole: Vec<RawConnection> = (0..24).map(|_| established(broker)).collect();
        std::thread::scope(|scope| {
            let large = &large;
            for mut raw in whole {
                scope.spawn(move || {
                    assert!(raw.send(&large[..600_000]) && raw.send(&large[600_000..]), "the connection stays open");
                    raw.answer().expect("an answer, sooner or later");
                });
            }
        });
        bystander.goes_on();
    });
}

fn clients_that_never_read_are_held_back(mode: Mode) {
    // 16 clients that each ask for 200 x 8 MiB: 25 GiB, if anybody kept it.
    beside(mode, &[], 512 * MIB, |broker, bystander| {
        let mut cluster = broker.cluster();
        create(&mut cluster, "large", 1);
        for _ in 0..8 {
            produce_ok(&mut cluster, "large", 0, batch(&[vec![b'x'; 1_000_000]]));
        }
        let ask = fetch_request("large", &[(0, 0)], FetchOptions::default());
        let mut mute: Vec<Connection> = (0..16).map(|_| broker.leader_connection("large", 0)).collect();
        for connection in &mut mute {
            for _ in 0..200 {
                connection.send(&ask, FETCH_NAMED).expect("sent");
            }
        }
        bystander.goes_on();
        // One that begins to read after all gets everything it asked for, in order.
        let patient = &mut mute[3];
        for _ in 0..20 {
            let answer = support::records::fetched(patient.receive::<FetchRequest>().expect("an answer")).pop().expect("one");
            assert_eq!((answer.error_code, answer.high_watermark), (0, 8));
        }
        bystander.goes_on();
    });
}

fn idle_connections_are_closed_and_busy_ones_are_not(mode: Mode) {
    beside(mode, &["connections.max.idle.ms=1000"], 256 * MIB, |broker, bystander| {
        let mut silent = established(broker);
        let mut never_spoke = RawConnection::open(broker);
        let mut half = established(broker);
        half.send(&[0, 0, 1, 0, 0]);
        let mut busy = established(broker);
        let others_closed = |connections: &mut [&mut RawConnection]| {
            for raw in connections {
                raw.expect_closed("an idle connection");
            }
        };
        // The busy one speaks until the others are gone.
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    busy.send(&request(api::API_VERSIONS, 0, 1, &[]));
                    busy.answer().expect("a busy connection stays open");
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            others_closed(&mut [&mut silent, &mut never_spoke, &mut half]);
            done.store(true, Ordering::Relaxed);
        });
        bystander.goes_on();
    });
}

/// A zstd batch of `count` records without key, value and headers; `delta` gives each its offset.
fn expanding_batch(count: i32, delta: impl Fn(i32) -> i32) -> Bytes {
    // The header is built by a batch of one record; its records are replaced, and what they decide is written over.
    let mut one = BatchBuilder::new(Codec::Zstd).base_offset(Offset(0));
    one.append(Timestamp(support::records::now()), None, None, &[]);
    let one = one.build();
    let mut compressor = Compressor::new(Compression::from(Codec::Zstd), one[..61].to_vec(), usize::MAX).expect("zstd");
    let mut chunk = BytesMut::new();
    for i in 0..count {
        let mut offset = BytesMut::new();
        let mut zigzag = (delta(i) as u32) << 1;
        while zigzag >= 0x80 {
            offset.put_u8(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        offset.put_u8(zigzag as u8);
        // Length, attributes, timestamp delta, offset delta, no key, no value, no headers.
        chunk.put_u8((5 + offset.len() as u8) << 1);
        chunk.put_slice(&[0, 0]);
        chunk.put_slice(&offset);
        chunk.put_slice(&[1, 1, 0]);
        if chunk.len() > 1 << 16 || i == count - 1 {
            compressor.write(&chunk).expect("written");
            chunk.clear();
        }
    }
    let mut batch = compressor.finish().expect("finished");
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = odradek_wire::batch::crc(&batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

fn a_batch_that_expands_to_millions_of_records_stalls_nobody(mode: Mode) {
    // Kafka's recipe: 20 million records that all say offset 0; with offsets of their own they would be far over the bound.
    let same = expanding_batch(20_000_000, |_| 0);
    assert!(same.len() < 20_000, "{} bytes on the wire", same.len());
    // And an honest one, which is walked to its end.
    let dense = expanding_batch(2_000_000, |i| i);
    assert!(dense.len() < 1_990_000, "{} bytes on the wire", dense.len());
    assert!(BatchView::parse(&dense).expect("a batch").crc_valid());
    beside(mode, &[], 256 * MIB, |broker, bystander| {
        let mut cluster = broker.cluster();
        let configs = vec![("max.message.bytes".to_owned(), "2000000".to_owned())];
        let topic = NewTopic { name: "t".to_owned(), partitions: Some(i32::from(SHARDS)), configs, ..NewTopic::default() };
        cluster.admin().create_topic(&topic, false).expect("created");
        for partition in 0..i32::from(SHARDS) {
            // The answers of others on the same shard come while the large batch is still being looked at.
            let mut attacker = broker.leader_connection("t", partition);
            let before = bystander.answers.load(Ordering::Relaxed);
            attacker.send(&produce_request(-1, "t", &[(partition, dense.clone())]), PRODUCE_NAMED).expect("sent");
            let answer = produced(attacker.receive::<ProduceRequest>().expect("an answer")).pop().expect("one");
            let meanwhile = bystander.answers.load(Ordering::Relaxed) - before;
            assert_eq!(answer.error_code, 0, "valid, however large");
            assert!(meanwhile >= 6, "the bystander stood still: {meanwhile} answers");
            assert_eq!(fetch(&mut cluster, "t", partition, -1).error_code, code(ErrorCode::OffsetOutOfRange));
            assert_eq!(fetch(&mut cluster, "t", partition, 2_000_000).high_watermark, 2_000_000);

            let request = produce_request(-1, "t", &[(partition, same.clone())]);
            let answer = leader(&mut cluster, "t", partition).call_at(&request, PRODUCE_NAMED).expect("an answer");
            assert_eq!(produced(answer)[0].error_code, code(ErrorCode::MessageTooLarge));
            assert_eq!(produce_ok(&mut cluster, "t", partition, batch(&["after"])), 2_000_000);
            assert_eq!(read_all(&mut cluster, "t", partition, 2_000_000).len(), 1);
        }
    });
}

/// How many of the connections still answer.
fn alive(connections: &mut [RawConnection]) -> usize {
    connections
        .iter_mut()
        .filter_map(|raw| {
            raw.send(&request(api::API_VERSIONS, 0, 1, &[]));
            raw.answer()
        })
        .count()
}

fn connections_have_a_bound(mode: Mode) {
    // The bystander has a few connections of its own.
    let bound = 20;
    beside(mode, &[&format!("max.connections={bound}")], 64 * MIB, |broker, bystander| {
        let mut many: Vec<RawConnection> = (0..100).map(|_| RawConnection::open(broker)).collect();
        let open = alive(&mut many);
        assert!((1..bound).contains(&open), "{open} of {} connections are open", many.len());
        bystander.goes_on();
        drop(many);
        // Their places are free again.
        eventually("a place", || {
            let mut one = [RawConnection::open(broker)];
            (alive(&mut one) == 1).then_some(())
        });
        let mut cluster = broker.cluster();
        assert_eq!(cluster.call_any(&MetadataRequest::default().with_topics(None)).expect("answered").topics.len(), 1);
    });
}

fn clients_that_left_give_their_place_back(mode: Mode) {
    let bound = 20;
    beside(mode, &[&format!("max.connections={bound}")], 64 * MIB, |broker, _| {
        // Each asks to wait for ever and goes away.
        let patient = FetchOptions { max_wait_ms: i32::MAX, min_bytes: i32::MAX, ..FetchOptions::default() };
        let mut cluster = broker.cluster();
        cluster.await_topic("bystander", false).expect("known");
        for round in 0..60 {
            let leader = cluster.leader("bystander", round % 2).expect("a leader");
            let mut left = eventually("a place", || cluster.open_separate(leader).ok());
            left.send(&fetch_request("bystander", &[(round % 2, 0)], patient), FETCH_NAMED).expect("sent");
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}
