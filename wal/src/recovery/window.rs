//! A window onto a segment file: reads ahead in large pieces, goes on over what the disk cannot read.

use crate::block::buffer::Buffer;
use crate::device::{ALIGNMENT, Source};

/// Bytes read at once.
const WINDOW_BYTES: usize = 4 << 20;

/// What stands where the disk could not be read: nothing that passes a checksum.
const UNREADABLE: u8 = 0xEE;

/// A piece of one file in memory.
pub(crate) struct Window<'a, D: Source> {
    device: &'a mut D,
    buffer: Buffer,
    slot: Option<u32>,
    from: u64,
    bytes: usize,
    segment_bytes: u64,
    /// Bytes read from the disk.
    pub(crate) bytes_read: u64,
    /// Pieces of 4 KiB that could not be read.
    pub(crate) unreadable: u64,
}

impl<'a, D: Source> Window<'a, D> {
    pub(crate) fn new(device: &'a mut D) -> Self {
        let segment_bytes = device.segment_bytes();
        let buffer = Buffer::new(WINDOW_BYTES.min(segment_bytes as usize));
        Self {
            device,
            buffer,
            slot: None,
            from: 0,
            bytes: 0,
            segment_bytes,
            bytes_read: 0,
            unreadable: 0,
        }
    }

    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The bytes of a file from an aligned offset on, as many as asked for or up to the file's end.
    pub(crate) fn view(&mut self, slot: u32, offset: u64, bytes: usize) -> &[u8] {
        let bytes = bytes.min((self.segment_bytes.saturating_sub(offset)) as usize);
        let end = offset + bytes as u64;
        let holds =
            self.slot == Some(slot) && offset >= self.from && end <= self.from + self.bytes as u64;
        if !holds {
            self.load(slot, offset, bytes);
        }
        let start = (offset - self.from) as usize;
        &self.buffer[start..start + bytes]
    }

    fn load(&mut self, slot: u32, offset: u64, bytes: usize) {
        if bytes > self.buffer.len() {
            self.buffer = Buffer::new(bytes);
        }
        let most = (self.segment_bytes - offset) as usize;
        let bytes = self.buffer.len().min(most);
        (self.slot, self.from, self.bytes) = (Some(slot), offset, bytes);
        self.bytes_read += bytes as u64;
        if self
            .device
            .read_now(slot, offset, bytes, &mut self.buffer)
            .is_ok()
        {
            return;
        }
        let mut piece = Buffer::new(ALIGNMENT);
        for start in (0..bytes).step_by(ALIGNMENT) {
            let end = (start + ALIGNMENT).min(bytes);
            if self
                .device
                .read_now(slot, offset + start as u64, end - start, &mut piece)
                .is_err()
            {
                piece.fill(UNREADABLE);
                self.unreadable += 1;
            }
            self.buffer[start..end].copy_from_slice(&piece[..end - start]);
        }
    }
}
