//! History out of memory, and images: nothing of it shows, and damage is told.

use std::sync::Arc;

use ledger::account::AccountFlags;
use ledger::change::{ChangeEventsFilter, ChangesFilter};
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use ledger::transfer::{Transfer, TransferFlags};
use raft::ids::Index;
use raft::state_machine::{Command, Refusal, RestoreError, StateMachine};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::script::{ROOMY, World, account, check, transfer};
use crate::twin::Twin;

const LIMITS: Limits = Limits {
    accounts_max: 100,
    transfers_max: 100_000,
    pendings_max: 1_000,
    chapter_rows: 16,
    unshelved_max: 100_000,
};

fn bytes<T: IntoBytes + Immutable>(rows: &[T]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| row.as_bytes().to_vec())
        .collect()
}

/// Transfers of every kind between twenty accounts; ids rise, or not.
struct Past {
    dice: ChaCha8Rng,
    next: u128,
    open: Vec<u128>,
    random_ids: bool,
}

impl Past {
    fn new(seed: u64, random_ids: bool) -> Self {
        Self {
            dice: ChaCha8Rng::seed_from_u64(seed),
            next: 0,
            open: Vec::new(),
            random_ids,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice.next_u64() % bound
    }

    fn id(&mut self) -> u128 {
        self.next += 1;
        if self.random_ids {
            self.next
                .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        } else {
            self.next
        }
    }

    fn accounts() -> Vec<u8> {
        let lines = (1..=20).map(|id| {
            let flags = if id % 3 == 0 { "history" } else { "" };
            account(&format!("account {id} {flags}"))
        });
        bytes(&lines.collect::<Vec<_>>())
    }

    fn transfers(&mut self, count: usize) -> Vec<u8> {
        let transfers: Vec<Transfer> = (0..count).map(|_| self.transfer()).collect();
        bytes(&transfers)
    }

    fn transfer(&mut self) -> Transfer {
        let debit = 1 + self.below(20);
        let credit = 1 + (debit + self.below(19)) % 20;
        let mut transfer = Transfer {
            id: self.id().into(),
            debit_account_id: u128::from(debit).into(),
            credit_account_id: u128::from(credit).into(),
            amount: u128::from(1 + self.below(9)).into(),
            user_data_128: u128::from(self.below(50)).into(),
            user_data_64: self.below(5).into(),
            user_data_32: (self.below(3) as u32).into(),
            ledger: 1.into(),
            code: (1 + self.below(3) as u16).into(),
            ..Transfer::default()
        };
        match self.below(20) {
            0..3 => {
                transfer.flags = TransferFlags::PENDING.0.into();
                transfer.timeout = (self.below(3) as u32 * 5).into();
                self.open.push(transfer.id.get());
            }
            3..5 if !self.open.is_empty() => {
                let place = self.below(self.open.len() as u64) as usize;
                let posts = self.below(2) == 0;
                let (flags, amount) = if posts {
                    (TransferFlags::POST_PENDING_TRANSFER, u128::MAX)
                } else {
                    (TransferFlags::VOID_PENDING_TRANSFER, 0)
                };
                transfer = Transfer {
                    id: transfer.id,
                    pending_id: self.open.swap_remove(place).into(),
                    amount: amount.into(),
                    flags: flags.0.into(),
                    ..Transfer::default()
                };
            }
            5 => transfer.credit_account_id = 99.into(),
            _ => {}
        }
        transfer
    }
}

/// A machine that keeps all in memory, and its twin, which does not.
struct Pair {
    plain: Ledger,
    twin: Twin,
    time: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let plain = Limits {
            chapter_rows: 0,
            ..LIMITS
        };
        Self {
            plain: Ledger::new(plain).expect("the limits are sound"),
            twin: Twin::new(LIMITS, seed),
            time: 1_000_000_000,
        }
    }

    fn apply(&mut self, operation: u8, payload: &[u8]) {
        self.time += 10_000_000;
        let command = Command {
            index: Index(1),
            time: self.time,
            operation,
            payload,
        };
        let mut reply = Vec::new();
        self.plain.apply(command, &mut reply);
        assert_eq!(self.twin.apply(command), reply);
        assert_eq!(self.twin.ledger.digest(), self.plain.digest());
    }

    fn ask(&self, operation: u8, body: &[u8]) -> usize {
        let (mut plain, mut twin) = (Vec::new(), Vec::new());
        self.plain.query(operation, body, &mut plain);
        self.twin.ledger.query(operation, body, &mut twin);
        assert!(plain == twin, "operation {operation} differs");
        plain.len()
    }

    /// Queries of every kind with random filters; the bytes of all answers.
    fn ask_at_random(&self, past: &mut Past, times: usize) -> usize {
        let now = self.time + 1_000_000;
        let mut answered = 0;
        for _ in 0..times {
            let (mut min, mut max) = (past.below(now), past.below(now));
            if min > max {
                (min, max) = (max, min);
            }
            if past.below(3) == 0 {
                (min, max) = (0, 0);
            }
            let limit = 1 + past.below(40) as u32;
            let account = AccountFilter {
                account_id: u128::from(1 + past.below(21)).into(),
                user_data_64: (past.below(8).saturating_sub(3)).into(),
                timestamp_min: min.into(),
                timestamp_max: max.into(),
                limit: limit.into(),
                flags: (1 + past.below(7) as u32).into(),
                ..AccountFilter::new_zeroed()
            };
            let query = QueryFilter {
                user_data_128: u128::from(past.below(60)).into(),
                user_data_32: (past.below(3) as u32).into(),
                code: (past.below(4) as u16).into(),
                timestamp_min: min.into(),
                timestamp_max: max.into(),
                limit: limit.into(),
                flags: (past.below(2) as u32).into(),
                ..QueryFilter::new_zeroed()
            };
            let events = ChangeEventsFilter {
                timestamp_min: min.into(),
                timestamp_max: max.into(),
                limit: limit.into(),
                reserved: [0; 44],
            };
            let changes = ChangesFilter {
                number_min: past.below(30_000).into(),
                timestamp_min: min.into(),
                limit: limit.into(),
                reserved: [0; 44],
            };
            answered += self.ask(operation::GET_ACCOUNT_TRANSFERS, account.as_bytes());
            answered += self.ask(operation::GET_ACCOUNT_BALANCES, account.as_bytes());
            answered += self.ask(operation::QUERY_TRANSFERS, query.as_bytes());
            answered += self.ask(operation::GET_CHANGE_EVENTS, events.as_bytes());
            answered += self.ask(operation::GET_CHANGES, changes.as_bytes());
            let next = past.next;
            let ids: Vec<u8> = (0..5)
                .flat_map(|_| {
                    past.next = u128::from(past.below(next as u64 + 10));
                    past.id().to_le_bytes()
                })
                .collect();
            past.next = next;
            answered += self.ask(operation::LOOKUP_TRANSFERS, &ids);
        }
        answered
    }
}

/// Enough rows for chapters of the highest tier, which begin at 16 x 32 x 32.
#[test]
fn nothing_shows_of_history_out_of_memory() {
    for (seed, random_ids) in [(1, false), (2, true)] {
        let mut pair = Pair::new(seed);
        let mut past = Past::new(seed, random_ids);
        pair.apply(operation::CREATE_ACCOUNTS, &Past::accounts());
        while past.next < 18_500 {
            let count = 1 + past.below(60) as usize;
            let body = past.transfers(count);
            pair.apply(operation::CREATE_TRANSFERS, &body);
            if past.below(40) == 0 {
                pair.ask_at_random(&mut past, 2);
            }
        }
        while pair.twin.ledger.due_chapter().is_some() {
            pair.apply(operation::PULSE, &[]);
        }
        assert!(pair.ask_at_random(&mut past, 300) > 100_000);
        assert!(pair.twin.ledger.unshelved() < 16);
        assert!(pair.twin.restored > 3, "{}", pair.twin.restored);
        // A tier of the highest kind is there: 1,024 chapters, 32 and 1.
        assert!(pair.twin.ledger.chapters() > 1_057);
    }
}

/// A machine with a past, its chapters and its image.
fn with_image(seed: u64) -> (Ledger, Vec<Arc<Vec<u8>>>, Vec<u8>) {
    let mut ledger = Ledger::new(LIMITS).expect("the limits are sound");
    let mut past = Past::new(seed, false);
    let mut time = 1_000_000_000;
    let mut apply = |ledger: &mut Ledger, operation, payload: &[u8]| {
        time += 1_000_000_000;
        let command = Command {
            index: Index(1),
            time,
            operation,
            payload,
        };
        ledger.apply(command, &mut Vec::new());
    };
    apply(&mut ledger, operation::CREATE_ACCOUNTS, &Past::accounts());
    let mut chapters = Vec::new();
    for _ in 0..15 {
        let body = past.transfers(40);
        apply(&mut ledger, operation::CREATE_TRANSFERS, &body);
        while let Some(due) = ledger.due_chapter() {
            let mut bytes = Vec::new();
            while !ledger.next_chapter_piece(777, &mut bytes) {}
            let bytes = Arc::new(bytes);
            ledger
                .shelve(due, Arc::clone(&bytes) as _)
                .expect("its own chapter");
            chapters.push(bytes);
        }
    }
    let mut image = Vec::new();
    assert!(ledger.begin_image());
    while !ledger.next_image_piece(1_000, &mut image) {}
    (ledger, chapters, image)
}

fn restore(
    ledger: &mut Ledger,
    chapters: &[Arc<Vec<u8>>],
    image: &[u8],
) -> Result<(), RestoreError> {
    ledger.begin_restore();
    for piece in image.chunks(333) {
        ledger.restore_piece(piece)?;
    }
    for (number, bytes) in chapters.iter().enumerate() {
        ledger.shelve(number as u64, Arc::clone(bytes) as _)?;
    }
    ledger.end_restore()
}

#[test]
fn a_damaged_image_is_refused_and_a_whole_one_restored_after_it() {
    let (whole, chapters, image) = with_image(3);
    let mut ledger = Ledger::new(LIMITS).expect("the limits are sound");
    // Every byte of the frames' heads and of the first and last frames, and some of the others.
    let places = (0..400)
        .chain((400..image.len() - 400).step_by(97))
        .chain(image.len() - 400..image.len());
    for at in places {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at % 8);
        let refused = restore(&mut ledger, &chapters, &damaged);
        assert!(refused.is_err(), "byte {at} of {} was changed", image.len());
        let refused = restore(&mut ledger, &chapters, &image[..at]);
        assert_eq!(refused, Err(RestoreError::Incomplete), "cut at {at}");
    }
    let mut longer = image.clone();
    longer.push(0);
    assert!(restore(&mut ledger, &chapters, &longer).is_err());
    assert_eq!(restore(&mut ledger, &chapters, &image), Ok(()));
    assert_eq!(ledger.digest(), whole.digest());
    assert_eq!(ledger.audit(), whole.audit());
    // Its own image is the same bytes.
    let mut again = Vec::new();
    assert!(ledger.begin_image());
    while !ledger.next_image_piece(usize::MAX, &mut again) {}
    assert!(again == image);
}

#[test]
fn chapters_that_are_damaged_missing_or_foreign_are_refused() {
    let (whole, chapters, image) = with_image(3);
    let (_, others, other_image) = with_image(4);
    let mut ledger = Ledger::new(LIMITS).expect("the limits are sound");
    let last = chapters.len() - 1;
    assert_eq!(
        restore(&mut ledger, &chapters[..last], &image),
        Err(RestoreError::MissingChapter(last as u64))
    );
    let bytes = &chapters[1];
    for at in 0..bytes.len() {
        let mut damaged = (**bytes).clone();
        damaged[at] ^= 1 << (at % 8);
        ledger.begin_restore();
        assert!(ledger.shelve(1, Arc::new(damaged)).is_err(), "byte {at}");
        let cut = bytes[..at].to_vec();
        assert!(ledger.shelve(1, Arc::new(cut)).is_err(), "cut at {at}");
    }
    ledger.begin_restore();
    assert!(
        ledger.shelve(2, Arc::clone(bytes) as _).is_err(),
        "another number"
    );
    let mut mixed = chapters.clone();
    mixed[last] = Arc::clone(&others[last]);
    assert!(restore(&mut ledger, &mixed, &image).is_err());
    assert!(restore(&mut ledger, &others, &image).is_err());
    assert!(restore(&mut ledger, &chapters, &other_image).is_err());
    assert_eq!(restore(&mut ledger, &chapters, &image), Ok(()));
    assert_eq!(ledger.digest(), whole.digest());
    // In service too: only the chapter that is due, and only with these rows.
    let mut fresh = Ledger::new(LIMITS).expect("the limits are sound");
    assert_eq!(
        fresh.shelve(0, Arc::clone(&chapters[0]) as _),
        Err(RestoreError::MissingChapter(0))
    );
}

#[test]
fn an_image_of_another_kind_is_refused() {
    let (_, chapters, image) = with_image(5);
    let smaller = Limits {
        accounts_max: 10,
        ..LIMITS
    };
    let mut ledger = Ledger::new(smaller).expect("the limits are sound");
    assert_eq!(
        restore(&mut ledger, &chapters, &image),
        Err(RestoreError::Full)
    );
    let fewer = Limits {
        transfers_max: 100,
        ..LIMITS
    };
    let mut ledger = Ledger::new(fewer).expect("the limits are sound");
    assert_eq!(
        restore(&mut ledger, &chapters, &image),
        Err(RestoreError::Full)
    );
    let coarser = Limits {
        chapter_rows: 64,
        ..LIMITS
    };
    let mut ledger = Ledger::new(coarser).expect("the limits are sound");
    assert!(matches!(
        restore(&mut ledger, &chapters, &image),
        Err(RestoreError::Malformed(_))
    ));
    assert_eq!(ledger.end_restore(), Err(RestoreError::Incomplete));
    assert_eq!(ledger.restore_piece(&image), Err(RestoreError::Incomplete));
}

#[test]
fn what_waits_for_its_chapter_is_bounded_before_the_log() {
    let tight = Limits {
        unshelved_max: 40,
        ..LIMITS
    };
    let mut ledger = Ledger::new(tight).expect("the limits are sound");
    let mut past = Past::new(1, false);
    let apply = |ledger: &mut Ledger, operation, payload: &[u8]| {
        let command = Command {
            index: Index(1),
            time: 1,
            operation,
            payload,
        };
        ledger.apply(command, &mut Vec::new());
    };
    apply(&mut ledger, operation::CREATE_ACCOUNTS, &Past::accounts());
    let body = past.transfers(60);
    assert!(ledger.admit(operation::CREATE_TRANSFERS, &body).is_ok());
    apply(&mut ledger, operation::CREATE_TRANSFERS, &body);
    let more = past.transfers(1);
    assert_eq!(
        ledger.admit(operation::CREATE_TRANSFERS, &more),
        Err(Refusal::Busy)
    );
    assert!(ledger.admit(operation::LOOKUP_TRANSFERS, &[0; 16]).is_ok());
    assert!(ledger.admit(operation::PULSE, &[]).is_ok());
    for _ in 0..2 {
        let due = ledger.due_chapter().expect("rows enough for it");
        let mut bytes = Vec::new();
        while !ledger.next_chapter_piece(100, &mut bytes) {}
        ledger
            .shelve(due, Arc::new(bytes))
            .expect("its own chapter");
    }
    assert!(ledger.unshelved() < 40);
    assert!(ledger.admit(operation::CREATE_TRANSFERS, &more).is_ok());
}

#[test]
fn reservations_stay_open_when_their_row_has_left_memory() {
    let mut script = String::from(
        "at 1
         account 1
         account 2

         transfer 1 1->2 10 pending
         transfer 2 1->2 20 pending timeout=100
         transfer 3 1->2 30 pending timeout=500
         transfer 4 1->9 1 => credit_account_not_found
        ",
    );
    for id in 100..200 {
        script.push_str(&format!("\n transfer {id} 2->1 1\n"));
    }
    script.push_str(
        "
         transfer 5 0->0 4 post pending_id=1 ledger=0 code=0
         transfer 6 0->0 0 void pending_id=3 ledger=0 code=0
         balances 1: 20 4 / 0 100
         transfer 4 1->2 1 => id_already_failed
         transfer 1 1->2 11 pending => exists_with_different_amount
         transfer 1 1->2 10 pending => exists

         at 200
         pulse
         balances 1: 0 4 / 0 100
         transfer 7 0->0 max post pending_id=1 ledger=0 code=0 => pending_transfer_already_posted
         transfer 8 0->0 max post pending_id=2 ledger=0 code=0 => pending_transfer_expired
         transfer 9 0->0 max post pending_id=3 ledger=0 code=0 => pending_transfer_already_voided
         transfer 10 0->0 max post pending_id=150 ledger=0 code=0 => pending_transfer_not_pending
         transfer 5 0->0 4 post pending_id=1 ledger=0 code=0 => exists
         transfer 5 0->0 5 post pending_id=1 ledger=0 code=0 => exists_with_different_amount",
    );
    check(&script);
}

/// What is proved of replicas on different builds: the state hash of a fixed stream, in debug and in release.
#[test]
fn the_state_hash_of_a_fixed_stream_is_the_same_on_every_build() {
    let mut pair = Pair::new(7);
    let mut past = Past::new(7, true);
    pair.apply(operation::CREATE_ACCOUNTS, &Past::accounts());
    for _ in 0..100 {
        let body = past.transfers(50);
        pair.apply(operation::CREATE_TRANSFERS, &body);
    }
    assert_eq!(
        format!("{:032x}", pair.plain.digest()),
        "4558eefe5f7667ba87986d0407038571"
    );
}

#[test]
fn a_closed_account_shows_its_state_after_each_change() {
    let mut world = World::new(ROOMY);
    let accounts = ["account 1", "account 2"].map(account);
    world.apply(operation::CREATE_ACCOUNTS, accounts.as_bytes());
    let body = transfer("transfer 1 1->2 5 pending closing_credit");
    world.apply(operation::CREATE_TRANSFERS, body.as_bytes());
    for id in 10..60 {
        let body = transfer(&format!("transfer {id} 2->1 1"));
        world.apply(operation::CREATE_TRANSFERS, body.as_bytes());
    }
    let change = world.changes(0, 0, 1)[0].event;
    let flags = AccountFlags(change.credit_account.flags.get());
    assert!(flags.has(AccountFlags::CLOSED));
}
