//! Durable appends per second and CPU per entry, beside the bare device: `cargo bench -p quorate-wal`.
//!
//! Mode `one-each`: every group has one append in flight; a group goes on when its entry is durable.
//! Mode `together`: one entry of each group per durable write, four writes in flight.
//! Mode `bare`: the device alone, writing blocks of the size that `together` writes, four in flight.
//! `QUORATE_BENCH_MS` sets the milliseconds per cell; `QUORATE_BENCH_ONLY` picks cells, as in "uring one-each 16 ".

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tempfile::TempDir;
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;
use wal::device::{Completion, Operation};
use wal::{Device, Identity, Kind, Lsn, Options, Record, Wal};

const SEGMENT_BYTES: u64 = 64 << 20;
const WINDOW: usize = 4;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock(start: std::time::Instant) -> u64 {
    std::time::Instant::now().duration_since(start).as_nanos() as u64
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}

/// Nanoseconds this thread has been on a CPU.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

struct Sleeper(OwnedFd);

impl Sleeper {
    /// Sleeps until something has completed.
    fn sleep(&self) {
        let mut bytes = [0_u8; 256];
        rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::empty()).expect("the device speaks");
    }
}

fn sockets() -> (OwnedFd, Sleeper) {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket pair");
    (theirs, Sleeper(ours))
}

fn uring(path: &Path) -> Option<(UringDevice, Sleeper)> {
    let (notify, sleeper) = sockets();
    Some((
        UringDevice::open(path, SEGMENT_BYTES, Some(notify)).ok()?,
        sleeper,
    ))
}

fn threads(path: &Path) -> Option<(FileDevice, Sleeper)> {
    let (notify, sleeper) = sockets();
    let waker = Arc::new(move || {
        // A full socket has unread bytes: its reader wakes in any case.
        let _ = rustix::net::send(&notify, &[1], SendFlags::DONTWAIT);
    });
    Some((
        FileDevice::open(path, SEGMENT_BYTES, WINDOW, Some(waker)).ok()?,
        sleeper,
    ))
}

/// What one cell measured.
#[derive(Default)]
struct Cell {
    entries: u64,
    elapsed_ns: u64,
    cpu_ns: u64,
    writes: u64,
    written_bytes: u64,
    latencies: Vec<u64>,
}

impl Cell {
    fn print(mut self, device: &str, mode: &str, groups: u64, bytes: usize) {
        self.latencies.sort_unstable();
        let at = |share: usize| {
            self.latencies
                .get(self.latencies.len() * share / 100)
                .copied()
                .unwrap_or(0)
                / 1_000
        };
        let seconds = self.elapsed_ns as f64 / 1e9;
        println!(
            "{device:8} {mode:9} {groups:5} groups {bytes:6} B  {:>10.0} entries/s {:>7.0} MB/s written  \
             p50 {:>6} p99 {:>6} us/write  {:>6.0} ns CPU/entry  {:>6.1} entries/write",
            self.entries as f64 / seconds,
            self.written_bytes as f64 / seconds / 1e6,
            at(50),
            at(99),
            self.cpu_ns as f64 / self.entries.max(1) as f64,
            self.entries as f64 / self.writes.max(1) as f64,
        );
    }
}

fn identity() -> Identity {
    Identity {
        cluster: 1,
        node: 1,
        log: 0,
    }
}

/// Appends until the time is up; `together` waits for room rather than for each group's durability.
fn append<D: Device>(
    device: D,
    sleeper: &Sleeper,
    groups: u64,
    bytes: usize,
    together: bool,
    ms: u64,
) -> Cell {
    let options = Options {
        segments_max: 32,
        preallocate_segments: 12,
        ..Options::new(identity())
    };
    let (mut wal, _) = Wal::open(device, options, 1, &mut |_| {}).expect("the log opens");
    let payload = vec![7_u8; bytes];
    let payload_crc = crc32fast::hash(&payload);
    let mut next = vec![1_u64; groups as usize];
    let mut waits_for = vec![Lsn(0); groups as usize];
    let mut cell = Cell::default();
    let started = start();
    let cpu_before = cpu_ns();
    let until = ms * 1_000_000;
    loop {
        let now_ns = clock(started);
        let durable = wal.poll(now_ns).durable;
        if now_ns >= until {
            cell.entries = durable.0;
            break;
        }
        let mut appended = 0;
        let in_flight = wal.stats().writes_in_flight;
        for group in 0..groups as usize {
            let may = if together {
                in_flight < WINDOW
            } else {
                waits_for[group] <= durable
            };
            if !may {
                continue;
            }
            let index = next[group];
            let head = &payload[..16];
            let record = Record {
                group: group as u64,
                index,
                term: 1,
                kind: Kind::Entry,
                head,
                payload: &payload,
                payload_crc,
            };
            let Ok(lsn) = wal.append(&record) else { break };
            waits_for[group] = lsn;
            next[group] += 1;
            appended += 1;
            if index.is_multiple_of(64) {
                wal.release(group as u64, index - 32);
            }
        }
        let begun = wal.submit(now_ns);
        if appended == 0 && begun == 0 && wal.stats().writes_in_flight > 0 {
            sleeper.sleep();
        }
    }
    cell.elapsed_ns = clock(started);
    cell.cpu_ns = cpu_ns() - cpu_before;
    let stats = wal.stats();
    (cell.writes, cell.written_bytes) = (stats.syncs, stats.written_bytes);
    wal.take_write_latencies(&mut |ns| cell.latencies.push(ns));
    cell
}

/// The device alone: blocks one behind the other, four in flight.
fn bare<D: Device>(mut device: D, sleeper: &Sleeper, groups: u64, bytes: usize, ms: u64) -> Cell {
    let record = 40 + 16 + bytes.next_multiple_of(8);
    let per_write = (1_100_000 / record).min(groups as usize).max(1);
    let write_bytes = (96 + per_write * record).next_multiple_of(4096);
    for slot in 0..3 {
        device.create_now(slot).expect("there is space");
    }
    let mut buffers = device.allocate(WINDOW, write_bytes);
    let mut cell = Cell::default();
    let (mut slot, mut offset, mut token) = (0, 0, 0);
    let started = start();
    let cpu_before = cpu_ns();
    let mut begun = [0; WINDOW];
    let mut completions = Vec::new();
    while clock(started) < ms * 1_000_000 {
        let now_ns = clock(started);
        while let Some(buffer) = buffers.pop() {
            if offset + write_bytes as u64 > SEGMENT_BYTES {
                (slot, offset) = ((slot + 1) % 3, 0);
            }
            begun[token as usize % WINDOW] = now_ns;
            device
                .write(
                    now_ns,
                    Operation {
                        token,
                        slot,
                        offset,
                        bytes: write_bytes,
                        buffer,
                    },
                )
                .expect("few in flight");
            token += 1;
            offset += write_bytes as u64;
        }
        device.submit(now_ns);
        device.poll(now_ns, &mut completions);
        if completions.is_empty() {
            sleeper.sleep();
        }
        for completion in completions.drain(..) {
            if let Completion::Written(operation, result) = completion {
                result.expect("the disk is sound");
                cell.writes += 1;
                cell.entries += per_write as u64;
                cell.written_bytes += write_bytes as u64;
                cell.latencies
                    .push(clock(started) - begun[operation.token as usize % WINDOW]);
                buffers.push(operation.buffer);
            }
        }
    }
    cell.elapsed_ns = clock(started);
    cell.cpu_ns = cpu_ns() - cpu_before;
    cell
}

fn table<D: Device>(name: &str, ms: u64, only: &str, open: impl Fn(&Path) -> Option<(D, Sleeper)>) {
    for bytes in [128, 1024, 16384] {
        for groups in [1, 16, 256, 1024] {
            for mode in ["one-each", "together", "bare"] {
                if !format!("{name} {mode} {groups} {bytes} ").contains(only) {
                    continue;
                }
                let folder = TempDir::new().expect("a temporary folder");
                let Some((device, sleeper)) = open(folder.path()) else {
                    println!("{name}: cannot be used here");
                    return;
                };
                let cell = match mode {
                    "bare" => bare(device, &sleeper, groups, bytes, ms),
                    _ => append(device, &sleeper, groups, bytes, mode == "together", ms),
                };
                cell.print(name, mode, groups, bytes);
            }
        }
    }
}

fn main() {
    let ms = std::env::var("QUORATE_BENCH_MS")
        .ok()
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(300);
    let only = std::env::var("QUORATE_BENCH_ONLY").unwrap_or_default();
    table("uring", ms, &only, uring);
    table("threads", ms, &only, threads);
}
