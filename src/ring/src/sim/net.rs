//! The network between the hosts: listeners, connections, partitions.
//!
//! Sans-io: calls change state and say through [`Effects`] what shall happen when, and who is to be woken.

mod outages;

use super::{HostId, NetworkFaults};
use crate::net::ListenOptions;
use bytes::Bytes;
use odradek_base::{Instant, Rng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

/// Bytes under way to or unread at a receiver before its sender stops.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// Largest piece that arrives at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

const EPHEMERAL_PORTS_START: u16 = 32768;

pub(super) type ListenerId = u64;
pub(super) type ConnectId = u64;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct EndId {
    connection: u64,
    side: usize,
}

impl EndId {
    fn other(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }

    pub(super) fn number(self) -> u64 {
        self.connection * 2 + self.side as u64
    }
}

/// Something that happens later.
#[derive(Clone, Copy, Debug)]
pub(super) enum NetEvent {
    /// The next piece arrives at an end.
    Arrive(EndId),
    /// A connect reaches its host.
    Knock(ConnectId),
    /// Nobody answered a connect.
    GiveUp(ConnectId),
    /// An end that is still cut off gives up. The number tells outages apart.
    TimeOut(EndId, u64),
    /// A host that came back denies all knowledge.
    Deny(EndId),
}

/// What a call causes.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) later: Vec<(Instant, NetEvent)>,
    pub(super) wake: Vec<Waker>,
    /// For the trace.
    pub(super) trace: Vec<u64>,
}

enum Piece {
    Data(Bytes),
    End,
    Reset,
}

/// Why nothing more comes.
#[derive(Clone, Copy)]
enum Ended {
    Orderly,
    Failed(i32),
}

struct End {
    host: HostId,
    peer: SocketAddr,
    /// Sent to this end and not arrived.
    under_way: VecDeque<Piece>,
    under_way_bytes: usize,
    last_arrival: Instant,
    /// Arrivals that a partition holds back.
    held: usize,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    ended: Option<Ended>,
    /// Gone: closed by its holder, or its host crashed.
    closed: bool,
    /// An end was sent; nothing more may be.
    sending_over: bool,
    reader: Option<Waker>,
    /// Waits for room at the other end.
    writer: Option<Waker>,
}

struct Connecting {
    from: HostId,
    addr: SocketAddr,
    local: SocketAddr,
    done: Option<Result<EndId, i32>>,
    waker: Option<Waker>,
}

struct Listening {
    host: HostId,
    addr: SocketAddr,
    reuse_port: bool,
    backlog: usize,
    accepted: VecDeque<EndId>,
    wakers: Vec<Waker>,
}

/// The whole network of a world.
pub(super) struct Network {
    ends: BTreeMap<EndId, End>,
    next_connection: u64,
    listeners: BTreeMap<ListenerId, Listening>,
    connecting: BTreeMap<ConnectId, Connecting>,
    next_id: u64,
    next_port: BTreeMap<HostId, u16>,
    /// Directions in which nothing gets through.
    cut: BTreeSet<(HostId, HostId)>,
    down: BTreeSet<HostId>,
    outages: u64,
    rng: Rng,
    pub(super) faults: NetworkFaults,
}

/// The address of a host.
pub(super) fn address(host: HostId) -> IpAddr {
    let [high, low] = host.0.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}

fn host_at(ip: IpAddr, from: HostId) -> Option<HostId> {
    if ip.is_loopback() || ip.is_unspecified() {
        return Some(from);
    }
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 1, high, low] => Some(HostId(u16::from_be_bytes([high, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Network {
    pub(super) fn new(rng: Rng, faults: NetworkFaults) -> Self {
        Self {
            ends: BTreeMap::new(),
            next_connection: 0,
            listeners: BTreeMap::new(),
            connecting: BTreeMap::new(),
            next_id: 0,
            next_port: BTreeMap::new(),
            cut: BTreeSet::new(),
            down: BTreeSet::new(),
            outages: 0,
            rng,
            faults,
        }
    }

    fn latency(&mut self, from: HostId, to: HostId) -> Duration {
        let spread = self.faults.latency_max.saturating_sub(self.faults.latency_min).as_nanos() as u64;
        let mut latency = self.faults.latency_min + Duration::from_nanos(self.rng.below(spread + 1));
        if self.faults.delay_one_in > 0 && self.rng.chance(self.faults.delay_one_in) {
            latency += self.faults.delay;
        }
        // A loopback is quicker.
        if from == to { latency / 8 } else { latency }
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        from != to && self.cut.contains(&(from, to))
    }

    fn free_port(&mut self, host: HostId) -> u16 {
        let next = self.next_port.entry(host).or_insert(EPHEMERAL_PORTS_START);
        let port = *next;
        *next = if port == u16::MAX { EPHEMERAL_PORTS_START } else { port + 1 };
        port
    }

    // Listening and connecting.

    pub(super) fn listen(&mut self, host: HostId, addr: SocketAddr, options: ListenOptions) -> io::Result<(ListenerId, SocketAddr)> {
        if host_at(addr.ip(), host) != Some(host) {
            return Err(error(libc::EADDRNOTAVAIL));
        }
        let mut addr = addr;
        if addr.port() == 0 {
            addr.set_port(self.free_port(host));
        }
        let busy = self.listeners.values().any(|other| {
            let same = other.host == host && other.addr.port() == addr.port();
            let overlap = other.addr.ip() == addr.ip() || other.addr.ip().is_unspecified() || addr.ip().is_unspecified();
            same && overlap && !(other.reuse_port && options.reuse_port)
        });
        if busy {
            return Err(error(libc::EADDRINUSE));
        }
        let id = self.next_id;
        self.next_id += 1;
        let backlog = options.backlog as usize;
        self.listeners
            .insert(id, Listening { host, addr, reuse_port: options.reuse_port, backlog, accepted: VecDeque::new(), wakers: Vec::new() });
        Ok((id, addr))
    }

    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Option<(EndId, SocketAddr)> {
        let listener = self.listeners.get_mut(&id)?;
        match listener.accepted.pop_front() {
            Some(end) => self.ends.get(&end).map(|state| (end, state.peer)),
            None => {
                if !listener.wakers.iter().any(|other| other.will_wake(waker)) {
                    listener.wakers.push(waker.clone());
                }
                None
            }
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenerId, now: Instant, effects: &mut Effects) {
        if let Some(listener) = self.listeners.remove(&id) {
            for end in listener.accepted {
                self.close(end, now, effects);
            }
        }
    }

    pub(super) fn connect(&mut self, from: HostId, addr: SocketAddr, now: Instant, effects: &mut Effects) -> io::Result<ConnectId> {
        let to = host_at(addr.ip(), from).ok_or_else(|| error(libc::ENETUNREACH))?;
        let ip = if addr.ip().is_loopback() || addr.ip().is_unspecified() { addr.ip() } else { address(from) };
        let local = SocketAddr::new(ip, self.free_port(from));
        let id = self.next_id;
        self.next_id += 1;
        self.connecting.insert(id, Connecting { from, addr, local, done: None, waker: None });
        effects.later.push((now + self.latency(from, to), NetEvent::Knock(id)));
        effects.later.push((now + self.faults.connection_timeout, NetEvent::GiveUp(id)));
        Ok(id)
    }

    pub(super) fn poll_connect(&mut self, id: ConnectId, waker: &Waker) -> Option<Result<EndId, i32>> {
        let connecting = self.connecting.get_mut(&id)?;
        if connecting.done.is_some() {
            return self.connecting.remove(&id).and_then(|connecting| connecting.done);
        }
        connecting.waker = Some(waker.clone());
        None
    }

    /// Nobody waits for a connect any more.
    pub(super) fn forget_connect(&mut self, id: ConnectId, now: Instant, effects: &mut Effects) {
        if let Some(Connecting { done: Some(Ok(end)), .. }) = self.connecting.remove(&id) {
            self.close(end, now, effects);
        }
    }

    fn knock(&mut self, id: ConnectId, now: Instant, effects: &mut Effects) {
        let Some(connecting) = self.connecting.get(&id) else { return };
        let (from, addr, local) = (connecting.from, connecting.addr, connecting.local);
        let Some(to) = host_at(addr.ip(), from) else { return };
        if self.down.contains(&to) || self.is_cut(from, to) || self.is_cut(to, from) {
            // No answer: `GiveUp` ends it.
            return;
        }
        let fits = |listener: &Listening| {
            let ip = listener.addr.ip();
            let reachable = ip.is_unspecified() || if ip.is_loopback() { from == to } else { true };
            listener.host == to && listener.addr.port() == addr.port() && reachable && listener.accepted.len() < listener.backlog.max(1)
        };
        let candidates: Vec<ListenerId> = self.listeners.iter().filter(|(_, listener)| fits(listener)).map(|(id, _)| *id).collect();
        let done = if candidates.is_empty() {
            Err(libc::ECONNREFUSED)
        } else {
            let chosen = candidates[self.rng.below(candidates.len() as u64) as usize];
            Ok(self.establish(from, addr, to, local, chosen, now, effects))
        };
        effects.trace.push(u64::from(done.is_ok()));
        if let Some(connecting) = self.connecting.get_mut(&id) {
            connecting.done = Some(done);
            effects.wake.extend(connecting.waker.take());
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn establish(
        &mut self,
        from: HostId,
        addr: SocketAddr,
        to: HostId,
        local: SocketAddr,
        listener: ListenerId,
        now: Instant,
        effects: &mut Effects,
    ) -> EndId {
        let connection = self.next_connection;
        self.next_connection += 1;
        let (connector, acceptor) = (EndId { connection, side: 0 }, EndId { connection, side: 1 });
        self.ends.insert(connector, End::new(from, addr, now));
        self.ends.insert(acceptor, End::new(to, local, now));
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.accepted.push_back(acceptor);
            effects.wake.append(&mut listener.wakers);
        }
        connector
    }

    // Connections.

    pub(super) fn poll_recv(&mut self, id: EndId, waker: &Waker, effects: &mut Effects) -> Option<io::Result<Bytes>> {
        let end = self.ends.get_mut(&id)?;
        if let Some(chunk) = end.unread.pop_front() {
            end.unread_bytes -= chunk.len();
            if let Some(sender) = self.ends.get_mut(&id.other()) {
                effects.wake.extend(sender.writer.take());
            }
            return Some(Ok(chunk));
        }
        match end.ended {
            Some(Ended::Orderly) => Some(Ok(Bytes::new())),
            Some(Ended::Failed(number)) => Some(Err(error(number))),
            None => {
                end.reader = Some(waker.clone());
                None
            }
        }
    }

    /// Whether this end has heard of the other's end; else `waker` is woken when something arrives.
    pub(super) fn poll_ended(&mut self, id: EndId, waker: &Waker) -> bool {
        let Some(end) = self.ends.get_mut(&id) else { return true };
        if end.ended.is_none() {
            end.reader = Some(waker.clone());
        }
        end.ended.is_some()
    }

    /// Takes as much of `data` as there is room for at the other end; `None` where there is none.
    pub(super) fn poll_send(
        &mut self,
        id: EndId,
        data: &mut Bytes,
        waker: &Waker,
        now: Instant,
        effects: &mut Effects,
    ) -> Option<io::Result<()>> {
        let end = self.ends.get_mut(&id)?;
        match end.ended {
            Some(Ended::Failed(number)) => return Some(Err(error(number))),
            _ if end.sending_over => return Some(Err(error(libc::EPIPE))),
            _ => {}
        }
        let Some(peer) = self.ends.get_mut(&id.other()) else { return Some(Err(error(libc::EPIPE))) };
        let room = WINDOW_BYTES.saturating_sub(peer.under_way_bytes + peer.unread_bytes);
        if room == 0 {
            if let Some(end) = self.ends.get_mut(&id) {
                end.writer = Some(waker.clone());
            }
            return None;
        }
        let mut piece = data.len().min(room).min(PIECE_BYTES_MAX);
        if piece > 1 && self.rng.chance(4) {
            piece = 1 + self.rng.below(piece as u64) as usize;
        }
        let piece = data.split_to(piece);
        self.dispatch(id.other(), Piece::Data(piece), now, effects);
        Some(Ok(()))
    }

    /// Puts a piece on its way to an end.
    fn dispatch(&mut self, to: EndId, piece: Piece, now: Instant, effects: &mut Effects) {
        let Some(sender) = self.ends.get(&to.other()).map(|end| end.host) else { return };
        let Some(receiver) = self.ends.get(&to).map(|end| end.host) else { return };
        let latency = self.latency(sender, receiver);
        let Some(end) = self.ends.get_mut(&to) else { return };
        if let Piece::Data(data) = &piece {
            end.under_way_bytes += data.len();
        }
        end.under_way.push_back(piece);
        end.last_arrival = end.last_arrival.max(now + latency);
        effects.later.push((end.last_arrival, NetEvent::Arrive(to)));
    }

    /// Ends both directions from this side; data under way to it is dropped.
    pub(super) fn shut_down(&mut self, id: EndId, now: Instant, effects: &mut Effects) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.ended.is_none() {
            end.ended = Some(Ended::Orderly);
        }
        effects.wake.extend(end.reader.take());
        effects.wake.extend(end.writer.take());
        if !end.sending_over {
            end.sending_over = true;
            self.dispatch(id.other(), Piece::End, now, effects);
        }
    }

    /// The holder is gone. As in TCP, closing with unread data resets the connection.
    pub(super) fn close(&mut self, id: EndId, now: Instant, effects: &mut Effects) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.closed {
            return;
        }
        end.closed = true;
        let (unread, failed) = (!end.unread.is_empty(), matches!(end.ended, Some(Ended::Failed(_))));
        let over = std::mem::replace(&mut end.sending_over, true);
        end.unread.clear();
        end.unread_bytes = 0;
        effects.trace.push(id.number());
        if unread {
            self.dispatch(id.other(), Piece::Reset, now, effects);
        } else if !over && !failed {
            self.dispatch(id.other(), Piece::End, now, effects);
        }
        self.forget_if_done(id);
    }

    fn forget_if_done(&mut self, id: EndId) {
        let done = |end: Option<&End>| end.is_none_or(|end| end.closed && end.under_way.is_empty());
        if done(self.ends.get(&id)) && done(self.ends.get(&id.other())) {
            self.ends.remove(&id);
            self.ends.remove(&id.other());
        }
    }

    fn fail(&mut self, id: EndId, number: i32, effects: &mut Effects) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if !matches!(end.ended, Some(Ended::Failed(_))) {
            end.ended = Some(Ended::Failed(number));
        }
        end.unread.clear();
        end.unread_bytes = 0;
        end.sending_over = true;
        effects.wake.extend(end.reader.take());
        effects.wake.extend(end.writer.take());
    }

    /// Both ends see a reset; what was under way is lost.
    fn reset(&mut self, id: EndId, effects: &mut Effects) {
        for id in [id, id.other()] {
            if let Some(end) = self.ends.get_mut(&id) {
                end.under_way.clear();
                end.under_way_bytes = 0;
            }
            self.fail(id, libc::ECONNRESET, effects);
        }
        self.forget_if_done(id);
    }

    fn arrive(&mut self, id: EndId, now: Instant, effects: &mut Effects) {
        let Some(to) = self.ends.get(&id).map(|end| end.host) else { return };
        let Some(from) = self.ends.get(&id.other()).map(|end| end.host) else { return };
        let cut = self.is_cut(from, to);
        let Some(end) = self.ends.get_mut(&id) else { return };
        if cut || end.held > 0 {
            // Behind what is held back already, to keep the order.
            end.held += 1;
            return;
        }
        // Empty where a reset overtook it.
        let Some(piece) = end.under_way.pop_front() else { return };
        if let Piece::Data(data) = &piece {
            end.under_way_bytes -= data.len();
        }
        if end.closed || matches!(end.ended, Some(Ended::Failed(_))) {
            return self.arrive_at_closed(id, to, piece, now, effects);
        }
        match piece {
            Piece::Data(data) => {
                if self.faults.reset_one_in > 0 && self.rng.chance(self.faults.reset_one_in) {
                    effects.trace.push(id.number());
                    return self.reset(id, effects);
                }
                effects.trace.extend([id.number(), super::trace::Trace::digest(&data)]);
                if end.ended.is_some() {
                    // Shut down here: the peer may not know yet, and may wait for room.
                    if let Some(sender) = self.ends.get_mut(&id.other()) {
                        effects.wake.extend(sender.writer.take());
                    }
                    return;
                }
                end.unread_bytes += data.len();
                end.unread.push_back(data);
                effects.wake.extend(end.reader.take());
            }
            Piece::End => {
                if end.ended.is_none() {
                    end.ended = Some(Ended::Orderly);
                }
                effects.wake.extend(end.reader.take());
            }
            Piece::Reset => self.fail(id, libc::ECONNRESET, effects),
        }
    }

    /// A living host answers data for a closed end with a reset; a dead one does not answer.
    fn arrive_at_closed(&mut self, id: EndId, host: HostId, piece: Piece, now: Instant, effects: &mut Effects) {
        let answer = matches!(piece, Piece::Data(_)) && !self.down.contains(&host);
        if answer && self.ends.get(&id.other()).is_some_and(|end| !end.closed) {
            self.dispatch(id.other(), Piece::Reset, now, effects);
        }
        self.forget_if_done(id);
    }

    // What happens later.

    pub(super) fn happen(&mut self, event: NetEvent, now: Instant, effects: &mut Effects) {
        match event {
            NetEvent::Arrive(end) => self.arrive(end, now, effects),
            NetEvent::Knock(connect) => self.knock(connect, now, effects),
            NetEvent::GiveUp(connect) => {
                if let Some(connecting) = self.connecting.get_mut(&connect).filter(|connecting| connecting.done.is_none()) {
                    connecting.done = Some(Err(libc::ETIMEDOUT));
                    effects.wake.extend(connecting.waker.take());
                }
            }
            NetEvent::TimeOut(end, outage) => {
                if self.outage_of(end) == Some(outage) {
                    self.fail(end, libc::ETIMEDOUT, effects);
                }
            }
            NetEvent::Deny(end) => self.fail(end, libc::ECONNRESET, effects),
        }
    }
}

impl End {
    fn new(host: HostId, peer: SocketAddr, now: Instant) -> Self {
        Self {
            host,
            peer,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            last_arrival: now,
            held: 0,
            unread: VecDeque::new(),
            unread_bytes: 0,
            ended: None,
            closed: false,
            sending_over: false,
            reader: None,
            writer: None,
        }
    }
}
