//! A second reckoning of the bank's history: the rules that the workload touches, written anew and obviously, with the
//! order that the product itself names. Near-linear: every entry is done once.
//!
//! - Nothing is shared with the ledger but layouts and the numbers of statuses.
//! - What the tellers never ask for (imports, closing, balancing, wrong fields) is not known here and not judged.
//! - A chain that breaks is taken back step by step.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, AccountFlags};
use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::limits::EXPIRIES_MAX;
use ledger::status::{CreateAccountStatus, CreateResult, CreateTransferStatus as S};
use ledger::transfer::{Transfer, TransferFlags};
use raft::state_machine::StateMachine;
use shard::sessions::REGISTER;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::{FromBytes, IntoBytes};

use crate::chronicle::Applied;
use crate::verdict::{Broken, Scope};

const SECOND: u64 = 1_000_000_000;

/// One account: what is reserved and what is moved, on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Balance {
    debits_pending: u128,
    debits: u128,
    credits_pending: u128,
    credits: u128,
    opened_at: u64,
    is_limited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It moved money at once.
    Moved,
    Open,
    Posted,
    Voided,
    Expired,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    debit: u128,
    credit: u128,
    amount: u128,
    at: u64,
    expires_at: Option<u64>,
    fate: Fate,
}

/// What is taken back when a chain breaks, newest first.
enum Undo {
    Balance(u128, Balance),
    New(u128),
    Fate(u128, Fate),
}

/// The books of one group.
#[derive(Default)]
struct Reckoning {
    accounts: BTreeMap<u128, Balance>,
    transfers: BTreeMap<u128, Known>,
    failed: BTreeSet<u128>,
    /// Open reservations with an end: when, since when, which.
    ends: BTreeSet<(u64, u64, u128)>,
    last: u64,
    undo: Vec<Undo>,
}

/// Reckons a group's history again: every answer, every moment, and every balance at the end must come out the same.
///
/// # Errors
/// The first difference.
pub fn judge(
    scope: Scope,
    history: &BTreeMap<u64, Applied>,
    ledger: &Ledger,
) -> Result<(), Broken> {
    let mut books = Reckoning::default();
    // Whose session is registered does not reach the books.
    let of_books = |(_, applied): &(&u64, &Applied)| applied.operation != REGISTER;
    for (index, applied) in history.iter().filter(of_books) {
        let results = books.apply(applied);
        if xxh3_64(results.as_bytes()) != applied.reply {
            let what = format!("the answer should be {:?}", results.first());
            return wrong(scope, *index, what);
        }
    }
    let end = history.last_key_value().map_or(0, |(index, _)| *index);
    for (id, balance) in &books.accounts {
        let mut found = Vec::new();
        ledger.query(operation::LOOKUP_ACCOUNTS, id.as_bytes(), &mut found);
        let rows = <[Account]>::ref_from_bytes(&found).expect("the ledger answers with accounts");
        let is = rows.first().map(|row| Balance {
            debits_pending: row.debits_pending.get(),
            debits: row.debits_posted.get(),
            credits_pending: row.credits_pending.get(),
            credits: row.credits_posted.get(),
            ..*balance
        });
        if is != Some(*balance) {
            let what = format!("account {id:x} should stand at {balance:?}, not {is:?}");
            return wrong(scope, end, what);
        }
    }
    Ok(())
}

fn wrong(scope: Scope, index: u64, what: String) -> Result<(), Broken> {
    Err(Broken::WrongBooks { scope, index, what })
}

impl Reckoning {
    fn apply(&mut self, applied: &Applied) -> Vec<CreateResult> {
        let now = applied.time.max(self.last + 1);
        let expired = self.expire(now);
        if expired > 0 {
            self.last = now + expired - 1;
        }
        let base = now + expired;
        let results = match applied.operation {
            operation::CREATE_ACCOUNTS => self.open(&applied.payload, base),
            operation::CREATE_TRANSFERS => self.transfer(&applied.payload, base),
            _ => Vec::new(),
        };
        if !results.is_empty() {
            self.last = base + results.len() as u64 - 1;
        }
        results
    }

    fn expire(&mut self, now: u64) -> u64 {
        let due = self.ends.iter().take_while(|(end, ..)| *end <= now);
        let due: Vec<_> = due.take(EXPIRIES_MAX).copied().collect();
        for end in &due {
            self.ends.remove(end);
            self.resolve(end.2, Fate::Expired);
        }
        self.undo.clear();
        due.len() as u64
    }

    fn open(&mut self, payload: &[u8], base: u64) -> Vec<CreateResult> {
        let events = <[Account]>::ref_from_bytes(payload).expect("whole accounts");
        let open = |(at, event): (u64, &Account)| {
            if let Some(known) = self.accounts.get(&event.id.get()) {
                return CreateResult::new(known.opened_at, CreateAccountStatus::Exists.number());
            }
            let limit = AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS;
            let balance = Balance {
                opened_at: at,
                is_limited: event.flags().has(limit),
                ..Balance::default()
            };
            self.accounts.insert(event.id.get(), balance);
            CreateResult::new(at, CreateAccountStatus::Created.number())
        };
        (base..).zip(events).map(open).collect()
    }

    fn transfer(&mut self, payload: &[u8], base: u64) -> Vec<CreateResult> {
        let events = <[Transfer]>::ref_from_bytes(payload).expect("whole transfers");
        let is_linked = |event: &Transfer| event.flags().has(TransferFlags::LINKED);
        let mut results = Vec::new();
        for chain in events.chunk_by(|event, _| is_linked(event)) {
            self.undo.clear();
            let first = results.len();
            let mut culprit = None;
            for event in chain {
                let at = base + results.len() as u64;
                let (status, at) = match culprit {
                    Some(_) => (S::LinkedEventFailed, at),
                    None => self.attempt(event, at),
                };
                if status != S::Created && culprit.is_none() {
                    culprit = Some((results.len(), event.id.get(), status));
                }
                results.push(CreateResult::new(at, status.number()));
            }
            let Some((place, id, status)) = culprit else {
                continue;
            };
            self.take_back();
            for result in &mut results[first..place] {
                let at = result.timestamp.get();
                *result = CreateResult::new(at, S::LinkedEventFailed.number());
            }
            if spends_id(status) {
                self.failed.insert(id);
            }
        }
        results
    }

    fn attempt(&mut self, event: &Transfer, at: u64) -> (S, u64) {
        let id = event.id.get();
        if let Some(known) = self.transfers.get(&id) {
            return (S::Exists, known.at);
        }
        if self.failed.contains(&id) {
            return (S::IdAlreadyFailed, at);
        }
        let flags = event.flags();
        let done = if flags.has(TransferFlags::POST_PENDING_TRANSFER) {
            self.settle(event, at, Fate::Posted)
        } else if flags.has(TransferFlags::VOID_PENDING_TRANSFER) {
            self.settle(event, at, Fate::Voided)
        } else {
            self.move_money(event, at)
        };
        (done.err().unwrap_or(S::Created), at)
    }

    fn move_money(&mut self, event: &Transfer, at: u64) -> Result<(), S> {
        let (debit, credit) = (event.debit_account_id.get(), event.credit_account_id.get());
        let (amount, timeout) = (event.amount.get(), u64::from(event.timeout.get()));
        let is_pending = event.flags().has(TransferFlags::PENDING);
        if debit == credit {
            return Err(S::AccountsMustBeDifferent);
        }
        let from = *self.accounts.get(&debit).ok_or(S::DebitAccountNotFound)?;
        let into = *self.accounts.get(&credit).ok_or(S::CreditAccountNotFound)?;
        if from.is_limited && from.debits_pending + from.debits + amount > from.credits {
            return Err(S::ExceedsCredits);
        }
        let (mut from, mut into) = (from, into);
        if is_pending {
            from.debits_pending += amount;
            into.credits_pending += amount;
        } else {
            from.debits += amount;
            into.credits += amount;
        }
        self.put(debit, from);
        self.put(credit, into);
        let expires_at = (is_pending && timeout > 0).then(|| at + timeout * SECOND);
        let known = Known {
            debit,
            credit,
            amount,
            at,
            expires_at,
            fate: if is_pending { Fate::Open } else { Fate::Moved },
        };
        self.learn(event.id.get(), known);
        Ok(())
    }

    /// Posts or voids a reservation, all of it.
    fn settle(&mut self, event: &Transfer, at: u64, fate: Fate) -> Result<(), S> {
        let id = event.pending_id.get();
        let pending = *self.transfers.get(&id).ok_or(S::PendingTransferNotFound)?;
        match pending.fate {
            Fate::Moved => return Err(S::PendingTransferNotPending),
            Fate::Posted => return Err(S::PendingTransferAlreadyPosted),
            Fate::Voided => return Err(S::PendingTransferAlreadyVoided),
            Fate::Expired => return Err(S::PendingTransferExpired),
            Fate::Open if pending.expires_at.is_some_and(|end| end <= at) => {
                return Err(S::PendingTransferExpired);
            }
            Fate::Open => {}
        }
        self.resolve(id, fate);
        if fate == Fate::Posted {
            let mut from = self.accounts[&pending.debit];
            from.debits += pending.amount;
            self.put(pending.debit, from);
            let mut into = self.accounts[&pending.credit];
            into.credits += pending.amount;
            self.put(pending.credit, into);
        }
        let known = Known {
            at,
            expires_at: None,
            fate: Fate::Moved,
            ..pending
        };
        self.learn(event.id.get(), known);
        Ok(())
    }

    /// A reservation comes to an end, and is given back.
    fn resolve(&mut self, id: u128, fate: Fate) {
        let known = self.transfers.get_mut(&id).expect("it was reserved");
        self.undo.push(Undo::Fate(id, known.fate));
        known.fate = fate;
        let known = *known;
        if let Some(end) = known.expires_at {
            self.ends.remove(&(end, known.at, id));
        }
        let mut from = self.accounts[&known.debit];
        from.debits_pending -= known.amount;
        self.put(known.debit, from);
        let mut into = self.accounts[&known.credit];
        into.credits_pending -= known.amount;
        self.put(known.credit, into);
    }

    fn put(&mut self, account: u128, balance: Balance) {
        let before = self.accounts.insert(account, balance);
        self.undo
            .push(Undo::Balance(account, before.expect("the account exists")));
    }

    fn learn(&mut self, id: u128, known: Known) {
        if let Some(end) = known.expires_at {
            self.ends.insert((end, known.at, id));
        }
        self.transfers.insert(id, known);
        self.undo.push(Undo::New(id));
    }

    fn take_back(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Balance(account, before) => drop(self.accounts.insert(account, before)),
                Undo::New(id) => {
                    let known = self.transfers.remove(&id).expect("it was just made");
                    if let Some(end) = known.expires_at {
                        self.ends.remove(&(end, known.at, id));
                    }
                }
                Undo::Fate(id, before) => {
                    let known = self.transfers.get_mut(&id).expect("it was reserved before");
                    known.fate = before;
                    if let Some(end) = known.expires_at {
                        self.ends.insert((end, known.at, id));
                    }
                }
            }
        }
    }
}

/// Does a refusal for this reason use up the id?
fn spends_id(status: S) -> bool {
    matches!(
        status,
        S::DebitAccountNotFound
            | S::CreditAccountNotFound
            | S::PendingTransferNotFound
            | S::ExceedsCredits
    )
}
