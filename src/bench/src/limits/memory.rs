//! Memory and loopback.

use crate::BenchError;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Larger than the caches of one core.
const AREA_BYTES: usize = 64 << 20;
/// The size of a large response, where loopback is fastest.
const CHUNK_BYTES: usize = 256 << 10;

/// Repeats until the time is over; bytes a second in megabytes.
fn rate(time: Duration, bytes: usize, mut once: impl FnMut()) -> f64 {
    // The first touch of memory is another thing.
    once();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time || count == 0 {
        once();
        count += 1;
    }
    (count * bytes) as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

pub fn copy(time: Duration) -> f64 {
    let (from, mut to) = (vec![1u8; AREA_BYTES], vec![0u8; AREA_BYTES]);
    rate(time, AREA_BYTES, || black_box(&mut to).copy_from_slice(black_box(&from)))
}

pub fn crc(time: Duration) -> f64 {
    let area = vec![1u8; AREA_BYTES];
    rate(time, AREA_BYTES, || {
        black_box(crc32c::crc32c(black_box(&area)));
    })
}

fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

/// One stream from one thread to another, in megabytes a second.
pub fn loopback_stream(time: Duration) -> Result<f64, BenchError> {
    let (mut near, mut far) = pair()?;
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut total = 0;
        while let Ok(n) = far.read(&mut buffer) {
            if n == 0 {
                break;
            }
            total += n;
        }
        total
    });
    let chunk = vec![7; CHUNK_BYTES];
    let begun = Instant::now();
    while begun.elapsed() < time {
        near.write_all(&chunk)?;
    }
    drop(near);
    let total = reader.join().map_err(|_| BenchError::Broker("the reading thread of the loopback measurement failed".to_owned()))?;
    Ok(total as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// Median time for a byte there and back, in milliseconds.
pub fn loopback_round_trip(time: Duration) -> Result<f64, BenchError> {
    let (mut near, mut far) = pair()?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < time || times.is_empty() {
        let sent = Instant::now();
        near.write_all(&[1])?;
        near.read_exact(&mut [0])?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    drop(near);
    // It ends with the connection; how is of no interest.
    let _ = echo.join();
    Ok(crate::stats::median_of(&times))
}
