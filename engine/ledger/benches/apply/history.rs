//! How long it takes to know that an id is new among a long history, nearly all of which is in chapters on disk.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use raft::state_machine::StateMachine;

use crate::map::Map;
use crate::workload::{Accounts, Case, Generator, Ids, Kind};
use crate::{BATCH, Hand, nanos_since};

/// What issue 6 asks of ids that rise with time: nanoseconds.
const GOAL: f64 = 50.0;

const CASE: Case = Case::new(
    "history",
    10_000,
    Accounts::Uniform,
    Ids::TimeBased,
    Kind::Bare,
    4.0,
);

/// Where a chapter's footer tells the bytes of its rows, which come first; counted from the end.
const ROWS_BYTES: usize = 256 - 88;

/// Chapters in files of a folder that is removed in the end.
struct Folder {
    path: PathBuf,
    bytes: u64,
    /// Are rows left out, as holes? Indexes alone decide whether an id is new; five of six bytes are rows.
    is_hollow: bool,
}

impl Folder {
    fn new() -> std::io::Result<Self> {
        let parent =
            std::env::var_os("LEDGER_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = parent.join(format!("quorate-ledger-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        let is_hollow = std::env::var_os("LEDGER_HOLLOW").is_some();
        Ok(Self {
            path,
            bytes: 0,
            is_hollow,
        })
    }

    fn keep(&mut self, number: u64, bytes: &[u8]) -> std::io::Result<Map> {
        let path = self.path.join(number.to_string());
        let mut file: File = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(path)?;
        let mut rows = 0;
        if self.is_hollow {
            let field = bytes[bytes.len() - ROWS_BYTES..].first_chunk();
            rows = u64::from_le_bytes(*field.expect("a footer")) as usize;
            file.seek(SeekFrom::Start(rows as u64))?;
        }
        file.write_all(&bytes[rows..])?;
        self.bytes += bytes.len() as u64;
        Map::of(&file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is of no use to anybody; what cannot be removed stays.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Prints what a new id costs after so many transfers.
pub(crate) fn measure(transfers: usize) {
    match grow(transfers) {
        Ok((mut ledger, mut generator, mut hand, folder)) => {
            ask(&mut ledger, &mut generator, &mut hand, &folder);
        }
        Err(error) => println!("history: not measured: {error}"),
    }
}

/// A ledger with a long history, all but the last of it in files.
fn grow(transfers: usize) -> std::io::Result<(Ledger, Generator<'static>, Hand, Folder)> {
    let limits = Limits {
        accounts_max: CASE.accounts,
        transfers_max: transfers + 100 * BATCH,
        ..Limits::default()
    };
    let mut ledger = Ledger::new(limits).expect("the limits are sound");
    let mut generator = Generator::new(&CASE);
    let mut hand = Hand::new();
    hand.open_accounts(&mut ledger, &mut generator, CASE.accounts);
    let mut folder = Folder::new()?;
    let (mut body, mut chapter) = (Vec::new(), Vec::new());
    for _ in 0..transfers.div_ceil(BATCH) {
        generator.transfers(BATCH, &mut body);
        hand.apply(&mut ledger, operation::CREATE_TRANSFERS, &body);
        while let Some(due) = ledger.due_chapter() {
            chapter.clear();
            while !ledger.next_chapter_piece(1 << 20, &mut chapter) {}
            let map = folder.keep(due, &chapter)?;
            ledger.shelve(due, Arc::new(map)).expect("its own chapter");
        }
    }
    Ok((ledger, generator, hand, folder))
}

/// Asks for ids that rise, for ids of clients whose clocks differ, and for random ones; none of them is there.
fn ask(ledger: &mut Ledger, generator: &mut Generator<'_>, hand: &mut Hand, folder: &Folder) {
    let audit = ledger.audit();
    println!(
        "\nhistory: {} transfers, {} chapters with {:.1} bytes for each, {:.2} bytes in memory for each",
        audit.transfers.get(),
        ledger.chapters(),
        folder.bytes as f64 / audit.transfers.get() as f64,
        (ledger.bytes() as f64 - CASE.accounts as f64 * 140.0) / audit.transfers.get() as f64,
    );
    let mut body = Vec::new();
    let mut rising = Vec::new();
    for _ in 0..20 {
        generator.transfers(BATCH, &mut body);
        rising.extend(
            body.chunks(128).map(|event| {
                u128::from_le_bytes(event[..16].try_into().expect("an id has 16 bytes"))
            }),
        );
    }
    // As if they were made up to two seconds ago: below the highest id, and none of those that exist.
    let late: Vec<u128> = rising
        .iter()
        .zip(0_u128..)
        .map(|(id, n)| (id - ((2 + n * 7 % 2_000) << 80)) | 1 << 79)
        .collect();
    let random: Vec<u128> = rising
        .iter()
        .map(|id| id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 8)
        .collect();
    for (name, ids, goal) in [
        ("ids that rise", &rising, Some(GOAL)),
        ("ids up to 2 s late", &late, None),
        ("random ids", &random, None),
    ] {
        let ask = || {
            let start = Instant::now();
            let known = ids
                .iter()
                .filter(|id| ledger.transfer(**id).is_some())
                .count();
            assert_eq!(known, 0, "no such id exists");
            nanos_since(start) as f64 / ids.len() as f64
        };
        // The first time, pages of mapped files are touched that nobody had touched.
        let (nanos, again) = (ask(), ask());
        let verdict = match goal {
            Some(goal) if nanos <= goal => "reached, goal 50",
            Some(_) => "MISSED, goal 50",
            None => "no goal",
        };
        println!(
            "history: {name:<20} {nanos:>8.1} ns to know that an id is new ({verdict}), {again:.1} ns when asked again"
        );
    }
    create(ledger, generator, hand);
}

/// Makes an id out of the rising one and its place in the batch.
type Choose = fn(u128, u128) -> u128;

/// Has transfers created under ids of each kind, whole batches in turns: what the loop makes of a late or a random id.
fn create(ledger: &mut Ledger, generator: &mut Generator<'_>, hand: &mut Hand) {
    const TURNS: usize = 15;
    let kinds: [(&str, Choose); 3] = [
        ("ids that rise", |id, _| id),
        ("ids up to 2 s late", |id, n| {
            (id - ((2 + n * 7 % 2_000) << 80)) | 1 << 79
        }),
        ("random ids", |id, _| {
            id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 8
        }),
    ];
    let mut nanos = [const { Vec::new() }; 3];
    let mut body = Vec::new();
    for _ in 0..TURNS {
        for (nanos, (_, id_of)) in nanos.iter_mut().zip(kinds) {
            generator.transfers(BATCH, &mut body);
            for (event, n) in body.chunks_mut(128).zip(0_u128..) {
                let id = u128::from_le_bytes(event[..16].try_into().expect("16 bytes"));
                event[..16].copy_from_slice(&id_of(id, n).to_le_bytes());
            }
            let start = Instant::now();
            hand.apply(ledger, operation::CREATE_TRANSFERS, &body);
            nanos.push(nanos_since(start) as f64 / BATCH as f64);
            let created = hand.reply.chunks(16);
            assert!(created.into_iter().all(|told| told[8..12] == [0xFF; 4]));
        }
    }
    for ((name, _), mut nanos) in kinds.into_iter().zip(nanos) {
        nanos.sort_by(f64::total_cmp);
        println!(
            "history: {name:<20} {:>8.1} ns to create a transfer, median of {TURNS} batches, best {:.1}",
            nanos[TURNS / 2],
            nanos[0]
        );
    }
}
