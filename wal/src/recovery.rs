//! Opening a log: every record that survived is shown, a torn tail is cut, damage is named.
//!
//! The walk goes block by block. A block that cannot be read, or not whole, is a *hole*. What a hole means is
//! decided by evidence alone:
//!
//! | evidence | meaning | what is done |
//! |---|---|---|
//! | a later block or segment says the hole's block was durable | damage | named; the walk goes on behind it |
//! | none | a write that never ended; nobody was told it had | the log is cut there |
//!
//! - What is shown was durable or had reached the disk whole; the order is that of appending.
//! - Nothing cut comes back: the next block opens a new incarnation, and older ones end before it.
//! - What is lost is told at its place in the order: by name where a header or the neighbours tell it, else with
//!   how many records and of what kind, as far as the blocks around it count them.
//! - A later block found behind a cut was never promised either, since promises are made in order.

pub(crate) mod survey;
pub(crate) mod taker;
pub(crate) mod walk;
pub(crate) mod window;

use std::collections::VecDeque;

use crate::block::tally::Tally;
use crate::damage::{Damage, DamageKind};
use crate::device::Source;
use crate::error::WalError;
use crate::filling::Place;
use crate::identity::Life;
use crate::index::Index;
use crate::limits::Options;
use crate::record::Record;
use crate::recovery::walk::Walk;
use crate::recovery::window::Window;
use crate::space::Space;
use crate::wal::Lsn;

/// A record that survived, as it is shown while the log is opened.
#[derive(Debug, Clone, Copy)]
pub struct Recovered<'a> {
    /// Its place in the log's order.
    pub lsn: Lsn,
    /// The record, its payload verified.
    pub record: Record<'a>,
    /// Sequence number of its segment.
    pub segment: u64,
    /// The file it lies in.
    pub slot: u32,
    /// Its offset in the file in bytes.
    pub offset: u64,
    /// Its group's entries begin anew with it: all before it are dropped, whatever their index.
    pub restart: bool,
}

/// Records that were durable once and cannot be shown, told at their place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// One entry, whose header can be read. What it superseded is superseded; what follows it is shown.
    Entry {
        /// Its group.
        group: u64,
        /// Its index.
        index: u64,
    },
    /// Metadata of a group, whose header can be read: what was shown before is older.
    Metadata {
        /// Its group.
        group: u64,
    },
    /// Records of any group, their names lost with them.
    Unnamed {
        /// How many, where that is known.
        records: Option<u64>,
        /// Whether metadata may be among them.
        metadata: bool,
        /// Whether an entry may be among them that superseded others or began its group anew.
        turns: bool,
    },
}

/// Who looks on while a log is opened.
pub trait Visit {
    /// A record survived.
    fn shown(&mut self, recovered: &Recovered<'_>);

    /// Records did not.
    fn lost(&mut self, lost: Lost);
}

/// A visitor that reads of losses in the report alone.
pub(crate) struct ShownOnly<'a>(pub(crate) &'a mut dyn FnMut(&Recovered<'_>));

impl Visit for ShownOnly<'_> {
    fn shown(&mut self, recovered: &Recovered<'_>) {
        (self.0)(recovered);
    }

    fn lost(&mut self, _lost: Lost) {}
}

/// Where the log was cut: a write had not ended there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Sequence number of the segment.
    pub segment: u64,
    /// The file.
    pub slot: u32,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Bytes of blocks, whole or torn, that were dropped there and behind.
    pub bytes: u64,
    /// Records in them whose headers could be read; none was ever durable.
    pub records: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Whether there was no log before.
    pub is_new: bool,
    /// Segments that hold the log.
    pub segments: u64,
    /// Blocks read.
    pub blocks: u64,
    /// Records shown.
    pub records: u64,
    /// Bytes of these blocks.
    pub bytes: u64,
    /// Bytes read from the disk.
    pub bytes_read: u64,
    /// The torn tail, if there was one.
    pub cut: Option<Cut>,
    /// Everything found wrong.
    pub damage: Vec<Damage>,
    /// How often this log was opened, this time included.
    pub incarnation: u32,
}

/// What the log goes on from.
pub(crate) struct Recovery {
    pub(crate) life: Life,
    pub(crate) incarnation: u32,
    pub(crate) index: Index,
    pub(crate) space: Space,
    /// Where the next block goes.
    pub(crate) tail: Place,
    /// Whether writing may go on there; not when damage of unknown extent is in the way.
    pub(crate) tail_is_sound: bool,
    pub(crate) next_block: u64,
    pub(crate) next_lsn: u64,
    pub(crate) tally: Tally,
    pub(crate) previous_crc: u32,
    pub(crate) opening: Opening,
}

/// Reads the log on `device`.
pub(crate) fn recover<D: Source>(
    device: &mut D,
    options: &Options,
    now_ns: u64,
    visit: &mut dyn Visit,
) -> Result<Recovery, WalError> {
    let slots = device.slots_now()?;
    let mut window = Window::new(device);
    let survey = survey::survey(&mut window, &slots, options)?;
    let life = survey.life.unwrap_or(Life {
        identity: options.identity,
        birth: now_ns,
    });
    let mut walk = Walk {
        window,
        life,
        segments: survey.segments,
        origins: survey.origins,
        index: Index::default(),
        opening: Opening {
            is_new: survey.life.is_none(),
            ..Opening::default()
        },
        expected: 1,
        next_lsn: 1,
        tally: Some(Tally::default()),
        previous_crc: None,
        incarnation: 0,
        live: survey.live,
        dropped: Vec::new(),
        visit,
        space: Space::new(VecDeque::new(), VecDeque::new(), 0, 0),
    };
    let order = walk.segments.iter().map(|candidate| candidate.slot);
    walk.window.expect(order.collect());
    walk.find_front();
    for &slot in &survey.missing {
        walk.damage(DamageKind::FileMissing, 0, Some(slot), 0, 0);
    }
    let (tail, tail_is_sound) = walk.run();
    walk.judge_missing_files(survey.missing.len());
    walk.window.finish();
    let incarnation = walk.origins.newest() + 1;
    walk.opening.incarnation = incarnation;
    walk.opening.bytes_read = walk.window.bytes_read;
    let mut free: VecDeque<u32> = survey.free.into();
    free.extend(&walk.dropped);
    let in_use = |slot: u32| walk.space.used.iter().any(|segment| segment.slot == slot);
    free.extend(
        walk.segments
            .iter()
            .map(|candidate| candidate.slot)
            .filter(|&slot| !in_use(slot)),
    );
    let used = std::mem::take(&mut walk.space.used);
    walk.opening.segments = used.len() as u64;
    Ok(Recovery {
        life,
        incarnation,
        index: walk.index,
        space: Space::new(used, free, survey.next_slot, options.segments_max),
        tail,
        tail_is_sound,
        next_block: walk.expected,
        next_lsn: walk.next_lsn,
        tally: walk.tally.unwrap_or_default(),
        previous_crc: walk.previous_crc.unwrap_or(0),
        opening: walk.opening,
    })
}
