//! The simulated backend: the same programs as on io_uring, the fault model over many seeds, and repeatability.

mod shared;

use bytes::Bytes;
use odradek_base::{AlignedBuf, ShardId};
use odradek_ring::sim::{CrashMode, DiskFailure, DiskFaults, DiskOperation, HostId, NetworkFaults, Step, World, WorldOptions};
use odradek_ring::{ListenOptions, OpenOptions, Ring, Sync, mesh};
use shared::{Reader, any_port, pattern, pipelined_echo, start_echo};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const SERVER: HostId = HostId(1);
const CLIENT: HostId = HostId(2);

fn world(seed: u64) -> World {
    World::new(seed, WorldOptions::default())
}

fn echo_addr(world: &World) -> SocketAddr {
    (world.address(SERVER), 9092).into()
}

/// Writes a whole small file without syncing it.
async fn put(ring: &Ring, path: &str, content: &[u8], sync: Sync) {
    let file = ring.open(Path::new(path), OpenOptions::READ_WRITE).await.expect("open");
    file.write_at(vec![Bytes::copy_from_slice(content)], 0, sync).await.expect("write");
}

// Network.

#[test]
fn echo_between_hosts_and_within_one() {
    for seed in 0..20 {
        let world = world(seed);
        let (server, client) = (world.ring(SERVER, ShardId(0)), world.ring(CLIENT, ShardId(0)));
        let addr = start_echo(&server, echo_addr(&world));
        client.block_on(async {
            pipelined_echo(&client, addr, 10, 1000).await;
            pipelined_echo(&client, addr, 2, 3 << 20).await;
        });
        let local = start_echo(&server, any_port());
        server.block_on(pipelined_echo(&server, local, 10, 100));
        client.block_on(async {
            let refused = client.connect((world.address(SERVER), local.port()).into()).await.err();
            assert_eq!(refused.expect("a loopback listener").kind(), ErrorKind::ConnectionRefused);
        });
    }
}

#[test]
fn a_slow_reader_stops_its_sender() {
    let world = world(3);
    let (server, client) = (world.ring(SERVER, ShardId(0)), world.ring(CLIENT, ShardId(0)));
    let listener = server.listen(echo_addr(&world), ListenOptions::default()).expect("listen");
    let addr = listener.local_addr();
    let sent = Rc::new(Cell::new(false));
    let (sending, ring) = (sent.clone(), client.clone());
    client.spawn(async move {
        let stream = ring.connect(addr).await.expect("connect");
        stream.send(vec![pattern(4 << 20, 9)]).await.expect("send");
        sending.set(true);
    });
    server.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        server.sleep(Duration::from_secs(5)).await;
        assert!(!sent.get());
        assert_eq!(Reader::new(stream).exactly(4 << 20).await, pattern(4 << 20, 9));
    });
    assert!(world.run_until(|| sent.get()));
}

#[test]
fn partitions_hold_traffic_back_and_end_what_lasts_too_long() {
    let world = world(4);
    let (server, client) = (world.ring(SERVER, ShardId(0)), world.ring(CLIENT, ShardId(0)));
    let addr = start_echo(&server, echo_addr(&world));
    client.block_on(async {
        let stream = client.connect(addr).await.expect("connect");
        world.partition(CLIENT, SERVER);
        stream.send(vec![Bytes::from_static(b"held")]).await.expect("send");
        let answer = client.timeout(client.now() + Duration::from_secs(2), stream.recv()).await;
        assert!(answer.is_none(), "a message crossed a partition");
        world.heal(CLIENT, SERVER);
        let mut reader = Reader::new(stream.clone());
        assert_eq!(reader.exactly(4).await, b"held");

        world.partition_one_way(SERVER, CLIENT);
        stream.send(vec![Bytes::from_static(b"lost")]).await.expect("send");
        assert_eq!(stream.recv().await.expect_err("cut off").kind(), ErrorKind::TimedOut);
        assert_eq!(client.connect(addr).await.err().expect("cut off").kind(), ErrorKind::TimedOut);
        world.heal(CLIENT, SERVER);
        pipelined_echo(&client, addr, 5, 100).await;
    });
}

#[test]
fn resets_on_demand_and_at_a_rate() {
    let world = world(5);
    let (server, client) = (world.ring(SERVER, ShardId(0)), world.ring(CLIENT, ShardId(0)));
    let addr = start_echo(&server, echo_addr(&world));
    client.block_on(async {
        let stream = client.connect(addr).await.expect("connect");
        world.reset_connections(CLIENT, SERVER);
        assert_eq!(stream.recv().await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert!(stream.send(vec![Bytes::from_static(b"x")]).await.is_err());
        world.set_network_faults(NetworkFaults { reset_one_in: 3, ..NetworkFaults::default() });
        let mut resets = 0;
        for _ in 0..20 {
            let stream = client.connect(addr).await.expect("connect");
            let _ = stream.send(vec![Bytes::from_static(b"x")]).await;
            resets += u32::from(stream.recv().await.is_err());
        }
        assert!((1..20).contains(&resets), "{resets} of 20");
    });
}

#[test]
fn peers_notice_a_kill_at_once_and_a_power_loss_at_restart_or_late() {
    for (mode, restart) in [(CrashMode::Kill, false), (CrashMode::PowerLoss, true), (CrashMode::PowerLoss, false)] {
        let world = world(6);
        let (server, client) = (world.ring(SERVER, ShardId(0)), world.ring(CLIENT, ShardId(0)));
        let addr = start_echo(&server, echo_addr(&world));
        client.block_on(async {
            let stream = client.connect(addr).await.expect("connect");
            stream.send(vec![Bytes::from_static(b"x")]).await.expect("send");
            assert_eq!(stream.recv().await.expect("echo"), "x");
            let before = client.now();
            world.crash(SERVER, mode);
            if restart {
                client.sleep(Duration::from_secs(1)).await;
                start_echo(&world.ring(SERVER, ShardId(0)), addr);
            }
            let end = stream.recv().await;
            let passed = client.now() - before;
            match (mode, restart) {
                (CrashMode::Kill, _) => {
                    assert!(end.is_ok_and(|chunk| chunk.is_empty()) && passed < Duration::from_secs(1));
                    assert_eq!(client.connect(addr).await.err().expect("nobody listens").kind(), ErrorKind::ConnectionRefused);
                }
                (_, true) => {
                    assert_eq!(end.expect_err("denied").kind(), ErrorKind::ConnectionReset);
                    pipelined_echo(&client, addr, 3, 10).await;
                }
                (_, false) => assert_eq!(end.expect_err("silence").kind(), ErrorKind::TimedOut),
            }
        });
    }
}

#[test]
fn a_port_is_busy_shared_or_free_again() {
    let world = world(7);
    let ring = world.ring(SERVER, ShardId(0));
    let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let addr = echo_addr(&world);
    let first = ring.listen(addr, shared).expect("listen");
    let second = ring.listen(addr, shared).expect("share");
    assert_eq!(ring.listen(addr, ListenOptions::default()).err().expect("busy").kind(), ErrorKind::AddrInUse);
    drop((first, second));
    drop(ring.listen(addr, ListenOptions::default()).expect("free"));
    ring.shutdown();
}

// Scheduling.

#[test]
fn virtual_time_passes_without_waiting_and_timers_keep_their_order() {
    let world = world(8);
    let ring = world.ring(SERVER, ShardId(0));
    let wall = ring.wall_clock();
    let order = Rc::new(RefCell::new(Vec::new()));
    for hours in [3, 1, 2] {
        let (sleep, order) = (ring.sleep(Duration::from_secs(hours * 3600)), order.clone());
        ring.spawn(async move {
            sleep.await;
            order.borrow_mut().push(hours);
        });
    }
    world.run_for(Duration::from_secs(4 * 3600));
    assert_eq!(*order.borrow(), [1, 2, 3]);
    assert_eq!(ring.wall_clock().get() - wall.get(), 4 * 3600 * 1000);
    assert_eq!(world.step(), Step::Idle);
    world.set_clock_offset(SERVER, -1000);
    assert_eq!(ring.wall_clock().get() - wall.get(), 4 * 3600 * 1000 - 1000);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_future_that_can_never_finish_is_reported() {
    world(9).ring(SERVER, ShardId(0)).block_on(std::future::pending::<()>());
}

#[test]
fn shards_of_a_host_exchange_messages() {
    let world = world(10);
    let rings: Vec<Ring> = (0..3).map(|shard| world.ring(SERVER, ShardId(shard))).collect();
    let ports: Vec<_> = mesh::mesh::<u32>(3, 2).into_iter().zip(&rings).map(|(port, ring)| port.attach(ring)).collect();
    for port in &ports[1..] {
        let echo = port.clone();
        rings[usize::from(port.shard().0)].spawn(async move {
            loop {
                let (from, message) = echo.recv().await;
                echo.send(from, message).expect("send");
            }
        });
    }
    rings[0].block_on(async {
        for message in 0..100 {
            ports[0].send(ShardId(1), message).expect("send");
            ports[0].send(ShardId(2), message).expect("send");
        }
        let mut next = [0; 3];
        for _ in 0..200 {
            let (from, message) = ports[0].recv().await;
            assert_eq!(message, next[usize::from(from.0)]);
            next[usize::from(from.0)] += 1;
        }
    });
}

/// A busy program with every kind of fault; returns the trace and what the program saw.
fn busy_run(seed: u64) -> (u64, u64, Vec<String>) {
    let disk = DiskFaults { read_error_one_in: 50, write_error_one_in: 50, sync_error_one_in: 50, ..DiskFaults::default() };
    let network = NetworkFaults { reset_one_in: 40, ..NetworkFaults::default() };
    let world = World::new(seed, WorldOptions { disk, network });
    let seen = Rc::new(RefCell::new(Vec::new()));
    for life in 0..3u32 {
        let server = world.ring(SERVER, ShardId(0));
        start_echo(&server, echo_addr(&world));
        for writer in 0..3 {
            let (ring, seen) = (world.ring(SERVER, ShardId(writer)), seen.clone());
            let mut rng = ring.rng();
            server.spawn(async move {
                let path = format!("/file{}", rng.below(2));
                for _ in 0..20 {
                    let file = match ring.open(Path::new(&path), OpenOptions::READ_WRITE).await {
                        Ok(file) => file,
                        Err(error) => return seen.borrow_mut().push(error.to_string()),
                    };
                    let result = file.write_at(vec![pattern(3000, writer.into())], rng.below(10_000), Sync::Data).await;
                    seen.borrow_mut().push(format!("{writer} {:?} {:?}", ring.now(), result.map_err(|error| error.to_string())));
                }
            });
        }
        let (client, seen2, addr) = (world.ring(CLIENT, ShardId(0)), seen.clone(), echo_addr(&world));
        client.clone().spawn(async move {
            while let Ok(stream) = client.connect(addr).await {
                let sent = stream.send(vec![pattern(10_000, life)]).await.is_ok();
                let got = stream.recv().await.map(|chunk| chunk.len()).map_err(|error| error.to_string());
                seen2.borrow_mut().push(format!("{sent} {got:?}"));
            }
        });
        let end = world.now() + Duration::from_millis(20);
        world.run_until(|| world.now() > end);
        world.crash(SERVER, if life == 0 { CrashMode::Kill } else { CrashMode::PowerLoss });
        seen.borrow_mut().push(format!(
            "{:?}",
            world.peek(SERVER, Path::new("/file0")).map(|content| content.iter().map(|&byte| u64::from(byte)).sum::<u64>())
        ));
    }
    let seen = seen.borrow().clone();
    (world.trace_hash(), world.trace_events(), seen)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let mut hashes = BTreeSet::new();
    for seed in 0..30 {
        let first = busy_run(seed);
        assert!(first.1 > 500, "only {} events", first.1);
        assert_eq!(first, busy_run(seed), "seed {seed}");
        hashes.insert(first.0);
    }
    assert_eq!(hashes.len(), 30);
}

// Disk.

#[test]
fn files_and_directories_work_as_on_a_real_system() {
    for seed in 0..10 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        ring.block_on(async {
            ring.create_dir_all(Path::new("/a/b/c")).await.expect("create");
            ring.create_dir_all(Path::new("/a/b/c")).await.expect("again");
            ring.write_atomically(Path::new("/a/meta"), b"one").await.expect("write");
            ring.write_atomically(Path::new("/a/meta"), b"second").await.expect("replace");
            assert_eq!(ring.read_to_vec(Path::new("/a/meta")).await.expect("read"), b"second");
            let names: Vec<_> =
                ring.read_dir(Path::new("/a")).await.expect("read_dir").into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
            assert_eq!(names, [("b".to_owned(), true), ("meta".to_owned(), false)]);
            assert_eq!(ring.create_dir_all(Path::new("/a/meta")).await.expect_err("a file").kind(), ErrorKind::AlreadyExists);
            assert_eq!(ring.create_dir_all(Path::new("/a/meta/x")).await.expect_err("a file").kind(), ErrorKind::NotADirectory);
            ring.rename(Path::new("/a"), Path::new("/z")).await.expect("rename");
            assert_eq!(ring.metadata(Path::new("/z/meta")).await.expect("metadata").len, 6);
            assert!(!ring.exists(Path::new("/a")).await.expect("exists"));
            ring.remove_dir_all(Path::new("/z")).await.expect("remove");
            assert!(ring.read_dir(Path::new("/")).await.expect("read_dir").is_empty());
            assert_eq!(ring.open(Path::new("/gone"), OpenOptions::READ).await.err().expect("gone").kind(), ErrorKind::NotFound);

            let parts: Vec<Bytes> = (0..300u32).map(|i| pattern(1 + i as usize % 90, i)).collect();
            let whole = parts.concat();
            let file = ring.open(Path::new("/file"), OpenOptions::READ_WRITE).await.expect("open");
            file.write_at(parts, 100, Sync::No).await.expect("write");
            assert_eq!(ring.read_to_vec(Path::new("/file")).await.expect("read")[100..], whole);
            file.truncate(10).await.expect("truncate");
            file.allocate(20).await.expect("allocate");
            assert_eq!(ring.read_to_vec(Path::new("/file")).await.expect("read"), [0; 20]);

            let direct = ring.open(Path::new("/direct"), OpenOptions::READ_WRITE.direct(true)).await.expect("open");
            let mut block = AlignedBuf::zeroed(1 << 16);
            block.fill(7);
            direct.write_at(vec![block.freeze()], 4096, Sync::Data).await.expect("write");
            let (count, buf) = direct.read_at(AlignedBuf::zeroed(1 << 20), 0, 1 << 20).await;
            assert_eq!(count.expect("read"), 4096 + (1 << 16));
            assert_eq!((buf[4095], buf[4096], buf[4096 + 65535]), (0, 7, 7));
        });
    }
}

#[test]
fn a_kill_keeps_every_completed_write_and_a_power_loss_every_synced_one() {
    let mut lost = 0;
    for seed in 0..200 {
        for mode in [CrashMode::Kill, CrashMode::PowerLoss] {
            let world = world(seed);
            let ring = world.ring(SERVER, ShardId(0));
            ring.block_on(async {
                ring.create_dir_all(Path::new("/data")).await.expect("create");
                put(&ring, "/data/synced", &pattern(5000, 1), Sync::Data).await;
                put(&ring, "/data/unsynced", &pattern(5000, 2), Sync::No).await;
                ring.sync_dir(Path::new("/data")).await.expect("sync");
            });
            world.crash(SERVER, mode);
            let again = world.ring(SERVER, ShardId(0));
            again.block_on(async {
                let synced = again.read_to_vec(Path::new("/data/synced")).await.expect("it was synced, with its names");
                assert_eq!(synced, pattern(5000, 1), "seed {seed}");
                let unsynced = again.read_to_vec(Path::new("/data/unsynced")).await.expect("its name was synced");
                match mode {
                    CrashMode::Kill => assert_eq!(unsynced, pattern(5000, 2), "seed {seed}"),
                    CrashMode::PowerLoss => lost += u32::from(unsynced != pattern(5000, 2)),
                }
            });
        }
    }
    assert!((20..200).contains(&lost), "unsynced data was lost in {lost} of 200 power losses");
}

#[test]
fn unsynced_overwrites_are_torn_at_sectors_and_only_there() {
    const SECTORS: usize = 16;
    let (mut old, mut new, mut mixed, mut reordered) = (0, 0, 0, 0);
    for seed in 0..300 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        ring.block_on(async {
            put(&ring, "/file", &[b'o'; 512 * SECTORS], Sync::Data).await;
            put(&ring, "/file", &[b'n'; 512 * SECTORS / 2], Sync::No).await;
        });
        let second = ring.clone();
        ring.spawn(async move {
            let file = second.open(Path::new("/file"), OpenOptions::READ_WRITE).await.expect("open");
            file.write_at(vec![pattern(0, 0), Bytes::from(vec![b'n'; 512 * SECTORS / 2])], 512 * SECTORS as u64 / 2, Sync::No)
                .await
                .expect("write");
        });
        world.run_for(Duration::from_millis(20));
        world.crash(SERVER, CrashMode::PowerLoss);
        let content = world.peek(SERVER, Path::new("/file")).expect("it was synced");
        let kept: Vec<u8> = content
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector was torn, seed {seed}");
                sector[0]
            })
            .collect();
        assert_eq!(kept.len(), SECTORS);
        match (kept.contains(&b'o'), kept.contains(&b'n')) {
            (true, false) => old += 1,
            (false, true) => new += 1,
            _ => {
                mixed += 1;
                // The later write is on disk where the earlier one is not.
                reordered += u32::from(kept[..SECTORS / 2].contains(&b'o') && kept[SECTORS / 2..].contains(&b'n'));
            }
        }
    }
    assert!(old > 10 && new > 10 && mixed > 50 && reordered > 30, "{old} old, {new} new, {mixed} mixed, {reordered} reordered");
}

#[test]
fn a_synced_write_does_not_speak_for_an_earlier_one() {
    let mut lost = 0;
    for seed in 0..100 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        ring.block_on(async {
            let file = ring.open(Path::new("/file"), OpenOptions::READ_WRITE).await.expect("open");
            file.write_at(vec![Bytes::from(vec![1; 512])], 0, Sync::No).await.expect("write");
            file.write_at(vec![Bytes::from(vec![2; 512])], 1024, Sync::Data).await.expect("write");
        });
        world.crash(SERVER, CrashMode::PowerLoss);
        let content = world.peek(SERVER, Path::new("/file")).expect("synced");
        assert_eq!(content[512..], [[0; 512], [2; 512]].concat());
        assert!(content[..512] == [0; 512] || content[..512] == [1; 512]);
        lost += u32::from(content[0] == 0);
    }
    assert!((10..90).contains(&lost), "{lost}");
}

#[test]
fn a_write_in_flight_at_a_crash_happens_wholly_partly_or_not() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        let file = ring.block_on(async {
            put(&ring, "/file", b"", Sync::Data).await;
            let file = ring.open(Path::new("/file"), OpenOptions::READ_WRITE).await.expect("open");
            file.sync_data().await.expect("sync");
            file
        });
        ring.spawn(async move {
            file.write_at(vec![Bytes::from(vec![1; 100_000])], 0, Sync::Data).await.expect("write");
            unreachable!("the crash comes first");
        });
        world.set_disk_faults(
            SERVER,
            DiskFaults {
                latency_min: Duration::from_secs(1),
                latency_max: Duration::from_secs(1),
                slow_one_in: 0,
                ..DiskFaults::default()
            },
        );
        world.run_for(Duration::from_millis(1));
        world.crash(SERVER, CrashMode::Kill);
        lengths.insert(world.peek(SERVER, Path::new("/file")).expect("synced").len());
    }
    assert!(lengths.contains(&0) && lengths.contains(&100_000) && lengths.len() > 20, "{lengths:?}");
}

#[test]
fn names_survive_a_power_loss_in_order_and_renames_lose_no_file() {
    let (mut kept_counts, mut places) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        ring.block_on(async {
            for dir in ["/names", "/from", "/to"] {
                ring.create_dir(Path::new(dir)).await.expect("create");
            }
            ring.sync_dir(Path::new("/")).await.expect("sync");
            put(&ring, "/from/file", b"content", Sync::Data).await;
            for i in 0..6 {
                ring.open(Path::new(&format!("/names/{i}")), OpenOptions::READ_WRITE).await.expect("open");
            }
            ring.rename(Path::new("/from/file"), Path::new("/to/file")).await.expect("rename");
        });
        world.crash(SERVER, CrashMode::PowerLoss);
        let kept: Vec<bool> = (0..6).map(|i| world.peek(SERVER, Path::new(&format!("/names/{i}"))).is_some()).collect();
        assert!(kept.is_sorted_by(|earlier, later| earlier >= later), "a later name without an earlier one: {kept:?}, seed {seed}");
        kept_counts.insert(kept.iter().filter(|kept| **kept).count());
        let place = ["/from/file", "/to/file"].map(|path| world.peek(SERVER, Path::new(path)).is_some_and(|content| content == b"content"));
        assert_eq!(place.iter().filter(|there| **there).count(), 1, "the file has {place:?}, seed {seed}");
        places.insert(place);
    }
    assert_eq!((kept_counts.len(), places.len()), (7, 2));
}

#[test]
fn atomic_replacement_is_atomic() {
    for seed in 0..300 {
        let world = world(seed);
        let ring = world.ring(SERVER, ShardId(0));
        let acknowledged = Rc::new(Cell::new(0u64));
        let (writing, last) = (ring.clone(), acknowledged.clone());
        ring.spawn(async move {
            for version in 1..u64::MAX {
                writing.write_atomically(Path::new("/meta"), &version.to_be_bytes().repeat(200)).await.expect("write");
                last.set(version);
            }
        });
        let mut rng = world.rng();
        world.run_for(Duration::from_micros(rng.below(30_000)));
        world.crash(SERVER, if seed % 2 == 0 { CrashMode::Kill } else { CrashMode::PowerLoss });
        let content = world.peek(SERVER, Path::new("/meta")).unwrap_or_else(|| 0u64.to_be_bytes().repeat(200));
        let version = u64::from_be_bytes(content[..8].try_into().expect("8 bytes"));
        assert_eq!(content, version.to_be_bytes().repeat(200), "torn, seed {seed}");
        let allowed = acknowledged.get()..=acknowledged.get() + 1;
        assert!(allowed.contains(&version), "version {version} after {} was acknowledged, seed {seed}", acknowledged.get());
    }
}

#[test]
fn after_a_failed_sync_the_data_is_read_back_but_never_becomes_durable() {
    let world = world(11);
    let ring = world.ring(SERVER, ShardId(0));
    ring.block_on(async {
        put(&ring, "/log", &[b'o'; 1024], Sync::Data).await;
        let file = ring.open(Path::new("/log"), OpenOptions::READ_WRITE).await.expect("open");
        file.write_at(vec![Bytes::from(vec![b'n'; 1024])], 0, Sync::No).await.expect("write");
        world.fail_disk(SERVER, DiskFailure { operation: DiskOperation::Sync, path_contains: "log".to_owned(), times: 1 });
        let error = file.sync_data().await.expect_err("on demand");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.sync_data().await.expect("the next one pretends that all is well");
        assert_eq!(ring.read_to_vec(Path::new("/log")).await.expect("read"), [b'n'; 1024]);
    });
    world.crash(SERVER, CrashMode::PowerLoss);
    assert_eq!(world.peek(SERVER, Path::new("/log")).expect("synced"), [b'o'; 1024]);
}

#[test]
fn errors_disk_full_and_bit_rot() {
    let world = world(12);
    let ring = world.ring(SERVER, ShardId(0));
    ring.block_on(async {
        put(&ring, "/file", &[0; 1000], Sync::Data).await;
        let file = ring.open(Path::new("/file"), OpenOptions::READ_WRITE).await.expect("open");
        for operation in [DiskOperation::Read, DiskOperation::Write] {
            world.fail_disk(SERVER, DiskFailure { operation, path_contains: String::new(), times: 1 });
        }
        let (result, buf) = file.read_at(AlignedBuf::zeroed(1000), 0, 1000).await;
        assert_eq!(result.expect_err("on demand").raw_os_error(), Some(libc::EIO));
        let error = file.write_at(vec![pattern(10, 0)], 0, Sync::No).await.expect_err("on demand");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.write_at(vec![Bytes::from(vec![0; 1000])], 0, Sync::No).await.expect("write");

        assert!(world.flip_bit(SERVER, Path::new("/file"), 17, 3));
        assert!(!world.flip_bit(SERVER, Path::new("/file"), 1000, 3));
        let (_, buf) = file.read_at(buf, 0, 1000).await;
        assert_eq!((buf[16], buf[17]), (0, 8));

        world.set_disk_faults(SERVER, DiskFaults { capacity_bytes: 1500, short_one_in: 0, ..DiskFaults::default() });
        assert_eq!(ring.free_bytes(Path::new("/")).await.expect("free"), 500);
        let error = file.write_at(vec![pattern(501, 0)], 1000, Sync::No).await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        put(&ring, "/other", &[1; 500], Sync::No).await;
        ring.remove_file(Path::new("/file")).await.expect("remove");
        assert_eq!(ring.free_bytes(Path::new("/")).await.expect("free"), 1000);
    });
}
