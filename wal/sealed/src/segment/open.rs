//! Opens a segment: header, envelope, footer, and that they agree with each other.
//!
//! - Length, then checksum, then version, then the archive: it is validated once, when its bytes have passed.
//! - A segment that was opened has passed every check but those of its blocks, which are made at each reading.

use zerocopy::FromBytes as _;

use crate::damage::{Damage, DamageKind, Part};
use crate::limits::KEY_IDS_MAX;
use crate::segment::block::BLOCK_HEADER_BYTES;
use crate::segment::footer::{ArchivedFooter, FooterArchive};
use crate::segment::read::SegmentReader;
use crate::segment::{
    Envelope, Header, SEGMENT_ENVELOPE_BYTES, SEGMENT_HEADER_BYTES, Seed, checksum,
};

/// What is known of a segment whose header has passed.
#[derive(Debug, Clone, Copy)]
struct Known {
    group: u64,
    first: u64,
    last: Option<u64>,
}

impl Known {
    const fn damage(self, part: Part, offset: u64, bytes: u64, kind: DamageKind) -> Damage {
        Damage {
            part,
            offset,
            bytes,
            kind,
            group: Some(self.group),
            first: Some(self.first),
            last: self.last,
        }
    }
}

/// Opens the segment; the face is [`SegmentReader::open`].
pub(crate) fn open<B: AsRef<[u8]>>(bytes: B) -> Result<SegmentReader<B>, Damage> {
    let file = bytes.as_ref();
    let (header, mut spec) = Header::check(file)?;
    let seed = header.seed();
    let mut known = Known {
        group: header.group(),
        first: header.first(),
        last: None,
    };
    let (envelope, footer_at) = check_envelope(file, seed, known)?;
    known.last = Some(envelope.last.get());
    let footer = &file[footer_at..file.len() - SEGMENT_ENVELOPE_BYTES];
    let damage = |kind| known.damage(Part::Footer, footer_at as u64, footer.len() as u64, kind);
    if checksum(seed.footer(), footer) != envelope.footer_crc.get() {
        return Err(damage(DamageKind::Checksum));
    }
    let footer = FooterArchive::open(footer).ok_or(damage(DamageKind::Contradiction))?;
    let archive = footer.get();
    let agree = archive.group.to_native() == known.group
        && archive.first.to_native() == known.first
        && archive.last.to_native() == envelope.last.get()
        && archive.blocks.len() == envelope.blocks.get() as usize
        && are_blocks_in_order(archive, footer_at as u64)
        && are_terms_in_order(archive)
        && archive.key_ids.len() <= KEY_IDS_MAX;
    if !agree {
        return Err(damage(DamageKind::Contradiction));
    }
    spec.key_ids = archive.key_ids.iter().map(|id| id.to_native()).collect();
    Ok(SegmentReader {
        bytes,
        spec,
        seed,
        footer,
    })
}

/// Checks the envelope; answers it and where the footer begins.
fn check_envelope(file: &[u8], seed: Seed, known: Known) -> Result<(Envelope, usize), Damage> {
    let found = file.len() as u64;
    let least = SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + SEGMENT_ENVELOPE_BYTES;
    let length =
        |expected| known.damage(Part::File, 0, found, DamageKind::Length { found, expected });
    if file.len() < least {
        return Err(length(least as u64));
    }
    let start = file.len() - SEGMENT_ENVELOPE_BYTES;
    let damage = |kind| {
        let bytes = SEGMENT_ENVELOPE_BYTES as u64;
        known.damage(Part::Footer, start as u64, bytes, kind)
    };
    let Ok(envelope) = Envelope::read_from_bytes(&file[start..]) else {
        return Err(damage(DamageKind::Contradiction));
    };
    if envelope.crc(seed) != envelope.envelope_crc.get() {
        return Err(damage(DamageKind::Checksum));
    }
    let expected = envelope.file_bytes.get();
    if expected != found {
        return Err(length(expected));
    }
    let footer_bytes = envelope.footer_bytes.get() as usize;
    let footer_at = start.checked_sub(footer_bytes).filter(|at| {
        let blocks = SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES;
        envelope.is_sound() && *at >= blocks
    });
    footer_at
        .map(|at| (envelope, at))
        .ok_or(damage(DamageKind::Contradiction))
}

/// Whether blocks fill the file up to the footer, and each begins with the entry where the one before ended.
fn are_blocks_in_order(footer: &ArchivedFooter, end: u64) -> bool {
    let (mut offset, mut next) = (SEGMENT_HEADER_BYTES as u64, footer.first.to_native());
    for row in footer.blocks.iter() {
        // A block that continues an entry begins with the entry before the one that is next.
        let sound = row.offset.to_native() == offset
            && row.continues <= 1
            && row.first_begin() == next
            && row.bytes.to_native() as usize >= BLOCK_HEADER_BYTES;
        if !sound {
            return false;
        }
        offset = offset.saturating_add(u64::from(row.bytes.to_native()));
        next = row.end();
    }
    let begins_whole = footer.blocks.first().is_some_and(|row| row.continues == 0);
    begins_whole && offset == end && next.checked_sub(1) == Some(footer.last.to_native())
}

/// Whether runs of terms begin with the first entry and rise.
fn are_terms_in_order(footer: &ArchivedFooter) -> bool {
    let runs = || {
        footer
            .terms
            .iter()
            .map(|run| (run.first.to_native(), run.term.to_native()))
    };
    runs()
        .next()
        .is_some_and(|run| run.0 == footer.first.to_native())
        && runs().all(|run| run.0 <= footer.last.to_native())
        && runs().is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
}
