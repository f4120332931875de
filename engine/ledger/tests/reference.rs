//! The ledger written a second time, slow and obvious, from the documentation alone.
//!
//! Maps, clones and lists of rules in the documented order; nothing is shared with the ledger but the
//! layouts and the names of statuses. A chain is tried on a copy of everything.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::{Account, AccountFlags};
use ledger::change::{ChangeEvent, ChangeKind, ChangedAccount};
use ledger::instruction::operation;
use ledger::limits::{COMMAND_TIME_MAX, EXPIRIES_MAX, Limits};
use ledger::status::{CreateAccountStatus, CreateResult, CreateTransferStatus};
use ledger::transfer::{Transfer, TransferFlags};
use zerocopy::{FromBytes, FromZeros};

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Posted,
    Voided,
    Expired,
}

#[derive(Clone)]
struct State {
    accounts: BTreeMap<u128, Account>,
    transfers: BTreeMap<u128, Transfer>,
    /// What became of each pending transfer.
    fates: BTreeMap<u128, Fate>,
    failed: BTreeSet<u128>,
    /// Timestamps of all accounts, and of all transfers.
    account_times: BTreeSet<u64>,
    transfer_times: BTreeSet<u64>,
    last_expiry: u64,
    /// All that happened, in order, with the accounts after it.
    changes: Vec<ChangeEvent>,
}

/// The model of a ledger.
pub(crate) struct Model {
    limits: Limits,
    state: State,
    last: u64,
}

/// Either kind of event, as far as chains and imports are concerned.
trait Event {
    fn linked(&self) -> bool;
    fn imported(&self) -> bool;
    fn given_time(&self) -> u64;
    fn number_of(rule: Rule) -> u32;
    fn attempt(&self, state: &mut State, limits: &Limits, at: u64) -> (u32, u64);
    fn fail(&self, state: &mut State, status: u32);
}

#[derive(Clone, Copy)]
enum Rule {
    LinkedEventFailed,
    ChainOpen,
    ImportedExpected,
    ImportedNotExpected,
    TimestampMustBeZero,
    TimestampOutOfRange,
    TimestampMustNotAdvance,
}

const CREATED: u32 = u32::MAX;

impl Model {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            accounts: BTreeMap::new(),
            transfers: BTreeMap::new(),
            fates: BTreeMap::new(),
            failed: BTreeSet::new(),
            account_times: BTreeSet::new(),
            transfer_times: BTreeSet::new(),
            last_expiry: 0,
            changes: Vec::new(),
        };
        Self {
            limits,
            state,
            last: 0,
        }
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = Account> {
        self.state.accounts.values().copied()
    }

    pub(crate) fn transfers(&self) -> impl Iterator<Item = Transfer> {
        self.state.transfers.values().copied()
    }

    /// All that happened, spent ids included.
    pub(crate) fn changes(&self) -> &[ChangeEvent] {
        &self.state.changes
    }

    pub(crate) fn failed_len(&self) -> usize {
        self.state.failed.len()
    }

    pub(crate) fn open_len(&self) -> usize {
        self.state.open()
    }

    /// Applies a command; the records of its reply.
    pub(crate) fn apply(&mut self, time: u64, operation: u8, body: &[u8]) -> Vec<CreateResult> {
        let now = time.min(COMMAND_TIME_MAX).max(self.last + 1);
        let expired = self.state.expire(now);
        if expired > 0 {
            self.last = now + expired - 1;
        }
        let base = now + expired;
        let results = match operation {
            operation::CREATE_ACCOUNTS => {
                let events = <[Account]>::ref_from_bytes(body).expect("whole accounts");
                self.run(events, base)
            }
            operation::CREATE_TRANSFERS => {
                let events = <[Transfer]>::ref_from_bytes(body).expect("whole transfers");
                self.run(events, base)
            }
            _ => Vec::new(),
        };
        if !results.is_empty() {
            self.last = base + results.len() as u64 - 1;
        }
        results
    }

    fn run<E: Event>(&mut self, events: &[E], base: u64) -> Vec<CreateResult> {
        let mut results: Vec<CreateResult> = Vec::new();
        // Cuts the events into chains; most have one event.
        let mut first = 0;
        while first < events.len() {
            let mut last = first;
            while events[last].linked() && last + 1 < events.len() {
                last += 1;
            }
            let before = self.state.clone_if(last > first || events[last].linked());
            let mut broken: Option<(usize, u32)> = None;
            for place in first..=last {
                let at = base + place as u64;
                let open = place + 1 == events.len() && events[place].linked();
                let (status, time) = if open {
                    (E::number_of(Rule::ChainOpen), at)
                } else if broken.is_some() {
                    (E::number_of(Rule::LinkedEventFailed), at)
                } else if let Some(rule) = self.outer_rule(events, place, base) {
                    (E::number_of(rule), at)
                } else {
                    events[place].attempt(&mut self.state, &self.limits, at)
                };
                results.push(CreateResult::new(time, status));
                if status != CREATED && broken.is_none() {
                    broken = Some((place, status));
                }
            }
            if let Some((culprit, status)) = broken {
                if let Some(before) = before {
                    self.state = before;
                    for result in &mut results[first..culprit] {
                        let failed = E::number_of(Rule::LinkedEventFailed);
                        *result = CreateResult::new(result.timestamp.get(), failed);
                    }
                }
                events[culprit].fail(&mut self.state, status);
            }
            first = last + 1;
        }
        results
    }

    fn outer_rule<E: Event>(&self, events: &[E], place: usize, base: u64) -> Option<Rule> {
        let event = &events[place];
        let end = base + events.len() as u64 - 1;
        let rules = [
            (
                events[0].imported() && !event.imported(),
                Rule::ImportedExpected,
            ),
            (
                !events[0].imported() && event.imported(),
                Rule::ImportedNotExpected,
            ),
            (
                !event.imported() && event.given_time() != 0,
                Rule::TimestampMustBeZero,
            ),
            (
                event.imported() && (event.given_time() == 0 || event.given_time() >= 1 << 63),
                Rule::TimestampOutOfRange,
            ),
            (
                event.imported() && event.given_time() >= end,
                Rule::TimestampMustNotAdvance,
            ),
        ];
        rules
            .into_iter()
            .find(|(broken, _)| *broken)
            .map(|(_, rule)| rule)
    }
}

impl State {
    fn clone_if(&self, wanted: bool) -> Option<Self> {
        wanted.then(|| self.clone())
    }

    fn open(&self) -> usize {
        self.fates
            .values()
            .filter(|fate| **fate == Fate::Open)
            .count()
    }

    fn expire(&mut self, now: u64) -> u64 {
        let mut due: Vec<(u64, u64, u128)> = Vec::new();
        for (id, fate) in &self.fates {
            let transfer = &self.transfers[id];
            let expiry = transfer.timestamp.get() + u64::from(transfer.timeout.get()) * SECOND;
            if *fate == Fate::Open && transfer.timeout.get() > 0 && expiry <= now {
                due.push((expiry, transfer.timestamp.get(), *id));
            }
        }
        due.sort_unstable();
        due.truncate(EXPIRIES_MAX);
        for ((_, _, id), at) in due.iter().zip(now..) {
            let transfer = self.transfers[id];
            self.fates.insert(*id, Fate::Expired);
            self.give_back(&transfer);
            self.last_expiry = at;
            self.note(ChangeKind::Expired, &transfer, at);
        }
        due.len() as u64
    }

    fn give_back(&mut self, pending: &Transfer) {
        let flags = pending.flags();
        let amount = pending.amount.get();
        let debit = self
            .accounts
            .get_mut(&pending.debit_account_id.get())
            .expect("it was there");
        debit.debits_pending = (debit.debits_pending.get() - amount).into();
        if flags.has(TransferFlags::CLOSING_DEBIT) {
            debit.flags = (debit.flags.get() & !AccountFlags::CLOSED.0).into();
        }
        let credit = self
            .accounts
            .get_mut(&pending.credit_account_id.get())
            .expect("it was there");
        credit.credits_pending = (credit.credits_pending.get() - amount).into();
        if flags.has(TransferFlags::CLOSING_CREDIT) {
            credit.flags = (credit.flags.get() & !AccountFlags::CLOSED.0).into();
        }
    }

    fn post(&mut self, debit_id: u128, credit_id: u128, amount: u128) {
        let debit = self.accounts.get_mut(&debit_id).expect("it was checked");
        debit.debits_posted = (debit.debits_posted.get() + amount).into();
        let credit = self.accounts.get_mut(&credit_id).expect("it was checked");
        credit.credits_posted = (credit.credits_posted.get() + amount).into();
    }

    /// Writes down a change and the accounts as they are now.
    fn note(&mut self, kind: ChangeKind, transfer: &Transfer, at: u64) {
        let changed = |id: u128| {
            let a = self.accounts[&id];
            let account = ChangedAccount {
                id: a.id,
                debits_pending: a.debits_pending,
                debits_posted: a.debits_posted,
                credits_pending: a.credits_pending,
                credits_posted: a.credits_posted,
                user_data_128: a.user_data_128,
                user_data_64: a.user_data_64,
                user_data_32: a.user_data_32,
                code: a.code,
                flags: a.flags,
            };
            (account, a.timestamp)
        };
        let (debit_account, debit_account_timestamp) = changed(transfer.debit_account_id.get());
        let (credit_account, credit_account_timestamp) = changed(transfer.credit_account_id.get());
        self.changes.push(ChangeEvent {
            transfer_id: transfer.id,
            transfer_amount: transfer.amount,
            transfer_pending_id: transfer.pending_id,
            transfer_user_data_128: transfer.user_data_128,
            transfer_user_data_64: transfer.user_data_64,
            transfer_user_data_32: transfer.user_data_32,
            transfer_timeout: transfer.timeout,
            transfer_code: transfer.code,
            transfer_flags: transfer.flags,
            ledger: transfer.ledger,
            kind: kind as u8,
            reserved: [0; 39],
            debit_account,
            credit_account,
            timestamp: at.into(),
            transfer_timestamp: transfer.timestamp,
            debit_account_timestamp,
            credit_account_timestamp,
        });
    }

    fn store(&mut self, transfer: Transfer) {
        self.transfer_times.insert(transfer.timestamp.get());
        self.transfers.insert(transfer.id.get(), transfer);
    }

    /// May a transfer be imported with this timestamp? Not before an expiry: that has moved balances already.
    fn transfer_time_regresses(&self, time: u64) -> bool {
        if time <= self.last_expiry {
            return true;
        }
        self.transfer_times.last().is_some_and(|last| time <= *last)
            || self.account_times.contains(&time)
    }
}

impl Event for Account {
    fn linked(&self) -> bool {
        self.flags().has(AccountFlags::LINKED)
    }

    fn imported(&self) -> bool {
        self.flags().has(AccountFlags::IMPORTED)
    }

    fn given_time(&self) -> u64 {
        self.timestamp.get()
    }

    fn number_of(rule: Rule) -> u32 {
        match rule {
            Rule::LinkedEventFailed => 1,
            Rule::ChainOpen => 2,
            Rule::ImportedExpected => 22,
            Rule::ImportedNotExpected => 23,
            Rule::TimestampMustBeZero => 3,
            Rule::TimestampOutOfRange => 24,
            Rule::TimestampMustNotAdvance => 25,
        }
    }

    fn attempt(&self, state: &mut State, limits: &Limits, at: u64) -> (u32, u64) {
        use CreateAccountStatus as S;
        let time = if self.imported() {
            self.timestamp.get()
        } else {
            at
        };
        let flags = self.flags();
        let existing = state.accounts.get(&self.id.get());
        let differs =
            |differs: fn(&Account, &Account) -> bool| existing.is_some_and(|e| differs(self, e));
        let limits_both = flags.has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            && flags.has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
        let regresses = self.imported()
            && (state.account_times.last().is_some_and(|last| time <= *last)
                || state.transfer_times.contains(&time));
        let rules = [
            (self.reserved.get() != 0, S::ReservedField),
            (flags.0 >= 1 << 6, S::ReservedFlag),
            (self.id.get() == 0, S::IdMustNotBeZero),
            (self.id.get() == u128::MAX, S::IdMustNotBeIntMax),
            (
                differs(|a, e| a.flags != e.flags),
                S::ExistsWithDifferentFlags,
            ),
            (
                differs(|a, e| a.user_data_128 != e.user_data_128),
                S::ExistsWithDifferentUserData128,
            ),
            (
                differs(|a, e| a.user_data_64 != e.user_data_64),
                S::ExistsWithDifferentUserData64,
            ),
            (
                differs(|a, e| a.user_data_32 != e.user_data_32),
                S::ExistsWithDifferentUserData32,
            ),
            (
                differs(|a, e| a.ledger != e.ledger),
                S::ExistsWithDifferentLedger,
            ),
            (differs(|a, e| a.code != e.code), S::ExistsWithDifferentCode),
            (existing.is_some(), S::Exists),
            (state.accounts.len() >= limits.accounts_max, S::AccountsFull),
            (limits_both, S::FlagsAreMutuallyExclusive),
            (self.debits_pending.get() != 0, S::DebitsPendingMustBeZero),
            (self.debits_posted.get() != 0, S::DebitsPostedMustBeZero),
            (self.credits_pending.get() != 0, S::CreditsPendingMustBeZero),
            (self.credits_posted.get() != 0, S::CreditsPostedMustBeZero),
            (self.ledger.get() == 0, S::LedgerMustNotBeZero),
            (self.code.get() == 0, S::CodeMustNotBeZero),
            (regresses, S::ImportedEventTimestampMustNotRegress),
        ];
        if let Some((_, status)) = rules.into_iter().find(|(broken, _)| *broken) {
            let reported = existing
                .filter(|_| status == S::Exists)
                .map_or(at, |e| e.timestamp.get());
            return (status.number(), reported);
        }
        state.account_times.insert(time);
        state.accounts.insert(
            self.id.get(),
            Account {
                timestamp: time.into(),
                ..*self
            },
        );
        (CREATED, time)
    }

    fn fail(&self, _state: &mut State, _status: u32) {}
}

impl Event for Transfer {
    fn linked(&self) -> bool {
        self.flags().has(TransferFlags::LINKED)
    }

    fn imported(&self) -> bool {
        self.flags().has(TransferFlags::IMPORTED)
    }

    fn given_time(&self) -> u64 {
        self.timestamp.get()
    }

    fn number_of(rule: Rule) -> u32 {
        match rule {
            Rule::LinkedEventFailed => 1,
            Rule::ChainOpen => 2,
            Rule::ImportedExpected => 56,
            Rule::ImportedNotExpected => 57,
            Rule::TimestampMustBeZero => 3,
            Rule::TimestampOutOfRange => 58,
            Rule::TimestampMustNotAdvance => 59,
        }
    }

    fn attempt(&self, state: &mut State, limits: &Limits, at: u64) -> (u32, u64) {
        let judged = by_itself(self)
            .and_then(|()| idempotency(self, state, limits))
            .and_then(|()| {
                if resolves(self) {
                    second_phase(self, state, at)
                } else {
                    first_phase(self, state, limits, at)
                }
            });
        match judged {
            Ok(stored) => {
                carry_out(state, &stored);
                (CREATED, stored.timestamp.get())
            }
            Err(CreateTransferStatus::Exists) => (
                CreateTransferStatus::Exists.number(),
                state.transfers[&self.id.get()].timestamp.get(),
            ),
            Err(status) => (status.number(), at),
        }
    }

    fn fail(&self, state: &mut State, status: u32) {
        // debit/credit account not found, pending not found, exceeds credits/debits, closed accounts.
        if [21, 22, 25, 54, 55, 65, 66].contains(&status) {
            state.failed.insert(self.id.get());
            state.changes.push(ChangeEvent {
                transfer_id: self.id,
                kind: ChangeKind::Spent as u8,
                ..ChangeEvent::new_zeroed()
            });
        }
    }
}

type Judged<T> = Result<T, CreateTransferStatus>;

/// The status of the first rule that is broken.
fn first_broken<const N: usize>(rules: [(bool, CreateTransferStatus); N]) -> Judged<()> {
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, status)) => Err(status),
        None => Ok(()),
    }
}

fn resolves(t: &Transfer) -> bool {
    t.flags().has(TransferFlags::POST_PENDING_TRANSFER)
        || t.flags().has(TransferFlags::VOID_PENDING_TRANSFER)
}

fn by_itself(t: &Transfer) -> Judged<()> {
    use CreateTransferStatus as S;
    first_broken([
        (t.flags.get() >= 1 << 9, S::ReservedFlag),
        (t.id.get() == 0, S::IdMustNotBeZero),
        (t.id.get() == u128::MAX, S::IdMustNotBeIntMax),
    ])
}

fn idempotency(t: &Transfer, state: &State, limits: &Limits) -> Judged<()> {
    use CreateTransferStatus as S;
    if let Some(e) = state.transfers.get(&t.id.get()) {
        first_broken([
            (t.flags != e.flags, S::ExistsWithDifferentFlags),
            (
                t.pending_id != e.pending_id,
                S::ExistsWithDifferentPendingId,
            ),
            (t.timeout != e.timeout, S::ExistsWithDifferentTimeout),
        ])?;
        // What the event would have been stored as, given what it resolves.
        let p = state.transfers.get(&e.pending_id.get());
        let void = t.flags().has(TransferFlags::VOID_PENDING_TRANSFER);
        let same = |asked: u128, is: u128| asked == is || (p.is_some() && asked == 0);
        let data = |asked: u128, inherited: Option<u128>| {
            if asked == 0 {
                inherited.unwrap_or(0)
            } else {
                asked
            }
        };
        let amount_same = match p {
            Some(p) if void && t.amount.get() == 0 => e.amount == p.amount,
            Some(p) if !void && t.amount.get() == u128::MAX => e.amount == p.amount,
            None if t.flags().has(TransferFlags::BALANCING) => t.amount.get() >= e.amount.get(),
            _ => t.amount == e.amount,
        };
        first_broken([
            (
                !same(t.debit_account_id.get(), e.debit_account_id.get()),
                S::ExistsWithDifferentDebitAccountId,
            ),
            (
                !same(t.credit_account_id.get(), e.credit_account_id.get()),
                S::ExistsWithDifferentCreditAccountId,
            ),
            (!amount_same, S::ExistsWithDifferentAmount),
            (
                data(t.user_data_128.get(), p.map(|p| p.user_data_128.get()))
                    != e.user_data_128.get(),
                S::ExistsWithDifferentUserData128,
            ),
            (
                data(
                    t.user_data_64.get().into(),
                    p.map(|p| p.user_data_64.get().into()),
                ) != u128::from(e.user_data_64.get()),
                S::ExistsWithDifferentUserData64,
            ),
            (
                data(
                    t.user_data_32.get().into(),
                    p.map(|p| p.user_data_32.get().into()),
                ) != u128::from(e.user_data_32.get()),
                S::ExistsWithDifferentUserData32,
            ),
            (
                !same(t.ledger.get().into(), e.ledger.get().into()),
                S::ExistsWithDifferentLedger,
            ),
            (
                !same(t.code.get().into(), e.code.get().into()),
                S::ExistsWithDifferentCode,
            ),
            (true, S::Exists),
        ])?;
    }
    first_broken([
        (state.failed.contains(&t.id.get()), S::IdAlreadyFailed),
        (
            state.transfers.len() + state.failed.len() >= limits.transfers_max,
            S::TransfersFull,
        ),
    ])
}

fn first_phase_by_itself(t: &Transfer) -> Judged<()> {
    use CreateTransferStatus as S;
    let pending = t.flags().has(TransferFlags::PENDING);
    first_broken([
        (
            t.debit_account_id.get() == 0,
            S::DebitAccountIdMustNotBeZero,
        ),
        (
            t.debit_account_id.get() == u128::MAX,
            S::DebitAccountIdMustNotBeIntMax,
        ),
        (
            t.credit_account_id.get() == 0,
            S::CreditAccountIdMustNotBeZero,
        ),
        (
            t.credit_account_id.get() == u128::MAX,
            S::CreditAccountIdMustNotBeIntMax,
        ),
        (
            t.debit_account_id == t.credit_account_id,
            S::AccountsMustBeDifferent,
        ),
        (t.pending_id.get() != 0, S::PendingIdMustBeZero),
        (
            !pending && t.timeout.get() != 0,
            S::TimeoutReservedForPendingTransfer,
        ),
        (
            !pending && t.flags().has(TransferFlags::CLOSING),
            S::ClosingTransferMustBePending,
        ),
        (t.ledger.get() == 0, S::LedgerMustNotBeZero),
        (t.code.get() == 0, S::CodeMustNotBeZero),
    ])
}

fn first_phase(t: &Transfer, state: &State, limits: &Limits, at: u64) -> Judged<Transfer> {
    use CreateTransferStatus as S;
    first_phase_by_itself(t)?;
    let f = t.flags();
    let dr = state
        .accounts
        .get(&t.debit_account_id.get())
        .ok_or(S::DebitAccountNotFound)?;
    let cr = state
        .accounts
        .get(&t.credit_account_id.get())
        .ok_or(S::CreditAccountNotFound)?;
    let imported = f.has(TransferFlags::IMPORTED);
    let time = if imported { t.timestamp.get() } else { at };
    first_broken([
        (dr.ledger != cr.ledger, S::AccountsMustHaveTheSameLedger),
        (
            t.ledger != dr.ledger,
            S::TransferMustHaveTheSameLedgerAsAccounts,
        ),
        (
            imported && state.transfer_time_regresses(time),
            S::ImportedEventTimestampMustNotRegress,
        ),
        (
            imported && time <= dr.timestamp.get(),
            S::ImportedEventTimestampMustPostdateDebitAccount,
        ),
        (
            imported && time <= cr.timestamp.get(),
            S::ImportedEventTimestampMustPostdateCreditAccount,
        ),
        (
            imported && t.timeout.get() != 0,
            S::ImportedEventTimeoutMustBeZero,
        ),
        (
            dr.flags().has(AccountFlags::CLOSED),
            S::DebitAccountAlreadyClosed,
        ),
        (
            cr.flags().has(AccountFlags::CLOSED),
            S::CreditAccountAlreadyClosed,
        ),
    ])?;
    let amount = movable(t, state, limits, time, dr, cr)?;
    Ok(Transfer {
        amount: amount.into(),
        timestamp: time.into(),
        ..*t
    })
}

/// The amount that moves between two accounts, if sums and limits allow it.
fn movable(
    t: &Transfer,
    state: &State,
    limits: &Limits,
    time: u64,
    dr: &Account,
    cr: &Account,
) -> Judged<u128> {
    use CreateTransferStatus as S;
    let f = t.flags();
    let pending = f.has(TransferFlags::PENDING);
    let dr_taken = dr.debits_pending.get() + dr.debits_posted.get();
    let cr_taken = cr.credits_pending.get() + cr.credits_posted.get();
    let mut amount = t.amount.get();
    if f.has(TransferFlags::BALANCING_DEBIT) {
        amount = amount.min(dr.credits_posted.get().saturating_sub(dr_taken));
    }
    if f.has(TransferFlags::BALANCING_CREDIT) {
        amount = amount.min(cr.debits_posted.get().saturating_sub(cr_taken));
    }
    let over = |sum: u128| amount > u128::MAX - sum;
    let exceeds =
        |limited: bool, taken: u128, bound: u128| limited && taken.saturating_add(amount) > bound;
    let dr_limited = dr.flags().has(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
    let cr_limited = cr.flags().has(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
    first_broken([
        (
            pending && over(dr.debits_pending.get()),
            S::OverflowsDebitsPending,
        ),
        (
            pending && over(cr.credits_pending.get()),
            S::OverflowsCreditsPending,
        ),
        (over(dr.debits_posted.get()), S::OverflowsDebitsPosted),
        (over(cr.credits_posted.get()), S::OverflowsCreditsPosted),
        (over(dr_taken), S::OverflowsDebits),
        (over(cr_taken), S::OverflowsCredits),
        (
            u128::from(time) + u128::from(t.timeout.get()) * u128::from(SECOND) >= 1 << 63,
            S::OverflowsTimeout,
        ),
        (
            exceeds(dr_limited, dr_taken, dr.credits_posted.get()),
            S::ExceedsCredits,
        ),
        (
            exceeds(cr_limited, cr_taken, cr.debits_posted.get()),
            S::ExceedsDebits,
        ),
        (
            pending && state.open() >= limits.pendings_max,
            S::PendingsFull,
        ),
    ])?;
    Ok(amount)
}

fn second_phase_by_itself(t: &Transfer) -> Judged<()> {
    use CreateTransferStatus as S;
    let f = t.flags();
    let void = f.has(TransferFlags::VOID_PENDING_TRANSFER);
    let post = f.has(TransferFlags::POST_PENDING_TRANSFER);
    let others = TransferFlags::PENDING | TransferFlags::BALANCING | TransferFlags::CLOSING;
    first_broken([
        (
            (void && post) || f.has(others),
            S::FlagsAreMutuallyExclusive,
        ),
        (t.pending_id.get() == 0, S::PendingIdMustNotBeZero),
        (t.pending_id.get() == u128::MAX, S::PendingIdMustNotBeIntMax),
        (t.pending_id == t.id, S::PendingIdMustBeDifferent),
        (t.timeout.get() != 0, S::TimeoutReservedForPendingTransfer),
    ])
}

/// The amount to post or give back, if the event fits the pending transfer.
fn fitting(t: &Transfer, p: &Transfer) -> Judged<u128> {
    use CreateTransferStatus as S;
    let void = t.flags().has(TransferFlags::VOID_PENDING_TRANSFER);
    let other = |asked: u128, is: u128| asked != 0 && asked != is;
    let amount = match t.amount.get() {
        0 if void => p.amount.get(),
        u128::MAX if !void => p.amount.get(),
        asked => asked,
    };
    first_broken([
        (
            !p.flags().has(TransferFlags::PENDING),
            S::PendingTransferNotPending,
        ),
        (
            other(t.debit_account_id.get(), p.debit_account_id.get()),
            S::PendingTransferHasDifferentDebitAccountId,
        ),
        (
            other(t.credit_account_id.get(), p.credit_account_id.get()),
            S::PendingTransferHasDifferentCreditAccountId,
        ),
        (
            other(t.ledger.get().into(), p.ledger.get().into()),
            S::PendingTransferHasDifferentLedger,
        ),
        (
            other(t.code.get().into(), p.code.get().into()),
            S::PendingTransferHasDifferentCode,
        ),
        (amount > p.amount.get(), S::ExceedsPendingTransferAmount),
        (
            void && amount < p.amount.get(),
            S::PendingTransferHasDifferentAmount,
        ),
    ])?;
    Ok(amount)
}

fn second_phase(t: &Transfer, state: &State, at: u64) -> Judged<Transfer> {
    use CreateTransferStatus as S;
    second_phase_by_itself(t)?;
    let f = t.flags();
    let post = f.has(TransferFlags::POST_PENDING_TRANSFER);
    let p = state
        .transfers
        .get(&t.pending_id.get())
        .ok_or(S::PendingTransferNotFound)?;
    let amount = fitting(t, p)?;
    let fate = state.fates.get(&t.pending_id.get());
    let late = p.timeout.get() > 0 && p.timestamp.get() + u64::from(p.timeout.get()) * SECOND <= at;
    let imported = f.has(TransferFlags::IMPORTED);
    let time = if imported { t.timestamp.get() } else { at };
    let closed = |id: u128| state.accounts[&id].flags().has(AccountFlags::CLOSED);
    first_broken([
        (fate == Some(&Fate::Posted), S::PendingTransferAlreadyPosted),
        (fate == Some(&Fate::Voided), S::PendingTransferAlreadyVoided),
        (
            fate == Some(&Fate::Expired) || late,
            S::PendingTransferExpired,
        ),
        (
            imported && state.transfer_time_regresses(time),
            S::ImportedEventTimestampMustNotRegress,
        ),
        (
            post && closed(p.debit_account_id.get()),
            S::DebitAccountAlreadyClosed,
        ),
        (
            post && closed(p.credit_account_id.get()),
            S::CreditAccountAlreadyClosed,
        ),
    ])?;
    let (mut data_128, mut data_64, mut data_32) =
        (t.user_data_128, t.user_data_64, t.user_data_32);
    if data_128 == 0 {
        data_128 = p.user_data_128;
    }
    if data_64 == 0 {
        data_64 = p.user_data_64;
    }
    if data_32 == 0 {
        data_32 = p.user_data_32;
    }
    Ok(Transfer {
        id: t.id,
        pending_id: t.pending_id,
        flags: t.flags,
        amount: amount.into(),
        timestamp: time.into(),
        timeout: 0.into(),
        user_data_128: data_128,
        user_data_64: data_64,
        user_data_32: data_32,
        ..*p
    })
}

fn carry_out(state: &mut State, stored: &Transfer) {
    let f = stored.flags();
    let (dr, cr) = (
        stored.debit_account_id.get(),
        stored.credit_account_id.get(),
    );
    let amount = stored.amount.get();
    if resolves(stored) {
        let pending = state.transfers[&stored.pending_id.get()];
        let post = f.has(TransferFlags::POST_PENDING_TRANSFER);
        state.fates.insert(
            pending.id.get(),
            if post { Fate::Posted } else { Fate::Voided },
        );
        state.give_back(&pending);
        if post {
            state.post(dr, cr, amount);
        }
    } else if f.has(TransferFlags::PENDING) {
        state.fates.insert(stored.id.get(), Fate::Open);
        let debit = state.accounts.get_mut(&dr).expect("it was checked");
        debit.debits_pending = (debit.debits_pending.get() + amount).into();
        if f.has(TransferFlags::CLOSING_DEBIT) {
            debit.flags = (debit.flags.get() | AccountFlags::CLOSED.0).into();
        }
        let credit = state.accounts.get_mut(&cr).expect("it was checked");
        credit.credits_pending = (credit.credits_pending.get() + amount).into();
        if f.has(TransferFlags::CLOSING_CREDIT) {
            credit.flags = (credit.flags.get() | AccountFlags::CLOSED.0).into();
        }
    } else {
        state.post(dr, cr, amount);
    }
    state.store(*stored);
    let kind = if f.has(TransferFlags::PENDING) {
        ChangeKind::Pending
    } else if f.has(TransferFlags::POST_PENDING_TRANSFER) {
        ChangeKind::Posted
    } else if f.has(TransferFlags::VOID_PENDING_TRANSFER) {
        ChangeKind::Voided
    } else {
        ChangeKind::SinglePhase
    };
    state.note(kind, stored, stored.timestamp.get());
}
