//! Sealing and storing, as a node does it: `cargo bench -p quorate-engine --bench offload [-- FOLDER]`.
//!
//! Entries of made-up transfers become sealed files, which go to a store in a folder, are read back and published, one
//! file sealed while others are on their way. MB are of the entries' payload. *Of CPU*: by the processor time of the
//! whole process, the store's threads and the kernel included; *by the clock* depends on the disk and on who else works.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cold::location::Location;
use cold::offload::{Offloads, Parcel, Policy};
use cold::store::remote::Remote;
use cold::tier::Tier;
use sealed::{Codec, Entry, SegmentSpec, SegmentWriter, Taken};

/// Transfers of an entry.
const BATCH: u64 = 8_189;
/// Entries of a file: 64 MiB of payload.
const FILE_ENTRIES: u64 = 64;
const FILES: u64 = 12;
/// As the node's side thread has it.
const BUDGET_BYTES: usize = 8 << 20;
const SLICE_BYTES: usize = 64 << 10;
const WAITING_MAX: usize = 4;

fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

/// A batch of transfers: 80 random bits in each id, accounts with random numbers, amounts of one to seven digits.
fn batch(state: &mut u64, accounts: &[u128], nth: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BATCH as usize * 128);
    for transfer in nth * BATCH..(nth + 1) * BATCH {
        let time = u128::from(1_700_000_000_000 + transfer / 500) << 80;
        let mut account = || accounts[(dice(state) >> 20) as usize % accounts.len()];
        let (debit, credit) = (account(), account());
        let id = time | u128::from(dice(state)) << 16 | u128::from(dice(state) as u16);
        let amount = u128::from(1 + dice(state) % 10_u64.pow((dice(state) % 7) as u32 + 1));
        for word in [
            id,
            debit,
            credit,
            amount,
            0,
            u128::from(dice(state) % 1_000),
            0,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

fn seal(spec: &SegmentSpec, first: u64, payloads: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let mut writer = SegmentWriter::new(spec.clone(), first).expect("sound settings");
    let mut file = Vec::with_capacity(64 << 20);
    for (index, (payload, payload_crc)) in (first..).zip(payloads) {
        let mut head = [0; 48];
        head[..8].copy_from_slice(&index.to_le_bytes());
        let entry = Entry {
            index,
            term: 3,
            time: 1_700_000_000_000_000_000 + index * 1_000_003,
            head: &head,
            payload,
            payload_crc: *payload_crc,
        };
        while writer
            .append(&entry, SLICE_BYTES, &mut file)
            .expect("sound")
            != Taken::Whole
        {}
    }
    while !writer
        .finish(SLICE_BYTES, &mut file)
        .expect("there are entries")
    {}
    file
}

/// Processor time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A store in a folder, and news of it.
fn store(folder: &Path) -> (Offloads<Remote>, Receiver<()>) {
    let (sender, woken) = channel();
    let wake = Arc::new(move || {
        // Whoever waits may be gone.
        let _ = sender.send(());
    });
    let location = Location::Folder(folder.to_path_buf());
    let store = Remote::open(&location, None, wake).expect("a folder can be made");
    let tier = Tier::new(store, false, 256 << 20);
    (Offloads::new(tier, Policy::Keep), woken)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(folder: &Path, spec: &SegmentSpec, payloads: &[(Vec<u8>, u32)]) -> (f64, f64, f64) {
    let (mut offloads, woken) = store(folder);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let turn = |offloads: &mut Offloads<Remote>, pause: Duration| {
        // News, or only the next slice of work: either way it goes on.
        let _ = woken.recv_timeout(pause);
        let now = began.elapsed().as_nanos() as u64;
        offloads.turn(now, 1_800_000_000, BUDGET_BYTES, &mut || now);
        let mut told = 0;
        while let Some((token, result)) = offloads.next_ended() {
            result.unwrap_or_else(|error| panic!("file {token} is not stored: {error}"));
            told += 1;
        }
        told
    };
    let (mut waiting, mut stored) = (0, 0_u64);
    for nth in 0..FILES {
        let (first, last) = (nth * FILE_ENTRIES + 1, (nth + 1) * FILE_ENTRIES);
        let file = seal(spec, first, payloads);
        stored += file.len() as u64;
        let parcel = Parcel {
            token: nth,
            group: 1,
            first,
            last,
            file: Arc::new(file),
        };
        assert!(offloads.offer(parcel).is_ok(), "there is room");
        waiting += 1;
        waiting -= turn(&mut offloads, Duration::ZERO);
        while waiting >= WAITING_MAX {
            waiting -= turn(&mut offloads, Duration::from_millis(50));
        }
    }
    while waiting > 0 {
        waiting -= turn(&mut offloads, Duration::from_millis(50));
    }
    let bytes = payloads.iter().map(|one| one.0.len()).sum::<usize>() as f64 * FILES as f64;
    let (clock, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    (
        bytes / 1e6 / clock,
        bytes / 1e6 / cpu,
        bytes / stored as f64,
    )
}

fn main() {
    let folder = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    let folder = folder.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let folder = folder.expect("a folder can be made");
    let mut state = 1;
    let accounts: Vec<u128> = (0..10_000)
        .map(|_| u128::from(dice(&mut state)) << 64 | u128::from(dice(&mut state)))
        .collect();
    let payloads: Vec<(Vec<u8>, u32)> = (0..FILE_ENTRIES)
        .map(|nth| batch(&mut state, &accounts, nth))
        .map(|payload| {
            let crc = crc32fast::hash(&payload);
            (payload, crc)
        })
        .collect();
    println!(
        "| codec | times smaller | MB/s of CPU, median of 3 | MB/s by the clock, median of 3 |\n|---|---:|---:|---:|"
    );
    for (name, codec) in [
        ("none", Codec::Plain),
        ("LZ4, columns", Codec::Lz4),
        ("Zstandard 1, columns", Codec::Zstd(1)),
        ("Zstandard 3, columns", Codec::Zstd(3)),
    ] {
        let spec = SegmentSpec {
            codec,
            columns: codec != Codec::Plain,
            ..SegmentSpec::new(1, 1)
        };
        let mut runs: Vec<(f64, f64, f64)> = (0..3)
            .map(|run| {
                let folder = folder.path().join(format!("{name}-{run}"));
                let figures = measure(&folder, &spec, &payloads);
                // It is removed with all others at the end if not here.
                let _ = std::fs::remove_dir_all(&folder);
                figures
            })
            .collect();
        let smaller = runs[0].2;
        runs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let clock = runs[1].0;
        runs.sort_by(|one, other| one.1.total_cmp(&other.1));
        println!("| {name} | {smaller:.2} | {:.0} | {clock:.0} |", runs[1].1);
    }
}
