//! As much of an HTTP/1.1 server as a scrape needs: one GET per connection, a short head, bounds on everything.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that are answered at the same time; more are closed at once.
const CONNECTIONS_MAX: usize = 16;
/// What one connection may take from its first byte to its last.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// What is still read of a request that was refused, and for how long.
const LINGER_BYTES_MAX: usize = 64 * 1024;
const LINGER_MAX: Duration = Duration::from_millis(500);
const HEADERS_MAX: usize = 64;
/// Pause after an accept that failed: waiting for a free descriptor is all that helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Answer {
    pub status: &'static str,
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    pub fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: "200 OK", content_type, body }
    }

    fn plain(status: &'static str) -> Self {
        Self { status, content_type: "text/plain", body: format!("{status}\n") }
    }
}

/// Gives the answer to a GET of a path.
pub type Handler = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// The accepting thread. Dropping it ends it and closes the listener.
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: TcpListener, handler: Handler) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || accept(&listener, &handler, &stop))?;
        Ok(Self { address, stopping, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the accept. Where that fails the thread ends with the process.
        if TcpStream::connect_timeout(&self.address, CONNECTION_MAX).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, handler: &Handler, stopping: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        let place = Place(open.clone());
        if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            continue;
        }
        let handler = handler.clone();
        // Without a thread the connection is closed, and the place given back.
        let _ = std::thread::Builder::new().name("metrics-client".into()).spawn(move || {
            let _place = place;
            // A client that went away is nobody's loss.
            let _ = serve(stream, &*handler, Instant::now() + CONNECTION_MAX);
        });
    }
}

/// One of the connections at a time.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(mut stream: TcpStream, handler: &dyn Fn(&str) -> Answer, deadline: Instant) -> io::Result<()> {
    let head = read_head(&mut stream, deadline)?;
    let all_read = matches!(head, Head::Get(_));
    let answer = match head {
        Head::Get(path) => handler(path.split('?').next().unwrap_or_default()),
        Head::OtherMethod => Answer::plain("405 Method Not Allowed"),
        Head::Malformed => Answer::plain("400 Bad Request"),
        Head::TooLarge => Answer::plain("431 Request Header Fields Too Large"),
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAllow: GET\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    write_all(&mut stream, head.as_bytes(), deadline)?;
    write_all(&mut stream, answer.body.as_bytes(), deadline)?;
    if !all_read {
        linger(&mut stream, deadline)?;
    }
    Ok(())
}

/// Reads what the client still sends: closing with unread bytes resets the connection, and the client would not see its answer.
fn linger(stream: &mut TcpStream, deadline: Instant) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = deadline.min(Instant::now() + LINGER_MAX);
    let (mut piece, mut all) = ([0; 1024], 0);
    while all < LINGER_BYTES_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => all += read,
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Head {
    Get(String),
    OtherMethod,
    Malformed,
    TooLarge,
}

fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<Head> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        if let Some(head) = parse(&head) {
            return Ok(head);
        }
    }
}

/// `None` until the head is whole.
fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Some(match (request.method, request.path) {
            (Some("GET"), Some(path)) => Head::Get(path.to_owned()),
            (Some(_), Some(_)) => Head::OtherMethod,
            _ => Head::Malformed,
        }),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Some(Head::TooLarge),
        Err(_) => Some(Head::Malformed),
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        let written = stream.write(bytes)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let table: &[(&[u8], Option<Head>)] = &[
            (b"", None),
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(Head::Get("/metrics".to_owned()))),
            (b"GET /metrics HTTP/1.0\r\n\r\n", Some(Head::Get("/metrics".to_owned()))),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Some(Head::OtherMethod)),
            (b"\0\0\0\x10", Some(Head::Malformed)),
        ];
        for (bytes, expected) in table {
            assert_eq!(&parse(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(&[b"GET / HTTP/1.1\r\nA: ", &[b'x'; HEAD_BYTES_MAX][..]].concat()), Some(Head::TooLarge));
        assert_eq!(parse(&[b"GET / HTTP/1.1\r\n", &b"A: b\r\n".repeat(HEADERS_MAX + 1)[..]].concat()), Some(Head::TooLarge));
    }
}
