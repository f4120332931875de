//! Damage to what a disk holds, and the atlas of who is damaged: faults that rot or lie.
//!
//! - What is damaged was durable, and a later write vouches for it: rot in the very last block cannot be told from a
//!   write that never ended, and is not injected.
//! - Of a cluster at most a minority is damaged at a time, so that a good copy of everything exists: every failure is a
//!   bug. A node counts until all its replicas say that they are whole.
//! - The machine of a damaged disk loses its power, so that the damage is found when the log is read again.

use raft::config::Damage;

use crate::faults::{Kind, Undo};
use crate::node::Ending;
use crate::world::World;

/// Tries to find something on the disk to damage.
const TRIES: usize = 8;

impl World {
    /// A disk of this node is damaged, if the atlas allows it; whether it was.
    pub(crate) fn damage(&mut self, kind: Kind, node: usize, lasts: u64) -> bool {
        if !self.may_damage(node) {
            return false;
        }
        let place = self.dice.place(self.nodes[node].disks.len());
        let disk = self.nodes[node].disks[place].clone();
        let mut settled = || (0..TRIES).find_map(|_| disk.settled_write(self.dice.roll()));
        let Some((slot, offset, bytes)) = settled() else {
            return false;
        };
        let other = settled();
        let at = |offset: u64| usize::try_from(offset).expect("within a disk in memory");
        let stretch = at(offset)..at(offset + bytes);
        match kind {
            Kind::Rot => {
                let byte = offset + self.dice.below(bytes);
                disk.flip(slot, byte, self.dice.below(8) as u8);
            }
            Kind::Misdirected => {
                let mut moved = Vec::new();
                disk.edit(slot, |all| moved.extend_from_slice(&all[stretch.clone()]));
                disk.edit(slot, |all| all[stretch.clone()].fill(0));
                if let Some((slot, offset, bytes)) = other {
                    let count = moved.len().min(at(bytes));
                    let into = at(offset)..at(offset) + count;
                    disk.edit(slot, |all| all[into].copy_from_slice(&moved[..count]));
                }
            }
            Kind::LostWrite => disk.edit(slot, |all| all[stretch].fill(0)),
            _ => {
                disk.fail_reads(slot, offset, bytes);
                self.later(lasts, Undo::Read(node));
            }
        }
        self.suspects.insert(node);
        self.judges.excuse(node);
        if self.nodes[node].is_up() {
            self.end(node, Ending::PowerLoss, "lost its power");
        }
        true
    }

    /// A good copy of everything stays in the cluster, whatever happens to this node's disk.
    fn may_damage(&mut self, node: usize) -> bool {
        let whole: Vec<usize> = self
            .suspects
            .iter()
            .copied()
            .filter(|node| self.is_whole(*node))
            .collect();
        whole.iter().for_each(|node| {
            self.suspects.remove(node);
        });
        let members = &self.nodes[node].members;
        let damaged = members
            .iter()
            .filter(|member| self.suspects.contains(member));
        let minority = (members.len() - 1) / 2;
        // Who loses more while it repairs is no worse off: it counts once.
        self.suspects.contains(&node) || damaged.count() < minority
    }

    /// All its replicas say that they have what they may have lost.
    fn is_whole(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let replicas = node.cores.iter().flat_map(|core| core.shard.replicas());
        node.is_up()
            && replicas
                .into_iter()
                .all(|replica| replica.raft.damage() == Damage::None)
    }
}
