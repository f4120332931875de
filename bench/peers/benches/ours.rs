//! Our log: append what may be appended, submit, sleep until something has completed.
//!
//! - `quorate` waits on the log's ring, as the bare device does and as one who has nothing else to wait for.
//! - `quorate-woken` waits as a core of production does, which waits for its network as well: it looks on for a moment
//!   after news, offering its processor to others meanwhile, then sleeps on the socket through which it is woken.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use wal::device::uring::UringDevice;
use wal::{Identity, Kind, Lsn, Options, Record, Wal};

use crate::cell::{Mode, Reading, System, Watch, Work};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;
const IN_FLIGHT: usize = 8;
/// How long a core looks on after news, in nanoseconds: what `--awake-us` is by default.
const AWAKE_NS: u64 = 200_000;
/// An offer of the processor that took longer was taken by somebody else: the core sleeps.
const CROWDED_NS: u64 = 50_000;
/// Bytes that all groups together keep in the log, about.
const KEPT_BYTES: usize = 96 << 20;

pub(crate) fn identity() -> Identity {
    Identity {
        cluster: 1,
        node: 1,
        log: 0,
    }
}

pub(crate) struct Ours {
    wal: Wal<UringDevice>,
    sleeper: Option<OwnedFd>,
    work: Work,
    payload: Vec<u8>,
    payload_crc: u32,
    /// Entries that a group keeps in the log.
    kept: u64,
    next: Vec<u64>,
    /// When each group's append began, and what it waits for.
    waits: Vec<(u64, Lsn)>,
}

impl Ours {
    pub(crate) fn open(folder: &Path, work: &Work, is_woken: bool) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let pair = || {
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .expect("a socket pair")
        };
        let (sleeper, notify) = is_woken.then(pair).unzip();
        let device = UringDevice::open(folder, SEGMENT_BYTES, notify).expect("a ring");
        let options = Options {
            segments_max: 32,
            preallocate_segments: 14,
            ..Options::new(identity())
        };
        let (wal, _) = Wal::open(device, options, 1, &mut |_| {}).expect("the log opens");
        let payload = vec![7; work.bytes];
        Self {
            wal,
            sleeper,
            work: *work,
            payload_crc: crc32fast::hash(&payload),
            payload,
            kept: (KEPT_BYTES / (work.groups * work.bytes)).clamp(2, 64) as u64,
            next: vec![1; work.groups],
            waits: vec![(0, Lsn(0)); work.groups],
        }
    }

    /// Appends for every group that may; true when something was appended.
    fn append(&mut self, durable: Lsn, now: u64, latencies: &mut Vec<u64>) -> bool {
        let mut appended = false;
        let has_slot = self.wal.stats().writes_in_flight < IN_FLIGHT;
        for group in 0..self.work.groups {
            let (began, waits) = self.waits[group];
            let may = match self.work.mode {
                Mode::OneEach => waits <= durable,
                Mode::Together => has_slot,
            };
            if !may {
                continue;
            }
            let index = self.next[group];
            let record = Record {
                group: group as u64,
                index,
                term: 1,
                kind: Kind::Entry,
                head: &self.payload[..16],
                payload: &self.payload,
                payload_crc: self.payload_crc,
            };
            let Ok(lsn) = self.wal.append(&record) else {
                break;
            };
            if self.work.mode == Mode::OneEach && began > 0 {
                latencies.push(now - began);
            }
            self.waits[group] = (now, lsn);
            self.next[group] += 1;
            appended = true;
            if index.is_multiple_of(self.kept) {
                self.wal.release(group as u64, index - self.kept / 2);
            }
        }
        appended
    }
}

/// Has others run, then says whether to look again before sleeping.
fn looks_again(watch: &Watch, awake_until_ns: &mut u64) -> bool {
    let before_ns = watch.elapsed_ns();
    if before_ns >= *awake_until_ns {
        return false;
    }
    std::thread::yield_now();
    if watch.elapsed_ns() - before_ns >= CROWDED_NS {
        *awake_until_ns = 0;
        return false;
    }
    true
}

impl System for Ours {
    fn name(&self) -> &'static str {
        if self.sleeper.is_some() {
            "quorate-woken"
        } else {
            "quorate"
        }
    }

    fn run(&mut self, window: Duration) -> Reading {
        let mut latencies = Vec::new();
        self.wal.take_write_latencies(&mut |_| {});
        self.waits.iter_mut().for_each(|(began, _)| *began = 0);
        let before = self.wal.durable().0;
        let mut awake_until_ns = 0;
        let mut seen = Lsn(before);
        let watch = Watch::start();
        loop {
            // From one on: zero stands for nothing in flight.
            let now = watch.elapsed_ns() + 1;
            let durable = self.wal.poll(now).durable;
            if now >= window.as_nanos() as u64 {
                break;
            }
            let appended = self.append(durable, now, &mut latencies);
            let begun = self.wal.submit(now);
            if self.work.mode == Mode::Together {
                self.wal.take_write_latencies(&mut |ns| latencies.push(ns));
            }
            if appended || begun > 0 || durable > seen {
                awake_until_ns = now + AWAKE_NS;
                seen = durable;
            }
            if !appended && begun == 0 && self.wal.stats().writes_in_flight > 0 {
                match &self.sleeper {
                    None => self.wal.wait(),
                    Some(_) if looks_again(&watch, &mut awake_until_ns) => {}
                    Some(sleeper) => {
                        let mut bytes = [0_u8; 256];
                        rustix::net::recv(sleeper, &mut bytes[..], RecvFlags::empty())
                            .expect("the device speaks");
                    }
                }
            }
        }
        watch.stop(self.wal.durable().0 - before, latencies)
    }
}
