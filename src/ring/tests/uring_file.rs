//! Files on io_uring, in a directory under the build's target directory (a real file system, unlike a tmpfs).

use bytes::Bytes;
use odradek_base::{AlignedBuf, BLOCK_ALIGNMENT};
use odradek_ring::{File, OpenOptions, Ring, RingConfig, Sync};
use std::io::ErrorKind;
use std::path::Path;
use tempfile::TempDir;

fn ring_and_dir() -> (Ring, TempDir) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary directory");
    (Ring::new(RingConfig::default()).expect("io_uring"), dir)
}

fn block(fill: u8, blocks: usize) -> Bytes {
    let mut buf = AlignedBuf::zeroed(blocks * BLOCK_ALIGNMENT);
    buf.fill(fill);
    buf.freeze()
}

/// Opens with direct I/O, or without where the file system has none (a tmpfs of old).
async fn open_direct(ring: &Ring, path: &Path) -> File {
    match ring.open(path, OpenOptions::READ_WRITE.direct(true)).await {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ring.open(path, OpenOptions::READ_WRITE).await.expect("open"),
        result => result.expect("open"),
    }
}

#[test]
fn direct_writes_and_reads() {
    let (ring, dir) = ring_and_dir();
    ring.block_on(async {
        let file = open_direct(&ring, &dir.path().join("journal")).await;
        file.allocate(16 * 4096).await.expect("allocate");
        assert_eq!(file.len().await.expect("len"), 16 * 4096);
        file.write_at(vec![block(1, 2), block(2, 1)], 4096, Sync::Data).await.expect("write");
        file.write_at(vec![block(3, 1)], 8 * 4096, Sync::No).await.expect("write");
        file.sync_data().await.expect("sync");
        let (count, buf) = file.read_at(AlignedBuf::zeroed(64 * 4096), 0, 64 * 4096).await;
        assert_eq!(count.expect("read"), 16 * 4096, "the read ends with the file");
        for (block, fill) in [(0, 0), (1, 1), (2, 1), (3, 2), (4, 0), (8, 3), (15, 0)] {
            assert!(buf[block * 4096..(block + 1) * 4096].iter().all(|&byte| byte == fill), "block {block}");
        }
        file.truncate(4096 + 10).await.expect("truncate");
        let (count, buf) = file.read_at(buf, 4096, 4096).await;
        assert_eq!(count.expect("read"), 10);
        assert_eq!(buf[..10], [1; 10]);
        let (count, _) = file.read_at(buf, 1 << 20, 4096).await;
        assert_eq!(count.expect("read"), 0, "beyond the end");
    });
}

#[test]
#[should_panic(expected = "not aligned")]
fn unaligned_direct_writes_are_a_bug_of_the_caller() {
    let (ring, dir) = ring_and_dir();
    ring.block_on(async {
        let file = ring.open(&dir.path().join("file"), OpenOptions::READ_WRITE.direct(true)).await.expect("open");
        let _ = file.write_at(vec![Bytes::from_static(b"abc")], 0, Sync::No).await;
    });
}

#[test]
fn many_small_parts_are_written_in_order() {
    let (ring, dir) = ring_and_dir();
    let path = dir.path().join("file");
    let parts: Vec<Bytes> = (0..3000u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes()[..1 + i as usize % 4])).collect();
    let whole = parts.concat();
    ring.block_on(async {
        let file = ring.open(&path, OpenOptions::READ_WRITE).await.expect("open");
        file.write_at(parts, 7, Sync::Data).await.expect("write");
        let content = ring.read_to_vec(&path).await.expect("read");
        assert_eq!(content[..7], [0; 7]);
        assert_eq!(content[7..], whole);
    });
}

#[test]
fn directories_names_and_atomic_replacement() {
    let (ring, dir) = ring_and_dir();
    let root = dir.path();
    ring.block_on(async {
        let deep = root.join("a/b/c");
        ring.create_dir_all(&deep).await.expect("create");
        ring.create_dir_all(&deep).await.expect("create again");
        ring.write_atomically(&root.join("a/meta"), b"one").await.expect("write");
        ring.write_atomically(&root.join("a/meta"), b"second").await.expect("replace");
        assert_eq!(ring.read_to_vec(&root.join("a/meta")).await.expect("read"), b"second");
        let names: Vec<_> =
            ring.read_dir(&root.join("a")).await.expect("read_dir").into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
        assert_eq!(names, [("b".to_owned(), true), ("meta".to_owned(), false)]);
        assert_eq!(ring.metadata(&root.join("a/meta")).await.expect("metadata").len, 6);

        ring.rename(&root.join("a"), &root.join("z")).await.expect("rename");
        ring.sync_dir(root).await.expect("sync");
        assert!(!ring.exists(&root.join("a")).await.expect("exists"));
        let error = ring.create_dir_all(&root.join("z/meta/d")).await.expect_err("a file is in the way");
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
        let error = ring.create_dir_all(&root.join("z/meta")).await.expect_err("a file is in the way");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        ring.remove_dir_all(&root.join("z")).await.expect("remove");
        assert!(ring.read_dir(root).await.expect("read_dir").is_empty());
        let error = ring.open(&root.join("gone"), OpenOptions::READ).await.err().expect("no such file");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(ring.free_bytes(root).await.expect("statvfs") > 0);
    });
}

#[test]
fn create_new_and_truncate() {
    let (ring, dir) = ring_and_dir();
    let path = dir.path().join("file");
    ring.block_on(async {
        let new = OpenOptions { create_new: true, ..OpenOptions::READ_WRITE };
        let file = ring.open(&path, new).await.expect("open");
        file.write_at(vec![Bytes::from_static(b"abc")], 0, Sync::No).await.expect("write");
        assert_eq!(ring.open(&path, new).await.err().expect("it exists").kind(), ErrorKind::AlreadyExists);
        let file = ring.open(&path, OpenOptions { truncate: true, ..OpenOptions::READ_WRITE }).await.expect("open");
        assert!(file.is_empty().await.expect("len"));
    });
}

#[test]
fn dropped_file_operations_run_to_their_end_with_their_memory() {
    let (ring, dir) = ring_and_dir();
    let path = dir.path().join("file");
    ring.block_on(async {
        let file = ring.open(&path, OpenOptions::READ_WRITE).await.expect("open");
        for i in 0..64u64 {
            let write = file.write_at(vec![block(i as u8, 16)], i * 16 * 4096, Sync::Data);
            // Polled once, so that it is submitted, then dropped.
            assert!(ring.timeout(ring.now(), write).await.is_none());
            let read = file.read_at(AlignedBuf::zeroed(1 << 20), 0, 1 << 20);
            assert!(ring.timeout(ring.now(), read).await.is_none());
            assert!(ring.timeout(ring.now(), ring.open(&path, OpenOptions::READ)).await.is_none());
        }
        // Ordered after the writes only by their completion, so ask until all are there.
        while file.len().await.expect("len") < 64 * 16 * 4096 {
            ring.yield_now().await;
        }
        file.sync_all().await.expect("sync");
    });
    ring.shutdown();
    let content = std::fs::read(&path).expect("read");
    assert!((0..64usize).all(|i| content[i * 65536..(i + 1) * 65536].iter().all(|&byte| byte == i as u8)));
}
