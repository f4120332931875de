//! Damage to what a disk holds, and the atlas of who is damaged: faults that rot or lie.
//!
//! - What is damaged was durable, and a later write vouches for it: rot in the very last block cannot be told from a
//!   write that never ended, and is not injected.
//! - Of a group only so many members are damaged at a time that the others are enough for every quorum and a good copy of
//!   everything exists: every failure is a bug. A node whose sectors can be read again counts until all its replicas say
//!   that they are whole; one whose log keeps the damage counts for ever, since every start finds it anew.
//! - The machine of a damaged disk loses its power, so that the damage is found when the log is read again; but for what rots
//!   quietly, which the scrubber finds, and which counts until it is not there any more.

use std::collections::BTreeMap;

use raft::config::Damage;
use raft::ids::NodeId;
use raft::membership::Membership;
use wal::archive::memory::MemoryStore;
use wal::device::memory::MemoryDisk;

use crate::faults::{Kind, Undo};
use crate::node::Ending;
use crate::pasts;
use crate::verdict::Scope;
use crate::world::World;

/// What a disk holds: the log's slots, and the files beside it.
pub(crate) type Disk = (BTreeMap<u32, Vec<u8>>, MemoryStore);

/// A bit that rotted while nobody looked.
#[derive(Clone)]
pub(crate) struct Rotting {
    node: usize,
    place: usize,
    slot: u32,
    byte: u64,
    /// The byte since.
    value: Option<u8>,
}

fn byte_of(disk: &MemoryDisk, slot: u32, byte: u64) -> Option<u8> {
    let mut value = None;
    disk.edit(slot, |bytes| value = bytes.get(byte as usize).copied());
    value
}

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
                let before = disk.before(slot, offset, bytes);
                disk.edit(slot, |all| all[stretch].copy_from_slice(&before));
                if let Some((slot, offset, bytes)) = other {
                    let count = moved.len().min(at(bytes));
                    let into = at(offset)..at(offset) + count;
                    disk.edit(slot, |all| all[into].copy_from_slice(&moved[..count]));
                }
            }
            Kind::LostWrite => {
                let before = disk.before(slot, offset, bytes);
                disk.edit(slot, |all| all[stretch].copy_from_slice(&before));
            }
            Kind::StaleRead => {
                disk.stale_reads(slot, offset, bytes);
                self.later(lasts, Undo::Read(node));
            }
            _ => {
                disk.fail_reads(slot, offset, bytes);
                self.later(lasts, Undo::Read(node));
            }
        }
        self.suspects.insert(node);
        if !matches!(kind, Kind::BadSector | Kind::StaleRead) {
            self.scarred.insert(node);
        }
        self.judges.excuse(node);
        if self.nodes[node].is_up() {
            self.end(node, Ending::PowerLoss, "lost its power");
        }
        true
    }

    /// A bit on a running node's disk rots, if the atlas allows it; whether it did. It is for the scrubber to find.
    pub(crate) fn rot_quietly(&mut self, node: usize) -> bool {
        if !self.nodes[node].is_up() || !self.may_damage(node) {
            return false;
        }
        let place = self.dice.place(self.nodes[node].disks.len());
        let disk = self.nodes[node].disks[place].clone();
        let found = (0..TRIES).find_map(|_| disk.settled_write(self.dice.roll()));
        let Some((slot, offset, bytes)) = found else {
            return false;
        };
        // Most of a small block is zeros that nobody reads.
        let mut byte = || offset + self.dice.below(bytes);
        let says = |byte: &u64| byte_of(&disk, slot, *byte).is_some_and(|value| value > 0);
        let Some(byte) = (0..8 * TRIES).map(|_| byte()).find(says) else {
            return false;
        };
        disk.flip(slot, byte, self.dice.below(8) as u8);
        self.suspects.insert(node);
        self.rotting.push(Rotting {
            node,
            place,
            slot,
            byte,
            value: byte_of(&disk, slot, byte),
        });
        self.judges.excuse(node);
        true
    }

    /// Something that rotted quietly is on the node's disks as it rotted.
    fn is_rotting(&mut self, node: usize) -> bool {
        let nodes = &self.nodes;
        self.rotting.retain(|one| {
            let disk = &nodes[one.node].disks[one.place];
            byte_of(disk, one.slot, one.byte) == one.value
        });
        self.rotting.iter().any(|one| one.node == node)
    }

    /// A node's disks are lost, if the atlas allows it; whether they were.
    pub(crate) fn lose_disks(&mut self, node: usize) -> bool {
        if !self.may_damage(node) {
            return false;
        }
        let empty = self.nodes[node].stores.iter().map(|_| MemoryStore::new(0));
        let empty = empty.map(|store| (BTreeMap::new(), store)).collect();
        self.give(node, empty);
        true
    }

    /// What a node's disks hold is put aside, to take their place later.
    pub(crate) fn put_aside(&mut self, node: usize, lasts: u64) {
        let (disks, stores) = (&self.nodes[node].disks, &self.nodes[node].stores);
        let copies = disks.iter().zip(stores);
        let copies = copies.map(|(disk, store)| (disk.image(), store.copy()));
        let number = self.struck;
        // What rots in them rots again when they come back, whatever was repaired meanwhile.
        let rotting = self.rotting.iter().filter(|one| one.node == node);
        let aside = (copies.collect(), rotting.cloned().collect());
        self.aside.insert(number, aside);
        self.later(lasts, Undo::Exchange(node, number));
    }

    /// A node's disks are put back to what they held, if the atlas allows it.
    pub(crate) fn exchange(&mut self, node: usize, number: u64) {
        let Some((disks, rotting)) = self.aside.remove(&number) else {
            return;
        };
        if self.may_damage(node) {
            *self.faults.entry(Kind::OldImage.name()).or_default() += 1;
            self.give(node, disks);
            self.rotting.extend(rotting);
        }
    }

    /// The node's machine comes back with these disks, and is told that they are not what it had.
    fn give(&mut self, node: usize, disks: Vec<Disk>) {
        self.suspects.insert(node);
        self.judges.excuse(node);
        self.pasts.excuse(node);
        self.end(node, Ending::PowerLoss, "lost its disks");
        let machine = &mut self.nodes[node];
        for (at, (slots, files)) in disks.into_iter().enumerate() {
            machine.disks[at].exchange(slots);
            machine.stores[at].exchange(&files);
        }
        machine.is_rejoining = true;
    }

    /// A good copy of everything stays in the cluster, whatever happens to this node's disk.
    fn may_damage(&mut self, node: usize) -> bool {
        let suspects: Vec<usize> = self.suspects.iter().copied().collect();
        let whole: Vec<usize> = suspects
            .into_iter()
            .filter(|node| {
                !self.scarred.contains(node) && self.is_whole(*node) && !self.is_rotting(*node)
            })
            .collect();
        whole.iter().for_each(|node| {
            self.suspects.remove(node);
        });
        if !self.keeps_the_past_without(node) {
            return false;
        }
        if self.suspects.contains(&node) {
            // Who loses more while it repairs is no worse off: it counts once.
            return true;
        }
        let cluster = self.nodes[node].cluster;
        let mut damaged = self.damaged_of(cluster);
        damaged.push(self.nodes[node].id);
        // Where nobody runs, nobody says who votes: a minority at most, whatever the configuration.
        if 2 * damaged.len() >= self.nodes[node].founders {
            return false;
        }
        let scopes = (0..self.nodes[node].groups).map(|group| Scope { cluster, group });
        scopes.into_iter().all(|scope| {
            let members = self.nodes.iter().filter(|node| node.cluster == cluster);
            let known = members.filter_map(|node| node.replica(scope));
            let mut known = known.map(|replica| replica.raft.membership());
            let mut granted = self.granted.get(&scope).into_iter().flatten();
            known.all(|membership| survives(membership, &damaged))
                && granted.all(|membership| survives(membership, &damaged))
        })
    }

    /// What the logs gave up is with other nodes that run, or in the object store. A node that came back empty is no copy of
    /// the past before it has recalled it.
    fn keeps_the_past_without(&self, node: usize) -> bool {
        if self.plan.history.is_none() {
            return true;
        }
        let mut others = self.nodes_of(self.nodes[node].cluster);
        others.retain(|other| other.number != node && other.is_up());
        !others.is_empty() && pasts::within_reach(&others).is_ok()
    }

    /// Nodes of a cluster that may lack what was on their disks.
    pub(crate) fn damaged_of(&self, cluster: usize) -> Vec<NodeId> {
        let nodes = self.suspects.iter().map(|node| &self.nodes[*node]);
        nodes
            .filter(|node| node.cluster == cluster)
            .map(|node| node.id)
            .collect()
    }

    /// All its replicas say that they have what they may have lost.
    fn is_whole(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let replicas = node.cores.iter().flat_map(|core| core.shard.replicas());
        node.is_up()
            && !node.disks.iter().any(MemoryDisk::has_bad_reads)
            && replicas
                .into_iter()
                .all(|replica| replica.raft.damage() == Damage::None)
    }
}

/// A configuration outlives this damage: whole voters are enough for everything, and every commit has a whole copy.
pub(crate) fn survives(membership: &Membership, damaged: &[NodeId]) -> bool {
    let is_whole = |node: NodeId| !damaged.contains(&node);
    let hit = damaged.iter().filter(|node| membership.is_voter(**node));
    let hit = hit.count();
    let outgoing = membership.outgoing_quorum();
    membership.is_election_quorum(is_whole)
        && membership.is_commit_quorum(is_whole)
        && hit < membership.quorum().commit()
        && outgoing.is_none_or(|quorum| hit < quorum.commit())
}
