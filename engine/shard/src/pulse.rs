//! Lets time pass in groups where nothing else happens: what their machines have due is proposed when its moment comes.
//!
//! - Every replica knows when its machine has something due; only the leader proposes, and asks again after a while.
//! - A group that has nothing due has no entry. Moments are the wall clock's, as those in entries are: only suggestions.

use std::collections::BTreeSet;

use net::transport::Transport;
use raft::effects::Role;
use raft::ids::Time;
use raft::state_machine::StateMachine;
use wal::Device;

use crate::clock::Clock;
use crate::limits::PULSE_AGAIN_NS;
use crate::shard::{Shard, carriers};
use crate::stages::decide::{self, Carriers};
use crate::stages::persist::Persisted;

/// When groups have something due. One per shard; groups are named by their slot.
#[derive(Debug)]
pub(crate) struct Pulses {
    at: Vec<Option<u64>>,
    order: BTreeSet<(u64, u32)>,
}

impl Pulses {
    /// For so many groups, all of which are to be looked at first.
    pub(crate) fn new(slots: usize) -> Self {
        let slots = u32::try_from(slots).expect("slots have 32 bits");
        Self {
            at: vec![Some(0); slots as usize],
            order: (0..slots).map(|slot| (0, slot)).collect(),
        }
    }

    /// The slot's only moment; none takes it away.
    pub(crate) fn set(&mut self, slot: u32, at: Option<u64>) {
        let known = &mut self.at[slot as usize];
        if *known == at {
            return;
        }
        if let Some(known) = known.take() {
            self.order.remove(&(known, slot));
        }
        *known = at;
        self.order.extend(at.map(|at| (at, slot)));
    }

    /// A slot whose moment has come.
    fn next(&mut self, wall: u64) -> Option<u32> {
        let (at, slot) = *self.order.first()?;
        if at > wall {
            return None;
        }
        self.set(slot, None);
        Some(slot)
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Proposes what is due in groups that this replica leads.
    pub(crate) fn pulse(&mut self, clock: &impl Clock) {
        if self.pulses.order.is_empty() {
            return;
        }
        let (now, wall) = (clock.now(), clock.wall());
        while let Some(slot) = self.pulses.next(wall) {
            let replica = &mut self.replicas[slot as usize];
            let Some((at, operation)) = replica.machine.due() else {
                continue;
            };
            if at > wall {
                self.pulses.set(slot, Some(at));
                continue;
            }
            let may_propose = self.journal.is_clear() && self.storage != Persisted::Full;
            if replica.raft.role() == Role::Leader && may_propose {
                decide::propose_due(replica, slot, operation, &mut carriers!(self), now, wall);
            }
            // Applying it tells the next moment; whoever leads by then asks again if it was lost.
            self.pulses.set(slot, Some(wall + PULSE_AGAIN_NS));
        }
    }

    /// When the next group has something due.
    pub(crate) fn next_pulse(&self, clock: &impl Clock) -> Option<Time> {
        let (at, _) = self.pulses.order.first()?;
        Some(clock.now().plus(at.saturating_sub(clock.wall())))
    }
}

#[cfg(test)]
mod tests {
    use super::Pulses;

    #[test]
    fn each_slot_has_one_moment_and_the_soonest_comes_first() {
        let mut pulses = Pulses::new(3);
        assert_eq!(
            [0, 0, 0].map(|wall| pulses.next(wall)),
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!(pulses.next(u64::MAX), None);
        pulses.set(2, Some(30));
        pulses.set(0, Some(20));
        pulses.set(2, Some(10));
        pulses.set(1, Some(5));
        pulses.set(1, None);
        assert_eq!(pulses.next(9), None);
        assert_eq!(
            [25, 25, 25].map(|wall| pulses.next(wall)),
            [Some(2), Some(0), None]
        );
        assert!(pulses.order.is_empty());
    }
}
