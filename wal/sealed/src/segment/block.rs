//! A block of a segment: its header, and the way between canonical and stored bytes.
//!
//! ```text
//!  0  "QSBK"   4  u32 header_crc (bytes 8..56)   8  u64 first: the entry of the block's first byte
//! 16  u32 begins: entries that begin here   20  u32 begins_at: where the first of them does
//! 24  u32 number of the block   28  u32 decoded_bytes   32  u32 stored_bytes
//! 36  u32 decoded_crc   40  u32 stored_crc   44  u8 codec   45  u8 flags   46  u16 zero
//! 48  u32 layouts   52  u32 records   56  stored bytes
//! ```
//!
//! With columns the packed bytes are all that is not an array of records, in order, and then the columns of all
//! arrays; without, they are the canonical bytes. The stored bytes are the packed bytes, compressed.
//!
//! - A block whose bytes do not become fewer is stored as it is.
//! - An entry's payload is an array when its length is a multiple of 128 and not 0.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zstd::bulk::{Compressor, Decompressor};

use crate::damage::DamageKind;
use crate::limits::SEGMENT_BLOCK_BYTES_MOST;
use crate::segment::columns::{self, RECORD};
use crate::segment::record::RecordHeader;
use crate::segment::{Codec, Seed, checksum};

/// Bytes of a block's header.
pub(crate) const BLOCK_HEADER_BYTES: usize = 56;

const MAGIC: [u8; 4] = *b"QSBK";

/// Flag: arrays are stored as columns.
const COLUMNS: u8 = 1;
/// Flag: the payload that goes on at the start of the block is an array.
const LEAD_ARRAY: u8 = 2;

/// Fewer records than this are not turned into columns.
const COLUMN_RECORDS_MIN: usize = 16;

/// A block's header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct BlockHeader {
    magic: [u8; 4],
    header_crc: U32,
    pub(crate) first: U64,
    pub(crate) begins: U32,
    pub(crate) begins_at: U32,
    pub(crate) number: U32,
    pub(crate) decoded_bytes: U32,
    pub(crate) stored_bytes: U32,
    decoded_crc: U32,
    stored_crc: U32,
    codec: u8,
    flags: u8,
    reserved: U16,
    layouts: U32,
    records: U32,
}

const _: () = assert!(size_of::<BlockHeader>() == BLOCK_HEADER_BYTES, "as drawn");

/// Canonical bytes gathered for one block.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) bytes: Vec<u8>,
    /// The bytes that are arrays of records, and those that are not, each in order.
    pub(crate) arrays: Vec<u8>,
    pub(crate) rest: Vec<u8>,
    pub(crate) first: u64,
    pub(crate) begins: u32,
    pub(crate) begins_at: Option<u32>,
    pub(crate) lead_array: bool,
}

impl Raw {
    pub(crate) fn put(&mut self, bytes: &[u8], array: bool) {
        self.bytes.extend_from_slice(bytes);
        if array {
            self.arrays.extend_from_slice(bytes);
        } else {
            self.rest.extend_from_slice(bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.arrays.clear();
        self.rest.clear();
        (self.begins, self.begins_at, self.lead_array) = (0, None, false);
    }
}

/// Whether a payload of this length is an array of records.
pub(crate) const fn is_array(payload: usize) -> bool {
    payload > 0 && payload.is_multiple_of(RECORD)
}

/// Packs blocks, one after the other.
pub(crate) struct Packer {
    codec: Codec,
    columns: bool,
    zstd: Option<Compressor<'static>>,
    words: Vec<u64>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(codec: Codec, columns: bool) -> Self {
        let zstd = match codec {
            Codec::Zstd(level) => {
                let compressor = Compressor::new(i32::from(level));
                Some(compressor.expect("the level was checked, and there is memory"))
            }
            Codec::Plain | Codec::Lz4 => None,
        };
        Self {
            codec,
            columns: columns && codec != Codec::Plain,
            zstd,
            words: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Appends the block to `out`, header and stored bytes; answers its header.
    pub(crate) fn pack(
        &mut self,
        raw: &Raw,
        number: u32,
        seed: Seed,
        out: &mut Vec<u8>,
    ) -> BlockHeader {
        let start = out.len();
        out.resize(start + BLOCK_HEADER_BYTES, 0);
        let layouts = self.lay_out(raw);
        let packed = match layouts {
            Some(_) => &self.packed,
            None => &raw.bytes,
        };
        let smaller = compress(self.codec, self.zstd.as_mut(), packed, raw.bytes.len(), out);
        let (codec, layouts) = if smaller {
            (self.codec, layouts)
        } else {
            out.truncate(start + BLOCK_HEADER_BYTES);
            out.extend_from_slice(&raw.bytes);
            (Codec::Plain, None)
        };
        let stored = &out[start + BLOCK_HEADER_BYTES..];
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let records = layouts.map_or(0, |_| raw.arrays.len() / RECORD);
        let decoded_bytes = raw.bytes.len() as u32;
        let mut header = BlockHeader {
            magic: MAGIC,
            header_crc: 0.into(),
            first: raw.first.into(),
            begins: raw.begins.into(),
            begins_at: raw.begins_at.unwrap_or(decoded_bytes).into(),
            number: number.into(),
            decoded_bytes: decoded_bytes.into(),
            stored_bytes: (stored.len() as u32).into(),
            decoded_crc: checksum(seed.decoded(number), &raw.bytes).into(),
            stored_crc: checksum(seed.stored(number), stored).into(),
            codec: codec.code().0,
            flags: flag(layouts.is_some(), COLUMNS) | flag(raw.lead_array, LEAD_ARRAY),
            reserved: 0.into(),
            layouts: layouts.unwrap_or(0).into(),
            records: (records as u32).into(),
        };
        header.header_crc = header.crc(seed, number).into();
        out[start..start + BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
        header
    }

    /// Packs the block in columns, where that is wanted and pays; answers their layouts.
    fn lay_out(&mut self, raw: &Raw) -> Option<u32> {
        if !self.columns || raw.arrays.len() < COLUMN_RECORDS_MIN * RECORD {
            return None;
        }
        self.packed.clear();
        self.packed.extend_from_slice(&raw.rest);
        columns::encode(&raw.arrays, &mut self.words, &mut self.packed)
    }
}

/// Appends the compressed bytes to `out`; false when they are not fewer than `bytes_max`.
fn compress(
    codec: Codec,
    zstd: Option<&mut Compressor<'static>>,
    packed: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let room = match codec {
        Codec::Plain => return false,
        Codec::Lz4 => lz4_flex::block::get_maximum_output_size(packed.len()),
        Codec::Zstd(_) => zstd::zstd_safe::compress_bound(packed.len()),
    };
    out.resize(start + room, 0);
    let written = match zstd {
        Some(zstd) => zstd.compress_to_buffer(packed, &mut out[start..]).ok(),
        None => lz4_flex::block::compress_into(packed, &mut out[start..]).ok(),
    };
    let written = written.expect("the output has room for the worst case");
    out.truncate(start + written);
    written < bytes_max
}

impl BlockHeader {
    fn crc(&self, seed: Seed, number: u32) -> u32 {
        checksum(seed.block_header(number), &self.as_bytes()[8..])
    }

    /// Checks the header and the stored bytes of block `number`, which is all of `bytes`.
    pub(crate) fn check(
        bytes: &[u8],
        number: u32,
        seed: Seed,
    ) -> Result<(Self, &[u8]), DamageKind> {
        let (header, stored) =
            Self::read_from_prefix(bytes).map_err(|_| DamageKind::Contradiction)?;
        if header.magic != MAGIC || header.crc(seed, number) != header.header_crc.get() {
            return Err(DamageKind::Checksum);
        }
        let (decoded_bytes, stored_bytes) = (header.decoded_bytes.get(), header.stored_bytes.get());
        let sound = header.number.get() == number
            && stored.len() == stored_bytes as usize
            && stored_bytes <= decoded_bytes
            && decoded_bytes <= SEGMENT_BLOCK_BYTES_MOST
            && header.begins_at.get() <= decoded_bytes
            && u64::from(header.records.get()) * RECORD as u64 <= u64::from(decoded_bytes);
        if !sound {
            return Err(DamageKind::Contradiction);
        }
        if checksum(seed.stored(number), stored) != header.stored_crc.get() {
            return Err(DamageKind::Checksum);
        }
        Ok((header, stored))
    }

    /// The checksum of the stored bytes.
    pub(crate) const fn stored_crc(&self) -> u32 {
        self.stored_crc.get()
    }
}

/// Makes the checksums of block `number` right, at the start of `bytes`, so that its canonical bytes are those that it
/// unpacks to; answers its bytes, `None` if no block fits.
pub(crate) fn reseal(bytes: &mut [u8], number: u32, seed: Seed) -> Option<usize> {
    let (mut header, rest) = BlockHeader::read_from_prefix(bytes).ok()?;
    let stored = rest.get(..header.stored_bytes.get() as usize)?;
    header.stored_crc = checksum(seed.stored(number), stored).into();
    if header.decoded_bytes.get() <= SEGMENT_BLOCK_BYTES_MOST
        && u64::from(header.records.get()) * RECORD as u64 <= u64::from(header.decoded_bytes.get())
    {
        let mut unpacker = Unpacker::new();
        unpacker.try_unpack(&header, stored);
        header.decoded_crc = checksum(seed.decoded(number), unpacker.decoded()).into();
    }
    header.header_crc = header.crc(seed, number).into();
    let taken = BLOCK_HEADER_BYTES + stored.len();
    bytes[..BLOCK_HEADER_BYTES].copy_from_slice(header.as_bytes());
    Some(taken)
}

/// Unpacks blocks, one after the other, into memory of its own.
pub(crate) struct Unpacker {
    zstd: Option<Decompressor<'static>>,
    words: Vec<u64>,
    packed: Vec<u8>,
    arrays: Vec<u8>,
    decoded: Vec<u8>,
}

impl Unpacker {
    pub(crate) const fn new() -> Self {
        Self {
            zstd: None,
            words: Vec::new(),
            packed: Vec::new(),
            arrays: Vec::new(),
            decoded: Vec::new(),
        }
    }

    /// The canonical bytes of the block that was unpacked last.
    pub(crate) fn decoded(&self) -> &[u8] {
        &self.decoded
    }

    /// Unpacks a block whose header and stored bytes have passed.
    pub(crate) fn unpack(
        &mut self,
        header: &BlockHeader,
        stored: &[u8],
        seed: Seed,
    ) -> Result<(), DamageKind> {
        let whole = self.try_unpack(header, stored).is_some()
            && self.decoded.len() == header.decoded_bytes.get() as usize;
        if !whole {
            return Err(DamageKind::Contradiction);
        }
        let crc = checksum(seed.decoded(header.number.get()), &self.decoded);
        if crc == header.decoded_crc.get() {
            Ok(())
        } else {
            Err(DamageKind::Checksum)
        }
    }

    fn try_unpack(&mut self, header: &BlockHeader, stored: &[u8]) -> Option<()> {
        let decoded_bytes = header.decoded_bytes.get() as usize;
        self.decoded.clear();
        if header.flags & COLUMNS == 0 {
            self.decoded.resize(decoded_bytes, 0);
            return decompress(header.codec, &mut self.zstd, stored, &mut self.decoded);
        }
        let (layouts, records) = (header.layouts.get(), header.records.get() as usize);
        let rest_bytes = decoded_bytes - records * RECORD;
        self.packed.clear();
        self.packed
            .resize(rest_bytes + columns::bytes(layouts, records), 0);
        decompress(header.codec, &mut self.zstd, stored, &mut self.packed)?;
        let (rest, columns) = self.packed.split_at(rest_bytes);
        self.arrays.resize(records * RECORD, 0);
        columns::decode(columns, layouts, &mut self.words, &mut self.arrays);
        let mut weaver = Weaver {
            rest,
            arrays: &self.arrays,
            decoded: &mut self.decoded,
        };
        weaver.take(
            header.begins_at.get() as usize,
            header.flags & LEAD_ARRAY != 0,
        )?;
        while weaver.decoded.len() < decoded_bytes {
            let (record, _) = RecordHeader::read(weaver.rest)?;
            let (before, payload) = (record.before_payload(), record.payload());
            weaver.take(before, false)?;
            let piece = payload.min(decoded_bytes.checked_sub(weaver.decoded.len())?);
            weaver.take(piece, is_array(payload))?;
        }
        (weaver.rest.is_empty() && weaver.arrays.is_empty()).then_some(())
    }
}

/// Weaves arrays and the rest together again.
struct Weaver<'a> {
    rest: &'a [u8],
    arrays: &'a [u8],
    decoded: &'a mut Vec<u8>,
}

impl Weaver<'_> {
    fn take(&mut self, bytes: usize, array: bool) -> Option<()> {
        let from = if array {
            &mut self.arrays
        } else {
            &mut self.rest
        };
        let (taken, behind) = from.split_at_checked(bytes)?;
        self.decoded.extend_from_slice(taken);
        *from = behind;
        Some(())
    }
}

/// Decompresses to exactly as many bytes as `out` has.
fn decompress(
    codec: u8,
    zstd: &mut Option<Decompressor<'static>>,
    stored: &[u8],
    out: &mut [u8],
) -> Option<()> {
    let written = match codec {
        0 => {
            let fits = stored.len() == out.len();
            fits.then(|| out.copy_from_slice(stored))?;
            stored.len()
        }
        1 => lz4_flex::block::decompress_into(stored, out).ok()?,
        2 => {
            if zstd.is_none() {
                *zstd = Decompressor::new().ok();
            }
            zstd.as_mut()?.decompress_to_buffer(stored, out).ok()?
        }
        _ => return None,
    };
    (written == out.len()).then_some(())
}
