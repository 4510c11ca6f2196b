//! One connection to one broker: version negotiation, correlation ids, requests and responses in order.
//!
//! Requests can be pipelined: `send` several, then `receive` as many, in the same order (Kafka answers a connection
//! in request order). Memory follows the bytes that arrived, never a length that a peer claims.

use crate::config::{ClientConfig, Interrupt};
use crate::error::ClientError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use odradek_wire::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use odradek_wire::{Decodable, DecodeError, Encodable, HeaderVersion, RequestMessage, StrBytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Most unanswered requests on one connection.
pub const IN_FLIGHT_MAX: usize = 1024;
/// Bytes read from the socket at a time.
const READ_CHUNK_BYTES: usize = 256 * 1024;
/// How often a waiting client looks at its interrupt flag.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);
const UNSUPPORTED_VERSION: i16 = 35;

/// A request with its response type: what every call of this crate takes.
pub trait Request: RequestMessage<Response: 'static> {}

impl<T: RequestMessage<Response: 'static>> Request for T {}

/// A request that waits for its response.
#[derive(Debug)]
struct Pending {
    correlation_id: i32,
    version: i16,
    sent: Instant,
}

/// An open, negotiated connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: StrBytes,
    versions: BTreeMap<i16, (i16, i16)>,
    next_correlation_id: i32,
    pending: VecDeque<Pending>,
    incoming: BytesMut,
    outgoing: BytesMut,
    request_timeout: Duration,
    response_bytes_max: usize,
    interrupt: Interrupt,
}

impl Connection {
    /// Connects and asks for the broker's API versions.
    pub fn open(address: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let stream = connect(address, config)?;
        let mut connection = Self {
            stream,
            address: address.to_owned(),
            client_id: StrBytes::from_string(config.client_id.clone()),
            versions: BTreeMap::new(),
            next_correlation_id: 0,
            pending: VecDeque::new(),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            request_timeout: config.request_timeout,
            response_bytes_max: config.response_bytes_max,
            interrupt: config.interrupt.clone(),
        };
        connection.negotiate()?;
        Ok(connection)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the broker serves: API key to lowest and highest version.
    pub fn api_versions(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.versions
    }

    /// Unanswered requests.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// When the oldest unanswered request was sent.
    pub fn oldest_sent(&self) -> Option<Instant> {
        self.pending.front().map(|p| p.sent)
    }

    /// The highest version of a request that both sides know and that is not above `cap`.
    pub fn version<R: Request>(&self, cap: i16) -> Result<i16, ClientError> {
        let unsupported = |detail: String| ClientError::UnsupportedVersion {
            address: self.address.clone(),
            api: odradek_wire::api::name(R::KEY).to_owned(),
            detail,
        };
        let Some(&(min, max)) = self.versions.get(&R::KEY) else { return Err(unsupported("not served at all".to_owned())) };
        let highest = max.min(R::VERSIONS.max).min(cap);
        if highest < min.max(R::VERSIONS.min) {
            return Err(unsupported(format!("broker {min} to {max}, client {} to {}", R::VERSIONS.min, R::VERSIONS.max.min(cap))));
        }
        Ok(highest)
    }

    /// One request and its response, at the highest version both sides know.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>(i16::MAX)?;
        self.call_at(request, version)
    }

    /// One request and its response at a given version.
    pub fn call_at<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, ClientError> {
        self.call_within(request, version, self.request_timeout)
    }

    /// As [`Connection::call_at`] with a timeout of its own, for requests that wait in the broker (JoinGroup, SyncGroup).
    pub fn call_within<R: Request>(&mut self, request: &R, version: i16, timeout: Duration) -> Result<R::Response, ClientError> {
        assert!(self.pending.is_empty(), "call while pipelined requests are outstanding");
        self.send(request, version)?;
        self.receive_within::<R>(timeout)
    }

    /// Sends without waiting.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), ClientError> {
        if self.pending.len() >= IN_FLIGHT_MAX {
            return Err(ClientError::Invalid(format!("more than {IN_FLIGHT_MAX} unanswered requests on one connection")));
        }
        let correlation_id = self.write_request(request, version)?;
        self.pending.push_back(Pending { correlation_id, version, sent: Instant::now() });
        Ok(())
    }

    /// Sends a request that has no response: Produce with acks=0.
    pub fn send_unanswered<R: Request>(&mut self, request: &R, version: i16) -> Result<(), ClientError> {
        self.write_request(request, version).map(|_| ())
    }

    /// The response to the oldest unanswered request, which must be of type `R`.
    pub fn receive<R: Request>(&mut self) -> Result<R::Response, ClientError> {
        self.receive_within::<R>(self.request_timeout)
    }

    pub fn receive_within<R: Request>(&mut self, timeout: Duration) -> Result<R::Response, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return self.decode::<R>(frame);
            }
            if !self.wait_readable(deadline)? {
                return Err(ClientError::Timeout {
                    doing: format!("waiting for {} to answer {}", self.address, odradek_wire::api::name(R::KEY)),
                    after: timeout,
                });
            }
            self.read_some()?;
        }
    }

    /// True when a whole response is buffered; reads what the socket has, without waiting.
    pub fn response_ready(&mut self) -> Result<bool, ClientError> {
        while self.frame_bytes()?.is_none() {
            if !readable(&self.stream, Duration::ZERO) {
                return Ok(false);
            }
            self.read_some()?;
        }
        Ok(true)
    }

    fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("odradek-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        // KIP-511: a broker that does not know the version answers version 0 with UNSUPPORTED_VERSION; then ask again with 0.
        for version in [3, 0] {
            self.send(&request, version)?;
            let timeout = self.request_timeout;
            let response = self.receive_within::<ApiVersionsRequest>(timeout)?;
            if response.error_code == UNSUPPORTED_VERSION && version > 0 {
                continue;
            }
            ClientError::check(response.error_code, format!("ApiVersions of {}", self.address), None)?;
            self.versions = response.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version))).collect();
            return Ok(());
        }
        Err(self.protocol("no version of ApiVersions was accepted".to_owned()))
    }

    fn write_request<R: Request>(&mut self, request: &R, version: i16) -> Result<i32, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1) & i32::MAX;
        self.outgoing.clear();
        self.outgoing.put_i32(0);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let encoded =
            header.encode(&mut self.outgoing, R::header_version(version)).and_then(|()| request.encode(&mut self.outgoing, version));
        if let Err(error) = encoded {
            return Err(ClientError::Invalid(format!(
                "{} version {version} cannot carry this request: {error}",
                odradek_wire::api::name(R::KEY)
            )));
        }
        let body_bytes = (self.outgoing.len() - 4) as i32;
        self.outgoing[..4].copy_from_slice(&body_bytes.to_be_bytes());
        self.stream.write_all(&self.outgoing).map_err(|e| self.disconnected(e.to_string()))?;
        Ok(correlation_id)
    }

    fn decode<R: Request>(&mut self, mut frame: Bytes) -> Result<R::Response, ClientError> {
        let Some(pending) = self.pending.pop_front() else { return Err(self.protocol("a response nobody asked for".to_owned())) };
        if frame.len() < 4 {
            return Err(self.protocol(format!("a response of {} bytes", frame.len())));
        }
        let correlation_id = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        if correlation_id != pending.correlation_id {
            return Err(self.protocol(format!("correlation id {correlation_id} where {} was expected", pending.correlation_id)));
        }
        let mut version = pending.version;
        if R::KEY == ApiVersionsRequest::KEY && frame.len() >= 6 && i16::from_be_bytes([frame[4], frame[5]]) == UNSUPPORTED_VERSION {
            version = 0;
        }
        let name = odradek_wire::api::name(R::KEY);
        ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .map_err(|e| e.to_string())
            .and_then(|_| decode_body::<R>(&mut frame, version))
            .map_err(|e| self.protocol(format!("{name} version {version}: {e}")))
    }

    /// Length of the first buffered frame when it is whole.
    fn frame_bytes(&self) -> Result<Option<usize>, ClientError> {
        let Some(prefix) = self.incoming.first_chunk::<4>() else { return Ok(None) };
        let claimed = i32::from_be_bytes(*prefix);
        if claimed < 4 || claimed as usize > self.response_bytes_max {
            return Err(self.protocol(format!("a response length of {claimed}, allowed are 4 to {}", self.response_bytes_max)));
        }
        Ok((self.incoming.len() - 4 >= claimed as usize).then_some(claimed as usize))
    }

    fn buffered_frame(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Some(bytes) = self.frame_bytes()? else { return Ok(None) };
        self.incoming.advance(4);
        Ok(Some(self.incoming.split_to(bytes).freeze()))
    }

    fn read_some(&mut self) -> Result<(), ClientError> {
        let len = self.incoming.len();
        self.incoming.resize(len + READ_CHUNK_BYTES, 0);
        let result = self.stream.read(&mut self.incoming[len..]);
        self.incoming.truncate(len + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => Err(self.disconnected("closed by the broker".to_owned())),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(self.disconnected(e.to_string())),
        }
    }

    fn wait_readable(&self, deadline: Instant) -> Result<bool, ClientError> {
        loop {
            if self.interrupt.is_raised() {
                return Err(ClientError::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if readable(&self.stream, left.min(INTERRUPT_CHECK)) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    fn disconnected(&self, reason: String) -> ClientError {
        ClientError::Disconnected { address: self.address.clone(), reason }
    }

    fn protocol(&self, detail: String) -> ClientError {
        ClientError::Protocol { address: self.address.clone(), detail }
    }
}

/// Decodes a response; where wire has a schema of it, its array lengths are checked against the bytes first.
fn decode_body<R: Request>(body: &mut Bytes, version: i16) -> Result<R::Response, String> {
    match odradek_wire::decode_response::<R::Response>(R::KEY, body, version) {
        Err(DecodeError::UnsupportedVersion { .. }) => R::Response::decode(body, version).map_err(|e| e.to_string()),
        other => other.map_err(|e| e.to_string()),
    }
}

/// Waits until one of the connections has bytes to read, or the time is over. Returns early when interrupted by a signal.
pub fn wait_any<'a>(connections: impl Iterator<Item = &'a Connection>, timeout: Duration) {
    let streams: Vec<&TcpStream> = connections.map(|c| &c.stream).collect();
    let mut entries: Vec<PollFd<'_>> = streams.iter().map(|s| PollFd::new(*s, PollFlags::IN)).collect();
    // An error (EINTR) means "look again", which is what the caller does anyway.
    let _ = poll(&mut entries, Some(&timespec(timeout)));
}

fn readable(stream: &TcpStream, timeout: Duration) -> bool {
    let mut entries = [PollFd::new(stream, PollFlags::IN)];
    matches!(poll(&mut entries, Some(&timespec(timeout))), Ok(n) if n > 0)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().min(i64::MAX as u64) as i64, tv_nsec: duration.subsec_nanos().into() }
}

fn connect(address: &str, config: &ClientConfig) -> Result<TcpStream, ClientError> {
    let failed = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
    let candidates = address.to_socket_addrs().map_err(|e| failed(e.to_string()))?;
    let mut reason = "the name has no address".to_owned();
    for candidate in candidates {
        match TcpStream::connect_timeout(&candidate, config.connect_timeout) {
            Ok(stream) => {
                let ready = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(config.request_timeout)));
                ready.map_err(|e| failed(e.to_string()))?;
                return Ok(stream);
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(failed(reason))
}
