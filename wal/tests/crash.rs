//! A crash at every step of small runs, with every rule for what is left of the writes in flight.
//!
//! After each: what was acknowledged is there, in order; nothing is there that was not appended; nothing is
//! called damaged; and what was cut never comes back, whatever happens next.

use std::collections::BTreeMap;

use wal::device::memory::{Crash, MemoryDevice, MemoryDisk};
use wal::{Kind, Lsn, Options, Wal};

use crate::support::{Made, Opened, identity, settle, tell, try_open};

const SEGMENT_BYTES: u64 = 24 << 10;

fn options() -> Options {
    Options {
        segments_max: 8,
        blocks: 4,
        ..Options::small(identity(), 600)
    }
}

fn open(disk: &MemoryDisk) -> Opened<MemoryDevice> {
    try_open(disk.device(), options()).expect("a crash never makes a log unreadable")
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Everything ever appended and not cut, by number, and what of it may be gone.
#[derive(Clone, Default)]
struct Model {
    appended: BTreeMap<u64, Made>,
    /// For each group the entries alive, by index, as numbers.
    entries: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// For each group how far it was released, in this life or before: an opening may show such entries or not.
    released: BTreeMap<u64, u64>,
}

impl Model {
    fn append(&mut self, lsn: Lsn, made: Made) {
        if made.kind == Kind::Entry {
            let entries = self.entries.entry(made.group).or_default();
            let end = entries.keys().next_back().map(|last| last + 1);
            if end.is_some_and(|end| made.index > end) {
                entries.clear();
            }
            entries.split_off(&made.index);
            entries.insert(made.index, lsn.0);
        }
        self.appended.insert(lsn.0, made);
    }

    fn release(&mut self, group: u64, upto: u64) {
        let released = self.released.entry(group).or_default();
        *released = upto.max(*released);
        if let Some(entries) = self.entries.get_mut(&group) {
            *entries = entries.split_off(&(upto + 1));
        }
    }

    /// The lowest number of an entry that must still be found.
    fn oldest_needed(&self) -> u64 {
        let entries = self.entries.values().flat_map(|entries| entries.values());
        entries.copied().min().unwrap_or(u64::MAX)
    }

    /// The newest metadata of a group appended up to this number.
    fn newest_meta(&self, group: u64, upto: u64) -> Option<&Made> {
        let is_meta = |made: &&Made| made.group == group && made.kind == Kind::Meta;
        self.appended
            .range(..=upto)
            .rev()
            .map(|(_, made)| made)
            .find(is_meta)
    }

    /// Checks what a reopened log shows; returns the model of what there is from then on.
    fn check(&self, opened: &Opened<MemoryDevice>, durable: u64, context: &str) -> Self {
        assert_eq!(opened.report.damage, [], "{context}: a crash is no damage");
        let mut after = Self::default();
        let mut previous = None;
        for (Lsn(lsn), made) in &opened.shown {
            assert!(
                previous.is_none_or(|previous| previous + 1 == *lsn),
                "{context}: {lsn} after {previous:?}"
            );
            previous = Some(*lsn);
            match self.appended.get(lsn) {
                Some(appended) => assert_eq!(appended, made, "{context}: number {lsn}"),
                None => {
                    assert_eq!(
                        self.newest_meta(made.group, *lsn),
                        Some(made),
                        "{context}: moved, number {lsn}"
                    );
                }
            }
            after.append(Lsn(*lsn), made.clone());
        }
        for (&group, &upto) in &self.released {
            after.release(group, upto);
        }
        let last = previous.unwrap_or(durable);
        assert!(
            last >= durable,
            "{context}: acknowledged up to {durable}, found up to {last}"
        );
        assert_eq!(
            opened.wal.durable().0,
            last,
            "{context}: what was found counts as durable"
        );
        for group in 0..3 {
            let mut shown = opened.shown.iter().rev().map(|(_, made)| made);
            let newest = shown.find(|made| made.group == group && made.kind == Kind::Meta);
            assert_eq!(
                newest,
                self.newest_meta(group, last),
                "{context}: newest metadata of group {group}"
            );
        }
        if let Some((Lsn(first), _)) = opened.shown.first() {
            let needed = self.oldest_needed().min(durable + 1);
            assert!(
                *first <= needed,
                "{context}: {needed} is needed, {first} is the first found"
            );
        } else {
            assert!(
                self.oldest_needed() > durable,
                "{context}: something needed is gone"
            );
        }
        after
    }
}

/// Appends something by dice; false when the log had no room.
fn append(
    wal: &mut Wal<MemoryDevice>,
    model: &mut Model,
    next: &mut [u64; 3],
    dice: &mut Dice,
    term: u64,
) {
    let group = dice.roll(3);
    let bytes = 30 + dice.roll(560) as usize;
    let end = next[group as usize];
    let made = match dice.roll(8) {
        0 => Made::meta(group, term, term, 40),
        1 if end > 3 => Made::entry(group, end - 1 - dice.roll(2), term, bytes),
        2 if dice.roll(4) == 0 => Made::entry(group, end + 5, term, bytes),
        _ => Made::entry(group, end, term, bytes),
    };
    if let Ok(lsn) = wal.append(&made.record()) {
        if made.kind == Kind::Entry {
            next[group as usize] = made.index + 1;
        }
        model.append(lsn, made);
    }
}

/// One random step of a run.
fn step(
    wal: &mut Wal<MemoryDevice>,
    disk: &MemoryDisk,
    model: &mut Model,
    next: &mut [u64; 3],
    dice: &mut Dice,
    term: u64,
) {
    match dice.roll(8) {
        0..=3 => append(wal, model, next, dice, term),
        4 | 5 => {
            wal.submit(1);
        }
        6 => {
            let in_flight = disk.writes_in_flight().max(1) as u64;
            disk.release_write(dice.roll(in_flight) as usize);
            wal.poll(1);
        }
        _ => {
            let group = dice.roll(3);
            let upto = next[group as usize].saturating_sub(4);
            model.release(group, upto);
            wal.release(group, upto);
            disk.release_write(0);
            wal.poll(1);
        }
    }
}

/// Every rule worth trying on the writes in flight.
fn rules(disk: &MemoryDisk) -> Vec<Crash> {
    let sectors = disk.sectors_in_flight();
    let mut rules: Vec<Crash> = (0..1 << sectors.len()).map(Crash::Subset).collect();
    for (nth, &count) in sectors.iter().enumerate() {
        for sector in 1..count {
            rules.push(Crash::Torn(nth, sector));
            rules.push(Crash::TornFront(nth, sector));
        }
    }
    rules.extend((0..4).map(Crash::Seeded));
    rules
}

/// Opens the crashed disk, checks it, then lives on it, crashes again and checks again.
fn check_crash(disk: &MemoryDisk, rule: Crash, model: &Model, durable: u64, context: &str) {
    let context = format!("{context}, {rule:?}");
    let crashed = disk.after_crash(rule);
    let mut opened = open(&crashed);
    let mut after = model.check(&opened, durable, &context);
    crashed.hold(true);
    let mut dice = Dice(durable ^ 77);
    let mut next = [0; 3];
    for group in 0..3 {
        next[group as usize] = opened
            .wal
            .entries(group)
            .map_or(1, |(first, count)| first + count);
    }
    for _ in 0..10 {
        step(
            &mut opened.wal,
            &crashed,
            &mut after,
            &mut next,
            &mut dice,
            50,
        );
    }
    let durable = opened.wal.durable().0;
    let again = crashed.after_crash(Crash::Seeded(durable));
    let mut reopened = open(&again);
    let after = after.check(&reopened, durable, &format!("{context}, and again"));
    settle(&mut reopened.wal);
    let last = open(&again);
    after.check(
        &last,
        reopened.wal.durable().0,
        &format!("{context}, and at rest"),
    );
}

/// Returns how many writes became durable, and how many crashes were tried.
fn crash_everywhere(seed: u64, steps: usize) -> (u64, u64) {
    let mut crashes = 0;
    let disk = MemoryDisk::new(SEGMENT_BYTES, seed);
    let mut opened = open(&disk);
    disk.hold(true);
    let mut dice = Dice(seed);
    let (mut model, mut next) = (Model::default(), [1; 3]);
    for nth in 0..steps {
        step(
            &mut opened.wal,
            &disk,
            &mut model,
            &mut next,
            &mut dice,
            1 + nth as u64 / 10,
        );
        let durable = opened.wal.durable().0;
        if disk.writes_in_flight() > 0 {
            for rule in rules(&disk) {
                crashes += 1;
                check_crash(
                    &disk,
                    rule,
                    &model,
                    durable,
                    &format!("seed {seed}, step {nth}"),
                );
            }
        }
    }
    (opened.wal.stats().syncs, crashes)
}

#[test]
fn a_crash_at_every_step_of_short_runs() {
    let (mut syncs, mut crashes) = (0, 0);
    for seed in seeds(0, 30) {
        let (synced, crashed) = crash_everywhere(seed, 60);
        syncs += synced;
        crashes += crashed;
    }
    tell("a crash at every step", crashes);
    assert!(syncs > 20 && crashes > 1_000, "the runs were not idle");
}

#[test]
fn crashes_of_long_runs_with_rotation_and_recycling() {
    let mut recycled = 0;
    for seed in seeds(100, 200) {
        let disk = MemoryDisk::new(SEGMENT_BYTES, seed);
        let mut dice = Dice(seed);
        let mut model = Model::default();
        let mut durable = 0;
        for life in 0..6 {
            let mut opened = open(&disk);
            model = model.check(&opened, durable, &format!("seed {seed}, life {life}"));
            disk.hold(true);
            let mut next = [0; 3];
            for group in 0..3 {
                next[group as usize] = opened
                    .wal
                    .entries(group)
                    .map_or(1, |(first, count)| first + count);
            }
            for _ in 0..100 + dice.roll(200) {
                step(
                    &mut opened.wal,
                    &disk,
                    &mut model,
                    &mut next,
                    &mut dice,
                    life + 1,
                );
            }
            durable = opened.wal.durable().0;
            recycled += opened.wal.stats().segments_recycled;
            disk.hold(false);
            disk.crash(Crash::Seeded(dice.roll(1 << 30)));
        }
    }
    assert!(recycled > 1_000, "files were used again: {recycled} times");
}

/// So many seeds, or more if the environment asks for a longer search.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let factor = std::env::var("QUORATE_SEEDS_FACTOR")
        .ok()
        .and_then(|factor| factor.parse().ok());
    first..first + count * factor.unwrap_or(1)
}

/// The sectors of one write that reached the disk, by the seed; the first of these seeds keep a prefix.
fn torn(write: &(u32, u64, Vec<u8>), seed: u64, image: &mut BTreeMap<u32, Vec<u8>>) {
    let (slot, offset, bytes) = write;
    let mut dice = Dice(seed);
    for (nth, sector) in bytes.chunks(512).enumerate() {
        let kept = if seed < 17 {
            (nth as u64) < seed
        } else {
            dice.roll(2) == 1
        };
        if let (true, Some(into)) = (kept, image.get_mut(slot)) {
            let at = *offset as usize + nth * 512;
            into[at..at + sector.len()].copy_from_slice(sector);
        }
    }
}

#[test]
fn a_crash_while_opening_loses_nothing_and_is_no_damage() {
    let mut cases = 0;
    for seed in seeds(0, 60) {
        let disk = MemoryDisk::new(SEGMENT_BYTES, seed);
        let mut dice = Dice(seed);
        let (mut model, mut next) = (Model::default(), [1; 3]);
        let mut opened = open(&disk);
        disk.hold(true);
        for nth in 0..30 + dice.roll(150) {
            step(
                &mut opened.wal,
                &disk,
                &mut model,
                &mut next,
                &mut dice,
                nth / 10,
            );
        }
        let mut durable = opened.wal.durable().0;
        let mut image = disk.after_crash(Crash::Seeded(seed)).image();
        for round in 0..6 {
            let whole = MemoryDisk::from_image(SEGMENT_BYTES, image.clone());
            whole.record();
            let opened = open(&whole);
            let context = format!("seed {seed}, opening {round}");
            model = model.check(&opened, durable, &context);
            durable = opened.wal.durable().0;
            let writes = whole.recorded();
            assert_eq!(writes.len(), 1, "one write makes an opening");
            for half in 0..40 {
                cases += 1;
                let mut partial = image.clone();
                torn(&writes[0], half, &mut partial);
                let again = open(&MemoryDisk::from_image(SEGMENT_BYTES, partial));
                model.check(&again, durable, &format!("{context}, torn by {half}"));
            }
            torn(&writes[0], dice.roll(40), &mut image);
        }
    }
    tell("a crash while opening", cases);
}
