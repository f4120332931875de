//! Letting go: which sealed files leave this node, and when.
//!
//! - Those that nothing needs: replaced by others, or in the object store as the group's log says.
//! - The oldest of all, where the history is kept here alone and is larger than it may be.

use raft::ids::Time;
use raft::state_machine::StateMachine;
use wal::Device;

use crate::past::{History, sealed_name};
use crate::shard::Shard;

impl<D: Device, T, M: StateMachine> Shard<D, T, M> {
    /// There is room for another file, or room is made.
    pub(crate) fn has_room(&mut self, history: &History, now: Time) -> bool {
        while self.sealing.bytes >= history.bytes_max {
            if self.offloading.has_coffer() || !self.let_oldest_go(now) {
                return false;
            }
        }
        true
    }

    /// The file whose entries are the oldest of all goes; false when there is none.
    fn let_oldest_go(&mut self, now: Time) -> bool {
        let oldest = (0..).zip(&self.replicas).flat_map(|(slot, replica)| {
            let files = replica.shelf.past.files().iter();
            files.map(move |file| (file.newest, slot, file.first, file.last))
        });
        let Some((_, slot, first, last)) = oldest.min() else {
            return false;
        };
        self.replicas[slot as usize].shelf.past.pass(first, last);
        self.let_sealed_go(slot, first, now);
        true
    }

    /// A sealed file is not needed here any more.
    pub(crate) fn let_sealed_go(&mut self, slot: u32, first: u64, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        let Some(file) = replica.shelf.past.forget(first) else {
            return;
        };
        self.sealing.bytes -= file.bytes;
        self.sealing.counts.sealed_files_gone += 1;
        let name = sealed_name(replica.group.0, first);
        self.upkeep.remove(&mut *self.archive, name, now);
    }

    /// Files that are needed no more go, but for the one that the object store is being given.
    pub(crate) fn let_needless_go(&mut self, slot: u32, now: Time) {
        let (offloading, sealing) = (&self.offloading, &self.sealing);
        let replica = &self.replicas[slot as usize];
        let group = replica.group.0;
        let is_busy =
            |first| offloading.is_under_way(slot) || sealing.is_making(sealed_name(group, first));
        for first in replica.shelf.past.needless(&is_busy) {
            self.let_sealed_go(slot, first, now);
        }
    }
}
