//! Consumers: read partitions in order from the start, and note every batch they see.

use crate::client::{Client, Connection, Lost, topic_name};
use crate::faults::Kinds;
use crate::history::{Cleaning, Horizon, Seen, Tp};
use crate::record::{RecordId, hash_of_batch};
use crate::violation::Checker;
use bytes::Bytes;
use odradek_base::{Rng, TopicId};
use odradek_wire::ErrorCode;
use odradek_wire::batch::batches;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use odradek_wire::messages::fetch_response::PartitionData;
use odradek_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use odradek_wire::messages::{FetchRequest, FetchResponse, ListOffsetsRequest};
use odradek_wire::records::RecordReader;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Topics by name, without sessions.
const FETCH_BY_NAME_VERSION: i16 = 12;
/// Topics by id.
const FETCH_BY_ID_VERSION: i16 = 16;
const LIST_OFFSETS_VERSION: i16 = 7;
/// Kafka's special timestamps in ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// A leader epoch that no partition reaches in a run.
const UNKNOWN_EPOCH: i32 = 1_000_000;
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What a consumer is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub number: u32,
    pub by_id: bool,
    pub partitions: Vec<Tp>,
    pub max_wait: Duration,
    pub bytes_max: i32,
    /// One in so many answers makes it start again from the beginning; 0 is never.
    pub rewind_one_in: u64,
    /// Says which refusals are to be expected.
    pub kinds: Kinds,
    pub read_committed: bool,
    /// Starts at the end of the log.
    pub from_end: bool,
    /// One in so many questions names a leader epoch that does not exist; 0 is never.
    pub probe_one_in: u64,
}

/// Where a consumer stands in one partition.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    pub offset: i64,
    /// Of the last answer; -1 before the first.
    pub high_watermark: i64,
    /// The offset is to be asked for first: the one of this timestamp.
    ask: Option<i64>,
    /// The last reading cannot go on: what follows is damaged, or the partition is closed.
    pub closed: bool,
}

/// The partitions of one leader, read over one connection at a time.
pub struct Reader {
    client: Client,
    plan: Rc<Plan>,
    leader: SocketAddr,
    ids: BTreeMap<String, TopicId>,
    pub positions: BTreeMap<Tp, Position>,
}

/// Consumes until readers are told to stop, then counts `finished` up.
pub async fn run(client: Client, plan: Plan, finished: Rc<Cell<usize>>) {
    let readers = readers(&client, plan).await;
    let open = Rc::new(Cell::new(readers.len()));
    for mut reader in readers {
        let (open, finished) = (open.clone(), finished.clone());
        client.ring.spawn(async move {
            let history = reader.client.history.clone();
            while !history.readers_stop() {
                let end = reader.session(|_| history.readers_stop()).await;
                if end.is_err() {
                    reader.client.back_off().await;
                }
            }
            open.set(open.get() - 1);
            if open.get() == 0 {
                finished.set(finished.get() + 1);
            }
        });
    }
}

/// A reader for each leader of the plan's partitions.
pub async fn readers(client: &Client, plan: Plan) -> Vec<Reader> {
    let mut topics: Vec<String> = plan.partitions.iter().map(|tp| tp.topic.to_string()).collect();
    topics.dedup();
    let metadata = client.metadata_of_all(&topics).await;
    let mut by_leader: BTreeMap<SocketAddr, BTreeMap<Tp, Position>> = BTreeMap::new();
    for tp in &plan.partitions {
        if let Some(leader) = metadata.leaders.get(tp) {
            by_leader
                .entry(*leader)
                .or_default()
                .insert(tp.clone(), Position { offset: 0, high_watermark: -1, ask: plan.from_end.then_some(LATEST), closed: false });
        }
    }
    let plan = Rc::new(plan);
    let reader = |(leader, positions)| Reader { client: client.clone(), plan: plan.clone(), leader, ids: metadata.ids.clone(), positions };
    by_leader.into_iter().map(reader).collect()
}

impl Reader {
    /// Reads over one connection until `done` says so.
    pub async fn session(&mut self, done: impl Fn(&BTreeMap<Tp, Position>) -> bool) -> Result<(), Lost> {
        let mut connection = Connection::open(&self.client, self.leader).await?;
        let mut rng = self.client.ring.rng();
        while !done(&self.positions) {
            self.ask_offsets(&mut connection).await?;
            let horizons: BTreeMap<Tp, Horizon> = self.positions.keys().map(|tp| (tp.clone(), self.client.history.horizon(tp))).collect();
            let probe = self.plan.probe_one_in;
            let probed = self.positions.keys().filter(|_| probe > 0 && rng.chance(probe)).cloned().collect();
            let version = if self.plan.by_id { FETCH_BY_ID_VERSION } else { FETCH_BY_NAME_VERSION };
            let answer = connection.call(&self.request(&probed, &mut rng), version).await?;
            self.take(answer, &horizons, &probed)?;
            if self.plan.rewind_one_in > 0 && rng.chance(self.plan.rewind_one_in) {
                self.client.history.event(|| format!("consumer {}: starts again", self.plan.number));
                self.positions.values_mut().for_each(|position| position.offset = 0);
            }
        }
        Ok(())
    }

    /// Asks where to start in the partitions for which that is not known.
    async fn ask_offsets(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let asked: Vec<(Tp, i64)> =
            self.positions.iter().filter_map(|(tp, position)| position.ask.map(|timestamp| (tp.clone(), timestamp))).collect();
        for (tp, timestamp) in asked {
            let partition =
                ListOffsetsPartition::default().with_partition_index(tp.partition).with_current_leader_epoch(-1).with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default().with_name(topic_name(&tp.topic)).with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(i8::from(self.plan.read_committed))
                .with_topics(vec![topic]);
            let horizon = self.client.history.horizon(&tp);
            let answer = connection.call(&request, LIST_OFFSETS_VERSION).await?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let code = partition.error_code;
                if code != 0 {
                    self.check_refusal(&tp, code, "asking for an offset");
                    if let Some(position) = self.positions.get_mut(&tp).filter(|_| self.client.history.is_closed(&tp, code)) {
                        (position.ask, position.closed) = (None, true);
                        continue;
                    }
                    return Err(Lost::refused(code));
                }
                match timestamp {
                    LATEST => self.client.history.high_watermark(&tp, partition.offset, horizon),
                    _ => self.client.history.log_start(&tp, partition.offset, horizon),
                }
                if let Some(position) = self.positions.get_mut(&tp) {
                    (position.offset, position.ask) = (partition.offset, None);
                }
            }
        }
        Ok(())
    }

    /// Moved leaders and disks that fail pass; everything else is a wrong answer to a right question.
    fn check_refusal(&self, tp: &Tp, code: i16, what: &str) {
        let kinds = self.plan.kinds;
        let passes = match ErrorCode::try_from_code(code) {
            Some(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::UnknownTopicId,
            ) => true,
            Some(ErrorCode::KafkaStorageError) if kinds.disk_errors || kinds.full_disk => true,
            Some(ErrorCode::KafkaStorageError | ErrorCode::CorruptMessage) => kinds.bit_rot || self.client.history.is_damaged(tp),
            _ => false,
        };
        if !passes {
            self.client.history.violation(Checker::Refusal, format!("{tp}: {what} was refused with error {code}"));
        }
    }

    fn request(&self, probed: &BTreeSet<Tp>, rng: &mut Rng) -> FetchRequest {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for (tp, position) in &self.positions {
            let partition = FetchPartition::default()
                .with_partition(tp.partition)
                .with_current_leader_epoch(if probed.contains(tp) { UNKNOWN_EPOCH + rng.below(10) as i32 } else { -1 })
                .with_last_fetched_epoch(-1)
                .with_fetch_offset(position.offset)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(self.plan.bytes_max);
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let topic = FetchTopic::default().with_partitions(partitions);
            match self.plan.by_id {
                true => topic.with_topic_id(self.ids.get(name).copied().unwrap_or_default().0),
                false => topic.with_topic(topic_name(name)),
            }
        });
        FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(self.plan.max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(self.plan.bytes_max.saturating_mul(2))
            .with_isolation_level(i8::from(self.plan.read_committed))
            .with_session_epoch(-1)
            .with_topics(topics.collect())
    }

    fn take(&mut self, answer: FetchResponse, horizons: &BTreeMap<Tp, Horizon>, probed: &BTreeSet<Tp>) -> Result<(), Lost> {
        if answer.error_code != 0 {
            self.client
                .history
                .violation(Checker::Refusal, format!("a fetch without a session was refused with error {}", answer.error_code));
            return Err(Lost::refused(answer.error_code));
        }
        for topic in answer.responses {
            let name = match self.plan.by_id {
                true => self.ids.iter().find(|(_, id)| id.0 == topic.topic_id).map(|(name, _)| name.clone()).unwrap_or_default(),
                false => topic.topic.0.to_string(),
            };
            for data in topic.partitions {
                let tp = Tp::new(&name, data.partition_index);
                let Some(horizon) = horizons.get(&tp) else {
                    self.client.history.violation(Checker::Answer, format!("a fetch was answered with {tp}, which was not asked for"));
                    continue;
                };
                if probed.contains(&tp) {
                    self.take_probe(&tp, &data)?;
                } else {
                    self.take_partition(&tp, data, *horizon)?;
                }
            }
        }
        Ok(())
    }

    /// A leader epoch that does not exist has to be refused (KIP-320).
    fn take_probe(&self, tp: &Tp, data: &PartitionData) -> Result<(), Lost> {
        let code = data.error_code;
        match ErrorCode::try_from_code(code) {
            Some(ErrorCode::UnknownLeaderEpoch) => Ok(()),
            None => {
                self.client
                    .history
                    .violation(Checker::Answer, format!("{tp}: a fetch with a leader epoch that does not exist was answered"));
                Ok(())
            }
            Some(_) => {
                self.check_refusal(tp, code, "a fetch with a leader epoch that does not exist");
                Err(Lost::refused(code))
            }
        }
    }

    fn take_partition(&mut self, tp: &Tp, data: PartitionData, horizon: Horizon) -> Result<(), Lost> {
        let history = self.client.history.clone();
        let Some(position) = self.positions.get_mut(tp) else { return Ok(()) };
        if data.error_code != 0 {
            let (offset, code) = (position.offset, data.error_code);
            history.event(|| format!("consumer {}: {tp} at {offset}: error {code}", self.plan.number));
            let deletes = matches!(history.cleaning(tp), Cleaning::Requests | Cleaning::Retention);
            if deletes && ErrorCode::try_from_code(code) == Some(ErrorCode::OffsetOutOfRange) {
                position.ask = Some(EARLIEST);
                return Ok(());
            }
            let behind = history.behind_damage(tp, offset).filter(|_| ErrorCode::try_from_code(code) == Some(ErrorCode::CorruptMessage));
            if let Some(behind) = behind.filter(|behind| *behind < i64::MAX) {
                position.offset = behind;
                return Ok(());
            }
            if history.is_closed(tp, code) || behind.is_some() && history.facts().last_reading {
                position.closed = true;
                return Ok(());
            }
            self.check_refusal(tp, code, &format!("a fetch from {offset}"));
            return Err(Lost::refused(code));
        }
        let high_watermark = data.high_watermark;
        history.high_watermark(tp, high_watermark, horizon);
        position.high_watermark = high_watermark;
        history.log_start(tp, data.log_start_offset, horizon);
        if data.last_stable_offset != high_watermark || data.log_start_offset > position.offset {
            history.violation(
                Checker::Answer,
                format!(
                    "{tp}: last stable offset {}, log start {} at high watermark {high_watermark}, position {}, without transactions",
                    data.last_stable_offset, data.log_start_offset, position.offset
                ),
            );
        }
        let Some(records) = data.records else { return Ok(()) };
        let gaps = history.cleaning(tp) == Cleaning::Compaction;
        let from = position.offset;
        match read(tp, &records, position, high_watermark, gaps) {
            Ok(seen) => {
                if gaps {
                    history.removed(
                        tp,
                        from..position.offset,
                        seen.iter().flat_map(|(_, batch)| &batch.records).map(|(offset, _)| *offset),
                    );
                }
                seen.into_iter().for_each(|(base, batch)| history.seen(tp, base, batch));
            }
            Err(problem) => history.violation(Checker::Offsets, problem),
        }
        Ok(())
    }
}

/// Checks fetched batches one after the other and moves the position behind them. `gaps`: compaction may have taken records.
fn read(tp: &Tp, records: &Bytes, position: &mut Position, high_watermark: i64, gaps: bool) -> Result<Vec<(i64, Seen)>, String> {
    let mut all = Vec::new();
    let mut batches = batches(records);
    for batch in batches.by_ref() {
        let batch = batch.map_err(|error| format!("{tp}: what was fetched at {} is no batch: {error}", position.offset))?;
        let (base, last) = (batch.base_offset().get(), batch.last_offset().get());
        // The first batch may begin before the position; behind it nothing may be missing.
        let follows = match (gaps, all.is_empty()) {
            (true, true) => last >= position.offset,
            (true, false) => base >= position.offset,
            (false, true) => base <= position.offset && last >= position.offset,
            (false, false) => base == position.offset,
        };
        if !follows {
            return Err(format!("{tp}: offsets {base} to {last} were fetched where {} was due", position.offset));
        }
        if last >= high_watermark {
            return Err(format!("{tp}: offsets up to {last} were given out at high watermark {high_watermark}"));
        }
        if !batch.crc_valid() {
            return Err(format!("{tp}: the batch at {base} has a wrong CRC"));
        }
        let reader = RecordReader::new(&records.slice_ref(batch.bytes()), BATCH_BYTES_MAX)
            .map_err(|error| format!("{tp}: batch at {base}: {error}"))?;
        let mut ids = Vec::new();
        let mut due = base;
        for record in reader {
            let record = record.map_err(|error| format!("{tp}: batch at {base}: {error}"))?;
            let offset = record.offset.get();
            if offset < due || offset > last || (offset > due && !gaps) {
                return Err(format!("{tp}: offset {offset} where {due} was due, in a batch up to {last}"));
            }
            due = offset + 1;
            let id = RecordId::of(&record).map_err(|error| format!("{tp}: offset {offset}: {error}"))?;
            ids.push((offset, id));
        }
        if due != last + 1 && !gaps {
            return Err(format!("{tp}: the batch at {base} claims to end at {last} but its records do not"));
        }
        all.push((base, Seen { last_offset: last, hash: hash_of_batch(batch.bytes()), records: ids }));
        position.offset = last + 1;
    }
    Ok(all)
}
