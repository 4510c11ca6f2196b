//! Messages between threads.

use odradek_base::ShardId;
use odradek_ring::mesh::{OVERFLOW_MESSAGES_MAX, mesh};
use odradek_ring::{Ring, RingConfig};
use std::time::Duration;

fn ring() -> Ring {
    Ring::new(RingConfig { recv_buffers: 2, recv_buffer_bytes: 4096, ..RingConfig::default() }).expect("io_uring")
}

#[test]
fn ping_pong_wakes_a_sleeping_shard() {
    let mut ports = mesh::<u32>(2, 8);
    let (second, first) = (ports.pop().expect("port"), ports.pop().expect("port"));
    let echo = std::thread::spawn(move || {
        let ring = ring();
        let port = second.attach(&ring);
        ring.block_on(async {
            loop {
                let (from, message) = port.recv().await;
                port.send(from, message).expect("send");
                if message == u32::MAX {
                    return;
                }
            }
        });
        // The last answer must not be lost in the overflow.
        ring.block_on(async {
            while port.overflow_count() > 0 {
                ring.sleep(Duration::from_millis(1)).await;
            }
        });
        ring.shutdown();
    });
    let ring = ring();
    let port = first.attach(&ring);
    ring.block_on(async {
        for message in (0..2000).chain([u32::MAX]) {
            port.send(ShardId(1), message).expect("send");
            assert_eq!(port.recv().await, (ShardId(1), message));
            if message % 500 == 0 {
                // Both sides go to sleep.
                ring.sleep(Duration::from_millis(3)).await;
            }
        }
    });
    echo.join().expect("thread");
    ring.shutdown();
}

#[test]
fn a_flood_from_all_sides_arrives_whole_and_in_order() {
    const SHARDS: usize = 3;
    const MESSAGES: u64 = 20_000;
    let threads: Vec<_> = mesh::<u64>(SHARDS, 16)
        .into_iter()
        .map(|port| {
            std::thread::spawn(move || {
                let ring = ring();
                let port = port.attach(&ring);
                let sender = port.clone();
                let ring2 = ring.clone();
                ring.spawn(async move {
                    for message in 0..MESSAGES {
                        for shard in 0..SHARDS as u16 {
                            sender.send(ShardId(shard), message).expect("send");
                        }
                        if message % 64 == 0 {
                            ring2.yield_now().await;
                        }
                    }
                });
                ring.block_on(async {
                    let mut next = [0; SHARDS];
                    while next.iter().any(|&next| next < MESSAGES) {
                        let (from, message) = port.recv().await;
                        assert_eq!(message, next[usize::from(from.0)], "from {from}");
                        next[usize::from(from.0)] += 1;
                    }
                    while port.overflow_count() > 0 {
                        ring.sleep(Duration::from_millis(1)).await;
                    }
                });
                ring.shutdown();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("thread"));
}

#[test]
fn a_stuck_receiver_is_reported_at_the_bound() {
    let mut ports = mesh::<usize>(2, 4);
    let _stuck = ports.pop();
    let ring = ring();
    let port = ports.pop().expect("port").attach(&ring);
    for message in 0..4 + OVERFLOW_MESSAGES_MAX {
        port.send(ShardId(1), message).expect("within the bound");
    }
    assert!(port.send(ShardId(1), 0).is_err());
    assert_eq!(port.overflow_count(), OVERFLOW_MESSAGES_MAX);
    ring.shutdown();
}

#[test]
fn the_public_waker_turns_a_sleeping_loop() {
    let ring = ring();
    let waker = ring.waker();
    let turns = ring.stats().turns;
    let thread = std::thread::spawn(move || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(2));
            waker.wake();
        }
    });
    ring.block_on(ring.sleep(Duration::from_millis(50)));
    thread.join().expect("thread");
    assert!(ring.stats().turns - turns >= 5, "{:?}", ring.stats());
}
