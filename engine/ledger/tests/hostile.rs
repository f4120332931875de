//! Whatever bytes come in as a request, an image or a chapter: an answer or an error, never a panic.
//!
//! Each `check_` takes what chance or a fuzzer made. Images and chapters are whole ones with some bytes changed and all
//! checksums put right again, so that what lies behind the checksums is met, too.

use std::sync::Arc;

use ledger::image::frame_checksum;
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use xxhash_rust::xxh3::xxh3_128;

const LIMITS: Limits = Limits {
    accounts_max: 50,
    transfers_max: 2_000,
    pendings_max: 40,
    chapter_rows: 16,
    unshelved_max: 2_000,
};

/// Bytes of a footer, and where the checksum of the content stands in it.
const FOOTER: usize = 256;
const CONTENT: usize = 160;

fn new() -> Ledger {
    Ledger::new(LIMITS).expect("the limits are sound")
}

fn apply(ledger: &mut Ledger, time: u64, operation: u8, payload: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    let command = Command {
        index: Index(1),
        time,
        operation,
        payload,
    };
    ledger.apply(command, &mut reply);
    reply
}

fn put<const N: usize>(event: &mut [u8], offset: usize, bytes: [u8; N]) {
    event[offset..offset + N].copy_from_slice(&bytes);
}

/// A small ledger with reservations, an expiry, a spent id, two chapters, and its image.
pub(crate) fn sample() -> (Ledger, Vec<Vec<u8>>, Vec<u8>) {
    let mut ledger = new();
    let mut accounts = vec![0; 3 * 128];
    for (id, account) in (1_u8..).zip(accounts.chunks_mut(128)) {
        put(account, 0, [id]);
        put(account, 112, [1]);
        put(account, 116, [1]);
        put(account, 118, [if id == 2 { 8 } else { 0 }]);
    }
    apply(&mut ledger, 1_000, operation::CREATE_ACCOUNTS, &accounts);
    let mut transfers = vec![0; 40 * 128];
    for (id, transfer) in (1_u8..).zip(transfers.chunks_mut(128)) {
        put(transfer, 0, [id]);
        put(transfer, 16, [1 + id % 3]);
        put(transfer, 32, [if id == 5 { 9 } else { 1 + (id + 1) % 3 }]);
        put(transfer, 48, [id]);
        put(transfer, 96, [id % 4]);
        put(transfer, 108, [u8::from(id % 8 == 0)]);
        put(transfer, 112, [1]);
        put(transfer, 116, [1]);
        put(transfer, 118, [if id % 4 == 0 { 2 } else { 0 }]);
    }
    apply(&mut ledger, 2_000, operation::CREATE_TRANSFERS, &transfers);
    apply(&mut ledger, 9_000_000_000, operation::PULSE, &[]);
    let mut chapters = Vec::new();
    while let Some(due) = ledger.due_chapter() {
        let mut bytes = Vec::new();
        while !ledger.next_chapter_piece(4_096, &mut bytes) {}
        ledger
            .shelve(due, Arc::new(bytes.clone()))
            .expect("its own chapter");
        chapters.push(bytes);
    }
    let mut image = Vec::new();
    ledger.begin_image();
    while !ledger.next_image_piece(4_096, &mut image) {}
    (ledger, chapters, image)
}

/// A request: its first byte is the operation.
pub(crate) fn check_instruction(input: &[u8]) {
    let (mut ledger, _, _) = sample();
    let Some((operation, body)) = input.split_first() else {
        return;
    };
    let before = ledger.digest();
    let admitted = ledger.admit(*operation, body);
    let mut reply = Vec::new();
    ledger.query(*operation, body, &mut reply);
    assert_eq!(ledger.digest(), before, "a query changes nothing");
    let applied = apply(&mut ledger, 10_000_000_000, *operation, body);
    if admitted.is_err() {
        assert!(applied.is_empty() && ledger.digest() == before);
    }
    assert!(ledger.totals().conservation_holds());
}

/// Changes bytes: each four bytes of `edits` are a place, two bytes, an operation and a value.
fn edit(bytes: &mut [u8], edits: &[u8]) {
    for edit in edits.chunks_exact(4).take(16) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] = match edit[2] % 3 {
            0 => edit[3],
            1 => bytes[at].wrapping_add(edit[3]),
            _ => bytes[at] ^ edit[3],
        };
    }
}

/// Puts the checksums of an image's frames right, as far as there are frames.
fn seal_image(image: &mut [u8]) {
    let (mut rest, mut frame) = (image, 0);
    while rest.len() > 16 {
        let bytes = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let section = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]);
        if rest.len() < 16 + bytes {
            return;
        }
        let sum = frame_checksum(frame, section, &rest[16..16 + bytes]);
        rest[8..16].copy_from_slice(&sum.to_le_bytes());
        rest = &mut rest[16 + bytes..];
        frame += 1;
    }
}

/// Asks everything of which there is a reader.
fn ask_everything(ledger: &Ledger) {
    let mut reply = Vec::new();
    let mut account = [0; 128];
    account[120..128].copy_from_slice(&[100, 0, 0, 0, 3, 0, 0, 0]);
    let mut query = [0; 64];
    query[56] = 100;
    let mut events = [0; 64];
    events[16] = 100;
    let mut sums = [0; 64];
    sums[40] = 100;
    for id in 0..10_u8 {
        account[0] = id;
        query[16] = id % 4;
        sums[0] = id;
        for operation in [
            operation::GET_ACCOUNT_TRANSFERS,
            operation::GET_ACCOUNT_BALANCES,
        ] {
            ledger.query(operation, &account, &mut reply);
        }
        ledger.query(operation::QUERY_TRANSFERS, &query, &mut reply);
        ledger.query(operation::GET_ACCOUNT_SUMS, &sums, &mut reply);
        let mut moment = [0; 32];
        moment[0] = id;
        ledger.query(operation::GET_BALANCES_AT, &moment, &mut reply);
        let ids: Vec<u8> = (0..50_u128).flat_map(u128::to_le_bytes).collect();
        ledger.query(operation::LOOKUP_TRANSFERS, &ids, &mut reply);
    }
    for operation in [operation::GET_CHANGE_EVENTS, operation::GET_CHANGES] {
        ledger.query(operation, &events, &mut reply);
    }
    ledger.query(operation::AUDIT, &[], &mut reply);
}

/// Restores an image and chapters; what came of it answers, and a whole image is restored after it.
fn check_restore(chapters: &[Vec<u8>], image: &[u8], cut: usize) {
    let mut ledger = new();
    ledger.begin_restore();
    let taken = image
        .chunks(1 + cut)
        .try_for_each(|piece| ledger.restore_piece(piece));
    let shelved = taken.and_then(|()| {
        (0..)
            .zip(chapters)
            .try_for_each(|(number, bytes)| ledger.shelve(number, Arc::new(bytes.clone())))
    });
    if shelved.and_then(|()| ledger.end_restore()).is_ok() {
        ask_everything(&ledger);
        let mut again = Vec::new();
        ledger.begin_image();
        while !ledger.next_image_piece(1_000, &mut again) {}
    }
    let (whole, chapters, image) = sample();
    ledger.begin_restore();
    ledger.restore_piece(&image).expect("a whole image");
    for (number, bytes) in (0..).zip(chapters) {
        ledger
            .shelve(number, Arc::new(bytes))
            .expect("a whole chapter");
    }
    ledger.end_restore().expect("everything is there");
    assert_eq!(ledger.digest(), whole.digest());
}

/// An image: the first byte cuts it into pieces, the others change it.
pub(crate) fn check_image(input: &[u8]) {
    let Some((cut, edits)) = input.split_first() else {
        return;
    };
    let (_, chapters, mut image) = sample();
    edit(&mut image, edits);
    seal_image(&mut image);
    check_restore(&chapters, &image, usize::from(*cut));
}

/// A chapter: the first byte chooses it, the others change it.
pub(crate) fn check_chapter(input: &[u8]) {
    let Some((which, edits)) = input.split_first() else {
        return;
    };
    let (_, mut chapters, mut image) = sample();
    let which = usize::from(*which) % chapters.len();
    edit(&mut chapters[which], edits);
    // The checksums of this one, of those after it, and of the image that counts on them.
    let mut previous = [0; 16];
    for bytes in &mut chapters {
        let start = bytes.len() - FOOTER;
        let content = xxh3_128(&bytes[..start]);
        let footer = &mut bytes[start..];
        footer[CONTENT..CONTENT + 16].copy_from_slice(&content.to_le_bytes());
        footer[CONTENT + 16..CONTENT + 32].copy_from_slice(&previous);
        let sum = xxh3_128(&footer[..FOOTER - 16]).to_le_bytes();
        footer[FOOTER - 16..].copy_from_slice(&sum);
        previous = sum;
    }
    let chain = image.len() - 48 + 16;
    image[chain..chain + 16].copy_from_slice(&previous);
    seal_image(&mut image);
    check_restore(&chapters, &image, 255);
}
