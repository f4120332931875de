//! Sealing, reading and joining segments: `cargo bench -p quorate-sealed --bench segments`.
//!
//! Payloads are batches of transfers as a ledger's clients send them; MB/s are of payload, on one core.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use sealed::{Codec, Entry, SegmentReader, SegmentSpec, SegmentWriter, Taken};

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = std::time::Instant::now();
    let result = work();
    (result, start.elapsed().as_nanos() as f64)
}

fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Skewed: half of all draws fall on a hundredth of the pool.
fn skewed(state: &mut u64, pool: u64) -> u64 {
    let draw = (dice(state) >> 11) as f64 / (1_u64 << 53) as f64;
    (draw.powi(7) * pool as f64) as u64
}

/// Which ids the transfers and their accounts have.
#[derive(Clone, Copy, Debug)]
enum Ids {
    /// Time-ordered transfers between accounts with small numbers.
    Small,
    /// Time-ordered transfers, 80 of their bits random, between accounts with random 128-bit numbers.
    Random,
}

fn transfers(state: &mut u64, ids: Ids, accounts: &[u128], nth: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count as usize * 128);
    for transfer in nth..nth + count {
        let time = u128::from(1_700_000_000_000 + transfer / 500) << 80;
        let account = |state: &mut u64| {
            let nth = skewed(state, accounts.len() as u64);
            match ids {
                Ids::Small => u128::from(nth) + 1,
                Ids::Random => accounts[nth as usize],
            }
        };
        let id = match ids {
            Ids::Small => time | u128::from(transfer % 500) << 40,
            Ids::Random => time | (u128::from(dice(state)) << 16) | u128::from(dice(state) as u16),
        };
        let amount = u128::from(1 + dice(state) % 10_u64.pow((dice(state) % 7) as u32 + 1));
        for word in [id, account(state), account(state), amount, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&u128::from(dice(state) % 1_000).to_le_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

fn seal(spec: &SegmentSpec, payloads: &[(Vec<u8>, u32)]) -> (Vec<u8>, f64) {
    let mut writer = SegmentWriter::new(spec.clone(), 1).expect("sound settings");
    let (mut file, mut out) = (Vec::new(), Vec::with_capacity(1 << 20));
    let mut slowest = 0.0_f64;
    for (nth, (payload, payload_crc)) in payloads.iter().enumerate() {
        let index = nth as u64 + 1;
        let mut head = [0; 48];
        head[..8].copy_from_slice(&(index - 1).to_le_bytes());
        head[8..16].copy_from_slice(&(1_700_000_000_000_000_000 + index * 1_000_003).to_le_bytes());
        head[16..32].copy_from_slice(&(77_u128 << 64 | u128::from(index % 8)).to_le_bytes());
        head[32..40].copy_from_slice(&(index / 8).to_le_bytes());
        head[40] = 147;
        let entry = Entry {
            index,
            term: 3,
            time: 1_700_000_000_000_000_000 + index * 1_000_003,
            head: &head,
            payload,
            payload_crc: *payload_crc,
        };
        loop {
            let (taken, ns) = timed(|| writer.append(&entry, 64 << 10, &mut out).expect("sound"));
            slowest = slowest.max(ns);
            file.extend_from_slice(&out);
            out.clear();
            if taken == Taken::Whole {
                break;
            }
        }
    }
    while !writer
        .finish(64 << 10, &mut file)
        .expect("there are entries")
    {}
    (file, slowest)
}

fn measure(what: &str, spec: &SegmentSpec, payloads: &[(Vec<u8>, u32)]) {
    let bytes: usize = payloads.iter().map(|payload| payload.0.len()).sum();
    let rate = |ns: f64| bytes as f64 / ns * 1e3;
    let mut runs: Vec<f64> = Vec::new();
    let (mut file, mut slowest) = (Vec::new(), f64::MAX);
    for _ in 0..5 {
        let (sealed, ns) = timed(|| seal(spec, payloads));
        runs.push(rate(ns));
        (file, slowest) = (sealed.0, slowest.min(sealed.1));
    }
    runs.sort_by(f64::total_cmp);
    let segment = SegmentReader::open(&file[..]).expect("what was written can be read");
    let (count, read) = timed(|| segment.entries(0).filter(Result::is_ok).count());
    assert_eq!(count, payloads.len());
    let (_, verified) = timed(|| segment.verify(0, usize::MAX).expect("sound"));
    let ((), single) = timed(|| {
        for nth in 0..200 {
            let index = 1 + nth * 7_919 % payloads.len() as u64;
            assert!(segment.entry(index).expect("sound").is_some());
        }
    });
    println!(
        "{what:<34} {:5.2} x smaller; sealed at {:5.0} MB/s (median of 5), longest slice {:4.2} ms; \
         read {:5.0}, verified {:5.0} MB/s; one entry {:6.1} us",
        bytes as f64 / file.len() as f64,
        runs[2],
        slowest / 1e6,
        rate(read),
        rate(verified),
        single / 200.0 / 1e3
    );
}

fn main() {
    let mut state = 1;
    let accounts: Vec<u128> = (0..10_000)
        .map(|_| u128::from(dice(&mut state)) << 64 | u128::from(dice(&mut state)))
        .collect();
    let settings = [
        ("plain", Codec::Plain, false),
        ("lz4", Codec::Lz4, false),
        ("lz4 + columns", Codec::Lz4, true),
        ("zstd 1", Codec::Zstd(1), false),
        ("zstd 1 + columns", Codec::Zstd(1), true),
        ("zstd 3 + columns", Codec::Zstd(3), true),
        ("zstd 9 + columns", Codec::Zstd(9), true),
    ];
    for ids in [Ids::Small, Ids::Random] {
        for batch in [8_189, 64, 1] {
            let total = if batch == 1 { 200_000 } else { 60 * 8_189 };
            let batches = (0..total / batch).map(|nth| {
                let payload = transfers(&mut state, ids, &accounts, nth * batch, batch);
                let crc = crc32fast::hash(&payload);
                (payload, crc)
            });
            let payloads: Vec<_> = batches.collect();
            println!(
                "-- {ids:?} ids, {batch} transfers an entry, {} entries",
                payloads.len()
            );
            for (name, codec, columns) in settings {
                let spec = SegmentSpec {
                    codec,
                    columns,
                    ..SegmentSpec::new(1, 1)
                };
                measure(name, &spec, &payloads);
            }
        }
    }
}
