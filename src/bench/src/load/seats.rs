//! Members of groups at the load thread: who reads which partition.

use super::crew::Crew;
use super::group::{Group, Order, SETTLE_MAX};
use super::prepare::{leaders, open, version};
use super::reader::{FetchOptions, Mode, Position, Reader};
use super::{Engine, Pace, Until};
use crate::BenchError;
use crate::scenario::{Consumers, Scenario};
use crate::target::{Offsets, TargetPartition};
use odradek_client::Cluster;
use odradek_wire::messages::FetchRequest;
use std::sync::mpsc::TryRecvError;

impl Crew {
    /// A group whose members each have a connection to each leader. All connections of a member are on one thread.
    #[expect(clippy::too_many_arguments, reason = "one call, with all that a group needs")]
    pub fn add_group(
        &mut self,
        scenario: &Scenario,
        consumers: &Consumers,
        cluster: &mut Cluster,
        partitions: &[TargetPartition],
        starts: &Offsets,
        group: usize,
        options: FetchOptions,
    ) -> Result<(), BenchError> {
        let version = version::<FetchRequest>(cluster, partitions)?;
        let (mut readers, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..consumers.count {
            let thread = self.next_reading_thread();
            let engine = &mut self.engines[thread];
            let first = engine.readers.len();
            for leader in leaders(partitions) {
                engine.add_reader(Reader::new(open(cluster, leader)?, leader, group, Mode::Tail, Vec::new(), version, options))?;
            }
            readers.push((first..engine.readers.len()).collect());
            threads.push(thread);
        }
        let from = |p: &TargetPartition| starts.get(&p.key()).copied().unwrap_or(0);
        let positions = partitions.iter().map(|p| Position::new(p, from(p), 0)).collect();
        let id = format!("{}-{:x}-{group}", scenario.topic(), self.run());
        let (group, seats) = Group::open(id, cluster.config(), consumers, positions, readers)?;
        self.groups.push(group);
        for (thread, seat) in threads.into_iter().zip(seats) {
            self.engines[thread].seats.push(seat);
        }
        Ok(())
    }

    /// Waits until every member of every group has its partitions.
    pub fn seat(&mut self) -> Result<(), BenchError> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let deadline = self.now() + SETTLE_MAX.as_nanos() as u64;
        self.drive(Pace::Silent, Until::Seated(deadline), &mut |_| ())?;
        if self.now() >= deadline {
            return Err(BenchError::Broker(format!("the members of the consumer groups do not agree after {SETTLE_MAX:?}")));
        }
        Ok(())
    }

    /// From here on members stay where they are.
    pub fn settle_groups(&mut self) -> Result<(), BenchError> {
        self.groups.iter().for_each(Group::settle);
        self.seat()
    }

    /// Ends the groups: what their members did, and whether they committed what they read.
    pub fn leave_groups(&mut self) -> Result<(), BenchError> {
        if self.groups.is_empty() {
            return Ok(());
        }
        self.groups.iter().for_each(Group::stop);
        let deadline = self.now() + SETTLE_MAX.as_nanos() as u64;
        self.drive(Pace::Silent, Until::Left(deadline), &mut |_| ())?;
        for (index, group) in std::mem::take(&mut self.groups).into_iter().enumerate() {
            // All that the group's members had is parked now.
            let parked = group.parked();
            let ends = parked.iter().map(|p| ((p.topic.clone(), p.partition), p.offset)).collect();
            let mut result = group.finish(&ends)?;
            result.redelivered = parked.iter().map(|p| p.redelivered).sum();
            self.group_results.push(result);
            let mut readers = self.engines.iter_mut().flat_map(|e| &mut e.readers);
            if let Some(reader) = readers.find(|r| r.mode == Mode::Tail && r.group == index) {
                // For the findings: which connection read it last does not matter.
                reader.positions.extend(parked);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Every group that has a member on this thread has all its members in their places.
    pub fn all_seated(&self) -> bool {
        self.seats.iter().all(|seat| seat.group.is_seated())
    }

    /// Does what members of groups ask for.
    pub fn attend(&mut self) -> Result<(), BenchError> {
        for seat in &mut self.seats {
            loop {
                let order = match seat.orders.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if seat.group.is_stopping() => break,
                    Err(TryRecvError::Disconnected) => return Err(seat.group.failure()),
                };
                let own = || seat.readers.iter().flat_map(|&r| &self.readers[r].positions);
                let report: Offsets = own().map(|p| ((p.topic.clone(), p.partition), p.offset)).collect();
                match order {
                    Order::Assign { generation, partitions } => {
                        seat.generation = Some(generation);
                        seat.expected = partitions;
                        continue;
                    }
                    Order::Report => {}
                    Order::Revoke => {
                        seat.generation = None;
                        seat.group.seat(seat.member, None);
                        seat.expected.clear();
                        seat.readers.iter().for_each(|&r| seat.group.park(self.readers[r].take_all()));
                    }
                }
                // A member that does not wait for the answer any more has ended, and the next look says why.
                let _ = seat.answers.send(report);
            }
            seat.expected.retain(|(partition, committed)| {
                let Some(mut position) = seat.group.unpark(partition) else { return true };
                position.resume(*committed);
                let of_leader = |r: &&usize| self.readers[**r].leader == position.leader;
                let reader = seat.readers.iter().find(of_leader).copied().expect("each leader has a connection of each member");
                self.readers[reader].give(position);
                false
            });
            if seat.expected.is_empty() && seat.generation.is_some() {
                seat.group.seat(seat.member, seat.generation.take());
            }
        }
        Ok(())
    }
}
