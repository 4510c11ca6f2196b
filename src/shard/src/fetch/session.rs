//! Incremental fetch sessions (KIP-227): what `FetchSession`, `FullFetchContext` and `IncrementalFetchContext` do in Kafka.
//!
//! A session remembers the partitions a consumer asks for, so that it need not name them again, and what it was last
//! told of each, so that only changes are sent. Sessions live on the shard whose connection made them and are bounded
//! by `max.incremental.fetch.session.cache.slots` and in memory; the one unused for longest makes room once it is old enough. Without room a client gets
//! no session, which every client copes with, and one whose session outgrows what there is loses it.

use odradek_base::{Instant, Rng, TopicId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A session may be pushed out by a new one when it was not used for this long (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// Epoch of a request that wants no session.
pub const FINAL_EPOCH: i32 = -1;
/// Epoch of a request that wants a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// Session id of "no session".
pub const NO_SESSION: i32 = 0;

/// Which partition: by id from version 13 on, by name before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub topic_id: TopicId,
    pub topic: String,
    pub partition: i32,
}

/// What a consumer asked for of one partition, and what it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub fetch_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
    /// Told last: high watermark and log start offset; -1 before the first answer.
    pub told_high_watermark: i64,
    pub told_log_start: i64,
    /// Told last: an error is told again each time, and its end too.
    pub told_error: bool,
}

impl Position {
    pub fn new(fetch_offset: i64, max_bytes: i32, current_leader_epoch: i32, last_fetched_epoch: i32) -> Self {
        Self {
            fetch_offset,
            max_bytes,
            current_leader_epoch,
            last_fetched_epoch,
            told_high_watermark: -1,
            told_log_start: -1,
            told_error: false,
        }
    }

    /// Takes over what a new request says, keeping what was told.
    fn renew(&mut self, asked: &Position) {
        self.fetch_offset = asked.fetch_offset;
        self.max_bytes = asked.max_bytes;
        self.current_leader_epoch = asked.current_leader_epoch;
        self.last_fetched_epoch = asked.last_fetched_epoch;
    }

    /// Notes an answer; true when an incremental response has to carry it.
    pub fn tell(&mut self, error: bool, has_records: bool, high_watermark: i64, log_start: i64) -> bool {
        let changed =
            has_records || error || self.told_error || self.told_high_watermark != high_watermark || self.told_log_start != log_start;
        self.told_error = error;
        self.told_high_watermark = high_watermark;
        self.told_log_start = log_start;
        changed
    }
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    used: Instant,
    /// Order matters: partitions that had records go to the end, so that each gets its turn (KIP-227).
    partitions: Vec<(Wanted, Position)>,
    /// Memory of `partitions`.
    bytes: usize,
}

/// What a fetch request says of its session.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub session_id: i32,
    pub epoch: i32,
    /// Topics are named by id.
    pub by_id: bool,
    /// The partitions of the request, in order.
    pub asked: Vec<(Wanted, Position)>,
    /// The ones to drop.
    pub forgotten: Vec<Wanted>,
}

/// All sessions of one shard.
#[derive(Debug)]
pub struct Sessions {
    slots: usize,
    bytes_max: usize,
    bytes: usize,
    sessions: BTreeMap<i32, Session>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    NotFound,
    InvalidEpoch,
    /// A session made with topic names is used with ids or the other way round (KIP-516).
    TopicIdMismatch,
}

/// What one fetch request looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The session to answer in; [`NO_SESSION`] without one.
    pub session_id: i32,
    /// An incremental answer leaves out what did not change.
    pub incremental: bool,
    pub partitions: Vec<(Wanted, Position)>,
}

impl Sessions {
    /// At most `slots` sessions that take at most `bytes_max` bytes.
    pub fn new(slots: usize, bytes_max: usize) -> Self {
        Self { slots, bytes_max, bytes: 0, sessions: BTreeMap::new() }
    }

    /// Memory of all sessions.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Decides what a request looks at and moves its session on.
    pub fn look(&mut self, request: Asked, now: Instant, rng: &mut Rng) -> Result<Look, SessionError> {
        let Asked { session_id, epoch, by_id, asked, forgotten } = request;
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            // A full request; it ends the session that it names, whatever that was.
            self.remove(session_id);
            let partitions = without_repeats(asked);
            if epoch == FINAL_EPOCH || partitions.is_empty() {
                return Ok(Look { session_id: NO_SESSION, incremental: false, partitions });
            }
            let session_id = self.create(by_id, &partitions, now, rng);
            return Ok(Look { session_id, incremental: false, partitions });
        }
        let session = self.sessions.get_mut(&session_id).ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::TopicIdMismatch);
        }
        let asked_nothing = asked.is_empty();
        for (wanted, position) in asked {
            match session.partitions.iter_mut().find(|(have, _)| *have == wanted) {
                Some((_, have)) => have.renew(&position),
                None => session.partitions.push((wanted, position)),
            }
        }
        if !forgotten.is_empty() {
            session.partitions.retain(|(have, _)| !forgotten.contains(have));
        }
        session.epoch = next_epoch(session.epoch);
        session.used = now;
        let bytes = bytes_of(&session.partitions);
        self.bytes = self.bytes - session.bytes + bytes;
        session.bytes = bytes;
        if self.bytes > self.bytes_max && !asked_nothing {
            self.remove(session_id);
            return Err(SessionError::NotFound);
        }
        Ok(Look { session_id, incremental: true, partitions: session.partitions.clone() })
    }

    /// Notes what a partition was told; true when the answer has to carry it. `records` moves it to the end of the line.
    pub fn told(&mut self, look: &Look, index: usize, error: bool, has_records: bool, high_watermark: i64, log_start: i64) -> bool {
        let Some(session) = self.sessions.get_mut(&look.session_id) else { return true };
        let Some((wanted, _)) = look.partitions.get(index) else { return true };
        let Some(at) = position_of(&session.partitions, wanted, index) else { return true };
        let changed = session.partitions[at].1.tell(error, has_records, high_watermark, log_start);
        changed || !look.incremental
    }

    /// Puts the partitions that gave records behind the others, once an answer is complete.
    pub fn rotate(&mut self, look: &Look, with_records: &[usize]) {
        let Some(session) = self.sessions.get_mut(&look.session_id) else { return };
        for &index in with_records {
            if let Some((wanted, _)) = look.partitions.get(index)
                && let Some(at) = session.partitions.iter().position(|(have, _)| have == wanted)
            {
                let moved = session.partitions.remove(at);
                session.partitions.push(moved);
            }
        }
    }

    fn create(&mut self, by_id: bool, partitions: &[(Wanted, Position)], now: Instant, rng: &mut Rng) -> i32 {
        let bytes = bytes_of(partitions);
        while self.sessions.len() >= self.slots || self.bytes + bytes > self.bytes_max {
            if !self.evict(now) {
                return NO_SESSION;
            }
        }
        let id = loop {
            let id = 1 + rng.below(i32::MAX as u64 - 1) as i32;
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Session { epoch: next_epoch(INITIAL_EPOCH), by_id, used: now, partitions: partitions.to_vec(), bytes };
        self.bytes += bytes;
        self.sessions.insert(id, session);
        id
    }

    /// Removes the session unused for longest if that is long enough.
    fn evict(&mut self, now: Instant) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, session)| (*id, session.used));
        match oldest {
            Some((id, used)) if now.since(used) >= EVICTION_AGE => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }
}

/// Memory of a session with these partitions: its own list, and those that a fetch in it makes while it waits.
fn bytes_of(partitions: &[(Wanted, Position)]) -> usize {
    const LISTS: usize = 3;
    partitions.iter().map(|(wanted, _)| LISTS * (size_of::<(Wanted, Position)>() + wanted.topic.len())).sum()
}

/// Finds `wanted`, trying the place where it was first.
fn position_of(partitions: &[(Wanted, Position)], wanted: &Wanted, hint: usize) -> Option<usize> {
    match partitions.get(hint) {
        Some((have, _)) if have == wanted => Some(hint),
        _ => partitions.iter().position(|(have, _)| have == wanted),
    }
}

/// The same partition named twice counts once, with its last position, as a map would have it.
fn without_repeats(asked: Vec<(Wanted, Position)>) -> Vec<(Wanted, Position)> {
    let mut places: BTreeMap<Wanted, usize> = BTreeMap::new();
    let mut kept: Vec<(Wanted, Position)> = Vec::with_capacity(asked.len());
    for (wanted, position) in asked {
        match places.get(&wanted) {
            Some(&at) => kept[at].1 = position,
            None => {
                places.insert(wanted.clone(), kept.len());
                kept.push((wanted, position));
            }
        }
    }
    kept
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32) -> Wanted {
        Wanted { topic_id: TopicId::NONE, topic: "t".into(), partition }
    }

    fn asked(partitions: &[i32]) -> Vec<(Wanted, Position)> {
        partitions.iter().map(|&p| (wanted(p), Position::new(0, 100, -1, -1))).collect()
    }

    #[test]
    fn a_session_lives_from_the_full_request_to_the_final_one() {
        let (mut sessions, mut rng, now) = (Sessions::new(10, usize::MAX), Rng::with_seed(1), Instant(0));
        let full = sessions
            .look(Asked { session_id: 0, epoch: INITIAL_EPOCH, by_id: false, asked: asked(&[0, 1]), forgotten: Vec::new() }, now, &mut rng)
            .unwrap();
        assert!(full.session_id > 0 && !full.incremental);
        assert!(sessions.told(&full, 0, false, false, 5, 0));

        let next = sessions
            .look(Asked { session_id: full.session_id, epoch: 1, by_id: false, asked: Vec::new(), forgotten: Vec::new() }, now, &mut rng)
            .unwrap();
        assert!(next.incremental);
        assert_eq!(next.partitions.len(), 2);
        assert!(!sessions.told(&next, 0, false, false, 5, 0), "nothing changed");
        assert!(sessions.told(&next, 0, false, false, 6, 0), "the high watermark moved");
        assert!(sessions.told(&next, 0, true, false, -1, -1), "an error is told");
        assert!(sessions.told(&next, 0, false, false, 6, 0), "and its end");

        assert_eq!(
            sessions.look(
                Asked { session_id: full.session_id, epoch: 9, by_id: false, asked: Vec::new(), forgotten: Vec::new() },
                now,
                &mut rng
            ),
            Err(SessionError::InvalidEpoch)
        );
        assert_eq!(
            sessions.look(
                Asked { session_id: full.session_id, epoch: 2, by_id: true, asked: Vec::new(), forgotten: Vec::new() },
                now,
                &mut rng
            ),
            Err(SessionError::TopicIdMismatch)
        );
        let forgot = sessions
            .look(
                Asked { session_id: full.session_id, epoch: 2, by_id: false, asked: Vec::new(), forgotten: vec![wanted(0)] },
                now,
                &mut rng,
            )
            .unwrap();
        assert_eq!(forgot.partitions.len(), 1);

        let end = sessions
            .look(
                Asked { session_id: full.session_id, epoch: FINAL_EPOCH, by_id: false, asked: Vec::new(), forgotten: Vec::new() },
                now,
                &mut rng,
            )
            .unwrap();
        assert_eq!(end.session_id, NO_SESSION);
        assert_eq!(
            sessions.look(
                Asked { session_id: full.session_id, epoch: 3, by_id: false, asked: Vec::new(), forgotten: Vec::new() },
                now,
                &mut rng
            ),
            Err(SessionError::NotFound)
        );
    }

    #[test]
    fn partitions_with_records_go_to_the_end_of_the_line() {
        let (mut sessions, mut rng, now) = (Sessions::new(10, usize::MAX), Rng::with_seed(1), Instant(0));
        let full = sessions
            .look(
                Asked { session_id: 0, epoch: INITIAL_EPOCH, by_id: false, asked: asked(&[0, 1, 2]), forgotten: Vec::new() },
                now,
                &mut rng,
            )
            .unwrap();
        sessions.rotate(&full, &[0, 1]);
        let next = sessions
            .look(Asked { session_id: full.session_id, epoch: 1, by_id: false, asked: Vec::new(), forgotten: Vec::new() }, now, &mut rng)
            .unwrap();
        assert_eq!(next.partitions.iter().map(|(w, _)| w.partition).collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let (mut sessions, mut rng) = (Sessions::new(2, usize::MAX), Rng::with_seed(1));
        for _ in 0..5 {
            sessions
                .look(
                    Asked { session_id: 0, epoch: INITIAL_EPOCH, by_id: false, asked: asked(&[0]), forgotten: Vec::new() },
                    Instant(0),
                    &mut rng,
                )
                .unwrap();
        }
        assert_eq!(sessions.len(), 2);
        let later = Instant::ZERO + EVICTION_AGE;
        let look = sessions
            .look(Asked { session_id: 0, epoch: INITIAL_EPOCH, by_id: false, asked: asked(&[0]), forgotten: Vec::new() }, later, &mut rng)
            .unwrap();
        assert_ne!(look.session_id, NO_SESSION, "an old session made room");
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn the_memory_of_sessions_is_bounded() {
        let room = bytes_of(&asked(&[0, 1, 2, 3]));
        let (mut sessions, mut rng) = (Sessions::new(100, room), Rng::with_seed(1));
        let full = |partitions: &[i32]| Asked { epoch: INITIAL_EPOCH, asked: asked(partitions), ..Asked::default() };
        let first = sessions.look(full(&[0, 1]), Instant(0), &mut rng).unwrap();
        assert!(first.session_id != NO_SESSION);
        assert_eq!(sessions.look(full(&[0, 1, 2]), Instant(0), &mut rng).unwrap().session_id, NO_SESSION, "no room");
        let second = sessions.look(full(&[0]), Instant(0), &mut rng).unwrap();
        assert!(second.session_id != NO_SESSION);
        // Growing into what is left is fine, beyond it is not.
        let grow = |epoch, partition| Asked { session_id: first.session_id, epoch, asked: asked(&[partition]), ..Asked::default() };
        assert_eq!(sessions.look(grow(1, 2), Instant(0), &mut rng).unwrap().partitions.len(), 3);
        assert_eq!(sessions.bytes(), room);
        assert_eq!(sessions.look(grow(2, 3), Instant(0), &mut rng), Err(SessionError::NotFound));
        assert_eq!((sessions.len(), sessions.bytes()), (1, bytes_of(&asked(&[0]))));
        // A forgotten partition gives its room back.
        let third = sessions.look(full(&[1, 2, 3]), Instant(0), &mut rng).unwrap();
        let forget = Asked { session_id: third.session_id, epoch: 1, forgotten: vec![wanted(1), wanted(2)], ..Asked::default() };
        sessions.look(forget, Instant(0), &mut rng).unwrap();
        assert_eq!(sessions.bytes(), bytes_of(&asked(&[0, 3])));
    }

    #[test]
    fn a_partition_named_twice_counts_once() {
        let (mut sessions, mut rng) = (Sessions::new(2, usize::MAX), Rng::with_seed(1));
        let mut twice = asked(&[0, 0]);
        twice[1].1.fetch_offset = 7;
        let look = sessions
            .look(Asked { session_id: 0, epoch: FINAL_EPOCH, by_id: false, asked: twice, forgotten: Vec::new() }, Instant(0), &mut rng)
            .unwrap();
        assert_eq!(look.partitions.len(), 1);
        assert_eq!(look.partitions[0].1.fetch_offset, 7);
    }
}
