//! How faults strike and how they are put right.

use wal::device::memory::{Fault, MemoryDisk};

use crate::faults::{Kind, Undo};
use crate::network::Machine;
use crate::node::Ending;
use crate::trace::{What, Who};
use crate::verdict::Broken;
use crate::world::World;

const MILLISECOND: u64 = 1_000_000;

impl World {
    /// A fault of this kind strikes somewhere; false if it finds nothing that it may strike.
    pub(crate) fn inject(&mut self, kind: Kind) -> bool {
        let node = self.dice.place(self.nodes.len());
        let (least, most) = self.plan.swarm.lasts_ns;
        let lasts = self.dice.between(least, most);
        self.trace.note(
            self.now,
            Who::Node(node),
            What::Fault(kind.name(), lasts / MILLISECOND),
        );
        match kind {
            Kind::Crash => self.end(node, Ending::Killed, "killed"),
            Kind::Power => self.end(node, Ending::PowerLoss, "lost its power"),
            Kind::Blackout => {
                for node in self.nodes[node].members.clone() {
                    self.end(node, Ending::PowerLoss, "lost its power");
                }
            }
            Kind::Pause => self.pause(node, lasts),
            Kind::SlowCore => {
                self.nodes[node].slow_ns = self.dice.magnitude(MILLISECOND / 10, 20 * MILLISECOND);
                self.later(lasts, Undo::Hurry(node));
            }
            Kind::ClockStep => self.step_clock(node),
            Kind::Partition | Kind::Isolate | Kind::OneWay | Kind::Bridge | Kind::Mute => {
                let pairs = self.sever(kind, node);
                self.cut(&pairs);
                // Who is not heard is replaced only after an election timeout.
                let least = u64::from(kind == Kind::Mute) * 2 * self.nodes[node].election_ns;
                let lasts = lasts.max(least);
                self.later(lasts, Undo::Heal(pairs));
            }
            Kind::Flap => {
                let other = self.peer_of(node);
                let times = self.dice.between(2, 9);
                self.later(1, Undo::Flap(node, other, times));
            }
            Kind::Clog | Kind::Swizzle | Kind::Narrow | Kind::HalfOpen => {
                self.slow_links(kind, node, lasts);
            }
            Kind::Strobe => {
                let by = i64::try_from(self.dice.magnitude(MILLISECOND, 1 << 42));
                let times = 2 * self.dice.between(2, 40);
                self.later(1, Undo::Strobe(node, by.expect("below 2^63"), times));
            }
            Kind::Freeze => {
                self.nodes[node].frozen_at = Some(self.now);
                // Nobody looks at the clocks before they are put right.
                self.pause(node, lasts + 1);
                self.later(lasts, Undo::Thaw(node, self.now));
            }
            Kind::Rush | Kind::Lull | Kind::Crowd => self.stir(kind, node, lasts),
            Kind::Reset | Kind::Flip => self.disturb(kind, node, lasts),
            Kind::SlowDisk | Kind::StallDisk | Kind::Eio | Kind::Full => {
                self.spoil(kind, node, lasts)
            }
            Kind::QuietRot => return self.rot_quietly(node),
            Kind::Rot | Kind::LostWrite | Kind::Misdirected | Kind::BadSector | Kind::StaleRead => {
                return self.damage(kind, node, lasts);
            }
            Kind::EmptyDisk => return self.lose_disks(node),
            Kind::OldImage => {
                // It strikes when it is put back.
                self.put_aside(node, lasts);
                return false;
            }
            Kind::Upgrade => return self.upgrade(node),
            Kind::Transfer | Kind::Quorums | Kind::Members => return self.command(kind, node),
            Kind::AddNode | Kind::RemoveNode | Kind::ReplaceNode | Kind::MoveGroup => {
                return self.redraw(kind, node);
            }
            Kind::StoreBusy
            | Kind::StoreSlow
            | Kind::StoreShort
            | Kind::StoreStale
            | Kind::StoreMute => return self.fail_store(kind, node, lasts),
        }
        true
    }

    /// The object store of a node's cluster goes wrong for a while; false where there is none.
    fn fail_store(&mut self, kind: Kind, node: usize, lasts: u64) -> bool {
        let cluster = self.nodes[node].cluster;
        let Some(vault) = &self.nodes[node].vault else {
            return false;
        };
        vault.strike(kind, self.dice.roll());
        self.later(lasts, Undo::Store(cluster, kind));
        true
    }

    fn step_clock(&mut self, node: usize) {
        let by = i64::try_from(self.dice.magnitude(MILLISECOND, 1 << 42)).expect("below 2^63");
        let by = if self.dice.permille(500) { by } else { -by };
        let ahead = &mut self.nodes[node].clock.wall_ahead_ns;
        *ahead = ahead.saturating_add(by).clamp(-(1 << 50), 1 << 50);
    }

    /// Connections are torn once, or for a while torn or damaged now and then.
    fn disturb(&mut self, kind: Kind, node: usize, lasts: u64) {
        let other = self.peer_of(node);
        if kind == Kind::Reset && self.dice.permille(500) {
            self.network.tear(node, other);
            return;
        }
        let pairs = self.all_of(node);
        let odds = self.dice.magnitude(20, 2_000);
        for (from, to) in &pairs {
            self.network.change(*from, *to, |link| match kind {
                Kind::Flip => link.flip_one_in = odds,
                _ => link.tear_one_in = odds,
            });
        }
        for member in self.nodes[node].members.clone() {
            self.nodes[member].may_misread |= kind == Kind::Flip;
        }
        self.later(lasts, Undo::Calm(pairs));
    }

    fn spoil(&mut self, kind: Kind, node: usize, lasts: u64) {
        let place = self.dice.place(self.nodes[node].disks.len());
        let (least, most) = self.plan.disk_ns;
        let slow = self.dice.magnitude(most, 100 * MILLISECOND.max(most));
        let after = self.dice.below(4);
        let disk = &self.nodes[node].disks[place];
        match kind {
            Kind::SlowDisk => {
                disk.set_latency_ns(least, slow);
                self.later(lasts, Undo::Spin(node));
            }
            Kind::StallDisk => {
                disk.hold(true);
                self.later(lasts, Undo::Release(node));
            }
            Kind::Eio => {
                disk.fault_write(after, Fault::Eio);
                self.nodes[node].may_stop = true;
            }
            _ => {
                self.nodes[node].is_full = true;
                for disk in &self.nodes[node].disks {
                    disk.set_full(true);
                    disk.fault_write(after, Fault::Enospc);
                }
                self.later(lasts, Undo::Free(node));
            }
        }
    }

    /// Puts something right.
    pub(crate) fn undo(&mut self, undo: Undo) -> Result<(), Broken> {
        match undo {
            Undo::Restart(node) => self.start(node)?,
            Undo::Hurry(node) => self.nodes[node].slow_ns = 0,
            Undo::Heal(pairs) => self.heal(&pairs),
            Undo::Flap(one, other, left) => self.flap(one, other, left),
            Undo::Clog(..) | Undo::Unclog(_) | Undo::Calm(_) | Undo::Widen(_) => self.hurry(undo),
            Undo::Spin(node) => {
                let (least, most) = self.plan.disk_ns;
                self.nodes[node]
                    .disks
                    .iter()
                    .for_each(|disk| disk.set_latency_ns(least, most));
            }
            Undo::Release(node) => {
                self.nodes[node]
                    .disks
                    .iter()
                    .for_each(|disk| disk.hold(false));
                self.nudge(node);
            }
            Undo::Read(node) => {
                self.nodes[node]
                    .disks
                    .iter()
                    .for_each(|disk| disk.heal_reads());
            }
            Undo::Strobe(node, by, left) => {
                let ahead = &mut self.nodes[node].clock.wall_ahead_ns;
                *ahead = ahead.saturating_add(by).clamp(-(1 << 50), 1 << 50);
                if left > 1 && !self.is_calm {
                    let pause = self.dice.magnitude(MILLISECOND / 10, 100 * MILLISECOND);
                    self.later(pause, Undo::Strobe(node, -by, left - 1));
                }
            }
            Undo::Thaw(node, since) => self.thaw(node, since),
            Undo::Exchange(node, number) => self.exchange(node, number),
            Undo::Ease(cluster) => self.ease(cluster),
            Undo::Store(cluster, kind) => {
                let node = self.nodes.iter().find(|node| node.cluster == cluster);
                if let Some(vault) = node.and_then(|node| node.vault.as_ref()) {
                    vault.heal(kind);
                }
            }
            Undo::Free(node) => {
                self.nodes[node].is_full = false;
                self.nodes[node]
                    .disks
                    .iter()
                    .for_each(|disk| disk.set_full(false));
            }
        }
        Ok(())
    }

    /// Everything is put right at once, and nothing goes wrong any more.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn calm(&mut self) -> Result<(), Broken> {
        self.is_calm = true;
        for node in 0..self.nodes.len() {
            self.upgrade(node);
        }
        let undos = std::mem::take(&mut self.undos);
        for (_, undo) in undos {
            match undo {
                Undo::Restart(_) | Undo::Clog(..) | Undo::Exchange(..) => {}
                Undo::Flap(one, other, left) if left % 2 == 1 => {
                    self.heal(&[(one, other), (other, one)])
                }
                Undo::Flap(..) => {}
                undo => self.undo(undo)?,
            }
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = 0;
            self.nodes[node]
                .disks
                .iter()
                .for_each(MemoryDisk::heal_writes);
            self.start(node)?;
            self.nudge(node);
        }
        self.trace.note(self.now, Who::World, What::Phase("calm"));
        Ok(())
    }

    /// The node's process ends, and its next one is that of the newer program; false if this one is already.
    fn upgrade(&mut self, node: usize) -> bool {
        let is_older = std::mem::take(&mut self.nodes[node].is_older);
        if is_older {
            self.end(node, Ending::Killed, "is given a newer program");
        }
        is_older
    }

    fn pause(&mut self, node: usize, lasts: u64) {
        let until = &mut self.nodes[node].paused_until;
        *until = (*until).max(self.now + lasts);
    }

    /// The machine goes on; its clocks show what they showed, unless its process was started anew meanwhile.
    fn thaw(&mut self, node: usize, since: u64) {
        let machine = &mut self.nodes[node];
        if machine.frozen_at != Some(since) {
            return;
        }
        machine.frozen_at = None;
        machine.paused_until = self.now;
        machine.clock.stood_still(since, self.now);
        self.nudge(node);
    }

    fn flap(&mut self, one: Machine, other: Machine, left: u64) {
        let pairs = [(one, other), (other, one)];
        if left % 2 == 1 {
            self.heal(&pairs);
        }
        if left == 0 || left == 1 && self.is_calm {
            return;
        }
        let left = if left % 2 == 1 { left - 1 } else { left };
        if left == 0 {
            return;
        }
        self.cut(&pairs);
        let pause = self.dice.magnitude(MILLISECOND, 500 * MILLISECOND);
        self.later(pause, Undo::Flap(one, other, left - 1));
    }

    fn cut(&mut self, pairs: &[(Machine, Machine)]) {
        for pair in pairs {
            *self.cuts.entry(*pair).or_default() += 1;
            self.network
                .change(pair.0, pair.1, |link| link.is_cut = true);
        }
    }

    fn heal(&mut self, pairs: &[(Machine, Machine)]) {
        for pair in pairs {
            let Some(depth) = self.cuts.get_mut(pair) else {
                continue;
            };
            *depth -= 1;
            if *depth == 0 {
                self.cuts.remove(pair);
                self.network
                    .change(pair.0, pair.1, |link| link.is_cut = false);
            }
        }
    }

    /// Another node of the same cluster.
    pub(crate) fn peer_of(&mut self, node: usize) -> Machine {
        let others: Vec<Machine> = self.nodes[node]
            .members
            .iter()
            .copied()
            .filter(|other| *other != node)
            .collect();
        if others.is_empty() {
            node
        } else {
            self.dice.pick(&others)
        }
    }

    /// The directions between a node and everybody of its cluster.
    pub(crate) fn all_of(&self, node: usize) -> Vec<(Machine, Machine)> {
        let others = self.nodes[node]
            .members
            .iter()
            .copied()
            .chain(self.clients_of(node));
        others
            .filter(|other| *other != node)
            .flat_map(|other| [(node, other), (other, node)])
            .collect()
    }

    fn clients_of(&self, node: usize) -> impl Iterator<Item = Machine> + use<> {
        let first = self.nodes.len() + self.nodes[node].cluster * self.plan.clients;
        first..first + self.plan.clients
    }

    /// The directions that a cut of this kind around `node` takes away.
    fn sever(&mut self, kind: Kind, node: usize) -> Vec<(Machine, Machine)> {
        let members = self.nodes[node].members.clone();
        match kind {
            Kind::OneWay => vec![(node, self.peer_of(node))],
            Kind::Bridge => {
                let other = self.peer_of(node);
                vec![(node, other), (other, node)]
            }
            Kind::Mute => {
                let others = members.into_iter().filter(|other| *other != node);
                let mut pairs: Vec<(Machine, Machine)> = Vec::new();
                for other in others {
                    pairs.push((node, other));
                    if self.dice.permille(500) {
                        pairs.push((other, node));
                    }
                }
                pairs
            }
            Kind::Isolate if self.dice.permille(500) => self.all_of(node),
            Kind::Isolate => {
                let others = members.into_iter().filter(|other| *other != node);
                others
                    .flat_map(|other| [(node, other), (other, node)])
                    .collect()
            }
            _ => {
                let everybody: Vec<Machine> =
                    members.into_iter().chain(self.clients_of(node)).collect();
                let (left, right): (Vec<Machine>, Vec<Machine>) =
                    everybody.into_iter().partition(|_| self.dice.permille(500));
                let across = left
                    .iter()
                    .flat_map(|one| right.iter().map(move |other| (*one, *other)));
                across
                    .flat_map(|(one, other)| [(one, other), (other, one)])
                    .collect()
            }
        }
    }
}
