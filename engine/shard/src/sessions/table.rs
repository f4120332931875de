//! The sessions that one group remembers: their last request, and the reply to it.
//!
//! - In order of arrival in memory, and of no order in the digest: what is remembered decides, not how it came there.
//! - `floor` is the highest number that was ever forgotten here. A session at or below it that is not in the table was
//!   forgotten, or is taken for such. Groups that give no numbers keep such a floor for each origin, so that nobody's first
//!   request there is refused because of somebody else's flood; of the origins with the lowest floors, that are more than
//!   there may be, one floor is kept for all.
//! - Who does not tell an origin is below every floor.
//! - `sum` is the sum of the digests of all entries, kept as they change.
//! - Room is made by the origin that has the most sessions, so nobody loses a session to somebody else's flood.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::limits::{SESSION_FLOORS_MAX, SESSION_REPLY_MAX};
use crate::sessions::Outcome;

/// What a request meets.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nobody has seen it: carry it out, as one of this session.
    New(u32),
    /// It was carried out, with this reply.
    Repeated(&'a [u8]),
    /// It is not to be carried out.
    Refused(Outcome),
}

/// A request of a session.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whose.
    pub client: u128,
    /// Its session, as it says.
    pub session: u32,
    /// Which of the session's requests.
    pub request: u32,
    /// The session's origin, if that is told.
    pub origin: Option<u32>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) session: u32,
    /// Its last request.
    pub(crate) request: u32,
    /// Where it came from, as its door says; 0 where nobody said.
    pub(crate) origin: u32,
    /// Index of the entry that was its last sign of life.
    pub(crate) used_at: u64,
    /// The reply to the last request, verdict included. Empty while that request is carried out.
    pub(crate) reply: Vec<u8>,
    digest: u128,
}

/// All sessions of a group.
#[derive(Debug)]
pub struct Table {
    /// Beside `entries`, so that a search reads little.
    clients: Vec<u128>,
    entries: Vec<Entry>,
    entries_max: usize,
    /// Sessions that were given a number here.
    given: u32,
    /// Of sessions whose origin has none of its own.
    floor: u32,
    /// By origin; each is above `floor`.
    floors: BTreeMap<u32, u32>,
    registers: bool,
    sum: u128,
    /// An image of the table that is being handed out, and how far it is.
    frozen: Option<(Vec<u8>, usize)>,
}

impl Table {
    /// No sessions.
    #[must_use]
    pub fn new(entries_max: usize, registers: bool) -> Self {
        assert!(entries_max > 0);
        Self {
            clients: Vec::with_capacity(entries_max),
            entries: Vec::with_capacity(entries_max),
            entries_max,
            given: 0,
            floor: 0,
            floors: BTreeMap::new(),
            registers,
            sum: 0,
            frozen: None,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A client's session, its last request and its origin.
    #[must_use]
    pub fn session_of(&self, client: u128) -> Option<[u32; 3]> {
        let entry = &self.entries[self.place(client)?];
        Some([entry.session, entry.request, entry.origin])
    }

    /// A client of this origin wants a session; at `index` of the log.
    pub fn register(&mut self, client: u128, origin: u32, index: u64) -> Found<'_> {
        if !self.registers || client == 0 {
            return Found::Refused(Outcome::NoSession);
        }
        if let Some(place) = self.place(client) {
            self.touch(place, index);
            // A client never registers after its first request: this is that register, late.
            return if self.entries[place].request > 0 {
                Found::Refused(Outcome::Past)
            } else {
                Found::Repeated(&self.entries[place].reply)
            };
        }
        let Some(session) = self.given.checked_add(1) else {
            return Found::Refused(Outcome::NoSession);
        };
        self.given = session;
        self.insert(client, session, origin, index);
        Found::New(session)
    }

    /// A request of a session; at `index` of the log. After `New` the reply is to be kept.
    pub fn find(&mut self, asked: &Asked, index: u64) -> Found<'_> {
        let Asked {
            client,
            session,
            request,
            origin,
        } = *asked;
        let Some(place) = self.place(client) else {
            let forgotten = session <= self.floor_of(origin);
            if self.registers || forgotten || client == 0 || request == 0 {
                return Found::Refused(Outcome::NoSession);
            }
            self.insert(client, session, origin.unwrap_or(0), index);
            return Found::New(session);
        };
        let known = self.entries[place].session;
        if session < known {
            return Found::Refused(Outcome::Superseded);
        }
        if session > known {
            if self.registers {
                return Found::Refused(Outcome::NoSession);
            }
            self.remove(place);
            self.insert(client, session, origin.unwrap_or(0), index);
            return Found::New(session);
        }
        self.touch(place, index);
        let entry = &self.entries[place];
        match request.cmp(&entry.request) {
            std::cmp::Ordering::Less => Found::Refused(Outcome::Past),
            std::cmp::Ordering::Equal => Found::Repeated(&entry.reply),
            std::cmp::Ordering::Greater => Found::New(session),
        }
    }

    /// The client's last request and its reply.
    pub fn keep(&mut self, client: u128, request: u32, index: u64, reply: &[u8]) {
        assert!(
            reply.len() <= SESSION_REPLY_MAX,
            "a reply longer than a session keeps"
        );
        let place = self.place(client).expect("it was found or inserted before");
        self.change(place, client, |entry| {
            entry.request = request;
            entry.used_at = index;
            entry.reply.clear();
            entry.reply.extend_from_slice(reply);
        });
    }

    /// The state hash of the table and of what it stands beside.
    #[must_use]
    pub fn digest(&self, inner: u128) -> u128 {
        let nothing = self.entries.is_empty() && self.floors.is_empty();
        if nothing && self.given == 0 && self.floor == 0 {
            return inner;
        }
        let mut bytes = Vec::with_capacity(40 + 8 * self.floors.len());
        bytes.extend_from_slice(&inner.to_le_bytes());
        bytes.extend_from_slice(&self.sum.to_le_bytes());
        bytes.extend_from_slice(&self.given.to_le_bytes());
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        for (origin, floor) in &self.floors {
            bytes.extend_from_slice(&origin.to_le_bytes());
            bytes.extend_from_slice(&floor.to_le_bytes());
        }
        xxh3_128(&bytes)
    }

    pub(crate) fn given(&self) -> u32 {
        self.given
    }

    pub(crate) fn floor(&self) -> u32 {
        self.floor
    }

    pub(crate) fn floors(&self) -> &BTreeMap<u32, u32> {
        &self.floors
    }

    pub(crate) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Everything, in order of last use: an order that all replicas agree about.
    pub(crate) fn in_order(&self) -> Vec<(u128, &Entry)> {
        let mut all: Vec<(u128, &Entry)> =
            self.clients.iter().copied().zip(&self.entries).collect();
        all.sort_unstable_by_key(|(client, entry)| (entry.used_at, *client));
        all
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.entries_max, self.registers);
    }

    /// Takes over what an image says; false if a client is in it twice or there are too many.
    pub(crate) fn restore(
        &mut self,
        (given, floor): (u32, u32),
        floors: BTreeMap<u32, u32>,
        entries: Vec<(u128, Entry)>,
    ) -> bool {
        self.clear();
        (self.given, self.floor, self.floors) = (given, floor, floors);
        for (client, entry) in entries {
            if self.place(client).is_some() || self.entries.len() == self.entries_max {
                return false;
            }
            self.clients.push(client);
            self.entries.push(entry);
            let place = self.entries.len() - 1;
            self.change(place, client, |_| {});
        }
        true
    }

    /// Begins an image of the table as it stands.
    pub(crate) fn freeze(&mut self) {
        self.frozen = Some((super::image::encode(self), 0));
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Appends the next piece of the image; false when there is none left.
    pub(crate) fn next_frozen_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let Some((image, taken)) = &mut self.frozen else {
            return false;
        };
        let end = taken.saturating_add(budget.max(1)).min(image.len());
        piece.extend_from_slice(&image[*taken..end]);
        *taken = end;
        if *taken == image.len() {
            self.frozen = None;
        }
        true
    }

    fn place(&self, client: u128) -> Option<usize> {
        self.clients.iter().position(|&known| known == client)
    }

    fn touch(&mut self, place: usize, index: u64) {
        let client = self.clients[place];
        self.change(place, client, |entry| entry.used_at = index);
    }

    fn insert(&mut self, client: u128, session: u32, origin: u32, index: u64) {
        if self.entries.len() == self.entries_max {
            let quiet = self.dispensable();
            let Entry {
                session, origin, ..
            } = self.entries[quiet];
            self.forget(session, origin);
            self.remove(quiet);
        }
        self.clients.push(client);
        self.entries.push(Entry {
            session,
            request: 0,
            origin,
            used_at: index,
            reply: Vec::new(),
            digest: 0,
        });
        let place = self.entries.len() - 1;
        self.change(place, client, |_| {});
    }

    /// Sessions up to this one may have been forgotten here.
    fn floor_of(&self, origin: Option<u32>) -> u32 {
        let own = match origin {
            Some(origin) => self.floors.get(&origin).copied(),
            None => self.floors.values().max().copied(),
        };
        own.unwrap_or(0).max(self.floor)
    }

    /// A session is not known any more.
    fn forget(&mut self, session: u32, origin: u32) {
        if self.registers {
            self.floor = self.floor.max(session);
            return;
        }
        if session > self.floor_of(Some(origin)) {
            self.floors.insert(origin, session);
        }
        if self.floors.len() > SESSION_FLOORS_MAX {
            let lowest = self.floors.values().min().copied();
            self.floor = self.floor.max(lowest.unwrap_or(0));
            self.floors.retain(|_, floor| *floor > self.floor);
        }
    }

    /// Who makes room: of the origins with the most sessions, the session that was quiet for longest.
    fn dispensable(&self) -> usize {
        let mut counts: FxHashMap<u32, usize> = FxHashMap::default();
        for entry in &self.entries {
            *counts.entry(entry.origin).or_default() += 1;
        }
        let rank = |entry: &Entry| (Reverse(counts[&entry.origin]), entry.used_at);
        let place = (0..self.entries.len()).min_by_key(|&place| rank(&self.entries[place]));
        place.expect("a full table has entries")
    }

    fn remove(&mut self, place: usize) {
        self.clients.swap_remove(place);
        let entry = self.entries.swap_remove(place);
        self.sum = self.sum.wrapping_sub(entry.digest);
    }

    fn change(&mut self, place: usize, client: u128, change: impl FnOnce(&mut Entry)) {
        let entry = &mut self.entries[place];
        change(entry);
        let digest = entry.compute_digest(client);
        self.sum = self.sum.wrapping_sub(entry.digest).wrapping_add(digest);
        entry.digest = digest;
    }
}

impl Entry {
    /// As an image tells it.
    pub(crate) fn new(
        (session, request): (u32, u32),
        origin: u32,
        used_at: u64,
        reply: Vec<u8>,
    ) -> Self {
        Self {
            session,
            request,
            origin,
            used_at,
            reply,
            digest: 0,
        }
    }

    fn compute_digest(&self, client: u128) -> u128 {
        let mut head = [0; 36];
        head[..16].copy_from_slice(&client.to_le_bytes());
        head[16..20].copy_from_slice(&self.session.to_le_bytes());
        head[20..24].copy_from_slice(&self.request.to_le_bytes());
        head[24..32].copy_from_slice(&self.used_at.to_le_bytes());
        head[32..].copy_from_slice(&self.origin.to_le_bytes());
        // Without an origin it is what it was before there were any: older images carry such digests.
        let told = if self.origin == 0 { 32 } else { head.len() };
        let seed = xxh3_128(&head[..told]);
        xxh3_128_with_seed(&self.reply, seed as u64) ^ seed
    }
}
