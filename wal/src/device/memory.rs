//! A disk in memory that can crash and fail on command: the simulator's and the tests' device.
//!
//! - A write takes effect when its completion is taken by a poll; until then a crash decides what is left of it.
//! - Everything is decided by the plan and a seed: two runs with the same calls end with the same bytes.
//! - The disk outlives its devices: opening again shows what survived.
//! - Of its latest durable writes it knows what was there before: that is what a write leaves which is lost or goes astray.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::block::buffer::Buffer;
use crate::device::sparse::Sparse;
use crate::device::{
    ALIGNMENT, Action, Completion, Device, DeviceError, Errno, Operation, Source, Traits,
};

/// Bytes that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

const EIO: i32 = 5;

/// Durable writes that a disk remembers, for whoever wants to damage one.
const WRITTEN_MAX: usize = 4096;

/// What is left of the writes in flight when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// The first so many, in the order they were begun.
    Prefix(usize),
    /// Those whose bit is set, counted in the order they were begun.
    Subset(u64),
    /// Those before the first number, and of that one the first so many sectors.
    Torn(usize, usize),
    /// All but one, and of that one all sectors but the first so many: torn from the front.
    TornFront(usize, usize),
    /// Each sector of each by the toss of a coin from this seed.
    Seeded(u64),
}

/// How the disk misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The write fails with an input/output error; half of it may have been written.
    Eio,
    /// The write fails for want of space; nothing of it is written.
    Enospc,
    /// The write is said to be durable, and is not there.
    Lost,
    /// The write is said to be durable, and lies this many bytes further on.
    Misdirected(u64),
}

#[derive(Debug)]
struct Pending {
    order: u64,
    due_ns: u64,
    is_write: bool,
    operation: Operation,
    fault: Option<Fault>,
}

/// A durable write.
#[derive(Debug)]
struct Written {
    slot: u32,
    offset: u64,
    bytes: u64,
    /// Which of all operations it was, and how many had been begun when it was durable.
    order: u64,
    begun: u64,
    /// The pages that it touched, as they were before, each without the zeros at its end.
    before: Vec<Box<[u8]>>,
}

impl Written {
    /// What lay before where it was written.
    fn before(&self) -> Vec<u8> {
        let inside = self.offset as usize % ALIGNMENT;
        let mut bytes = Vec::with_capacity(inside + self.bytes as usize);
        for (nth, page) in self.before.iter().enumerate() {
            bytes.resize(nth * ALIGNMENT, 0);
            bytes.extend_from_slice(page);
        }
        bytes.resize(inside + self.bytes as usize, 0);
        bytes.split_off(inside)
    }
}

#[derive(Debug, Default)]
struct Inner {
    segment_bytes: u64,
    slots: BTreeMap<u32, Sparse>,
    /// When the first of what follows is due that is not held; `u64::MAX`: never.
    next_due_ns: u64,
    pending: Vec<Pending>,
    creating: Vec<(u32, u64)>,
    begun: u64,
    writes_begun: u64,
    latency_ns: (u64, u64),
    held: bool,
    released: Vec<u64>,
    full: bool,
    slots_max: Option<u32>,
    faults: BTreeMap<u64, Fault>,
    unreadable: Vec<(u32, u64, u64)>,
    /// Reads find here other bytes than the disk has.
    stale: Vec<(u32, u64, Vec<u8>)>,
    writes_failed: u64,
    /// The latest writes that are durable, oldest first.
    written: VecDeque<Written>,
    random: u64,
    life: u64,
    writes_max: usize,
    /// What each write wrote, when recording.
    recording: Option<Vec<(u32, u64, Vec<u8>)>>,
}

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

impl MemoryDisk {
    /// An empty disk with segments of this size and a seed for latencies.
    #[must_use]
    pub fn new(segment_bytes: u64, seed: u64) -> Self {
        let inner = Inner {
            segment_bytes,
            next_due_ns: u64::MAX,
            random: seed,
            writes_max: 64,
            ..Inner::default()
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device on this disk. A device made before sees no more completions.
    #[must_use]
    pub fn device(&self) -> MemoryDevice {
        let mut inner = self.lock();
        inner.life += 1;
        let life = inner.life;
        let segment_bytes = inner.segment_bytes;
        drop(inner);
        MemoryDevice {
            disk: self.clone(),
            life,
            segment_bytes,
        }
    }

    /// Operations take a time between these, in nanoseconds, by the seed. Zero at first.
    pub fn set_latency_ns(&self, least: u64, most: u64) {
        self.lock().latency_ns = (least, most.max(least));
    }

    /// While held, writes complete only by [`MemoryDisk::release_write`].
    pub fn hold(&self, held: bool) {
        let mut inner = self.lock();
        inner.held = held;
        inner.look_ahead();
    }

    /// Lets the `nth` of the held writes in flight complete, counted in the order they were begun.
    /// Returns whether there is one.
    pub fn release_write(&self, nth: usize) -> bool {
        let mut inner = self.lock();
        let held = |inner: &Inner, pending: &Pending| {
            pending.is_write && !inner.released.contains(&pending.order)
        };
        let order = inner
            .pending
            .iter()
            .filter(|pending| held(&inner, pending))
            .nth(nth)
            .map(|pending| pending.order);
        inner.released.extend(order);
        inner.look_ahead();
        order.is_some()
    }

    /// Writes begun and not completed.
    #[must_use]
    pub fn writes_in_flight(&self) -> usize {
        self.lock()
            .pending
            .iter()
            .filter(|pending| pending.is_write)
            .count()
    }

    /// Sectors of each write in flight, in the order they were begun.
    #[must_use]
    pub fn sectors_in_flight(&self) -> Vec<usize> {
        let inner = self.lock();
        let writes = inner.pending.iter().filter(|pending| pending.is_write);
        writes
            .map(|pending| pending.operation.bytes / SECTOR_BYTES)
            .collect()
    }

    /// Writes ever begun.
    #[must_use]
    pub fn writes_begun(&self) -> u64 {
        self.lock().writes_begun
    }

    /// When the next operation completes, for a simulator's clock.
    #[must_use]
    pub fn next_completion_ns(&self) -> Option<u64> {
        self.outlook().1
    }

    /// Writes whose completion said that they failed for good, and when the next operation completes: in one look.
    #[must_use]
    pub fn outlook(&self) -> (u64, Option<u64>) {
        let inner = self.lock();
        let next = Some(inner.next_due_ns).filter(|&due_ns| due_ns < u64::MAX);
        (inner.writes_failed, next)
    }

    /// The power goes: writes in flight are left as the rule says, everything else in flight is gone.
    pub fn crash(&self, rule: Crash) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.creating.clear();
        inner.released.clear();
        let pending = std::mem::take(&mut inner.pending);
        inner.look_ahead();
        leave(&mut inner.slots, &pending, rule);
    }

    /// Another disk, as this one would be after a crash; this one goes on.
    #[must_use]
    pub fn after_crash(&self, rule: Crash) -> Self {
        let inner = self.lock();
        let mut slots = inner.slots.clone();
        leave(&mut slots, &inner.pending, rule);
        let disk = Self::new(inner.segment_bytes, 0);
        disk.lock().slots = slots;
        disk
    }

    /// The disk has no space for new files, or has again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The disk has space for so many files at most.
    pub fn set_slots_max(&self, slots_max: Option<u32>) {
        self.lock().slots_max = slots_max;
    }

    /// Makes the write begun after `after` more writes misbehave.
    pub fn fault_write(&self, after: u64, fault: Fault) {
        let mut inner = self.lock();
        let number = inner.writes_begun + after;
        inner.faults.insert(number, fault);
    }

    /// Reads that touch this range fail with an input/output error.
    pub fn fail_reads(&self, slot: u32, offset: u64, bytes: u64) {
        self.lock().unreadable.push((slot, offset, bytes));
    }

    /// Reads find of this durable write what was there before.
    pub fn stale_reads(&self, slot: u32, offset: u64, bytes: u64) {
        let before = self.before(slot, offset, bytes);
        self.lock().stale.push((slot, offset, before));
    }

    /// What was on the disk before the latest durable write of just this range: of another use of the file, of a life that
    /// was cut off, or zeros where nothing was; zeros too when that write is not remembered.
    #[must_use]
    pub fn before(&self, slot: u32, offset: u64, bytes: u64) -> Vec<u8> {
        let inner = self.lock();
        let range = (slot, offset, bytes);
        let mut latest = inner.written.iter().rev();
        let written = latest.find(|one| (one.slot, one.offset, one.bytes) == range);
        written.map_or_else(|| vec![0; bytes as usize], Written::before)
    }

    /// Reads work everywhere again.
    pub fn heal_reads(&self) {
        let mut inner = self.lock();
        inner.unreadable.clear();
        inner.stale.clear();
    }

    /// Flips one bit.
    pub fn flip(&self, slot: u32, offset: u64, bit: u8) {
        self.edit(slot, |bytes| bytes[offset as usize] ^= 1 << (bit & 7));
    }

    /// Slot, offset and bytes of a durable write that later ones have left as it was and that at least two of them
    /// vouch for: they were begun when it was durable already. Chosen by the roll of a die; `None` where there is none.
    #[must_use]
    pub fn settled_write(&self, roll: u64) -> Option<(u32, u64, u64)> {
        let inner = self.lock();
        let count = inner
            .written
            .len()
            .checked_sub(2)
            .filter(|&count| count > 0)?;
        let nth = (roll % count as u64) as usize;
        let chosen = &inner.written[nth];
        let touches = |other: &Written| {
            other.slot == chosen.slot
                && other.offset < chosen.offset + chosen.bytes
                && chosen.offset < other.offset + other.bytes
        };
        let later = || inner.written.iter().skip(nth + 1);
        let vouching = later().filter(|other| other.order >= chosen.begun);
        let is_settled = vouching.count() >= 2 && !later().any(touches);
        is_settled.then_some((chosen.slot, chosen.offset, chosen.bytes))
    }

    /// Writes that were to misbehave do not any more.
    pub fn heal_writes(&self) {
        self.lock().faults.clear();
    }

    /// Changes the bytes of a slot at will.
    pub fn edit(&self, slot: u32, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.lock().slots.get_mut(&slot) {
            let mut bytes = file.to_vec();
            change(&mut bytes);
            *file = Sparse::of(&bytes);
        }
    }

    /// Removes a slot.
    pub fn remove(&self, slot: u32) {
        self.lock().slots.remove(&slot);
    }

    /// A copy of the slots as they would be found after the power went and nothing in flight was left.
    #[must_use]
    pub fn image(&self) -> BTreeMap<u32, Vec<u8>> {
        let inner = self.lock();
        let slots = inner.slots.iter();
        slots.map(|(slot, file)| (*slot, file.to_vec())).collect()
    }

    /// A new disk with these slots.
    #[must_use]
    pub fn from_image(segment_bytes: u64, image: BTreeMap<u32, Vec<u8>>) -> Self {
        let disk = Self::new(segment_bytes, 0);
        disk.lock().slots = sparse(&image);
        disk
    }

    /// Some reads fail, or find what was there before.
    #[must_use]
    pub fn has_bad_reads(&self) -> bool {
        let inner = self.lock();
        !inner.unreadable.is_empty() || !inner.stale.is_empty()
    }

    /// The disk holds from here on what another did, or nothing: it was exchanged. Nothing may be in flight.
    pub fn exchange(&self, slots: BTreeMap<u32, Vec<u8>>) {
        let mut inner = self.lock();
        inner.slots = sparse(&slots);
        inner.written.clear();
    }

    /// Remembers from here on what each write writes; see [`MemoryDisk::recorded`].
    pub fn record(&self) {
        self.lock().recording = Some(Vec::new());
    }

    /// Slot, offset and bytes of each write begun since [`MemoryDisk::record`].
    #[must_use]
    pub fn recorded(&self) -> Vec<(u32, u64, Vec<u8>)> {
        self.lock().recording.clone().unwrap_or_default()
    }
}

fn sparse(image: &BTreeMap<u32, Vec<u8>>) -> BTreeMap<u32, Sparse> {
    let files = image.iter();
    files
        .map(|(slot, bytes)| (*slot, Sparse::of(bytes)))
        .collect()
}

/// Leaves of the writes in flight what the rule says.
fn leave(slots: &mut BTreeMap<u32, Sparse>, pending: &[Pending], rule: Crash) {
    let mut coins = match rule {
        Crash::Seeded(seed) => seed,
        _ => 0,
    };
    let writes = pending.iter().filter(|pending| pending.is_write);
    for (nth, pending) in writes.enumerate() {
        for sector in 0..pending.operation.bytes / SECTOR_BYTES {
            let kept = match rule {
                Crash::Nothing => false,
                Crash::Everything => true,
                Crash::Prefix(count) => nth < count,
                Crash::Subset(bits) => (bits >> nth.min(63)) & 1 == 1,
                Crash::Torn(torn, kept) => nth < torn || nth == torn && sector < kept,
                Crash::TornFront(torn, lost) => nth != torn || sector >= lost,
                Crash::Seeded(_) => next_random(&mut coins) & 1 == 1,
            };
            if kept {
                apply(
                    slots,
                    &pending.operation,
                    sector * SECTOR_BYTES,
                    SECTOR_BYTES,
                    0,
                );
            }
        }
    }
}

/// Copies part of a write to its slot, `shift` bytes further on than asked for.
fn apply(
    slots: &mut BTreeMap<u32, Sparse>,
    operation: &Operation,
    from: usize,
    bytes: usize,
    shift: u64,
) {
    let Some(slot) = slots.get_mut(&operation.slot) else {
        return;
    };
    let at = (operation.offset + shift) as usize + from;
    // What goes astray behind the end is nowhere.
    slot.write(at, &operation.buffer[from..from + bytes]);
}

impl Inner {
    fn is_held(&self, pending: &Pending) -> bool {
        self.held && pending.is_write && !self.released.contains(&pending.order)
    }

    /// Sees anew when the next operation completes.
    fn look_ahead(&mut self) {
        let operations = self.pending.iter();
        let operations = operations.filter(|pending| !self.is_held(pending));
        let creations = self.creating.iter().map(|&(_, due_ns)| due_ns);
        let due_ns = operations.map(|pending| pending.due_ns).chain(creations);
        self.next_due_ns = due_ns.min().unwrap_or(u64::MAX);
    }

    fn due(&mut self, now_ns: u64) -> u64 {
        let (least, most) = self.latency_ns;
        let spread = (most - least).saturating_add(1);
        now_ns + least + next_random(&mut self.random) % spread
    }

    fn read(&self, slot: u32, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let end = offset + into.len() as u64;
        let touches = |&(bad, from, bytes): &(u32, u64, u64)| {
            bad == slot && offset < from + bytes && from < end
        };
        if self.unreadable.iter().any(touches) {
            return Err(DeviceError::Io {
                action: Action::Read,
                slot: Some(slot),
                errno: Errno(EIO),
            });
        }
        let short = DeviceError::Short {
            action: Action::Read,
            slot: Some(slot),
        };
        let file = self.slots.get(&slot).ok_or(short)?;
        if !file.read(offset as usize, into) {
            return Err(short);
        }
        for (stale, at, before) in &self.stale {
            let (from, until) = (offset.max(*at), end.min(at + before.len() as u64));
            if *stale == slot && from < until {
                let known = &before[(from - at) as usize..(until - at) as usize];
                into[(from - offset) as usize..(until - offset) as usize].copy_from_slice(known);
            }
        }
        Ok(())
    }

    fn remember(
        &mut self,
        (slot, offset, bytes): (u32, u64, usize),
        order: u64,
        before: Vec<Box<[u8]>>,
    ) {
        if self.written.len() == WRITTEN_MAX {
            self.written.pop_front();
        }
        self.written.push_back(Written {
            slot,
            offset,
            bytes: bytes as u64,
            order,
            begun: self.begun,
            before,
        });
    }

    fn create(&mut self, slot: u32) -> Result<(), DeviceError> {
        let count = self.slots.len() as u32;
        if self.full || self.slots_max.is_some_and(|most| count >= most) {
            return Err(DeviceError::Full);
        }
        self.slots
            .insert(slot, Sparse::zeros(self.segment_bytes as usize));
        Ok(())
    }

    fn complete(&mut self, pending: Pending) -> Completion {
        let Pending {
            order,
            mut operation,
            is_write,
            fault,
            ..
        } = pending;
        if !is_write {
            let bytes = operation.bytes;
            let result = self.read(
                operation.slot,
                operation.offset,
                &mut operation.buffer[..bytes],
            );
            return Completion::Read(operation, result);
        }
        let slot = Some(operation.slot);
        let bytes = operation.bytes;
        let result = match fault {
            None => {
                let (slot, offset) = (operation.slot, operation.offset);
                let mut before = Vec::new();
                if let Some(file) = self.slots.get_mut(&slot) {
                    let keep = |page| before.push(page);
                    file.exchange(offset as usize, &operation.buffer[..bytes], keep);
                }
                self.remember((slot, offset, bytes), order, before);
                Ok(())
            }
            Some(Fault::Lost) => Ok(()),
            Some(Fault::Misdirected(shift)) => {
                apply(&mut self.slots, &operation, 0, bytes, shift);
                Ok(())
            }
            Some(Fault::Enospc) => Err(DeviceError::Full),
            Some(Fault::Eio) => {
                apply(&mut self.slots, &operation, 0, bytes / 2, 0);
                self.writes_failed += 1;
                Err(DeviceError::from_errno(Action::Write, slot, EIO))
            }
        };
        Completion::Written(operation, result)
    }
}

/// The next number of a small generator (splitmix64); good enough to toss coins with.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// One life of a device on a [`MemoryDisk`], from an opening to a crash.
#[derive(Debug)]
pub struct MemoryDevice {
    disk: MemoryDisk,
    life: u64,
    segment_bytes: u64,
}

impl MemoryDevice {
    fn begin(
        &mut self,
        now_ns: u64,
        operation: Operation,
        is_write: bool,
    ) -> Result<(), Operation> {
        let mut inner = self.disk.lock();
        if inner.life != self.life || inner.pending.len() >= inner.writes_max {
            return Err(operation);
        }
        let order = inner.begun;
        inner.begun += 1;
        let due_ns = inner.due(now_ns);
        let mut fault = None;
        if is_write {
            let number = inner.writes_begun;
            fault = inner.faults.remove(&number);
            inner.writes_begun += 1;
            if let Some(recording) = &mut inner.recording {
                recording.push((
                    operation.slot,
                    operation.offset,
                    operation.buffer[..operation.bytes].to_vec(),
                ));
            }
        }
        inner.pending.push(Pending {
            order,
            due_ns,
            is_write,
            operation,
            fault,
        });
        inner.look_ahead();
        Ok(())
    }
}

impl Source for MemoryDevice {
    fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn slots_now(&mut self) -> Result<Vec<u32>, DeviceError> {
        Ok(self.disk.lock().slots.keys().copied().collect())
    }

    fn read_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &mut Buffer,
    ) -> Result<(), DeviceError> {
        self.disk.lock().read(slot, offset, &mut buffer[..bytes])
    }
}

impl Device for MemoryDevice {
    fn traits(&self) -> Traits {
        Traits {
            name: "memory",
            ..Traits::default()
        }
    }

    fn create_now(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.disk.lock().create(slot)
    }

    fn write_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &Buffer,
    ) -> Result<(), DeviceError> {
        let mut inner = self.disk.lock();
        if let Some(recording) = &mut inner.recording {
            recording.push((slot, offset, buffer[..bytes].to_vec()));
        }
        let short = DeviceError::Short {
            action: Action::Write,
            slot: Some(slot),
        };
        let file = inner.slots.get_mut(&slot).ok_or(short)?;
        let mut before = Vec::new();
        let keep = |page| before.push(page);
        if !file.exchange(offset as usize, &buffer[..bytes], keep) {
            return Err(short);
        }
        let order = inner.begun;
        inner.remember((slot, offset, bytes), order, before);
        Ok(())
    }

    fn sync_now(&mut self, _slot: u32) -> Result<(), DeviceError> {
        Ok(())
    }

    fn allocate(&mut self, count: usize, bytes: usize) -> Vec<Buffer> {
        (0..count).map(|_| Buffer::new(bytes)).collect()
    }

    fn create(&mut self, now_ns: u64, slot: u32) {
        let mut inner = self.disk.lock();
        let due_ns = inner.due(now_ns);
        inner.creating.push((slot, due_ns));
        inner.look_ahead();
    }

    fn write(&mut self, now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.begin(now_ns, operation, true)
    }

    fn read(&mut self, now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.begin(now_ns, operation, false)
    }

    fn submit(&mut self, _now_ns: u64) {}

    fn wait(&mut self) {}

    fn poll(&mut self, now_ns: u64, completions: &mut Vec<Completion>) {
        let mut inner = self.disk.lock();
        if inner.life != self.life || inner.next_due_ns > now_ns {
            return;
        }
        let is_due =
            |inner: &Inner, pending: &Pending| pending.due_ns <= now_ns && !inner.is_held(pending);
        while let Some(at) = inner
            .pending
            .iter()
            .position(|pending| is_due(&inner, pending))
        {
            let pending = inner.pending.remove(at);
            inner.released.retain(|&order| order != pending.order);
            let completion = inner.complete(pending);
            completions.push(completion);
        }
        while let Some(at) = inner
            .creating
            .iter()
            .position(|&(_, due_ns)| due_ns <= now_ns)
        {
            let (slot, _) = inner.creating.remove(at);
            let result = inner.create(slot);
            completions.push(Completion::Created(slot, result));
        }
        inner.look_ahead();
    }
}
