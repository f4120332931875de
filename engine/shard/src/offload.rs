//! Offloading: what a leader sealed is put into the object store, and the group's log says so before any copy goes.
//!
//! ```text
//! sealed file -> stored, read back, published (the coffer) -> receipt in the group's log -> applied -> local copies go
//! ```
//!
//! - Only a leader stores. A new one finds out from the store how far the one before had come.
//! - A receipt is an entry like any other: every replica that applies it may let its own copies go, no other may.
//! - A step that fails, or whose answer is lost, is begun anew: the store holds files by what is in them.

use std::sync::Arc;

use bytes::Bytes;
use net::transport::Transport;
use raft::effects::Role;
use raft::ids::{Index, Term, Time};
use raft::state_machine::StateMachine;
use rustc_hash::FxHashMap;
use wal::Device;
use wal::archive::Contents;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::limits;
use crate::receipt::Receipt;
use crate::replica::Replica;
use crate::room::Room;
use crate::shard::{Shard, carriers};
use crate::stages::decide::{self, Carriers};

/// A sealed file on its way to the store.
#[derive(Clone)]
pub struct Parcel {
    /// Whose.
    pub group: u64,
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// Its bytes.
    pub contents: Contents,
}

/// A parcel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whose it was.
    pub group: u64,
    /// What the store holds of it, which may be more or less than what was given; nothing when it failed for now.
    pub receipt: Option<Receipt>,
}

/// What the store has of an entry.
#[derive(Clone)]
pub enum Found {
    /// The stored file that holds it, whole.
    File(Contents),
    /// It does not hold it; the next entry that it does hold, if any.
    Nowhere(Option<u64>),
    /// It does not answer.
    Failed,
}

/// The end of a question.
pub struct Arrival {
    /// The question's.
    pub token: u64,
    /// The answer.
    pub found: Found,
}

/// What a node did with its object store since it started; the same for all of its cores.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct StoreCounts {
    /// Requests to the store.
    pub requests: u64,
    /// Of them repetitions.
    pub repeated: u64,
    /// Jobs given up for the time being.
    pub failed: u64,
    /// Bytes of files stored.
    pub uploaded_bytes: u64,
    /// Bytes of files brought back.
    pub downloaded_bytes: u64,
    /// Reads answered from the cache.
    pub cache_hits: u64,
    /// Reads that had to wait for the store.
    pub cache_misses: u64,
    /// Bytes in the cache.
    pub cache_bytes: u64,
    /// Bytes brought back before anybody asked.
    pub guessed_bytes: u64,
    /// Of them, asked for since.
    pub guessed_used_bytes: u64,
    /// Of them, dropped without having been asked for.
    pub guessed_wasted_bytes: u64,
    /// Groups looked after: expired, joined, swept.
    pub chores: u64,
    /// Groups whose chores failed, to be done next time.
    pub chores_failed: u64,
    /// Segments whose stay was over.
    pub expired_segments: u64,
    /// Segments that others were made of in their place.
    pub joined_segments: u64,
    /// Objects deleted since no manifest named them.
    pub swept_objects: u64,
    /// Such objects that the store holds under a lock.
    pub locked_objects: u64,
    /// Uploads in parts that nobody went on with and that the store was told to forget.
    pub uploads_given_up: u64,
}

/// The door to the object store, as a shard sees it: files in, receipts out; entries back. Submitted and polled, never
/// waited for.
pub trait Coffer {
    /// Takes a file; a delivery of the same group follows.
    ///
    /// # Errors
    /// The parcel, when as many wait as may: offer it again later.
    fn offer(&mut self, parcel: Parcel) -> Result<(), Parcel>;

    /// Appends the deliveries that have ended.
    fn poll(&mut self, deliveries: &mut Vec<Delivery>);

    /// Looks for the stored file that holds an entry of a group; an arrival with this token follows. False when as many
    /// are looked for as may be: ask again later.
    fn find(&mut self, token: u64, group: u64, index: u64) -> bool;

    /// Appends what was found.
    fn poll_found(&mut self, arrivals: &mut Vec<Arrival>);

    /// These groups are led here: what is stored of them is to be looked after.
    fn tend(&mut self, groups: &[u64]);

    /// What was done since the start.
    fn counts(&self) -> StoreCounts;

    /// What last went wrong with the store, and the second since the Unix epoch at which it did.
    fn trouble(&self) -> Option<(u64, Arc<str>)> {
        None
    }
}

/// One per shard.
#[derive(Default)]
pub(crate) struct Offloading {
    coffer: Option<Box<dyn Coffer>>,
    /// Groups of which a file is with the coffer.
    under_way: FxHashMap<u32, ()>,
    retry_at: Time,
    room: Room,
    /// Files were sealed, or receipts applied, since the groups were looked at.
    pub(crate) look_again: bool,
    deliveries: Vec<Delivery>,
    /// Receipts on their way through the log: the group, the term of their leader, their index.
    told: Vec<(u32, Term, Index)>,
    /// When the store is told next which groups are led here.
    tend_at: Time,
}

impl Offloading {
    pub(crate) const fn has_coffer(&self) -> bool {
        self.coffer.is_some()
    }

    pub(crate) fn coffer(&mut self) -> Option<&mut (dyn Coffer + 'static)> {
        self.coffer.as_deref_mut()
    }

    /// The store, for what it tells of itself, if there is one.
    pub(crate) fn store(&self) -> Option<&dyn Coffer> {
        self.coffer.as_deref()
    }

    pub(crate) fn is_under_way(&self, slot: u32) -> bool {
        self.under_way.contains_key(&slot)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && !self.look_again
    }
}

impl<D: Device, T, M: StateMachine> Shard<D, T, M> {
    /// What is sealed here goes into this store when this node leads its group.
    pub fn set_coffer(&mut self, coffer: Box<dyn Coffer>) {
        self.offloading.coffer = Some(coffer);
        self.offloading.look_again = true;
    }
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Hears from the store, and gives it what is next.
    pub(crate) fn offload(&mut self, now: Time) {
        let Some(coffer) = &mut self.offloading.coffer else {
            if std::mem::take(&mut self.offloading.look_again) {
                self.all_needless_go(now);
            }
            return;
        };
        let mut deliveries = std::mem::take(&mut self.offloading.deliveries);
        coffer.poll(&mut deliveries);
        for delivery in deliveries.drain(..) {
            self.delivered(delivery, now);
        }
        self.offloading.deliveries = deliveries;
        self.receipts_applied();
        if !self.offloading.look_again || now < self.offloading.retry_at {
            return;
        }
        self.offloading.look_again = false;
        self.all_needless_go(now);
        for slot in 0..self.replicas.len() as u32 {
            self.offer(slot, now);
        }
    }

    /// What is sealed cannot leave, and therefore the log not be given up, and there is little room left: that is for the
    /// receipts, which go through this very log, and let files go when the store takes them again. Clients are told that the
    /// storage is full; a log that they had filled to its end would take no receipt and stay full for ever.
    pub(crate) fn is_cut_off(&self) -> bool {
        let Some(history) = self
            .sealing
            .history
            .filter(|_| self.offloading.has_coffer())
        else {
            return false;
        };
        let is_held = self.sealing.bytes >= history.bytes_max && self.presses();
        is_held || (self.sealing.bytes > 0 && self.wal.is_tight())
    }

    /// A log without room is about to get some, from this node's files or from the store.
    pub(crate) fn comes_room(&self, now: Time) -> bool {
        self.upkeep.room.comes(now) || self.offloading.room.comes(now)
    }

    /// Now and then the store is told which groups are led here.
    pub(crate) fn tend(&mut self, now: Time) {
        let Some(coffer) = &mut self.offloading.coffer else {
            return;
        };
        if now < self.offloading.tend_at {
            return;
        }
        self.offloading.tend_at = now.plus(limits::TEND_NS);
        // Who has just begun to lead offers what its predecessor could not: where nothing is sealed any more for want of
        // room, nothing else would bring that about.
        self.offloading.look_again = true;
        let is_led = |replica: &&Replica<M>| replica.raft.role() == Role::Leader;
        let led = self.replicas.iter().filter(is_led);
        let groups: Vec<u64> = led.map(|replica| replica.group.0).collect();
        coffer.tend(&groups);
    }

    /// Receipts that were applied, or whose leader lost its office, hold their groups up no longer.
    fn receipts_applied(&mut self) {
        let (replicas, offloading) = (&self.replicas, &mut self.offloading);
        let under_way = &mut offloading.under_way;
        let look_again = &mut offloading.look_again;
        offloading.told.retain(|&(slot, term, index)| {
            let replica = &replicas[slot as usize];
            let is_open = replica.applied < index
                && replica.raft.term() == term
                && replica.raft.role() == Role::Leader;
            if !is_open {
                under_way.remove(&slot);
                *look_again = true;
            }
            is_open
        });
    }

    fn all_needless_go(&mut self, now: Time) {
        for slot in 0..self.replicas.len() as u32 {
            if !self.replicas[slot as usize].shelf.past.files().is_empty() {
                self.let_needless_go(slot, now);
            }
        }
    }

    fn offer(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        if replica.shelf.past.files().is_empty()
            || replica.raft.role() != Role::Leader
            || !replica.is_sound()
            || self.offloading.under_way.contains_key(&slot)
        {
            return;
        }
        let Some((file, rest)) = replica.shelf.past.next_to_store() else {
            return;
        };
        if rest != (file.first, file.last) {
            // The store has a part of it: the rest becomes a file of its own first.
            self.sealing.want(slot, replica);
            return;
        }
        if self.offloading.under_way.len() >= limits::PARCELS_MAX {
            self.offloading.look_again = true;
            return;
        }
        let parcel = Parcel {
            group: replica.group.0,
            first: file.first,
            last: file.last,
            contents: file.contents.clone(),
        };
        let coffer = self.offloading.coffer.as_mut().expect("who offers has one");
        if coffer.offer(parcel).is_ok() {
            self.offloading.under_way.insert(slot, ());
        } else {
            self.offloading.look_again = true;
            self.offloading.retry_at = now.plus(limits::UPKEEP_RETRY_NS);
        }
    }

    /// A parcel has ended: if this node still leads, the group's log is told.
    fn delivered(&mut self, delivery: Delivery, now: Time) {
        let Some(&slot) = self.slots.get(&raft::ids::GroupId(delivery.group)) else {
            return;
        };
        self.offloading.under_way.remove(&slot);
        self.offloading.look_again = true;
        let Some(receipt) = delivery.receipt else {
            self.sealing.counts.store_failures += 1;
            self.offloading.room.fails();
            self.offloading.retry_at = now.plus(limits::STORE_RETRY_NS);
            return;
        };
        self.offloading.room.made(now);
        let replica = &mut self.replicas[slot as usize];
        let payload = Bytes::copy_from_slice(receipt.as_bytes());
        let is_told = decide::propose_receipt(replica, slot, payload, &mut carriers!(self), now);
        if is_told {
            // Until it is applied nothing more of this group is offered.
            self.offloading.under_way.insert(slot, ());
            let (term, index) = (replica.raft.term(), replica.raft.last_index());
            self.offloading.told.push((slot, term, index));
        } else {
            self.offloading.retry_at = now.plus(limits::UPKEEP_RETRY_NS);
        }
    }
}
