//! Mending: what the scrubber finds rotten in the log of a running node, and nobody can repair, is made needless, before a
//! restart would miss it.
//!
//! ```text
//! found -> the group's promise is written anew, an image is taken -> it covers what is rotten -> that is given up
//! ```
//!
//! - The state in memory was made of these entries while they were whole: an image of it stands for them, here as
//!   anywhere, and what stands behind the image is in the log or still in memory.
//! - Until the image is durable a crash finds the damage as ever: the group comes up damaged, neither votes nor counts,
//!   and is given by its peers what is missing. So nothing is promised meanwhile that would not be kept.
//! - What has lost its names may be anybody's: then every group of the core is mended.
//! - This is done also where images are taken for nothing else (`image_bytes` is 0).
//! - A machine that can make no image at all mends at the next start, from its peers; the ledger can.

use net::transport::Transport;
use raft::ids::{EntryId, GroupId, Index, Time};
use raft::state_machine::StateMachine;
use wal::{Damage, Device};

use crate::shard::Shard;

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// The scrubber found this, and it cannot be repaired.
    pub(crate) fn mend(&mut self, damage: Damage) {
        match damage
            .group
            .and_then(|group| self.slots.get(&GroupId(group)).copied())
        {
            Some(slot) => self.mend_group(slot, damage.last),
            None => (0..self.replicas.len() as u32).for_each(|slot| self.mend_group(slot, None)),
        }
        self.upkeep.look_again();
    }

    fn mend_group(&mut self, slot: u32, last: Option<u64>) {
        let replica = &mut self.replicas[slot as usize];
        let held = self.wal.entries(replica.group.0);
        let held = held.map_or(0, |(first, count)| first + count - 1);
        let last = last.map_or(held, |last| last.min(held));
        // Term, vote and base may have stood there: the newest record of them counts.
        self.journal.note(slot);
        if last > 0 && !replica.shelf.is_plain {
            if replica.shelf.rotten == Index(0) {
                self.rotten.push(slot);
            }
            replica.shelf.rotten = replica.shelf.rotten.max(Index(last));
        }
    }

    /// Now and then: goes on with repairs, and gives up what is rotten as far as an image covers it, and has images taken for the rest.
    pub(crate) fn mend_on(&mut self, now: Time) {
        self.repair_on(now);
        let mut rotten = std::mem::take(&mut self.rotten);
        rotten.retain(|&slot| !self.is_mended(slot, now));
        self.rotten = rotten;
    }

    fn is_mended(&mut self, slot: u32, _now: Time) -> bool {
        let replica = &mut self.replicas[slot as usize];
        let (last, covered) = (replica.shelf.rotten, replica.shelf.image_index());
        if covered < last {
            if replica.applied >= last {
                self.upkeep.want_image(slot, replica);
            }
            return replica.shelf.is_plain;
        }
        let group = replica.group.0;
        let first = self.wal.entries(group).map_or(u64::MAX, |(first, _)| first);
        if first <= last.0 {
            // Entries beside the rotten ones are sealed first, where the history is kept.
            if self.history_reaches(slot, first, last.0) < last.0 {
                self.upkeep.look_again();
                return false;
            }
            let replica = &mut self.replicas[slot as usize];
            if let Some(term) = replica.raft.term_at(last) {
                replica.raft.compacted(EntryId { term, index: last });
                replica.touch(slot, &mut self.touched);
            }
            self.wal.release(group, last.0);
            self.upkeep.counts.entries_released += last.0 - first + 1;
        }
        self.replicas[slot as usize].shelf.rotten = Index(0);
        self.upkeep.counts.groups_mended += 1;
        true
    }
}
