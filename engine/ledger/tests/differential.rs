//! Random commands, the ledger and the model side by side: every record and every balance must agree.
//!
//! By default nearly a million events; `LEDGER_EVENTS=20000000` asks for more, `LEDGER_SEED=7` for
//! another start. A failure names the seed of its world; the same seed runs the same world again.

use std::collections::BTreeSet;

use ledger::account::{Account, AccountFlags};
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use ledger::status::{CreateAccountStatus, CreateTransferStatus};
use ledger::transfer::{Transfer, TransferFlags};
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use zerocopy::IntoBytes;

use crate::changes;
use crate::periods;
use crate::script::{World, results};
use crate::twin::Twin;

/// Dice with a seed.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// How transfer ids follow each other.
#[derive(Clone, Copy)]
enum Order {
    Rising,
    Random,
    /// Two clients, one with small ids and one with huge ones.
    TwoStreams,
}

/// What the generator remembers so that events meet each other.
struct Fate {
    dice: Dice,
    accounts: u64,
    next_id: u128,
    order: Order,
    recent: Vec<Transfer>,
    /// Imported timestamps go on from here.
    imported: u64,
}

impl Fate {
    fn account_id(&mut self) -> u128 {
        match self.dice.below(200) {
            0 => 0,
            1 => u128::MAX,
            _ => u128::from(1 + self.dice.below(self.accounts)),
        }
    }

    fn account(&mut self, imports: bool) -> Account {
        let dice = &mut self.dice;
        let mut flags = AccountFlags::NONE;
        for (flag, times) in [
            (AccountFlags::LINKED, 12),
            (AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS, 6),
            (AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS, 6),
            (AccountFlags::HISTORY, 4),
            (AccountFlags::CLOSED, 60),
            (AccountFlags(1 << 9), 200),
        ] {
            if dice.once_in(times) {
                flags = flags | flag;
            }
        }
        if imports != dice.once_in(50) {
            flags = flags | AccountFlags::IMPORTED;
        }
        let mut account = Account {
            user_data_128: u128::from(dice.below(2)).into(),
            user_data_64: dice.below(2).into(),
            user_data_32: u32::from(dice.once_in(2)).into(),
            ledger: (1 + u32::from(dice.once_in(8)) - u32::from(dice.once_in(100)).min(1)).into(),
            code: (1 - u16::from(dice.once_in(100))).into(),
            flags: flags.0.into(),
            ..Account::default()
        };
        for field in [
            &mut account.debits_pending,
            &mut account.debits_posted,
            &mut account.credits_pending,
            &mut account.credits_posted,
        ] {
            *field = u128::from(dice.once_in(200)).into();
        }
        account.reserved = u32::from(dice.once_in(200)).into();
        account.timestamp = self.timestamp(flags.has(AccountFlags::IMPORTED)).into();
        account.id = self.account_id().into();
        account
    }

    fn timestamp(&mut self, imported: bool) -> u64 {
        if !imported {
            return u64::from(self.dice.once_in(200));
        }
        match self.dice.below(30) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 62,
            3 => self.imported.saturating_sub(self.dice.below(20)),
            _ => {
                self.imported += 1 + self.dice.below(3);
                self.imported
            }
        }
    }

    fn transfer(&mut self, imports: bool) -> Transfer {
        // A retry, as it was or with a difference.
        if !self.recent.is_empty() && self.dice.once_in(8) {
            let mut event = self.recent[self.dice.below(self.recent.len() as u64) as usize];
            if self.dice.once_in(2) {
                self.spoil(&mut event);
            }
            return event;
        }
        self.next_id += 1;
        let id = match self.order {
            Order::Rising => self.next_id,
            Order::Random => self
                .next_id
                .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
            Order::TwoStreams => (self.next_id & 1) << 100 | self.next_id,
        };
        let mut event = if self.dice.once_in(3) {
            self.second_phase(id)
        } else {
            self.first_phase(id)
        };
        let mut flags = event.flags();
        if self.dice.once_in(10) {
            flags = flags | TransferFlags::LINKED;
        }
        if imports != self.dice.once_in(60) {
            flags = flags | TransferFlags::IMPORTED;
        }
        event.flags = flags.0.into();
        event.timestamp = self.timestamp(flags.has(TransferFlags::IMPORTED)).into();
        if self.dice.once_in(12) {
            self.spoil(&mut event);
        }
        if self.recent.len() < 64 {
            self.recent.push(event);
        } else {
            let place = self.dice.below(64) as usize;
            self.recent[place] = event;
        }
        event
    }

    fn amount(&mut self) -> u128 {
        match self.dice.below(40) {
            0 => u128::MAX,
            1 => u128::MAX / 2,
            2 => u128::MAX / 4,
            3 | 4 => 0,
            _ => u128::from(self.dice.below(50)),
        }
    }

    fn first_phase(&mut self, id: u128) -> Transfer {
        let mut flags = TransferFlags::NONE;
        let mut timeout = 0;
        if self.dice.once_in(2) {
            flags = flags | TransferFlags::PENDING;
            timeout = if self.dice.once_in(2) {
                self.dice.below(6)
            } else {
                0
            };
        }
        for (flag, times) in [
            (TransferFlags::BALANCING_DEBIT, 8),
            (TransferFlags::BALANCING_CREDIT, 8),
            (TransferFlags::CLOSING_DEBIT, 50),
            (TransferFlags::CLOSING_CREDIT, 50),
        ] {
            if self.dice.once_in(times) {
                flags = flags | flag;
            }
        }
        Transfer {
            id: id.into(),
            debit_account_id: self.account_id().into(),
            credit_account_id: self.account_id().into(),
            amount: self.amount().into(),
            user_data_128: u128::from(self.dice.below(3)).into(),
            user_data_64: self.dice.below(3).into(),
            user_data_32: (self.dice.below(3) as u32).into(),
            timeout: (timeout as u32).into(),
            ledger: 1.into(),
            code: 1.into(),
            flags: flags.0.into(),
            ..Transfer::default()
        }
    }

    fn second_phase(&mut self, id: u128) -> Transfer {
        let posts = self.dice.once_in(2);
        let flags = if posts {
            TransferFlags::POST_PENDING_TRANSFER
        } else {
            TransferFlags::VOID_PENDING_TRANSFER
        };
        let known = self
            .recent
            .iter()
            .filter(|t| t.flags().has(TransferFlags::PENDING))
            .count() as u64;
        let mut event = Transfer {
            id: id.into(),
            flags: flags.0.into(),
            ..Transfer::default()
        };
        if known > 0 {
            let place = self.dice.below(known) as usize;
            let pending = self
                .recent
                .iter()
                .filter(|t| t.flags().has(TransferFlags::PENDING))
                .nth(place);
            let pending = *pending.expect("it was counted");
            event.pending_id = pending.id;
            if self.dice.once_in(3) {
                event.debit_account_id = pending.debit_account_id;
                event.credit_account_id = pending.credit_account_id;
                event.ledger = pending.ledger;
                event.code = pending.code;
            }
            event.amount = match self.dice.below(6) {
                0 => pending.amount,
                1 => u128::from(self.dice.below(50)).into(),
                _ if posts => u128::MAX.into(),
                _ => 0.into(),
            };
        } else {
            event.pending_id = u128::from(self.dice.below(40)).into();
        }
        event
    }

    /// Changes one field to something that often breaks a rule.
    fn spoil(&mut self, event: &mut Transfer) {
        match self.dice.below(15) {
            0 => event.id = self.dice.one_of(&[0, u128::MAX, 1, 2]).into(),
            1 => event.debit_account_id = self.dice.one_of(&[0, u128::MAX, 1, 2, 77]).into(),
            2 => event.credit_account_id = self.dice.one_of(&[0, u128::MAX, 1, 2, 77]).into(),
            3 => event.credit_account_id = event.debit_account_id,
            4 => event.amount = self.amount().into(),
            5 => {
                event.pending_id = self
                    .dice
                    .one_of(&[0, 1, u128::MAX, event.id.get(), 9_999_999])
                    .into()
            }
            6 => event.user_data_128 = u128::from(self.dice.below(3)).into(),
            7 => event.user_data_64 = self.dice.below(3).into(),
            8 => event.user_data_32 = (self.dice.below(3) as u32).into(),
            9 => event.timeout = (self.dice.one_of(&[0, 1, 2, u64::from(u32::MAX)]) as u32).into(),
            10 => event.ledger = (self.dice.below(3) as u32).into(),
            11 => event.code = (self.dice.below(3) as u16).into(),
            12 => event.flags = (event.flags.get() ^ (1 << self.dice.below(16))).into(),
            13 => event.timestamp = self.dice.below(3).into(),
            _ => event.flags = (event.flags.get() ^ TransferFlags::LINKED.0).into(),
        }
    }
}

const EVENTS_PER_WORLD: usize = 1_500;

/// A command of a world, to be replayed.
struct Recorded {
    time: u64,
    operation: u8,
    body: Vec<u8>,
}

/// What a world of so many events may hold: sometimes too little.
fn limits(dice: &mut Dice, events: usize) -> Limits {
    Limits {
        accounts_max: 8 + dice.below(20) as usize,
        transfers_max: if dice.once_in(3) { events / 4 } else { events },
        pendings_max: if dice.once_in(3) { 12 } else { events },
        chapter_rows: 16,
        unshelved_max: events * 2,
    }
}

/// Runs one world of some thousand events: the statuses it has seen, accounts' and transfers', and the digest in the end.
fn run_world(seed: u64, events: usize, seen: &mut BTreeSet<(u8, u32)>) -> u128 {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let late = dice.once_in(8);
    let limits = limits(&mut dice, events);
    let accounts = 6 + dice.below(20);
    let imported = 1_000_000_000;
    let order = dice.one_of(&[Order::Rising, Order::Random, Order::TwoStreams]);
    let mut fate = Fate {
        dice,
        accounts,
        next_id: 1_000,
        order,
        recent: Vec::new(),
        imported,
    };
    let mut world = World::new(limits);
    world.twin = Twin::new(limits, seed);
    world.time = if late {
        (1 << 63) - (1 << 51)
    } else {
        2_000_000_000
    };
    let mut recorded = Vec::new();
    let mut done = 0;
    while done < events {
        // Seconds mostly stand still, sometimes run, sometimes jump back.
        match fate.dice.below(20) {
            0..6 => world.time += fate.dice.below(1_500_000_000),
            6 => world.time = world.time.saturating_sub(fate.dice.below(3_000_000_000)),
            _ => {}
        }
        let size_max = if fate.dice.once_in(4) { 40 } else { 6 };
        let size = 1 + fate.dice.below(size_max) as usize;
        let (operation, body) = if fate.dice.once_in(40) {
            (operation::PULSE, Vec::new())
        } else {
            // Imports come while the world is young, or hardly any would be accepted.
            let imports = done < events / 4 && fate.dice.once_in(3);
            if done < 30 || fate.dice.once_in(12) {
                let body = (0..size)
                    .flat_map(|_| fate.account(imports).as_bytes().to_vec())
                    .collect();
                (operation::CREATE_ACCOUNTS, body)
            } else {
                let body = (0..size)
                    .flat_map(|_| fate.transfer(imports).as_bytes().to_vec())
                    .collect();
                (operation::CREATE_TRANSFERS, body)
            }
        };
        let reply = world.apply(operation, &body);
        seen.extend(
            results(&reply)
                .iter()
                .map(|result| (operation, result.status.get())),
        );
        recorded.push(Recorded {
            time: world.time,
            operation,
            body,
        });
        done += size;
    }
    check_end(&world);
    changes::check_world(&world);
    periods::check_world(&world, |bound| fate.dice.below(bound));
    check_replay(&world, limits, &recorded);
    world.ledger.digest()
}

/// Rows, counts and limits at the end of a world.
fn check_end(world: &World) {
    for transfer in world.model.transfers() {
        assert_eq!(world.transfer(transfer.id.get()), Some(transfer));
    }
    let audit = world.ledger.audit();
    assert_eq!(
        audit.transfers.get(),
        world.model.transfers().count() as u64
    );
    assert_eq!(audit.ids_spent.get(), world.model.failed_len() as u64);
    assert_eq!(audit.pendings_open.get(), world.model.open_len() as u64);
    assert!(audit.conserves());
    for account in world.model.accounts() {
        let debits = account
            .debits_pending
            .get()
            .checked_add(account.debits_posted.get());
        let credits = account
            .credits_pending
            .get()
            .checked_add(account.credits_posted.get());
        let (debits, credits) = (
            debits.expect("no sum wraps"),
            credits.expect("no sum wraps"),
        );
        if account
            .flags()
            .has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
        {
            assert!(debits <= account.credits_posted.get());
        }
        if account
            .flags()
            .has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
        {
            assert!(credits <= account.debits_posted.get());
        }
    }
}

/// The same commands once more: the same digest after each of them would be slow, the last one tells.
fn check_replay(world: &World, limits: Limits, recorded: &[Recorded]) {
    // Another seed for the indexes must show nowhere.
    let seed = 0x0123_4567_89AB_CDEF << 60;
    let mut ledger = Ledger::with_seed(limits, seed).expect("the limits were sound before");
    let mut reply = Vec::new();
    for (index, command) in recorded.iter().enumerate() {
        reply.clear();
        let (time, operation, payload) = (command.time, command.operation, &command.body);
        ledger.apply(
            Command {
                index: Index(index as u64 + 1),
                time,
                operation,
                payload,
            },
            &mut reply,
        );
    }
    assert_eq!(ledger.digest(), world.ledger.digest());
    assert_eq!(ledger.audit(), world.ledger.audit());
    // What it writes about all of history, at once and late, is what the twin wrote on the way.
    world.twin.check_bytes(&mut ledger);
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// What replicas of different builds must agree about. `.ci/run` asks a release build and a debug build; a change of the
/// generator or of the digest changes the number, nothing else may.
#[test]
fn forty_worlds_have_the_digest_that_was_recorded() {
    let mut sum = 0_u128;
    for seed in 1..=40 {
        let digest = run_world(seed, EVENTS_PER_WORLD, &mut BTreeSet::new());
        sum = sum.rotate_left(1) ^ digest;
    }
    assert_eq!(format!("{sum:032x}"), "348fdd0ac141059ec490661bb03afa1f");
}

#[test]
fn ledger_and_model_agree_in_every_status_and_balance() {
    let events = setting("LEDGER_EVENTS").unwrap_or(900_000) as usize;
    let first = setting("LEDGER_SEED").unwrap_or(1);
    let mut seen = BTreeSet::new();
    for seed in first..first + events.div_ceil(EVENTS_PER_WORLD) as u64 {
        let run = || run_world(seed, EVENTS_PER_WORLD, &mut seen);
        let run = std::panic::AssertUnwindSafe(run);
        if let Err(cause) = std::panic::catch_unwind(run) {
            eprintln!("to see it again: LEDGER_SEED={seed} LEDGER_EVENTS=1");
            std::panic::resume_unwind(cause);
        }
    }
    if events < 300_000 {
        return;
    }
    for status in CreateAccountStatus::ALL {
        let met = seen.contains(&(operation::CREATE_ACCOUNTS, status.number()));
        assert!(met, "no account was ever answered {}", status.name());
    }
    for status in CreateTransferStatus::ALL {
        let met = seen.contains(&(operation::CREATE_TRANSFERS, status.number()));
        assert!(met, "no transfer was ever answered {}", status.name());
    }
}
