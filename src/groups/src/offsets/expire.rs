//! `offsets.retention.minutes` (KIP-211).

use crate::Coordinator;
use crate::effects::Effects;
use crate::records::offset::CommittedOffset;
use crate::turn::Turn;
use crate::writes::Then;
use odradek_base::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Coordinator {
    /// Removes offsets past their retention, and empty groups that have none left.
    pub(crate) fn expire_offsets(&mut self, turn: &Turn, fx: &mut Effects) {
        // A commit under way may renew what looks expired.
        let busy = self.writes.groups();
        let open_transactions: BTreeSet<Arc<str>> = self.hard.groups_with_pending().cloned().collect();
        let ids: Vec<Arc<str>> = self.classic.keys().chain(self.consumer.keys()).filter(|id| !busy.contains(*id)).cloned().collect();
        for id in ids {
            let classic = self.classic.get(&id);
            // Offsets of consumer groups count from their commit.
            let base = |offset: &CommittedOffset| classic.map_or(Some(offset.commit_timestamp), |group| group.retention_base(offset));
            let expired = |topic: &str, partition: i32, offset: &CommittedOffset| {
                !self.is_subscribed(&id, topic)
                    && !self.hard.has_pending(&id, topic, partition)
                    && self.is_expired(turn.wall, base(offset), offset)
            };
            let offsets = self.hard.offsets_of(&id).into_iter().flatten();
            let mut all = offsets.flat_map(|(topic, partitions)| partitions.iter().map(move |(&index, offset)| (topic, index, offset)));
            let all_expired = all.all(|(topic, index, offset)| expired(topic, index, offset));
            let empty = classic.map_or_else(|| self.consumer_is_empty(&id), |group| group.is_empty());
            if all_expired && empty && !open_transactions.contains(&id) {
                self.remove_group(turn, &id, None, fx);
                continue;
            }
            for chunk in self.offset_tombstones(&id, expired) {
                self.env(turn, fx).write(&id, chunk, Then::Nothing);
            }
        }
    }

    fn is_expired(&self, now: Timestamp, base: Option<Timestamp>, offset: &CommittedOffset) -> bool {
        match (offset.expire_timestamp, base) {
            // An old client chose the moment itself.
            (Some(at), Some(_)) => now >= at,
            (None, Some(base)) => now.get().saturating_sub(base.get()) >= self.config.offsets_retention.as_millis() as i64,
            (_, None) => false,
        }
    }
}
