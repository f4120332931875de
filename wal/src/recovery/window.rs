//! A window onto the segment files: reads ahead in large pieces, several at once, while one is looked at; goes on over
//! what the disk cannot read.
//!
//! - Pieces follow one another in a file, and from file to file in the order that was asked for.
//! - What lies across pieces is put together in memory of its own; nothing is read twice.
//! - All pieces together stay small: what the disk has just written into them is still in the processor's cache when it
//!   is looked at, and the disk itself is faster into memory that it has written a moment ago.

use std::collections::VecDeque;

use crate::block::buffer::Buffer;
use crate::device::{ALIGNMENT, DeviceError, Operation, Source};

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces on their way into memory at once.
const AHEAD_MAX: usize = 8;

/// What stands where the disk could not be read: nothing that passes a checksum.
const UNREADABLE: u8 = 0xEE;

/// A piece of one file in memory.
struct Piece {
    buffer: Buffer,
    slot: Option<u32>,
    from: u64,
    bytes: usize,
}

impl Piece {
    fn new(bytes: usize) -> Self {
        Self {
            buffer: Buffer::new(bytes),
            slot: None,
            from: 0,
            bytes: 0,
        }
    }

    fn end(&self) -> u64 {
        self.from + self.bytes as u64
    }

    fn begins_with(&self, slot: u32, offset: u64) -> bool {
        self.slot == Some(slot) && self.from <= offset && offset < self.end()
    }

    fn holds(&self, slot: u32, offset: u64, bytes: usize) -> bool {
        self.slot == Some(slot) && self.from <= offset && offset + bytes as u64 <= self.end()
    }

    fn bytes(&self, offset: u64, bytes: usize) -> &[u8] {
        let start = (offset - self.from) as usize;
        &self.buffer[start..start + bytes]
    }
}

/// A piece on its way into memory.
#[derive(Clone, Copy)]
struct Ahead {
    token: u64,
    slot: u32,
    from: u64,
    bytes: usize,
}

impl Ahead {
    fn end(&self) -> u64 {
        self.from + self.bytes as u64
    }
}

/// The pieces of files in memory.
pub(crate) struct Window<'a, D: Source> {
    device: &'a mut D,
    front: Piece,
    joint: Piece,
    /// In the order in which they will be looked at.
    ahead: VecDeque<Ahead>,
    /// Those of them that are there, and how it went.
    arrived: Vec<(Operation, Result<(), DeviceError>)>,
    spare: Vec<Buffer>,
    /// Buffers for reading ahead that were not needed yet.
    unmade: usize,
    next_token: u64,
    /// The files in the order in which they will be looked at; while it is empty, only what is asked for is read.
    order: Vec<u32>,
    segment_bytes: u64,
    /// Bytes read from the disk.
    pub(crate) bytes_read: u64,
    /// Pieces of 4 KiB that could not be read.
    pub(crate) unreadable: u64,
}

impl<'a, D: Source> Window<'a, D> {
    pub(crate) fn new(device: &'a mut D) -> Self {
        let segment_bytes = device.segment_bytes();
        Self {
            device,
            front: Piece::new(ALIGNMENT),
            joint: Piece::new(ALIGNMENT),
            ahead: VecDeque::with_capacity(AHEAD_MAX),
            arrived: Vec::with_capacity(AHEAD_MAX),
            spare: Vec::with_capacity(AHEAD_MAX),
            unmade: AHEAD_MAX,
            next_token: 0,
            order: Vec::new(),
            segment_bytes,
            bytes_read: 0,
            unreadable: 0,
        }
    }

    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// From here on whole files are looked at, in this order.
    pub(crate) fn expect(&mut self, order: Vec<u32>) {
        self.order = order;
    }

    /// The bytes of a file from an aligned offset on, as many as asked for or up to the file's end.
    pub(crate) fn view(&mut self, slot: u32, offset: u64, bytes: usize) -> &[u8] {
        let bytes = bytes.min((self.segment_bytes.saturating_sub(offset)) as usize);
        let is_there = self.joint.holds(slot, offset, bytes)
            || self.front.holds(slot, offset, bytes)
            || self.go_on(slot, offset, bytes);
        if !is_there {
            self.load(slot, offset, bytes);
        }
        if self.front.holds(slot, offset, bytes) {
            self.front.bytes(offset, bytes)
        } else {
            self.joint.bytes(offset, bytes)
        }
    }

    /// Nothing is on its way any more.
    pub(crate) fn finish(&mut self) {
        while let Some(ahead) = self.ahead.pop_front() {
            let landed = self.await_piece(ahead.token);
            self.spare
                .extend(landed.map(|(operation, _)| operation.buffer));
        }
    }

    /// Waits for a piece on its way.
    fn await_piece(&mut self, token: u64) -> Option<(Operation, Result<(), DeviceError>)> {
        loop {
            let is_it = |(operation, _): &(Operation, _)| operation.token == token;
            if let Some(nth) = self.arrived.iter().position(is_it) {
                return Some(self.arrived.swap_remove(nth));
            }
            let arrived = self.device.await_ahead()?;
            self.arrived.push(arrived);
        }
    }

    /// Takes the next pieces that were read ahead, if these bytes lie in them.
    fn go_on(&mut self, slot: u32, offset: u64, bytes: usize) -> bool {
        let end = offset + bytes as u64;
        let next = self.ahead.front().copied();
        let Some(ahead) = next.filter(|next| next.slot == slot && next.from < end) else {
            return false;
        };
        if offset >= ahead.from {
            let begins = offset < ahead.end() && self.take_ahead(ahead);
            if !begins || end <= ahead.end() {
                return begins;
            }
        }
        self.front.begins_with(slot, offset) && self.join(slot, offset, bytes)
    }

    /// Puts together what begins in the front piece and goes on in those behind it.
    fn join(&mut self, slot: u32, offset: u64, bytes: usize) -> bool {
        if self.joint.buffer.len() < bytes {
            self.joint = Piece::new(bytes);
        }
        self.joint.slot = None;
        let mut joined = 0;
        loop {
            let at = offset + joined as u64;
            let part = ((self.front.end() - at) as usize).min(bytes - joined);
            let into = &mut self.joint.buffer[joined..joined + part];
            into.copy_from_slice(self.front.bytes(at, part));
            joined += part;
            if joined == bytes {
                (self.joint.slot, self.joint.from, self.joint.bytes) = (Some(slot), offset, bytes);
                return true;
            }
            let end = self.front.end();
            let next = self.ahead.front().copied();
            let Some(ahead) = next.filter(|next| next.slot == slot && next.from == end) else {
                return false;
            };
            if !self.take_ahead(ahead) {
                return false;
            }
        }
    }

    fn take_ahead(&mut self, ahead: Ahead) -> bool {
        self.ahead.pop_front();
        let Some((operation, result)) = self.await_piece(ahead.token) else {
            return false;
        };
        if result.is_err() {
            self.spare.push(operation.buffer);
            return false;
        }
        self.bytes_read += ahead.bytes as u64;
        let behind = std::mem::replace(&mut self.front.buffer, operation.buffer);
        self.spare.push(behind);
        (self.front.slot, self.front.from) = (Some(ahead.slot), ahead.from);
        self.front.bytes = ahead.bytes;
        self.look_ahead();
        true
    }

    /// Begins to read what will be looked at next.
    fn look_ahead(&mut self) {
        while let Some((slot, from)) = self.next_place() {
            let Some(buffer) = self.spare_buffer() else {
                return;
            };
            let piece = buffer.len().min(PIECE_BYTES);
            let bytes = piece.min((self.segment_bytes - from) as usize);
            self.next_token += 1;
            let token = self.next_token;
            let operation = Operation {
                token,
                slot,
                offset: from,
                bytes,
                buffer,
            };
            if let Err(operation) = self.device.read_ahead(operation) {
                self.spare.push(operation.buffer);
                return;
            }
            self.ahead.push_back(Ahead {
                token,
                slot,
                from,
                bytes,
            });
        }
    }

    /// A buffer that is free for the next piece.
    fn spare_buffer(&mut self) -> Option<Buffer> {
        if self.spare.is_empty() && self.unmade > 0 {
            self.unmade -= 1;
            return Some(Buffer::new(self.piece_bytes()));
        }
        self.spare.pop()
    }

    fn piece_bytes(&self) -> usize {
        PIECE_BYTES.min(self.segment_bytes as usize)
    }

    /// Where the next piece to be read begins.
    fn next_place(&self) -> Option<(u32, u64)> {
        let (slot, end) = match self.ahead.back() {
            Some(last) => (last.slot, last.end()),
            None => (self.front.slot?, self.front.end()),
        };
        if end < self.segment_bytes {
            return Some((slot, end));
        }
        let nth = self.order.iter().position(|&other| other == slot)?;
        self.order.get(nth + 1).map(|&slot| (slot, 0))
    }

    fn load(&mut self, slot: u32, offset: u64, bytes: usize) {
        self.finish();
        let most = (self.segment_bytes - offset) as usize;
        // A first look at a file is a look at its first page.
        let is_glance = self.order.is_empty() && offset == 0;
        let least = if is_glance {
            bytes
        } else {
            bytes.max(self.piece_bytes())
        };
        if least > self.front.buffer.len() {
            self.front = Piece::new(least);
        }
        let wanted = if is_glance {
            bytes
        } else {
            self.front.buffer.len()
        };
        let bytes = wanted.min(most);
        (self.front.slot, self.front.from, self.front.bytes) = (Some(slot), offset, bytes);
        self.bytes_read += bytes as u64;
        if self
            .device
            .read_now(slot, offset, bytes, &mut self.front.buffer)
            .is_err()
        {
            self.load_by_pages(slot, offset, bytes);
        }
        if !self.order.is_empty() {
            self.look_ahead();
        }
    }

    /// Somewhere in there the disk cannot be read.
    fn load_by_pages(&mut self, slot: u32, offset: u64, bytes: usize) {
        let mut page = Buffer::new(ALIGNMENT);
        for start in (0..bytes).step_by(ALIGNMENT) {
            let end = (start + ALIGNMENT).min(bytes);
            if self
                .device
                .read_now(slot, offset + start as u64, end - start, &mut page)
                .is_err()
            {
                page.fill(UNREADABLE);
                self.unreadable += 1;
            }
            self.front.buffer[start..end].copy_from_slice(&page[..end - start]);
        }
    }
}
