//! A connection that produces: batches that fill, requests in flight, their answers.

use super::lane::{Encoder, Lane, Planned};
use super::transaction::Transaction;
use crate::BenchError;
use crate::connections::Link;
use crate::measure::{Kind, Recorder};
use bytes::Bytes;
use odradek_client::code_name;
use odradek_client::producer::Acks;
use odradek_wire::messages::produce_response::ProduceResponse;
use odradek_wire::{ErrorCode, api, decode_response, response_header};
use std::collections::VecDeque;

/// A request on the wire.
pub struct Sent {
    lane: usize,
    records: Vec<Planned>,
    bytes: usize,
}

pub struct Writer {
    pub link: Link,
    /// Lanes of this connection, by their number in the engine.
    pub lanes: Vec<usize>,
    /// Which of them is next, or filling.
    pub turn: usize,
    /// Batches that are full.
    full: VecDeque<(usize, Vec<Planned>)>,
    /// Batches that are filling, in the order in which they were begun: lane, its generation, when to send.
    filling: VecDeque<(usize, u64, u64)>,
    pub in_flight: VecDeque<Sent>,
    /// Its transactions, where it is transactional.
    pub transaction: Option<Transaction>,
    in_flight_max: usize,
}

impl Writer {
    pub fn new(link: Link, in_flight_max: usize) -> Self {
        Self {
            link,
            lanes: Vec::new(),
            turn: 0,
            full: VecDeque::new(),
            filling: VecDeque::new(),
            in_flight: VecDeque::new(),
            transaction: None,
            in_flight_max,
        }
    }

    /// Room for another request. With acks=0 nothing is answered: the socket's buffer is the only brake.
    pub fn has_room(&self, acks: Acks, now: u64) -> bool {
        if self.transaction.as_ref().is_some_and(|t| !t.takes_batches(now)) {
            return false;
        }
        if acks == Acks::None { !self.link.wants_write() } else { self.in_flight.len() < self.in_flight_max }
    }

    /// A batch that needs no more records.
    pub fn push_full(&mut self, lane: usize, records: Vec<Planned>) {
        self.full.push_back((lane, records));
    }

    /// Adds a record to its lane's batch, which goes out when it has `batch_bytes` or `linger` nanoseconds after it was begun.
    pub fn add(&mut self, index: usize, lane: &mut Lane, record: Planned, batch_bytes: usize, linger: u64) {
        if !lane.open.is_empty() && lane.open_bytes + record.size as usize > batch_bytes {
            self.close(index, lane);
        }
        if lane.open.is_empty() {
            self.filling.push_back((index, lane.generation, record.due + linger));
        }
        lane.open.push(record);
        lane.open_bytes += record.size as usize;
        if lane.open_bytes >= batch_bytes {
            self.close(index, lane);
        }
    }

    fn close(&mut self, index: usize, lane: &mut Lane) {
        self.full.push_back((index, take_open(lane)));
    }

    /// The next batch that may go out now.
    pub fn next_batch(&mut self, lanes: &mut [Lane], now: u64) -> Option<(usize, Vec<Planned>)> {
        if let Some(batch) = self.full.pop_front() {
            return Some(batch);
        }
        while let Some(&(lane, generation, deadline)) = self.filling.front() {
            if lanes[lane].generation != generation {
                self.filling.pop_front();
                continue;
            }
            if deadline > now {
                return None;
            }
            self.filling.pop_front();
            return Some((lane, take_open(&mut lanes[lane])));
        }
        None
    }

    /// When the oldest filling batch has to go out.
    pub fn deadline(&self) -> Option<u64> {
        self.filling.front().map(|f| f.2)
    }

    /// Sends a batch; with acks=0 it counts at once.
    pub fn send(
        &mut self,
        index: usize,
        lane: &mut Lane,
        records: Vec<Planned>,
        encoder: &mut Encoder,
        now: u64,
        recorder: &mut Recorder,
    ) -> Result<usize, BenchError> {
        let (frame, bytes) = lane.request(encoder, &records)?;
        self.link.send(&frame)?;
        if encoder.acks == Acks::None {
            count(recorder, &records, bytes, now);
        } else {
            self.in_flight.push_back(Sent { lane: index, records, bytes });
        }
        Ok(bytes)
    }

    /// Takes an answer.
    pub fn receive(
        &mut self,
        frame: Bytes,
        now: u64,
        lanes: &mut [Lane],
        encoder: &Encoder,
        recorder: &mut Recorder,
    ) -> Result<(), BenchError> {
        let Some(sent) = self.in_flight.pop_front() else { return Err(self.link.failed("an answer nobody asked for".to_owned())) };
        let lane = &mut lanes[sent.lane];
        match error_of(encoder.version, frame).map_err(|detail| self.link.failed(detail))? {
            None => {
                if !lane.failed {
                    lane.acknowledged += sent.records.len() as u64;
                }
                count(recorder, &sent.records, sent.bytes, now);
            }
            Some(error) => {
                lane.failed = true;
                recorder.error(now, code_name(error));
            }
        }
        Ok(())
    }

    pub fn unanswered(&self) -> usize {
        self.in_flight.len()
    }

    /// Everything that was due and not sent, into the recorder; the batches are gone.
    pub fn give_up(&mut self, lanes: &mut [Lane], recorder: &mut Recorder) {
        while let Some((_, records)) = self.next_batch(lanes, u64::MAX) {
            for record in records {
                recorder.unsent(record.due, 1);
            }
        }
    }
}

fn take_open(lane: &mut Lane) -> Vec<Planned> {
    lane.generation += 1;
    lane.open_bytes = 0;
    std::mem::take(&mut lane.open)
}

fn count(recorder: &mut Recorder, records: &[Planned], bytes: usize, now: u64) {
    for alike in records.chunk_by(|a, b| a.due == b.due) {
        recorder.latency(Kind::Produce, alike[0].due, now, alike.len() as u64);
    }
    recorder.produced(now, records.len() as u64, bytes as u64);
}

fn error_of(version: i16, frame: Bytes) -> Result<Option<ErrorCode>, String> {
    let (_, mut body) = response_header(api::PRODUCE, version, frame).map_err(|e| e.to_string())?;
    let response: ProduceResponse = decode_response(api::PRODUCE, &mut body, version).map_err(|e| e.to_string())?;
    Ok(response.responses.iter().flat_map(|t| &t.partition_responses).find_map(|p| ErrorCode::try_from_code(p.error_code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use uuid::Uuid;

    #[test]
    fn batches_fill_linger_and_leave_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writer = Writer::new(Link::open("127.0.0.1", listener.local_addr().unwrap().port().into()).unwrap(), 5);
        let mut lanes: Vec<Lane> = (0..2).map(|i| Lane::new("t", Uuid::nil(), i, 0, None)).collect();
        let record = |due| Planned { due, size: 100, key: None };
        let dues = |batch: Option<(usize, Vec<Planned>)>| batch.map(|(l, r)| (l, r.iter().map(|r| r.due).collect::<Vec<_>>()));
        for (lane, due) in [(0, 1), (1, 2), (0, 3), (0, 4)] {
            writer.add(lane, &mut lanes[lane], record(due), 250, 10);
        }
        // The third record of lane 0 did not fit into the first batch.
        assert_eq!(dues(writer.next_batch(&mut lanes, 5)), Some((0, vec![1, 3])));
        assert_eq!(dues(writer.next_batch(&mut lanes, 11)), None);
        assert_eq!(writer.deadline(), Some(12));
        assert_eq!(dues(writer.next_batch(&mut lanes, 12)), Some((1, vec![2])));
        assert_eq!(dues(writer.next_batch(&mut lanes, 13)), None);
        assert_eq!(dues(writer.next_batch(&mut lanes, 14)), Some((0, vec![4])));
        assert_eq!(dues(writer.next_batch(&mut lanes, 99)), None);
        // Exactly full: it waits for nobody.
        writer.add(1, &mut lanes[1], record(20), 100, 10);
        assert_eq!(dues(writer.next_batch(&mut lanes, 20)), Some((1, vec![20])));
    }
}
