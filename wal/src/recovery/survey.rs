//! The first look at a log's files: which segment each holds, and which are void or free.
//!
//! - A file without a readable header is still known by the first block in it that passes.
//! - Of two files that claim one segment, the later incarnation's counts: the other was given up. Of one
//!   incarnation, the one with a header counts: the other holds a block gone astray.

use std::collections::BTreeMap;

use crate::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use crate::device::{ALIGNMENT, Source};
use crate::error::WalError;
use crate::identity::Life;
use crate::limits::Options;
use crate::recovery::window::Window;
use crate::segment::{self, Read, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentHeader};

/// A file that holds a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) slot: u32,
    pub(crate) segment: u64,
    pub(crate) incarnation: u32,
    pub(crate) first_block: u64,
    /// Nothing for a segment whose header does not pass.
    pub(crate) header: Option<SegmentHeader>,
    /// Where its first readable block is.
    pub(crate) first_offset: u64,
    pub(crate) first_lsn: u64,
    pub(crate) live: u64,
    origin: u64,
    birth: u64,
}

impl Candidate {
    /// The lowest sequence that the segment's first block may have: each page before the first readable block may have
    /// held one.
    pub(crate) fn begins_at_least(&self) -> u64 {
        let before = (self.first_offset - SEGMENT_HEADER_BYTES as u64) / ALIGNMENT as u64;
        self.first_block.saturating_sub(before).max(1)
    }
}

/// Sequence of the first block of each incarnation known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(BTreeMap<u32, u64>);

impl Origins {
    pub(crate) fn learn(&mut self, incarnation: u32, origin: u64) {
        self.0.entry(incarnation).or_insert(origin);
    }

    /// Whether a later incarnation took over at or before this block: then it was cut off.
    pub(crate) fn is_void(&self, incarnation: u32, sequence: u64) -> bool {
        self.0
            .range(incarnation.saturating_add(1)..)
            .any(|(_, &origin)| origin <= sequence)
    }

    pub(crate) fn newest(&self) -> u32 {
        self.0.keys().next_back().copied().unwrap_or(0)
    }
}

/// All files of a log.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Nothing when no file has ever been used.
    pub(crate) life: Option<Life>,
    /// Segments that count, in order.
    pub(crate) segments: Vec<Candidate>,
    /// Files that hold nothing that counts.
    pub(crate) free: Vec<u32>,
    /// Numbers below the highest for which there is no file.
    pub(crate) missing: Vec<u32>,
    pub(crate) next_slot: u32,
    pub(crate) origins: Origins,
    /// The highest segment below which a header says that nothing is needed.
    pub(crate) live: u64,
}

/// Looks at every file.
pub(crate) fn survey<D: Source>(
    window: &mut Window<'_, D>,
    slots: &[u32],
    options: &Options,
) -> Result<Survey, WalError> {
    let mut candidates = Vec::new();
    let mut free = Vec::new();
    let mut garbage = None;
    for &slot in slots {
        match look(window, slot, options)? {
            Look::Segment(candidate) => candidates.push(*candidate),
            Look::Blank => free.push(slot),
            Look::Garbage { is_large } => {
                free.push(slot);
                garbage = garbage.or(is_large.then_some(slot));
            }
        }
    }
    if let (true, Some(slot)) = (candidates.is_empty(), garbage) {
        return Err(WalError::Unreadable { slot });
    }
    let birth = candidates.first().map(|candidate| candidate.birth);
    if let Some(other) = candidates
        .iter()
        .find(|candidate| Some(candidate.birth) != birth)
    {
        return Err(WalError::MixedLogs { slot: other.slot });
    }
    let mut origins = Origins::default();
    for candidate in &candidates {
        origins.learn(candidate.incarnation, candidate.origin);
    }
    let next_slot = slots.last().map_or(0, |&last| last + 1);
    let missing = (0..next_slot)
        .filter(|slot| slots.binary_search(slot).is_err())
        .collect();
    let live = candidates
        .iter()
        .map(|candidate| candidate.live)
        .max()
        .unwrap_or(0);
    let first_slot = candidates.first().map(|candidate| candidate.slot);
    let segments = choose(candidates, live, &origins, &mut free);
    if let (true, Some(slot)) = (segments.is_empty(), first_slot) {
        return Err(WalError::Unreadable { slot });
    }
    free.sort_unstable();
    let life = birth.map(|birth| Life {
        identity: options.identity,
        birth,
    });
    Ok(Survey {
        life,
        segments,
        free,
        missing,
        next_slot,
        origins,
        live,
    })
}

/// Keeps of each segment the file that counts, and none that nobody needs.
fn choose(
    candidates: Vec<Candidate>,
    live: u64,
    origins: &Origins,
    free: &mut Vec<u32>,
) -> Vec<Candidate> {
    let mut chosen: BTreeMap<u64, Candidate> = BTreeMap::new();
    for candidate in candidates {
        let is_void = origins.is_void(candidate.incarnation, candidate.first_block);
        if is_void || candidate.segment < live {
            free.push(candidate.slot);
            continue;
        }
        if let Some(other) = chosen.insert(candidate.segment, candidate) {
            let rank = |one: &Candidate| (one.incarnation, one.header.is_some());
            let (kept, dropped) = if rank(&other) > rank(&candidate) {
                (other, candidate)
            } else {
                (candidate, other)
            };
            chosen.insert(kept.segment, kept);
            free.push(dropped.slot);
        }
    }
    chosen.into_values().collect()
}

enum Look {
    Segment(Box<Candidate>),
    Blank,
    /// Data that is no segment; large when it is more than one first write may leave behind.
    Garbage {
        is_large: bool,
    },
}

fn look<D: Source>(
    window: &mut Window<'_, D>,
    slot: u32,
    options: &Options,
) -> Result<Look, WalError> {
    let segment_bytes = window.segment_bytes();
    let page = window.view(slot, 0, SEGMENT_HEADER_BYTES + ALIGNMENT);
    match segment::decode_header(page) {
        Read::Newer(found) => {
            return Err(WalError::NewerFormat {
                slot,
                found,
                supported: SEGMENT_VERSION,
            });
        }
        Read::Header(header)
            if header.slot.get() == slot && header.segment_bytes.get() == segment_bytes =>
        {
            let found = header.life().identity;
            if found != options.identity {
                return Err(WalError::WrongIdentity {
                    found,
                    expected: options.identity,
                });
            }
            if let Some(block) = used_again(window, slot, &header, options) {
                return Ok(Look::Segment(Box::new(from_block(slot, &block))));
            }
            return Ok(Look::Segment(Box::new(Candidate {
                slot,
                segment: header.segment.get(),
                incarnation: header.incarnation.get(),
                first_block: header.first_block.get(),
                header: Some(header),
                first_offset: SEGMENT_HEADER_BYTES as u64,
                first_lsn: header.first_lsn.get(),
                live: header.live.get(),
                origin: header.origin.get(),
                birth: header.birth.get(),
            })));
        }
        Read::Blank => {
            // Were only the first write lost, the second would begin within this stretch.
            let stretch = window.view(slot, 0, options.block_bytes_max + ALIGNMENT);
            if stretch.iter().all(|&byte| byte == 0) {
                return Ok(Look::Blank);
            }
        }
        Read::Header(header) => {
            let foreign = Some(header.segment.get());
            return Ok(salvage(window, slot, foreign, options));
        }
        Read::Damaged => {}
    }
    Ok(salvage(window, slot, None, options))
}

/// The first block of a newer segment in a file whose header is of an older one that this block calls needless: the file
/// was used again, and the disk forgot the newer segment's first write. Its second would begin within this stretch.
fn used_again<D: Source>(
    window: &mut Window<'_, D>,
    slot: u32,
    header: &SegmentHeader,
    options: &Options,
) -> Option<BlockHeader> {
    let segment_bytes = window.segment_bytes();
    let (life, older) = (header.life(), header.segment.get());
    let first = SEGMENT_HEADER_BYTES as u64;
    // One read: a file has hundreds of pages here.
    let stretch = window.view(slot, first, options.block_bytes_max + ALIGNMENT);
    let pages = stretch.chunks_exact(ALIGNMENT).zip(0_u64..);
    let mut blocks = pages.filter_map(|(page, nth)| {
        let offset = first + nth * ALIGNMENT as u64;
        block::decode_header(
            page,
            &life,
            offset as u32,
            (segment_bytes - offset) as usize,
        )
    });
    blocks.find(|block| block.segment.get() > older && block.live.get() > older)
}

/// Looks for the blocks that pass in a file whose header does not. Of several segments the highest counts: the file
/// was used again, or a block of an older one went astray. The first write of another file (`foreign`, by its header)
/// that went astray counts only where there is nothing else.
fn salvage<D: Source>(
    window: &mut Window<'_, D>,
    slot: u32,
    foreign: Option<u64>,
    options: &Options,
) -> Look {
    let life = Life {
        identity: options.identity,
        birth: 0,
    };
    let segment_bytes = window.segment_bytes();
    let mut is_large = false;
    let (mut found, mut astray) = (None::<BlockHeader>, None);
    let mut offset = SEGMENT_HEADER_BYTES as u64;
    while offset < segment_bytes {
        // As much as a read may be long: a file has thousands of pages.
        let piece = window.view(slot, offset, options.block_bytes_max);
        let pages = piece.chunks_exact(ALIGNMENT);
        let end = offset + piece.len() as u64;
        for (page, offset) in pages.zip((offset..).step_by(ALIGNMENT)) {
            let is_first = offset == SEGMENT_HEADER_BYTES as u64;
            is_large |= !is_first && page.iter().any(|&byte| byte != 0);
            let room = (segment_bytes - offset) as usize;
            let header = block::decode_header_unborn(page, &life, offset as u32, room);
            let Some(header) = header else { continue };
            if is_first && foreign == Some(header.segment.get()) {
                astray = Some(header);
            } else if found.is_none_or(|found| found.segment.get() < header.segment.get()) {
                found = Some(header);
            }
        }
        offset = end;
    }
    let chosen = match (astray, found) {
        (Some(first), Some(found)) if found.segment != first.segment => Some(found),
        // The file of that very segment under another name, or nothing else in it.
        (first, found) => first.or(found),
    };
    match chosen {
        Some(header) => Look::Segment(Box::new(from_block(slot, &header))),
        None => Look::Garbage { is_large },
    }
}

fn from_block(slot: u32, header: &BlockHeader) -> Candidate {
    Candidate {
        slot,
        segment: header.segment.get(),
        incarnation: header.incarnation.get(),
        first_block: header.sequence.get(),
        header: None,
        first_offset: u64::from(header.offset.get()),
        first_lsn: header.first_lsn.get(),
        live: header.live.get(),
        origin: header.origin.get(),
        birth: header.birth.get(),
    }
}

/// The block header at this place of a candidate's file, if one of its segment stands there.
pub(crate) fn header_at<D: Source>(
    window: &mut Window<'_, D>,
    life: &Life,
    candidate: &Candidate,
    offset: u64,
) -> Option<BlockHeader> {
    let room = window.segment_bytes().checked_sub(offset)? as usize;
    if room < ALIGNMENT {
        return None;
    }
    let page = window.view(candidate.slot, offset, BLOCK_HEADER_BYTES);
    let header = block::decode_header(page, life, offset as u32, room)?;
    (header.segment.get() == candidate.segment).then_some(header)
}
