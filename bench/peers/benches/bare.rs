//! The bare device: blocks of the log's sizes to one file, past the page cache, durably, through a ring; nothing is
//! copied, checksummed or indexed, one buffer serves all writes.
//!
//! - `bare-copied` does one thing more: it copies each entry into the block, as a log must that is given entries one by
//!   one. No checksum, no index, no groups.
//! - The file is written with zeros beforehand, as the log's files are.
//! - Of the depths tried the best counts: with so many writes in flight the entries of the groups are shared out.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};

use crate::cell::{Mode, Reading, System, Watch, Work};

const FILE_BYTES: u64 = 256 << 20;
const WRITE_BYTES_MAX: usize = (1 << 20) + (128 << 10);
/// Blocks that are filled in turns by `bare-copied`: as many as the log has.
const BLOCKS: usize = 10;

pub(crate) struct Bare {
    ring: IoUring,
    file: File,
    memory: wal::block::buffer::Buffer,
    work: Work,
    offset: u64,
    depth: Option<usize>,
    /// What is copied for each entry, if anything.
    payload: Option<Vec<u8>>,
    /// Blocks that are not in flight.
    free: Vec<usize>,
}

impl Bare {
    pub(crate) fn open(folder: &Path, work: &Work, copies: bool) -> Self {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(folder.join("bare"))
            .expect("a file can be made");
        let mut memory = wal::block::buffer::Buffer::new(BLOCKS * WRITE_BYTES_MAX);
        for offset in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(&memory[..1 << 20], offset)
                .expect("there is space");
        }
        file.sync_all().expect("the disk is sound");
        memory.fill(7);
        let ring = IoUring::new(64).expect("a ring");
        let vector = libc::iovec {
            iov_base: memory.as_mut_ptr().cast(),
            iov_len: memory.len(),
        };
        // SAFETY: the memory lives as long as the ring; only blocks that are not in flight are written.
        unsafe { ring.submitter().register_buffers(&[vector]) }.expect("memory may be locked");
        ring.submitter()
            .register_files(&[file.as_raw_fd()])
            .expect("files can be registered");
        Self {
            ring,
            file,
            memory,
            work: *work,
            offset: 0,
            depth: None,
            payload: copies.then(|| vec![9; work.bytes]),
            free: (0..BLOCKS).collect(),
        }
    }

    /// The next block, filled if that is the task; one for all without copies.
    fn fill(&mut self, share: usize) -> usize {
        let record = self.record_bytes();
        let Some(payload) = &self.payload else {
            return 0;
        };
        let block = self.free.pop().expect("more blocks than writes in flight");
        let into = &mut self.memory[block * WRITE_BYTES_MAX + 96..];
        for into in into.chunks_mut(record).take(share) {
            into[..payload.len()].copy_from_slice(payload);
        }
        block
    }

    /// What one entry takes in the log: its header, a head of 16 bytes, the payload.
    fn record_bytes(&self) -> usize {
        40 + 16 + self.work.bytes.next_multiple_of(8)
    }

    /// Entries of one write, when this many are in flight.
    fn share(&self, depth: usize) -> usize {
        let fitting = ((WRITE_BYTES_MAX - 96) / self.record_bytes()).max(1);
        let share = match self.work.mode {
            Mode::OneEach => self.work.groups.div_ceil(depth),
            Mode::Together => self.work.groups,
        };
        share.min(fitting)
    }

    fn window(&mut self, window: Duration, depth: usize) -> Reading {
        let share = self.share(depth);
        let bytes = (96 + share * self.record_bytes()).next_multiple_of(4096);
        let (mut entries, mut latencies) = (0, Vec::new());
        let mut begun = VecDeque::new();
        let watch = Watch::start();
        let mut in_flight = 0;
        loop {
            let now = watch.elapsed_ns();
            let is_over = now >= window.as_nanos() as u64;
            if is_over && in_flight == 0 {
                break;
            }
            while !is_over && in_flight < depth {
                if self.offset + bytes as u64 > FILE_BYTES {
                    self.offset = 0;
                }
                let block = self.fill(share);
                let address = self.memory[block * WRITE_BYTES_MAX..].as_ptr();
                let entry = opcode::WriteFixed::new(types::Fixed(0), address, bytes as u32, 0)
                    .offset(self.offset)
                    .rw_flags(libc::RWF_DSYNC)
                    .build()
                    .user_data(block as u64);
                // SAFETY: the memory outlives the ring; a block is written to only when it is not in flight.
                unsafe { self.ring.submission().push(&entry) }.expect("few are in flight");
                begun.push_back(now);
                self.offset += bytes as u64;
                in_flight += 1;
            }
            self.ring.submit_and_wait(1).expect("the ring works");
            let done = watch.elapsed_ns();
            while let Some(entry) = self.ring.completion().next() {
                assert_eq!(entry.result(), bytes as i32, "the disk is sound");
                in_flight -= 1;
                if self.payload.is_some() {
                    self.free.push(entry.user_data() as usize);
                }
                entries += share as u64;
                latencies.push(done - begun.pop_front().unwrap_or(done));
            }
        }
        watch.stop(entries, latencies)
    }
}

impl System for Bare {
    fn name(&self) -> &'static str {
        let _ = &self.file;
        if self.payload.is_some() {
            "bare, copied"
        } else {
            "bare device"
        }
    }

    fn run(&mut self, window: Duration) -> Reading {
        let rate = |reading: &Reading| reading.entries as f64 / reading.elapsed_ns as f64;
        let depth = match self.depth {
            Some(depth) => depth,
            None if self.work.groups == 1 && self.work.mode == Mode::OneEach => 1,
            None => {
                let tried =
                    [1, 2, 4, 8].map(|depth| (depth, rate(&self.window(window / 4, depth))));
                let best = tried
                    .into_iter()
                    .max_by(|one, other| one.1.total_cmp(&other.1));
                best.map_or(1, |(depth, _)| depth)
            }
        };
        self.depth = Some(depth);
        self.window(window, depth)
    }
}
