//! Which pending transfers are still open, which of them expires next, and what became of the others.
//!
//! An open reservation has a slot: the transfer itself and its accounts' rows, so that a post, a void or the expiry
//! needs no row of the transfer table, which may have left memory. A slot that is free again serves the next
//! reservation. Of what was resolved two bits remain, for ever.
//!
//! - A pending transfer resolves once: open -> posted | voided | expired. Only a broken chain goes back.
//! - A slot is found through a small hash index by the transfer's id; the callers bring the hash.
//! - The heap holds exactly the open transfers that have a timeout. Its order is total (rows differ), so expiry is
//!   deterministic.
//! - Which slot a reservation gets is a function of the log, like everything that an image holds.

use raft::state_machine::RestoreError;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::account_table::AccountRow;
use crate::fates::{Fate, Fates};
use crate::freezing::Freezing;
use crate::id_index::{IdHasher, IdIndex};
use crate::limits::TIMESTAMP_MAX;
use crate::prefetch::prefetch;
use crate::transfer::Transfer;
use crate::transfer_table::TransferRow;

/// The most reservations that can be open: slots are numbered by 32 bits, two of which mean something else.
pub(crate) const PENDINGS_MAX: usize = u32::MAX as usize - 2;

/// In [`Place::next`]: the slot is taken.
const TAKEN: u32 = u32::MAX;

/// In [`Place::next`]: no further slot is free.
const NONE: u32 = u32::MAX - 1;

/// In `heap_places`: the reservation never expires.
const NEVER: u32 = u32::MAX;

/// Bytes of a slot in an image.
const SLOT_BYTES: usize = 144;

/// Number of an open reservation's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// The transfer of a slot, on two whole cache lines.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Reserved(Transfer);

/// Where the rows of a slot are.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Place {
    row: u32,
    debit: u32,
    credit: u32,
    /// [`TAKEN`], or the next free slot.
    next: u32,
}

/// A reservation that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) transfer: Transfer,
    pub(crate) row: TransferRow,
    pub(crate) debit: AccountRow,
    pub(crate) credit: AccountRow,
}

/// A reservation that waits for its expiry. Ordered by that, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    expires_at: u64,
    row: TransferRow,
    slot: Slot,
}

/// The reservations of a group.
pub(crate) struct Pendings {
    reserved: Freezing<Reserved>,
    places: Freezing<Place>,
    free: u32,
    heap: Vec<Waiting>,
    /// Where each slot stands in the heap.
    heap_places: Vec<u32>,
    ids: IdIndex,
    fates: Fates,
    open: usize,
    open_max: usize,
}

impl Pendings {
    pub(crate) fn new(open_max: usize) -> Self {
        Self {
            reserved: Freezing::new(),
            places: Freezing::new(),
            free: NONE,
            heap: Vec::new(),
            heap_places: Vec::new(),
            ids: IdIndex::new(open_max),
            fates: Fates::new(),
            open: 0,
            open_max: open_max.min(PENDINGS_MAX),
        }
    }

    /// Open reservations.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn full(&self) -> bool {
        self.open >= self.open_max
    }

    /// What became of a reservation that is not open.
    pub(crate) fn fate(&self, row: TransferRow) -> Option<Fate> {
        self.fates.get(row)
    }

    /// A transfer reserves.
    pub(crate) fn open(&mut self, reservation: &Reservation, hash: u64) {
        assert!(
            !self.full(),
            "the limit is checked before a transfer reserves"
        );
        let slot = self.take_slot();
        *self.reserved.get_mut(slot.0 as usize) = Reserved(reservation.transfer);
        *self.places.get_mut(slot.0 as usize) = Place {
            row: reservation.row.0,
            debit: reservation.debit.0,
            credit: reservation.credit.0,
            next: TAKEN,
        };
        self.enter(slot, hash);
    }

    /// Makes a taken slot findable, by its id and by its expiry.
    fn enter(&mut self, slot: Slot, hash: u64) {
        self.open += 1;
        self.ids.insert(hash, slot.0);
        let place = slot.0 as usize;
        self.heap_places[place] = NEVER;
        if let Some(expires_at) = self.reserved.get(place).0.expires_at() {
            let row = TransferRow(self.places.get(place).row);
            self.heap.push(Waiting {
                expires_at,
                row,
                slot,
            });
            self.rise(self.heap.len() - 1);
        }
    }

    fn take_slot(&mut self) -> Slot {
        if self.free != NONE {
            let slot = Slot(self.free);
            self.free = self.places.get(slot.0 as usize).next;
            return slot;
        }
        let slot = Slot(u32::try_from(self.places.len()).expect("slots are limited to 32 bits"));
        self.reserved.push(Reserved(Transfer::default()));
        self.places.push(Place {
            row: 0,
            debit: 0,
            credit: 0,
            next: NONE,
        });
        self.heap_places.push(NEVER);
        slot
    }

    /// An open reservation is posted, voided or expires.
    pub(crate) fn resolve(&mut self, slot: Slot, hash: u64, fate: Fate) {
        let row = TransferRow(self.places.get(slot.0 as usize).row);
        self.close(slot, hash);
        self.fates.set(row, Some(fate));
    }

    /// A broken chain takes back the transfer that reserved.
    pub(crate) fn forget(&mut self, id: u128, hash: u64) {
        let slot = self.find(id, hash);
        self.close(slot.expect("a chain forgets only what it reserved"), hash);
    }

    /// A broken chain takes back the transfer that resolved.
    pub(crate) fn reopen(&mut self, reservation: &Reservation, hash: u64) {
        assert!(
            matches!(
                self.fate(reservation.row),
                Some(Fate::Posted | Fate::Voided)
            ),
            "a chain reopens only what it resolved"
        );
        self.fates.set(reservation.row, None);
        self.open(reservation, hash);
    }

    /// Hints that an id with this hash will be looked for or entered.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.ids.prefetch(hash);
    }

    /// Fetches the slot that an id with this hash most likely has.
    #[inline]
    pub(crate) fn prefetch_slot(&self, hash: u64) {
        self.ids.find(hash, |slot| {
            prefetch(self.reserved.get(slot as usize));
            prefetch(self.places.get(slot as usize));
            true
        });
    }

    /// The slot of an open reservation.
    #[inline]
    pub(crate) fn find(&self, id: u128, hash: u64) -> Option<Slot> {
        let found = self.ids.find(hash, |slot| {
            self.reserved.get(slot as usize).0.id.get() == id
        });
        found.map(Slot)
    }

    /// What a slot holds.
    #[inline]
    pub(crate) fn reservation(&self, slot: Slot) -> Reservation {
        let place = self.places.get(slot.0 as usize);
        Reservation {
            transfer: self.reserved.get(slot.0 as usize).0,
            row: TransferRow(place.row),
            debit: AccountRow(place.debit),
            credit: AccountRow(place.credit),
        }
    }

    /// The reservation that is due first, if it is due by `now`.
    pub(crate) fn due(&self, now: u64) -> Option<Slot> {
        self.heap
            .first()
            .filter(|first| first.expires_at <= now)
            .map(|first| first.slot)
    }

    /// Reservations that are due by `now`, in no order; of more than `most`, not always the first ones.
    pub(crate) fn all_due(&self, now: u64, most: usize) -> Vec<Slot> {
        let is_due = |place: &usize| {
            let waiting = self.heap.get(*place);
            waiting.is_some_and(|waiting| waiting.expires_at <= now)
        };
        let mut due: Vec<usize> = Some(0).filter(is_due).into_iter().collect();
        // What is due stands above what is not.
        let mut next = 0;
        while next < due.len() && due.len() < most {
            let below = 2 * due[next] + 1;
            due.extend([below, below + 1].into_iter().filter(is_due));
            next += 1;
        }
        due.iter().map(|&place| self.heap[place].slot).collect()
    }

    /// When the next reservation expires.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.heap.first().map(|first| first.expires_at)
    }

    fn close(&mut self, slot: Slot, hash: u64) {
        self.open -= 1;
        self.ids.remove(hash, slot.0);
        let place = self.places.get_mut(slot.0 as usize);
        assert_eq!(place.next, TAKEN, "only an open reservation resolves");
        place.next = self.free;
        self.free = slot.0;
        let place = core::mem::replace(&mut self.heap_places[slot.0 as usize], NEVER);
        if place == NEVER {
            return;
        }
        let place = place as usize;
        debug_assert_eq!(self.heap[place].slot, slot);
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.rise(place);
            self.sink(place);
        }
    }

    /// Moves an entry towards the top, to where it belongs.
    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let above = (place - 1) / 2;
            if self.heap[above] <= entry {
                break;
            }
            self.settle(place, self.heap[above]);
            place = above;
        }
        self.settle(place, entry);
    }

    /// Moves an entry away from the top, to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let mut below = 2 * place + 1;
            if below >= self.heap.len() {
                break;
            }
            if below + 1 < self.heap.len() && self.heap[below + 1] < self.heap[below] {
                below += 1;
            }
            if entry <= self.heap[below] {
                break;
            }
            self.settle(place, self.heap[below]);
            place = below;
        }
        self.settle(place, entry);
    }

    fn settle(&mut self, place: usize, entry: Waiting) {
        self.heap[place] = entry;
        let number = u32::try_from(place).expect("there are no more places than slots");
        self.heap_places[entry.slot.0 as usize] = number;
    }

    pub(crate) const fn fates(&self) -> &Fates {
        &self.fates
    }

    pub(crate) const fn fates_mut(&mut self) -> &mut Fates {
        &mut self.fates
    }

    /// Slots, taken or free.
    pub(crate) fn slots(&self) -> usize {
        self.places.len()
    }

    /// The number of the first free slot.
    pub(crate) const fn first_free(&self) -> u32 {
        self.free
    }

    /// Keeps reservations and fates as they are for an image.
    pub(crate) fn freeze(&mut self) {
        self.reserved.freeze();
        self.places.freeze();
        self.fates.freeze();
    }

    /// The image is not wanted any more.
    pub(crate) fn thaw(&mut self) {
        self.reserved.thaw();
        self.places.thaw();
        self.fates.thaw();
    }

    /// The next slots of an image, 144 bytes each: row, debit row, credit row, next free slot, the transfer. False
    /// if there are no more.
    pub(crate) fn take_frozen(&mut self, count: usize, out: &mut Vec<u8>) -> bool {
        let first = out.len();
        let any = self.places.take_frozen(count, |place| {
            for number in [place.row, place.debit, place.credit, place.next] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&[0; size_of::<Transfer>()]);
        });
        let mut slots = out[first..].chunks_exact_mut(SLOT_BYTES);
        self.reserved.take_frozen(count, |reserved| {
            let slot = slots.next().expect("there are as many transfers as places");
            slot[SLOT_BYTES - size_of::<Transfer>()..].copy_from_slice(reserved.0.as_bytes());
        });
        any
    }

    /// The next slot, from an image.
    ///
    /// # Errors
    /// `malformed` if it is none, `Full` if there are too many.
    pub(crate) fn restore_slot(
        &mut self,
        slot: &[u8],
        malformed: RestoreError,
    ) -> Result<(), RestoreError> {
        let (numbers, transfer) = <[U32; 4]>::read_from_prefix(slot).map_err(|_| malformed)?;
        let transfer = Transfer::read_from_bytes(transfer).map_err(|_| malformed)?;
        if self.places.len() >= self.open_max {
            return Err(RestoreError::Full);
        }
        let [row, debit, credit, next] = numbers.map(U32::get);
        self.reserved.push(Reserved(transfer));
        self.places.push(Place {
            row,
            debit,
            credit,
            next,
        });
        self.heap_places.push(NEVER);
        Ok(())
    }

    /// All slots are here: enters those that are taken, and follows the free ones. False if that makes no sense with
    /// so many rows and accounts.
    pub(crate) fn end_restore(
        &mut self,
        (free, open): (u32, u64),
        (rows, accounts): (usize, usize),
        hasher: IdHasher,
    ) -> bool {
        for slot in 0..self.places.len() {
            let place = *self.places.get(slot);
            if place.next != TAKEN {
                continue;
            }
            let transfer = self.reserved.get(slot).0;
            let (id, row) = (transfer.id.get(), TransferRow(place.row));
            let known = |account: u32| (account as usize) < accounts;
            let sound = known(place.debit)
                && known(place.credit)
                && (place.row as usize) < rows
                && transfer.timestamp.get() <= TIMESTAMP_MAX
                && self.fates.get(row).is_none()
                && self.find(id, hasher.hash(id)).is_none();
            if !sound {
                return false;
            }
            let slot = Slot(u32::try_from(slot).expect("slots are limited to 32 bits"));
            self.enter(slot, hasher.hash(id));
        }
        self.free = free;
        let (mut next, mut free_slots) = (free, 0);
        while next != NONE && free_slots <= self.places.len() {
            if next as usize >= self.places.len() {
                return false;
            }
            next = self.places.get(next as usize).next;
            free_slots += 1;
        }
        self.open as u64 == open && free_slots + self.open == self.places.len()
    }

    /// Bytes that slots, fates and the heap occupy.
    pub(crate) fn bytes(&self) -> usize {
        self.reserved.bytes()
            + self.places.bytes()
            + self.heap_places.capacity() * size_of::<u32>()
            + self.heap.capacity() * size_of::<Waiting>()
            + self.ids.bytes()
            + self.fates.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Pendings, Reservation};
    use crate::account_table::AccountRow;
    use crate::fates::Fate;
    use crate::id_index::id_hash;
    use crate::transfer::{NANOS_PER_SECOND, Transfer};
    use crate::transfer_table::TransferRow;
    use std::collections::BTreeSet;

    fn reservation(row: u32, timeout: u32) -> Reservation {
        Reservation {
            transfer: Transfer {
                id: u128::from(row).into(),
                timeout: timeout.into(),
                ..Transfer::default()
            },
            row: TransferRow(row),
            debit: AccountRow(1),
            credit: AccountRow(2),
        }
    }

    fn hash(row: u32) -> u64 {
        id_hash(u128::from(row))
    }

    #[test]
    fn expires_in_order_whatever_is_taken_out_between() {
        let mut pendings = Pendings::new(10_000);
        let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
        let mut dice = 7_u64;
        for row in 0..5_000_u32 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let timeout = 1 + (dice >> 33) as u32 % 700;
            pendings.open(&reservation(row, timeout), hash(row));
            model.insert((u64::from(timeout) * NANOS_PER_SECOND, row));
            if dice >> 40 & 1 == 1 {
                let victim = *model
                    .iter()
                    .nth((dice >> 41) as usize % model.len())
                    .unwrap();
                model.remove(&victim);
                let slot = pendings.find(victim.1.into(), hash(victim.1)).unwrap();
                pendings.resolve(slot, hash(victim.1), Fate::Voided);
                assert_eq!(pendings.fate(TransferRow(victim.1)), Some(Fate::Voided));
            }
            assert_eq!(pendings.next_expiry(), model.first().map(|first| first.0));
        }
        while let Some(slot) = pendings.due(u64::MAX) {
            let row = pendings.reservation(slot).row.0;
            assert_eq!(Some(row), model.pop_first().map(|first| first.1));
            assert_eq!(pendings.find(row.into(), hash(row)), Some(slot));
            pendings.resolve(slot, hash(row), Fate::Expired);
            assert_eq!(pendings.find(row.into(), hash(row)), None);
        }
        assert!(model.is_empty());
        assert_eq!(pendings.open_count(), 0);
        assert!(pendings.places.len() < 4_000, "slots serve again");
    }

    #[test]
    fn what_was_resolved_can_be_reopened_and_forgotten() {
        let mut pendings = Pendings::new(1);
        let one = reservation(3, 9);
        pendings.open(&one, hash(3));
        assert!(pendings.full());
        let slot = pendings.find(3, hash(3)).unwrap();
        pendings.resolve(slot, hash(3), Fate::Posted);
        assert_eq!(pendings.due(u64::MAX), None);
        pendings.reopen(&one, hash(3));
        assert_eq!(pendings.due(9 * NANOS_PER_SECOND), Some(slot));
        assert_eq!(pendings.reservation(slot), one);
        pendings.forget(3, hash(3));
        assert_eq!((pendings.fate(one.row), pendings.open_count()), (None, 0));
    }
}
