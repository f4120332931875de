//! Moving: what the oldest segment of the log holds of groups that cannot give it up is written again at the log's end.
//!
//! - A group without a leader, or without a quorum, finishes nothing: no image will ever cover its last entries. They
//!   must not keep the core's log from being used again, or all its groups stand still with the one.
//! - All that a group holds goes into one block, so that a crash leaves the old entries or the new ones. A group whose
//!   unfinished entries are more than that is not moved.
//! - Only entries that are durable, not known to be committed, and followed by nothing on its way into the log.

use net::transport::Transport;
use raft::ids::{GroupId, Index};
use raft::state_machine::StateMachine;
use wal::{Device, Record};

use crate::shard::Shard;
use crate::stages::persist;

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Moves these groups, all or none: one that stays holds the segment anyway.
    pub(crate) fn move_on(&mut self, groups: &[u64]) {
        let sizes = groups.iter().map(|&group| self.unfinished_bytes(group));
        let Some(bytes) = sizes.sum::<Option<u64>>() else {
            return;
        };
        // What is moved has to be written, and gives back one segment.
        if bytes > self.wal.segment_bytes() / 2 {
            return;
        }
        for &group in groups {
            if !self.move_group(GroupId(group)) {
                return;
            }
        }
    }

    /// Bytes of what a group holds in the log; `None` when it is not to be moved now.
    fn unfinished_bytes(&self, group: u64) -> Option<u64> {
        let (first, count) = self.wal.entries(group)?;
        let slot = *self.slots.get(&GroupId(group))?;
        let replica = &self.replicas[slot as usize];
        let last = Index(first + count - 1);
        let is_unfinished = Index(first) > replica.commit.max(replica.applied);
        let is_quiet = replica.is_sound()
            && !replica.shelf.is_fetching
            && self.journal.has_settled(slot, last);
        let bytes = self.wal.group_bytes(group);
        let fits = bytes <= self.wal.block_room() as u64;
        (is_unfinished && is_quiet && fits).then_some(bytes)
    }

    fn move_group(&mut self, group: GroupId) -> bool {
        let Some((first, count)) = self.wal.entries(group.0) else {
            return false;
        };
        let replica = &self.replicas[self.slots[&group] as usize];
        let entries = (first..first + count).map(|index| replica.window.get(Index(index)));
        let Some(entries) = entries.collect::<Option<Vec<_>>>() else {
            return false;
        };
        let records: Vec<Record<'_>> = entries
            .into_iter()
            .map(|entry| persist::record_of(group, entry))
            .collect();
        let moved = self.wal.append_again(&records).is_ok();
        if moved {
            self.upkeep.counts.entries_moved += count;
        }
        moved
    }
}
