//! The object store of a cluster, and each core's way to it: production's own offloading, over a store that fails on command.
//!
//! - A task takes a time that the seed draws; faults make the store busy, slow, forgetful of answers, or short of bytes.
//! - Who dies leaves tasks behind: each arrives when its time has come, or never.
//! - The store itself keeps what it acknowledged: a file that is out of reach is a fault of whoever let its copies go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cold::chores::Plan;
use cold::depot::Depot;
use cold::jobs::publish::Change;
use cold::limits::TASKS_MAX;
use cold::manifest::Manifest;
use cold::name::Segment;
use cold::offload::{Offloads, Policy};
use cold::recall::{Answer, Question};
use cold::store::memory::{Faults, Memory};
use cold::store::{Busy, Ended, ObjectStore, Outcome, StoreError, Task};
use cold::tier::{Finished, Tier};
use shard::offload::{Arrival, Coffer, Delivery, Found, Parcel, StoreCounts};
use shard::past::{History, Stretches};
use shard::receipt::Receipt;
use shard::weld::weld;

use crate::chance::Chance;
use crate::faults::Kind;
use crate::keeper::Keeper;

const MILLISECOND: u64 = 1_000_000;
/// Files of one core that wait, as in production.
const WAITING_MAX: usize = 4;
/// Bytes of files that a core's tier has in hand at a time.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes that jobs compute in a turn.
const BUDGET_BYTES: usize = 1 << 20;
/// Bytes of files that were brought back and are remembered, by each core.
const CACHE_BYTES: u64 = 1 << 20;
/// How old an object must be that goes because nobody names it, and how often a group is looked after, seconds: as short as
/// runs are.
const GRACE: u64 = 8;
const EVERY: u64 = 2;
/// How long a core waits where tasks wait to be tried again, as in production.
const PATIENCE_NS: u64 = 50 * MILLISECOND;

/// A group's manifest, and every file that it names.
pub type ReadBack = (Manifest, Vec<(Segment, Vec<u8>)>);

struct Inner {
    store: Memory,
    faults: Faults,
    slow_ns: u64,
    latency_ns: (u64, u64),
    chance: Chance,
    now: u64,
    /// Tasks of the dead, and when they arrive.
    late: Vec<(u64, Task)>,
    /// What cores were told to be stored, by group.
    told: BTreeMap<u64, Stretches>,
    /// Whose keys what is stored is encrypted under.
    keeper: Option<Keeper>,
    /// Segments that others in their place were joined into.
    joined: u64,
}

/// The store of a cluster; clones share it.
#[derive(Clone)]
pub struct Vault(Rc<RefCell<Inner>>);

impl Vault {
    /// An empty one whose tasks take so long, at least and at most.
    #[must_use]
    pub(crate) fn new(seed: u64, latency_ns: (u64, u64), keeper: Option<Keeper>) -> Self {
        let mut dice = Chance::named(seed, "object store");
        let dice = Box::new(move || dice.roll());
        let mut store = Memory::with_faults(Faults::default(), dice);
        if let Some(keeper) = keeper.clone() {
            store = store.with_keeper(Box::new(keeper));
        }
        Self(Rc::new(RefCell::new(Inner {
            store,
            keeper,
            joined: 0,
            faults: Faults::default(),
            slow_ns: 0,
            latency_ns,
            chance: Chance::named(seed, "way to the object store"),
            now: 0,
            late: Vec::new(),
            told: BTreeMap::new(),
        })))
    }

    /// Time goes on.
    pub fn set_now(&self, now: u64) {
        let mut inner = self.0.borrow_mut();
        inner.now = now;
        inner.store.now = now / (1_000 * MILLISECOND);
    }

    /// Up to where a core was told that everything from this entry on is stored.
    #[must_use]
    pub fn reach(&self, group: u64, index: u64) -> Option<u64> {
        let inner = self.0.borrow();
        let (_, end) = inner.told.get(&group)?.holding(index)?;
        Some(end)
    }

    /// Segments that were joined into others.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.0.borrow().joined
    }

    /// An object that is encrypted under a key that another one is encrypted under, in words.
    pub(crate) fn repeats_a_nonce(&self) -> Option<String> {
        let inner = self.0.borrow();
        let objects = inner.store.objects().map(|(_, bytes)| bytes);
        let segment = inner.keeper.as_ref()?.repeated(objects)?;
        let (group, first, last) = (segment.group, segment.first, segment.last);
        Some(format!(
            "the key of {first}..={last} of group {group} serves another object too"
        ))
    }

    /// The store goes wrong in this way from here on; `roll` says how much.
    pub fn strike(&self, kind: Kind, roll: u64) {
        let mut inner = self.0.borrow_mut();
        let odds = [60, 130, 250][(roll % 3) as usize];
        let faults = &mut inner.faults;
        match kind {
            Kind::StoreBusy => faults.unavailable = odds,
            Kind::StoreShort => (faults.truncated, faults.flipped) = (odds, odds / 2),
            Kind::StoreStale => faults.stale_listing = odds,
            Kind::StoreMute => (faults.lost_answer, faults.lost_task) = (odds / 2, odds / 3),
            _ => inner.slow_ns = (1 + roll % 50) * 100 * MILLISECOND,
        }
        let faults = inner.faults;
        inner.store.set_faults(faults);
    }

    /// The store is well again in this respect.
    pub fn heal(&self, kind: Kind) {
        let mut inner = self.0.borrow_mut();
        let faults = &mut inner.faults;
        match kind {
            Kind::StoreBusy => faults.unavailable = 0,
            Kind::StoreShort => (faults.truncated, faults.flipped) = (0, 0),
            Kind::StoreStale => faults.stale_listing = 0,
            Kind::StoreMute => (faults.lost_answer, faults.lost_task) = (0, 0),
            _ => inner.slow_ns = 0,
        }
        let faults = inner.faults;
        inner.store.set_faults(faults);
    }

    /// Every file of these groups that a manifest names, read back from a store that is well, with the manifest.
    ///
    /// # Errors
    /// What could not be read, in words.
    pub fn read_back(&self, groups: u64) -> Result<Vec<ReadBack>, String> {
        self.0.borrow_mut().store.set_faults(Faults::default());
        let mut tier = Tier::new(Way::new(self), false, BYTES_MAX);
        let mut all = Vec::new();
        for group in 0..groups {
            let read = tier.publish(Change::Read, Manifest::empty(group));
            read.map_err(|busy| busy.to_string())?;
            let Finished::Published(manifest) = self.finish(&mut tier)? else {
                return Err(format!("group {group}: no manifest"));
            };
            let mut files = Vec::new();
            for stored in manifest.segments() {
                let begun = tier.download(stored.segment);
                begun.map_err(|busy| busy.to_string())?;
                let Finished::Downloaded(segment, file) = self.finish(&mut tier)? else {
                    return Err(format!("group {group}: no file"));
                };
                files.push((segment, file));
            }
            all.push((manifest, files));
        }
        let faults = self.0.borrow().faults;
        self.0.borrow_mut().store.set_faults(faults);
        Ok(all)
    }

    fn finish(&self, tier: &mut Tier<Way>) -> Result<Finished, String> {
        let begun = self.0.borrow().now;
        let mut now = begun;
        loop {
            tier.turn(now, BUDGET_BYTES, &mut || 0);
            if let Some((_, result)) = tier.next_finished() {
                self.set_now(begun);
                return result.map_err(|error| error.to_string());
            }
            now += PATIENCE_NS;
            self.set_now(now);
        }
    }
}

impl Inner {
    fn takes(&mut self) -> u64 {
        let (least, most) = self.latency_ns;
        let slow = self.chance.below(self.slow_ns + 1);
        self.chance.between(least, most) + slow
    }

    fn perform(&mut self, task: Task) -> Result<Outcome, StoreError> {
        let now = self.now;
        let late = self.late.extract_if(.., |(at, _)| *at <= now);
        let late: Vec<Task> = late.map(|(_, task)| task).collect();
        for task in late {
            // Nobody hears how it went.
            let _ = self.ask(task);
        }
        self.ask(task)
    }

    fn ask(&mut self, task: Task) -> Result<Outcome, StoreError> {
        let mut ended = Vec::new();
        let taken = self.store.submit(0, task);
        assert!(taken.is_ok(), "one task at a time");
        self.store.poll(&mut ended);
        ended
            .pop()
            .expect("a store that is not slow answers")
            .result
    }
}

/// One core's way to the store.
struct Way {
    vault: Vault,
    waiting: Vec<(u64, u64, Task)>,
}

impl Way {
    fn new(vault: &Vault) -> Self {
        Self {
            vault: vault.clone(),
            waiting: Vec::new(),
        }
    }
}

impl ObjectStore for Way {
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy> {
        if self.waiting.len() >= TASKS_MAX {
            return Err(Busy);
        }
        let mut inner = self.vault.0.borrow_mut();
        let at = inner.now + inner.takes();
        self.waiting.push((at, token, task));
        Ok(())
    }

    fn poll(&mut self, ended: &mut Vec<Ended>) {
        let mut inner = self.vault.0.borrow_mut();
        let now = inner.now;
        for (_, token, task) in self.waiting.extract_if(.., |(at, ..)| *at <= now) {
            let result = inner.perform(task);
            ended.push(Ended { token, result });
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let mut inner = self.vault.0.borrow_mut();
        for (at, _, task) in self.waiting.drain(..) {
            if inner.chance.permille(500) {
                inner.late.push((at, task));
            }
        }
    }
}

struct Porter {
    vault: Vault,
    depot: Depot<Way>,
    chance: Chance,
    /// Groups of the files under way, by token.
    groups: BTreeMap<u64, u64>,
    /// Questions of the core, by the depot's token.
    finding: BTreeMap<u64, u64>,
    next_token: u64,
    /// Joined segments that were counted.
    joined: u64,
}

/// What one life of a core gives to the store; clones share it.
#[derive(Clone)]
pub struct Courier(Rc<RefCell<Porter>>);

impl Courier {
    /// Of a core that has just started, with histories of this shape.
    #[must_use]
    pub fn new(vault: &Vault, history: History, seed: u64) -> Self {
        let is_secret = vault.0.borrow().keeper.is_some();
        let tier = Tier::new(Way::new(vault), is_secret, BYTES_MAX);
        let plan = Plan {
            grace: GRACE,
            every: EVERY,
            join_bytes: history.file_bytes,
            weld: Box::new(move |files| weld(files, &history)),
        };
        Self(Rc::new(RefCell::new(Porter {
            vault: vault.clone(),
            depot: Depot::new(Offloads::new(tier, Policy::Keep), CACHE_BYTES, plan),
            chance: Chance::named(seed, "courier"),
            groups: BTreeMap::new(),
            finding: BTreeMap::new(),
            next_token: 0,
            joined: 0,
        })))
    }

    /// Goes on with what is under way, whether or not the core asks for it, as production's thread does.
    pub fn drive(&self) {
        let porter = &mut *self.0.borrow_mut();
        let now = porter.vault.0.borrow().now;
        let chance = &mut porter.chance;
        let second = now / (1_000 * MILLISECOND);
        porter
            .depot
            .turn(now, second, BUDGET_BYTES, &mut || chance.roll());
        let joined = porter.depot.counts().chores.joined;
        porter.vault.0.borrow_mut().joined += joined - porter.joined;
        porter.joined = joined;
    }

    /// When the store has news, or something is to be tried again; on the world's clock.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        let porter = &mut *self.0.borrow_mut();
        if porter.depot.is_idle() {
            return None;
        }
        let now = porter.vault.0.borrow().now;
        let waiting = &porter.depot.offloads().tier().store().waiting;
        let next = waiting.iter().map(|(at, ..)| *at).min();
        Some(next.unwrap_or(u64::MAX).min(now + PATIENCE_NS))
    }
}

impl Coffer for Courier {
    fn offer(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let mut porter = self.0.borrow_mut();
        if porter.groups.len() >= WAITING_MAX {
            return Err(parcel);
        }
        porter.next_token += 1;
        let token = porter.next_token;
        let offered = porter.depot.offer(cold::offload::Parcel {
            token,
            group: parcel.group,
            first: parcel.first,
            last: parcel.last,
            file: parcel.contents.clone(),
        });
        if offered.is_err() {
            return Err(parcel);
        }
        porter.groups.insert(token, parcel.group);
        Ok(())
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) {
        let porter = &mut *self.0.borrow_mut();
        while let Some((token, result)) = porter.depot.next_ended() {
            let Some(group) = porter.groups.remove(&token) else {
                continue;
            };
            let receipt = result.ok().map(|receipt| {
                let segment = receipt.segment;
                let mut inner = porter.vault.0.borrow_mut();
                let told = inner.told.entry(group).or_default();
                told.insert(receipt.since, segment.last);
                Receipt::new(
                    receipt.since,
                    (segment.first, segment.last),
                    segment.bytes,
                    receipt.number,
                    segment.hash.0,
                )
            });
            deliveries.push(Delivery { group, receipt });
        }
    }

    fn find(&mut self, token: u64, group: u64, index: u64) -> bool {
        let mut porter = self.0.borrow_mut();
        porter.next_token += 1;
        let own = porter.next_token;
        let question = Question {
            token: own,
            group,
            index,
        };
        let is_taken = porter.depot.ask(question).is_ok();
        if is_taken {
            porter.finding.insert(own, token);
        }
        is_taken
    }

    fn poll_found(&mut self, arrivals: &mut Vec<Arrival>) {
        let porter = &mut *self.0.borrow_mut();
        while let Some((own, answer)) = porter.depot.next_answered() {
            let Some(token) = porter.finding.remove(&own) else {
                continue;
            };
            let found = match answer {
                Ok(Answer::Here(_, file)) => Found::File(file),
                Ok(Answer::Nowhere(next)) => Found::Nowhere(next),
                Err(_) => Found::Failed,
            };
            arrivals.push(Arrival { token, found });
        }
    }

    fn tend(&mut self, groups: &[u64]) {
        let mut porter = self.0.borrow_mut();
        let second = porter.vault.0.borrow().now / (1_000 * MILLISECOND);
        for group in groups {
            porter.depot.tend(*group, second);
        }
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts::default()
    }
}
