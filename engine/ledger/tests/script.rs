//! Runs readable scripts against the ledger and the reference model at once.
//!
//! ```text
//! # a comment
//! at 12 +3                               the clock of the commands that follow: seconds, nanoseconds
//! account 1 history                      an account; ledger=1 code=1 unless told
//! account 2 ledger=0                     => ledger_must_not_be_zero
//!
//! transfer 7 1->2 100 pending timeout=5  a transfer from account 1 to account 2
//! transfer 8 0->0 max post pending_id=7 ledger=0 code=0
//!
//! balances 1: 0 100 / 0 0                debits pending, posted / credits pending, posted
//! ```
//!
//! Events of one kind that follow each other are one command; a blank line ends it. Without `=>` the
//! event is expected to be created. Numbers may be `max` or `max-1`. After each command ledger and
//! model must agree in every record and balance, and debits must equal credits.

use ledger::account::{Account, AccountFlags};
use ledger::change::{Change, ChangesFilter};
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::Limits;
use ledger::status::{CreateAccountStatus, CreateResult, CreateTransferStatus};
use ledger::transfer::{Transfer, TransferFlags};
use raft::ids::Index;
use raft::state_machine::{Command, StateMachine};
use zerocopy::{FromBytes, IntoBytes};

use crate::reference::Model;
use crate::twin::Twin;

/// Limits that no script reaches by accident.
pub(crate) const ROOMY: Limits = Limits {
    accounts_max: 1_000,
    transfers_max: 10_000,
    pendings_max: 1_000,
    chapter_rows: 16,
    unshelved_max: 10_000,
};

/// Runs a script within roomy limits.
#[track_caller]
pub(crate) fn check(script: &str) {
    check_within(ROOMY, script);
}

/// Runs a script.
#[track_caller]
pub(crate) fn check_within(limits: Limits, script: &str) {
    let mut world = World::new(limits);
    let mut batch = Batch::default();
    for line in script.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let word = line.split_whitespace().next().unwrap_or_default();
        if word != batch.kind {
            batch.run(&mut world);
            batch.kind = word.to_owned();
        }
        match word {
            "" => {}
            "at" => world.time = clock(&line[2..]),
            "account" | "transfer" => batch.lines.push(line.to_owned()),
            "balances" => world.check_balances(line),
            "pulse" => _ = world.apply(operation::PULSE, &[]),
            _ => panic!("no such line: {line}"),
        }
    }
    batch.run(&mut world);
}

/// A ledger and the model of it, kept in step.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) model: Model,
    pub(crate) time: u64,
    index: u64,
    /// The same ledger once more: its history leaves memory, and it is restored from its own images.
    pub(crate) twin: Twin,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        let all_in_memory = Limits {
            chapter_rows: 0,
            ..limits
        };
        Self {
            ledger: Ledger::new(all_in_memory).expect("limits of a test are sound"),
            model: Model::new(limits),
            time: 1_000_000_000,
            index: 0,
            twin: Twin::new(limits, 1),
        }
    }

    /// Applies a command to both; the ledger's reply, once the model has agreed with it.
    #[track_caller]
    pub(crate) fn apply(&mut self, operation: u8, body: &[u8]) -> Vec<u8> {
        self.index += 1;
        let command = Command {
            index: Index(self.index),
            time: self.time,
            operation,
            payload: body,
        };
        let mut reply = Vec::new();
        self.ledger.apply(command, &mut reply);
        assert_eq!(self.twin.apply(command), reply, "the twin's reply");
        assert_eq!(self.twin.ledger.digest(), self.ledger.digest());
        let before = self.model.changes().len();
        let expected = self.model.apply(self.time, operation, body);
        assert_eq!(results(&reply).len(), expected.len());
        for (place, (is, model)) in results(&reply).iter().zip(&expected).enumerate() {
            assert_eq!(
                is,
                model,
                "event {place} of operation {operation}: {}",
                describe(operation, is, model)
            );
        }
        for account in self.model.accounts() {
            assert_eq!(self.account(account.id.get()), Some(account));
        }
        self.check_conservation();
        let told = self.changes(before as u64, 0, u32::MAX);
        let happened = &self.model.changes()[before..];
        assert_eq!(
            told.len(),
            happened.len(),
            "changes of command {}",
            self.index
        );
        for ((is, model), number) in told.iter().zip(happened).zip(before as u64..) {
            assert_eq!((is.number.get(), &is.event), (number, model));
        }
        reply
    }

    /// Asks both ledgers, whose answers are the same.
    #[track_caller]
    pub(crate) fn ask(&self, operation: u8, body: &[u8], reply: &mut Vec<u8>) {
        self.ledger.query(operation, body, reply);
        let mut other = Vec::new();
        self.twin.ledger.query(operation, body, &mut other);
        assert!(*reply == other, "operation {operation} of the twin");
    }

    /// Changes from a number and a moment on.
    pub(crate) fn changes(&self, number_min: u64, timestamp_min: u64, limit: u32) -> Vec<Change> {
        let filter = ChangesFilter {
            number_min: number_min.into(),
            timestamp_min: timestamp_min.into(),
            limit: limit.into(),
            reserved: [0; 44],
        };
        let mut reply = Vec::new();
        self.ask(operation::GET_CHANGES, filter.as_bytes(), &mut reply);
        reply
            .chunks(size_of::<Change>())
            .map(|change| Change::read_from_bytes(change).expect("a change has 400 bytes"))
            .collect()
    }

    #[track_caller]
    pub(crate) fn check_conservation(&self) {
        assert!(
            self.ledger.totals().conservation_holds(),
            "debits and credits differ"
        );
    }

    pub(crate) fn account(&self, id: u128) -> Option<Account> {
        let mut reply = Vec::new();
        self.ask(operation::LOOKUP_ACCOUNTS, &id.to_le_bytes(), &mut reply);
        Account::read_from_bytes(&reply).ok()
    }

    pub(crate) fn transfer(&self, id: u128) -> Option<Transfer> {
        let mut reply = Vec::new();
        self.ask(operation::LOOKUP_TRANSFERS, &id.to_le_bytes(), &mut reply);
        Transfer::read_from_bytes(&reply).ok()
    }

    #[track_caller]
    fn check_balances(&self, line: &str) {
        let mut words = line
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .filter(|w| !w.is_empty());
        let numbers: Vec<u128> = words.by_ref().skip(1).map(number).collect();
        let account = self
            .account(numbers[0])
            .unwrap_or_else(|| panic!("no account: {line}"));
        let is = [
            account.debits_pending.get(),
            account.debits_posted.get(),
            account.credits_pending.get(),
            account.credits_posted.get(),
        ];
        assert_eq!(is, numbers[1..], "{line}");
    }
}

/// The records of a reply to a creation.
pub(crate) fn results(reply: &[u8]) -> &[CreateResult] {
    <[CreateResult]>::ref_from_bytes(reply).expect("records are 16 bytes")
}

fn status_name(operation: u8, status: u32) -> &'static str {
    if operation == operation::CREATE_ACCOUNTS {
        CreateAccountStatus::from_number(status).map_or("?", CreateAccountStatus::name)
    } else {
        CreateTransferStatus::from_number(status).map_or("?", CreateTransferStatus::name)
    }
}

fn describe(operation: u8, is: &CreateResult, model: &CreateResult) -> String {
    let (is, model) = (is.status.get(), model.status.get());
    format!(
        "ledger says {}, model says {}",
        status_name(operation, is),
        status_name(operation, model)
    )
}

/// Lines of one kind that become one command.
#[derive(Default)]
struct Batch {
    kind: String,
    lines: Vec<String>,
}

impl Batch {
    #[track_caller]
    fn run(&mut self, world: &mut World) {
        let lines = core::mem::take(&mut self.lines);
        if lines.is_empty() {
            return;
        }
        let accounts = self.kind == "account";
        let operation = if accounts {
            operation::CREATE_ACCOUNTS
        } else {
            operation::CREATE_TRANSFERS
        };
        let mut body = Vec::new();
        for line in &lines {
            let event = line.split("=>").next().unwrap_or_default();
            if accounts {
                body.extend_from_slice(account(event).as_bytes());
            } else {
                body.extend_from_slice(transfer(event).as_bytes());
            }
        }
        let reply = world.apply(operation, &body);
        for (line, result) in lines.iter().zip(results(&reply)) {
            let expected = line.split("=>").nth(1).map_or("created", str::trim);
            let is = status_name(operation, result.status.get());
            assert_eq!(is, expected, "in the line: {line}");
        }
    }
}

/// `12` or `12 +3`: seconds, and nanoseconds on top.
fn clock(words: &str) -> u64 {
    let (seconds, nanos) = words.split_once('+').unwrap_or((words, "0"));
    number(seconds) as u64 * 1_000_000_000 + number(nanos) as u64
}

/// `7`, `max`, `max-1`.
fn number(word: &str) -> u128 {
    let word = word.trim();
    let parsed = if let Some(less) = word.strip_prefix("max") {
        less.trim_start_matches('-')
            .parse()
            .or(Ok(0))
            .map(|less: u128| u128::MAX - less)
    } else {
        word.parse()
    };
    parsed.unwrap_or_else(|_: core::num::ParseIntError| panic!("not a number: {word}"))
}

/// An event line's account, without what is expected of it.
pub(crate) fn account(line: &str) -> Account {
    let mut words = line.split_whitespace().skip(1);
    let id = number(words.next().expect("an account has an id"));
    let mut account = Account {
        id: id.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Account::default()
    };
    let mut flags = AccountFlags::NONE;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "linked" => flags = flags | AccountFlags::LINKED,
            "debits_limited" => flags = flags | AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
            "credits_limited" => flags = flags | AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS,
            "history" => flags = flags | AccountFlags::HISTORY,
            "imported" => flags = flags | AccountFlags::IMPORTED,
            "closed" => flags = flags | AccountFlags::CLOSED,
            "flags" => flags = AccountFlags(number(value) as u16),
            "debits_pending" => account.debits_pending = number(value).into(),
            "debits_posted" => account.debits_posted = number(value).into(),
            "credits_pending" => account.credits_pending = number(value).into(),
            "credits_posted" => account.credits_posted = number(value).into(),
            "user_data_128" => account.user_data_128 = number(value).into(),
            "user_data_64" => account.user_data_64 = (number(value) as u64).into(),
            "user_data_32" => account.user_data_32 = (number(value) as u32).into(),
            "reserved" => account.reserved = (number(value) as u32).into(),
            "ledger" => account.ledger = (number(value) as u32).into(),
            "code" => account.code = (number(value) as u16).into(),
            "timestamp" => account.timestamp = (number(value) as u64).into(),
            _ => panic!("an account has no {key}: {line}"),
        }
    }
    account.flags = flags.0.into();
    account
}

/// An event line's transfer, without what is expected of it.
pub(crate) fn transfer(line: &str) -> Transfer {
    let mut words = line.split_whitespace().skip(1);
    let id = number(words.next().expect("a transfer has an id"));
    let sides = words.next().and_then(|word| word.split_once("->"));
    let (debit, credit) = sides.unwrap_or_else(|| panic!("a transfer has sides: {line}"));
    let amount = number(words.next().expect("a transfer has an amount"));
    let mut transfer = Transfer {
        id: id.into(),
        debit_account_id: number(debit).into(),
        credit_account_id: number(credit).into(),
        amount: amount.into(),
        ledger: 1.into(),
        code: 1.into(),
        ..Transfer::default()
    };
    let mut flags = TransferFlags::NONE;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "linked" => flags = flags | TransferFlags::LINKED,
            "pending" => flags = flags | TransferFlags::PENDING,
            "post" => flags = flags | TransferFlags::POST_PENDING_TRANSFER,
            "void" => flags = flags | TransferFlags::VOID_PENDING_TRANSFER,
            "balancing_debit" => flags = flags | TransferFlags::BALANCING_DEBIT,
            "balancing_credit" => flags = flags | TransferFlags::BALANCING_CREDIT,
            "closing_debit" => flags = flags | TransferFlags::CLOSING_DEBIT,
            "closing_credit" => flags = flags | TransferFlags::CLOSING_CREDIT,
            "imported" => flags = flags | TransferFlags::IMPORTED,
            "flags" => flags = TransferFlags(number(value) as u16),
            "pending_id" => transfer.pending_id = number(value).into(),
            "user_data_128" => transfer.user_data_128 = number(value).into(),
            "user_data_64" => transfer.user_data_64 = (number(value) as u64).into(),
            "user_data_32" => transfer.user_data_32 = (number(value) as u32).into(),
            "timeout" => transfer.timeout = (number(value) as u32).into(),
            "ledger" => transfer.ledger = (number(value) as u32).into(),
            "code" => transfer.code = (number(value) as u16).into(),
            "timestamp" => transfer.timestamp = (number(value) as u64).into(),
            _ => panic!("a transfer has no {key}: {line}"),
        }
    }
    transfer.flags = flags.0.into();
    transfer
}
