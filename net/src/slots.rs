//! Where connections live: an array of slots, with ids that are never used twice.
//!
//! - An id names its slot and the entry's turn in it: a stale id finds nothing.
//! - Iteration is in the order of slots: the same past gives the same order.

use crate::config::CONNECTIONS_MAX;
use crate::transport::ConnectionId;

const SLOT_BITS: u32 = CONNECTIONS_MAX.ilog2();
const _: () = assert!(CONNECTIONS_MAX == 1 << SLOT_BITS && SLOT_BITS == u16::BITS);

impl ConnectionId {
    /// A small number, unique among the connections that exist at one time: an index for whoever keeps sockets.
    pub fn slot(self) -> usize {
        usize::from(self.0 as u16)
    }
}

/// The entries of a core, each under its id.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<(ConnectionId, T)>>,
    free: Vec<u16>,
    sequence: u64,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots {
            entries: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }

    /// # Panics
    /// If all slots are taken: whoever inserts keeps count.
    pub(crate) fn insert(&mut self, entry: T) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u16::try_from(self.entries.len() - 1)
                .expect("connections are bounded below the number of slots")
        });
        self.sequence += 1;
        let id = ConnectionId(self.sequence << SLOT_BITS | u64::from(slot));
        self.entries[usize::from(slot)] = Some((id, entry));
        id
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let (_, entry) = self
            .entries
            .get_mut(id.slot())?
            .take_if(|(at, _)| *at == id)?;
        self.free.push(id.0 as u16);
        Some(entry)
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&T> {
        self.entries
            .get(id.slot())?
            .as_ref()
            .filter(|(at, _)| *at == id)
            .map(|(_, entry)| entry)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        self.entries
            .get_mut(id.slot())?
            .as_mut()
            .filter(|(at, _)| *at == id)
            .map(|(_, entry)| entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.entries
            .iter()
            .flatten()
            .map(|(id, entry)| (*id, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_an_id_is_not() {
        let mut slots = Slots::new();
        let (first, second) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(first), Some('a'));
        assert_eq!((slots.remove(first), slots.get(first)), (None, None));
        let third = slots.insert('c');
        assert_eq!(third.slot(), first.slot());
        assert_ne!(third, first);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.get(third), Some(&'c'));
        assert_eq!(
            slots.iter().collect::<Vec<_>>(),
            [(third, &'c'), (second, &'b')]
        );
        assert_eq!(slots.get(ConnectionId(999)), None);
    }
}
