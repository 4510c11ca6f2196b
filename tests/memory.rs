//! A small budget (`odradek.memory.bytes`) under mixes that press on each part of it: what the metrics count stays within its bounds all the while.
//!
//! Nothing here measures the process: every assertion is about counted bytes. `tests/memory/run` looks at resident memory.

mod support;

use bytes::Bytes;
use odradek_base::Rng;
use odradek_client::admin::NewTopic;
use odradek_client::{Cluster, Connection};
use odradek_settings::Settings;
use odradek_wire::api;
use odradek_wire::messages::ProduceRequest;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::metrics::{Samples, scrape};
use support::raw::{RawConnection, request};
use support::records::{FETCH_NAMED, FetchOptions, PRODUCE_NAMED, batch, fetch_request, fetch_with, produce_ok, produce_request, produced};
use support::{Mode, SHARDS, TestBroker, eventually};

both_modes!(
    readers_that_never_read_and_big_batches,
    many_partitions_and_tiny_batches,
    cold_readers_beside_each_other,
    large_requests_of_many,
    producers_that_do_not_wait,
);

const MIB: u64 = 1 << 20;
/// Of both shards.
const BUDGET: u64 = 128 * MIB;
/// One of a kind is let in whatever its part says: the largest batch here, with its place in an arena, and what is under way beside it.
const ONE_OF_A_KIND: f64 = (3 * MIB) as f64;
const LARGE: usize = 900_000;

fn start(mode: Mode) -> TestBroker {
    let budget = format!("odradek.memory.bytes={BUDGET}");
    TestBroker::start_with(mode, &["odradek.metrics.listener=127.0.0.1:0", &budget, "log.segment.bytes=16777216"])
}

/// Looks at the budget until it is dropped; a part beyond its bound ends the test.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(usize, Samples)>>,
}

impl Watch {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            loop {
                let over = stopped.load(Ordering::Relaxed);
                let samples = scrape(address);
                within(&samples);
                looks += 1;
                if over {
                    return (looks, samples);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch; the last look.
    fn finish(mut self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        let (looks, samples) = self.thread.take().expect("running").join().expect("the budget was kept");
        assert!(looks > 1);
        samples
    }
}

fn within(samples: &Samples) {
    let mut all = 0.0;
    for shard in 0..SHARDS {
        let shard = shard.to_string();
        for part in ["receive", "tail", "pending", "requests", "answers", "read_ahead", "cold_reads", "writes", "compaction", "sessions"] {
            let labels = [("shard", shard.as_str()), ("part", part)];
            let (used, limit) = (samples.sum("odradek_memory_used_bytes", &labels), samples.sum("odradek_memory_limit_bytes", &labels));
            // Every client gets one answer of one batch, also when those of others have filled the part.
            let answers = samples.sum("odradek_connections", &[]) * LARGE as f64;
            let beside = if part == "answers" { answers } else { ONE_OF_A_KIND };
            assert!(used <= limit + beside, "shard {shard}: {part} holds {used} of {limit} bytes");
            all += used;
        }
    }
    assert!(all <= BUDGET as f64, "{all} bytes in all");
}

fn create(cluster: &mut Cluster, name: &str, partitions: i32) {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
}

fn incompressible(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rng.next_u64() as u8).collect()
}

fn readers_that_never_read_and_big_batches(mode: Mode) {
    let broker = start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "large", i32::from(SHARDS));
    let large = batch(&[vec![b'x'; LARGE]]);
    let small = batch(&["small"]);
    let watch = Watch::start(broker.metrics_address());
    let mut mute: Vec<Connection> = Vec::new();
    for round in 0..40 {
        for partition in 0..i32::from(SHARDS) {
            produce_ok(&mut cluster, "large", partition, large.clone());
            produce_ok(&mut cluster, "large", partition, small.clone());
            if round % 4 == 0 {
                // Each asks for what is newest, large and small by turns, and takes nothing.
                let mut connection = broker.leader_connection("large", partition);
                let limit = if round % 8 == 0 { 1 } else { 50 << 20 };
                let options = FetchOptions { max_bytes: limit, partition_max_bytes: limit, ..FetchOptions::default() };
                for back in 0..20 {
                    let from = i64::from(2 * round + 1 - back % 2).max(0);
                    connection.send(&fetch_request("large", &[(partition, from)], options), FETCH_NAMED).expect("sent");
                }
                mute.push(connection);
            }
        }
    }
    let last = watch.finish();
    assert!(last.sum("odradek_memory_used_bytes", &[("part", "answers")]) > MIB as f64, "answers wait");
    assert!(last.sum("odradek_fetched_bytes_total", &[]) > 2.0 * MIB as f64);
    // Whoever reads is served all the while.
    let answer = fetch_with(&mut cluster, "large", 0, 79, FetchOptions::default());
    assert_eq!((answer.error_code, answer.high_watermark), (0, 80));
    // Those that take nothing do not keep more than the part has.
    eventually("stalled clients make room", || {
        let samples = scrape(broker.metrics_address());
        let over = |shard: u16| {
            let of = |name: &str| samples.sum(name, &[("part", "answers"), ("shard", &shard.to_string())]);
            of("odradek_memory_used_bytes") > of("odradek_memory_limit_bytes")
        };
        (!(0..SHARDS).any(over)).then_some(())
    });
    drop(mute);
    eventually("everything is given back", || {
        let samples = scrape(broker.metrics_address());
        (samples.sum("odradek_memory_used_bytes", &[("part", "answers")]) == 0.0).then_some(())
    });
}

fn many_partitions_and_tiny_batches(mode: Mode) {
    let partitions = 200;
    let broker = start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "many", partitions);
    cluster.await_topic("many", false).expect("known");
    let watch = Watch::start(broker.metrics_address());
    let tiny = batch(&["t"]);
    let mut connections: Vec<(Connection, Vec<(i32, Bytes)>)> = Vec::new();
    for broker_id in 0..mode.brokers() {
        let mine = |partition: &i32| mode == Mode::Node || *partition as usize % mode.brokers() == broker_id;
        let first = (0..partitions).find(mine).expect("one");
        let leader = cluster.leader("many", first).expect("a leader");
        let owned = (0..partitions).filter(|partition| cluster.leader("many", *partition) == Some(leader));
        let batches = owned.map(|partition| (partition, tiny.clone())).collect();
        connections.push((cluster.open_separate(leader).expect("answers"), batches));
    }
    let mut appended = 0;
    for _ in 0..20 {
        for (connection, batches) in &mut connections {
            for _ in 0..10 {
                connection.send(&produce_request(-1, "many", batches), PRODUCE_NAMED).expect("sent");
            }
        }
        for (connection, _) in &mut connections {
            for _ in 0..10 {
                let answers = produced(connection.receive::<ProduceRequest>().expect("an answer"));
                assert!(answers.iter().all(|answer| answer.error_code == 0));
                appended += answers.len();
            }
        }
    }
    let last = watch.finish();
    assert_eq!(last.sum("odradek_produced_batches_total", &[]), appended as f64);
    assert!(appended >= 200 * partitions as usize / 2);
}

fn cold_readers_beside_each_other(mode: Mode) {
    let broker = start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "cold", i32::from(SHARDS));
    let mut rng = Rng::with_seed(3);
    let records = batch(&[incompressible(&mut rng, LARGE / 4)]);
    for _ in 0..160 {
        for partition in 0..i32::from(SHARDS) {
            produce_ok(&mut cluster, "cold", partition, records.clone());
        }
    }
    let watch = Watch::start(broker.metrics_address());
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let (mut cluster, partition) = (broker.cluster(), reader % i32::from(SHARDS));
            scope.spawn(move || {
                let options = FetchOptions { partition_max_bytes: 1 << (18 + reader % 3), ..FetchOptions::default() };
                let mut at = 0;
                while at < 160 {
                    let answer = fetch_with(&mut cluster, "cold", partition, at, options);
                    assert_eq!(answer.error_code, 0);
                    let bytes = support::records::bytes_of(&answer);
                    let next = odradek_wire::batch::batches(&bytes).map_while(Result::ok).last().map(|view| view.last_offset().get() + 1);
                    at = next.expect("something below the high watermark");
                }
            });
        }
        // And some that ask for everything and take nothing.
        for partition in 0..i32::from(SHARDS) {
            for _ in 0..4 {
                let mut mute = broker.leader_connection("cold", partition);
                for from in 0..40 {
                    mute.send(&fetch_request("cold", &[(partition, from * 4)], FetchOptions::default()), FETCH_NAMED).expect("sent");
                }
                std::mem::forget(mute);
            }
        }
    });
    let last = watch.finish();
    assert!(last.sum("odradek_cold_read_bytes_total", &[]) > 16.0 * MIB as f64, "data was cold");
}

fn large_requests_of_many(mode: Mode) {
    let broker = start(mode);
    let watch = Watch::start(broker.metrics_address());
    // Many large requests at once, whole and half, more than the part holds.
    let large = request(api::API_VERSIONS, 0, 1, &vec![0; 1_000_000]);
    std::thread::scope(|scope| {
        for client in 0..24 {
            let (mut raw, large) = (RawConnection::open(&broker), &large);
            scope.spawn(move || {
                if client % 3 == 0 {
                    raw.send(&large[..700_000]);
                    return;
                }
                for _ in 0..3 {
                    assert!(raw.send(large), "the connection stays open");
                    raw.answer().expect("an answer, sooner or later");
                }
            });
        }
    });
    let last = watch.finish();
    assert!(last.sum("odradek_received_bytes_total", &[]) > 40.0 * MIB as f64);
}

fn producers_that_do_not_wait(mode: Mode) {
    let broker = start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "fast", i32::from(SHARDS));
    let records = batch(&[vec![b'x'; LARGE]]);
    let watch = Watch::start(broker.metrics_address());
    let (clients, requests) = (8, 30);
    let mut connections: Vec<Connection> =
        (0..clients).map(|client| broker.leader_connection("fast", client % i32::from(SHARDS))).collect();
    std::thread::scope(|scope| {
        for (connection, client) in connections.iter_mut().zip(0..) {
            let ask = produce_request(-1, "fast", &[(client % i32::from(SHARDS), records.clone())]);
            scope.spawn(move || {
                for _ in 0..requests {
                    connection.send(&ask, PRODUCE_NAMED).expect("sent");
                }
                for _ in 0..requests {
                    let answer = produced(connection.receive::<ProduceRequest>().expect("an answer")).pop().expect("one");
                    assert_eq!(answer.error_code, 0);
                }
            });
        }
    });
    let last = watch.finish();
    assert_eq!(last.sum("odradek_produced_batches_total", &[]), f64::from(clients * requests));
}

/// A fetch that waits for a minute, with many bytes behind its fields, which are tolerated and kept.
fn long_fetch(bytes: usize) -> Vec<u8> {
    let fields = [&(-1i32).to_be_bytes()[..], &60_000i32.to_be_bytes(), &1i32.to_be_bytes(), &1i32.to_be_bytes(), &[0], &[0; 4]].concat();
    request(api::FETCH, 4, 1, &[&fields[..], &vec![0; bytes]].concat())
}

#[test]
fn requests_that_wait_are_counted_and_give_way_to_others() {
    let broker = start(Mode::Cores);
    let shard = SocketAddr::from(([127, 0, 0, 1], broker.port + 10_000));
    let labels = [("shard", "0"), ("part", "requests")];
    let limit = scrape(broker.metrics_address()).sum("odradek_memory_limit_bytes", &labels);
    let used = || scrape(broker.metrics_address()).sum("odradek_memory_used_bytes", &labels);
    let bytes = 700_000;
    let open = || TcpStream::connect(shard).expect("accepted");
    // As many as the part holds, each with four times its size.
    let count = (limit / (4.0 * bytes as f64)).ceil() as usize;
    let mut waiting: Vec<TcpStream> = (0..count).map(|_| open()).collect();
    for (at, stream) in waiting.iter_mut().enumerate() {
        stream.write_all(&long_fetch(bytes)).expect("sent");
        eventually("it is counted", || (used() >= (at + 1) as f64 * 4.0 * bytes as f64).then_some(()));
    }
    assert!(used() >= limit);
    // One that stops in the middle is the one that goes on; the next has to wait, and sees to it that there is room again.
    let large = request(api::API_VERSIONS, 0, 1, &vec![0; bytes]);
    let (mut half, mut other) = (open(), open());
    half.write_all(&large[..bytes / 2]).expect("sent");
    eventually("half a request is there", || (used() >= limit + (bytes / 2) as f64).then_some(()));
    other.set_read_timeout(Some(support::PATIENCE)).expect("a time-out");
    other.write_all(&large).expect("sent");
    other.read_exact(&mut [0; 4]).expect("an answer");
    eventually("one that waited was ended", || (used() <= limit).then_some(()));
    drop((waiting, half));
    eventually("everything is given back", || (used() == 0.0).then_some(()));
}

#[test]
fn a_budget_that_is_too_small_stops_the_start_and_says_the_least() {
    let dir = tempfile::tempdir().expect("a directory");
    let overrides = |bytes: u64| {
        let lines = [format!("log.dirs={}", dir.path().display()), "odradek.shards=2".to_owned(), format!("odradek.memory.bytes={bytes}")];
        Arc::new(Settings::load(None, &lines).expect("valid").0)
    };
    let error = odradek::serve::broker::Broker::start(overrides(16 * MIB)).err().expect("refused").to_string();
    assert!(error.contains("odradek.memory.bytes=16777216 is too little for 2 shards"), "{error}");
    let least: u64 =
        error.split("at least ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|text| text.parse().ok()).expect("a number");
    assert!((32 * MIB..BUDGET).contains(&least), "{error}");
    assert!(!dir.path().join("meta.properties").exists(), "nothing was begun");
}
