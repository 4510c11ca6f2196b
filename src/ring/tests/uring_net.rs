//! Sockets and timers on io_uring.

mod shared;

use bytes::Bytes;
use odradek_ring::{ListenOptions, Ring, RingConfig};
use shared::{Reader, any_port, pattern, pipelined_echo, start_echo};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

fn ring() -> Ring {
    Ring::new(RingConfig::default()).expect("io_uring")
}

/// Few and small buffers, so that they run out quickly.
fn ring_with_tiny_buffers() -> Ring {
    let config = RingConfig { recv_buffers: 2, recv_buffer_bytes: 8192, recv_copy_bytes_max: 16, ..RingConfig::default() };
    Ring::new(config).expect("io_uring")
}

#[test]
fn the_features_name_what_was_granted() {
    let features = ring().features();
    assert_eq!(features.backend, "io_uring");
    assert!(features.has("DEFER_TASKRUN") || !features.refused.is_empty(), "{features}");
}

#[test]
fn echo_with_pipelining_on_many_connections() {
    let ring = ring();
    let addr = start_echo(&ring, any_port());
    let done = Rc::new(Cell::new(0));
    for _ in 0..20 {
        let (ring2, done) = (ring.clone(), done.clone());
        ring.spawn(async move {
            pipelined_echo(&ring2, addr, 50, 700).await;
            done.set(done.get() + 1);
        });
    }
    ring.block_on(async {
        while done.get() < 20 {
            ring.sleep(Duration::from_millis(1)).await;
        }
    });
    let stats = ring.stats();
    assert!(stats.enters > 0 && stats.cqes > 1000 && stats.sqes > 1000, "{stats:?}");
    ring.shutdown();
}

#[test]
fn sends_larger_than_any_socket_buffer_arrive_whole() {
    let ring = ring();
    let addr = start_echo(&ring, any_port());
    ring.block_on(pipelined_echo(&ring, addr, 3, 20 << 20));
    ring.shutdown();
}

#[test]
fn more_parts_than_one_call_takes() {
    let ring = ring();
    let addr = start_echo(&ring, any_port());
    let parts: Vec<Bytes> = (0..5000u32).map(|i| pattern(1 + i as usize % 7, i)).collect();
    let whole = parts.concat();
    ring.block_on(async {
        let stream = ring.connect(addr).await.expect("connect");
        stream.send(parts).await.expect("send");
        assert_eq!(Reader::new(stream).exactly(whole.len()).await, whole);
    });
    ring.shutdown();
}

#[test]
fn timers_fire_in_order_and_timeouts_give_up() {
    let ring = ring();
    let order = Rc::new(RefCell::new(Vec::new()));
    ring.block_on(async {
        let start = ring.now();
        for millis in [9u64, 3, 6] {
            let (sleep, order) = (ring.sleep(Duration::from_millis(millis)), order.clone());
            ring.spawn(async move {
                sleep.await;
                order.borrow_mut().push(millis);
            });
        }
        let never = std::future::pending::<()>();
        assert!(ring.timeout(start + Duration::from_millis(12), never).await.is_none());
        assert!(ring.now() >= start + Duration::from_millis(12));
        assert_eq!(ring.timeout(start + Duration::from_secs(60), async { 7 }).await, Some(7));
    });
    assert_eq!(*order.borrow(), [3, 6, 9]);
}

#[test]
fn a_task_that_is_always_runnable_starves_nobody() {
    let ring = ring();
    let addr = start_echo(&ring, any_port());
    let busy = ring.clone();
    ring.spawn(async move {
        loop {
            busy.yield_now().await;
        }
    });
    ring.block_on(async {
        pipelined_echo(&ring, addr, 200, 100).await;
        ring.sleep(Duration::from_millis(2)).await;
    });
    ring.shutdown();
}

#[test]
fn a_slow_reader_stops_its_sender_and_nobody_else() {
    // Buffers enough, so that it is the bound per stream that stops the receiving.
    let config = RingConfig { recv_unread_bytes_max: 64 * 1024, recv_buffers: 256, recv_buffer_bytes: 64 * 1024, ..RingConfig::default() };
    let ring = Ring::new(config).expect("io_uring");
    let addr = start_echo(&ring, any_port());
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let to = listener.local_addr();
    const TOTAL: usize = 32 << 20;
    let sent = Rc::new(Cell::new(false));
    let (sending, ring2) = (sent.clone(), ring.clone());
    ring.spawn(async move {
        let stream = ring2.connect(to).await.expect("connect");
        stream.send(vec![pattern(TOTAL, 5)]).await.expect("send");
        sending.set(true);
    });
    ring.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        let mut reader = Reader::new(stream);
        let start = reader.exactly(10).await;
        // The rest is not read: the sender gets stuck, everybody else goes on.
        ring.sleep(Duration::from_millis(50)).await;
        let received = ring.stats().recv_bytes;
        assert!(received < 8 << 20, "{received} bytes were taken off the socket for nobody");
        pipelined_echo(&ring, addr, 300, 20_000).await;
        assert!(!sent.get(), "32 MiB went into a connection that nobody reads");
        let rest = reader.exactly(TOTAL - 10).await;
        assert_eq!([start, rest].concat(), pattern(TOTAL, 5));
        assert!(reader.exactly(1).await.is_empty(), "the end, after everything");
    });
    assert!(sent.get());
    ring.shutdown();
}

#[test]
fn receiving_goes_on_while_every_chunk_is_kept() {
    let ring = ring_with_tiny_buffers();
    let addr = start_echo(&ring, any_port());
    ring.block_on(async {
        let stream = ring.connect(addr).await.expect("connect");
        let sender = stream.clone();
        ring.spawn(async move { sender.send(vec![pattern(1 << 20, 3)]).await.expect("send") });
        let mut kept: Vec<Bytes> = Vec::new();
        while kept.iter().map(Bytes::len).sum::<usize>() < 1 << 20 {
            kept.push(stream.recv().await.expect("receive"));
        }
        assert_eq!(kept.concat(), pattern(1 << 20, 3), "a kept chunk was overwritten");
        // Dropped elsewhere, the pinned buffers still come back.
        std::thread::spawn(move || drop(kept)).join().expect("thread");
        pipelined_echo(&ring, addr, 50, 10_000).await;
    });
    let stats = ring.stats();
    assert!(stats.recv_copied_bytes < stats.recv_bytes, "no chunk was passed on in place: {stats:?}");
    assert!(stats.recv_copied_bytes > 0, "nothing was copied although all buffers were in use: {stats:?}");
    ring.shutdown();
}

#[test]
fn many_streams_share_few_buffers() {
    let ring = ring_with_tiny_buffers();
    let addr = start_echo(&ring, any_port());
    let done = Rc::new(Cell::new(0));
    for _ in 0..16 {
        let (ring2, done) = (ring.clone(), done.clone());
        ring.spawn(async move {
            pipelined_echo(&ring2, addr, 20, 30_000).await;
            done.set(done.get() + 1);
        });
    }
    ring.block_on(async {
        while done.get() < 16 {
            ring.sleep(Duration::from_millis(1)).await;
        }
    });
    ring.shutdown();
}

#[test]
fn a_dropped_receive_loses_nothing() {
    let ring = ring();
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let mut peer = TcpStream::connect(listener.local_addr()).expect("connect");
    ring.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        for _ in 0..5 {
            assert!(ring.timeout(ring.now() + Duration::from_millis(1), stream.recv()).await.is_none());
        }
        peer.write_all(b"whole").expect("write");
        assert_eq!(Reader::new(stream).exactly(5).await, b"whole");
    });
    ring.shutdown();
}

#[test]
fn a_dropped_send_breaks_the_stream_but_keeps_its_memory_until_the_kernel_is_done() {
    let ring = ring();
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let mut peer = TcpStream::connect(listener.local_addr()).expect("connect");
    ring.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        let send = stream.send(vec![pattern(64 << 20, 1)]);
        assert!(ring.timeout(ring.now() + Duration::from_millis(20), send).await.is_none(), "64 MiB fit nowhere");
        let error = stream.send(vec![Bytes::from_static(b"x")]).await.expect_err("half a message is out");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(stream);
        // The close is queued; a turn of the loop submits it.
        ring.sleep(Duration::from_millis(1)).await;
    });
    let mut received = Vec::new();
    // A reset or an end, depending on what was left in the queues.
    let _ = peer.read_to_end(&mut received);
    assert!(!received.is_empty() && received.len() < 64 << 20);
    assert_eq!(received, pattern(64 << 20, 1)[..received.len()]);
    ring.shutdown();
}

#[test]
fn dropping_a_stream_closes_the_connection_though_a_receive_is_armed() {
    let ring = ring();
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let mut peer = TcpStream::connect(listener.local_addr()).expect("connect");
    ring.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        assert!(ring.timeout(ring.now() + Duration::from_millis(1), stream.recv()).await.is_none());
        drop(stream);
        for _ in 0..3 {
            ring.sleep(Duration::from_millis(1)).await;
        }
    });
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    assert_eq!(peer.read(&mut [0; 8]).expect("the end, not a timeout"), 0);
    ring.shutdown();
}

#[test]
fn end_reset_and_refusal() {
    let ring = ring();
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let addr = listener.local_addr();
    ring.block_on(async {
        let peer = TcpStream::connect(addr).expect("connect");
        let (stream, from) = listener.accept().await.expect("accept");
        assert_eq!((from, stream.peer_addr()), (peer.local_addr().expect("address"), from));
        drop(peer);
        for _ in 0..2 {
            assert!(stream.recv().await.expect("an orderly end").is_empty());
        }

        let peer = TcpStream::connect(addr).expect("connect");
        let (stream, _) = listener.accept().await.expect("accept");
        stream.send(vec![Bytes::from_static(b"never read")]).await.expect("send");
        ring.sleep(Duration::from_millis(5)).await;
        // Closing with unread data resets the connection.
        drop(peer);
        for _ in 0..2 {
            assert_eq!(stream.recv().await.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
        }

        let (_peer, stream) = (TcpStream::connect(addr).expect("connect"), listener.accept().await.expect("accept").0);
        let waiting = stream.clone();
        ring.spawn(async move { waiting.shutdown() });
        assert!(stream.recv().await.expect("shut down by ourselves").is_empty());
        assert!(stream.send(vec![Bytes::from_static(b"x")]).await.is_err());

        drop(listener);
        for _ in 0..3 {
            ring.sleep(Duration::from_millis(1)).await;
        }
        let refused = ring.connect(addr).await.err().expect("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // The port is free at once.
        drop(ring.listen(addr, ListenOptions::default()).expect("listen again"));
    });
    ring.shutdown();
}

#[test]
fn a_busy_port_is_refused_and_a_shared_one_is_not() {
    let ring = ring();
    let first = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let error = ring.listen(first.local_addr(), ListenOptions::default()).err().expect("the port is busy");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let first = ring.listen(any_port(), shared).expect("listen");
    ring.listen(first.local_addr(), shared).expect("share the port");
}

#[test]
fn shutdown_drops_tasks_and_leaves_no_operation_behind() {
    let ring = ring();
    let dropped = Rc::new(Cell::new(0));
    struct CountDrop(Rc<Cell<u32>>);
    impl Drop for CountDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let listener = ring.listen(any_port(), ListenOptions::default()).expect("listen");
    let addr = listener.local_addr();
    for kind in 0..3 {
        let (ring2, guard) = (ring.clone(), CountDrop(dropped.clone()));
        let listener = (kind == 0).then(|| ring2.listen(any_port(), ListenOptions::default()).expect("listen"));
        ring.spawn(async move {
            let _guard = guard;
            match kind {
                0 => drop(listener.expect("made above").accept().await),
                1 => ring2.sleep(Duration::from_secs(1000)).await,
                _ => drop(ring2.connect(addr).await.expect("connect").recv().await),
            }
        });
    }
    ring.block_on(async {
        let (stream, _) = listener.accept().await.expect("accept");
        ring.sleep(Duration::from_millis(2)).await;
        drop(stream);
    });
    ring.shutdown();
    assert_eq!(dropped.get(), 3);
    assert_eq!(ring.task_count(), 0);
    ring.spawn(async { panic!("a ring that was shut down runs nothing") });
}
