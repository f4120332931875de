//! When each group asked to be woken: a heap of deadlines, stale ones skipped when they surface.
//!
//! - A quiet group has no entry: ten thousand idle groups cost nothing.
//! - The newest deadline of a group is the one in `wanted`; others in the heap are ignored.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use raft::ids::Time;

/// One per shard; groups are named by their slot.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, u32)>>,
    wanted: Vec<Option<Time>>,
}

impl Timers {
    /// For `slots` groups, none of which asked for anything.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            wanted: vec![None; slots],
        }
    }

    /// Sets the slot's only deadline; `None` takes it away.
    pub fn set(&mut self, slot: u32, at: Option<Time>) {
        let wanted = &mut self.wanted[slot as usize];
        if *wanted == at {
            return;
        }
        *wanted = at;
        if let Some(at) = at {
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The earliest deadline.
    pub fn earliest(&mut self) -> Option<Time> {
        while let Some(Reverse((at, slot))) = self.heap.peek() {
            if self.wanted[*slot as usize] == Some(*at) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes one slot whose deadline has come.
    pub fn expired(&mut self, now: Time) -> Option<u32> {
        let at = self.earliest()?;
        if at > now {
            return None;
        }
        let Reverse((_, slot)) = self.heap.pop()?;
        self.wanted[slot as usize] = None;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_deadline_of_a_slot_counts() {
        let mut timers = Timers::new(3);
        timers.set(0, Some(Time(10)));
        timers.set(1, Some(Time(20)));
        timers.set(0, Some(Time(30)));
        timers.set(2, Some(Time(5)));
        timers.set(2, None);
        assert_eq!(timers.earliest(), Some(Time(20)));
        assert_eq!(timers.expired(Time(19)), None);
        assert_eq!(timers.expired(Time(40)), Some(1));
        assert_eq!(timers.expired(Time(40)), Some(0));
        assert_eq!(timers.expired(Time(40)), None);
        assert_eq!(timers.earliest(), None);
    }
}
