//! Hosts that cannot reach each other, and hosts that are down.

use super::{Effects, EndId, NetEvent, Network};
use crate::sim::{CrashMode, HostId};
use odradek_base::Instant;

impl Network {
    /// The outage that an open end suffers from, if any.
    pub(super) fn outage_of(&self, id: EndId) -> Option<u64> {
        let (end, peer) = (self.ends.get(&id)?, self.ends.get(&id.other())?);
        let silent = self.down.contains(&peer.host) || self.is_cut(peer.host, end.host) || self.is_cut(end.host, peer.host);
        (silent && !end.closed).then_some(self.outages)
    }

    /// Nothing gets through from one host to another.
    pub(in crate::sim) fn cut(&mut self, from: HostId, to: HostId, now: Instant, effects: &mut Effects) {
        self.outages += 1;
        self.cut.insert((from, to));
        self.schedule_timeouts(now, effects);
    }

    fn schedule_timeouts(&mut self, now: Instant, effects: &mut Effects) {
        let ids: Vec<EndId> = self.ends.keys().copied().collect();
        for id in ids {
            if let Some(outage) = self.outage_of(id) {
                effects.later.push((now + self.faults.connection_timeout, NetEvent::TimeOut(id, outage)));
            }
        }
    }

    pub(in crate::sim) fn heal(&mut self, from: HostId, to: HostId, now: Instant, effects: &mut Effects) {
        if !self.cut.remove(&(from, to)) {
            return;
        }
        let ids: Vec<EndId> = self.ends.keys().copied().collect();
        for id in ids {
            let fits =
                self.ends.get(&id).is_some_and(|end| end.host == to) && self.ends.get(&id.other()).is_some_and(|end| end.host == from);
            if !fits {
                continue;
            }
            let latency = self.latency(from, to);
            let Some(end) = self.ends.get_mut(&id) else { continue };
            end.last_arrival = end.last_arrival.max(now + latency);
            for _ in 0..std::mem::take(&mut end.held) {
                effects.later.push((end.last_arrival, NetEvent::Arrive(id)));
            }
        }
    }

    /// Resets every connection between two hosts.
    pub(in crate::sim) fn reset_between(&mut self, one: HostId, other: HostId, effects: &mut Effects) {
        let ids: Vec<EndId> = self.ends.keys().copied().filter(|id| id.side == 0).collect();
        for id in ids {
            let hosts = (self.ends.get(&id).map(|end| end.host), self.ends.get(&id.other()).map(|end| end.host));
            if hosts == (Some(one), Some(other)) || hosts == (Some(other), Some(one)) {
                self.reset(id, effects);
            }
        }
    }

    pub(in crate::sim) fn crash(&mut self, host: HostId, mode: CrashMode, now: Instant, effects: &mut Effects) {
        self.listeners.retain(|_, listener| listener.host != host);
        self.connecting.retain(|_, connecting| connecting.from != host);
        let ids: Vec<EndId> = self.ends.iter().filter(|(_, end)| end.host == host && !end.closed).map(|(id, _)| *id).collect();
        if mode == CrashMode::PowerLoss {
            self.down.insert(host);
            self.outages += 1;
        }
        for id in ids {
            match mode {
                CrashMode::Kill => self.close(id, now, effects),
                CrashMode::PowerLoss => {
                    if let Some(end) = self.ends.get_mut(&id) {
                        end.closed = true;
                        end.unread.clear();
                        end.unread_bytes = 0;
                    }
                }
            }
        }
        self.schedule_timeouts(now, effects);
    }

    /// The host is up again: it knows none of its old connections.
    pub(in crate::sim) fn restart(&mut self, host: HostId, now: Instant, effects: &mut Effects) {
        if !self.down.remove(&host) {
            return;
        }
        let ids: Vec<EndId> = self.ends.iter().filter(|(_, end)| end.host == host && end.closed).map(|(id, _)| id.other()).collect();
        for id in ids {
            let Some(peer) = self.ends.get(&id).map(|end| end.host) else { continue };
            let latency = self.latency(host, peer);
            effects.later.push((now + latency, NetEvent::Deny(id)));
        }
    }
}
