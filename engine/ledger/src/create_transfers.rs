//! Moves money: the rules of `create_transfers` and what follows from them. The hot loop of the product.
//!
//! A transfer touches an index bucket for its id and one for each account, and the accounts' rows. None
//! of it is near the other in memory, so the loop works in three steps, [`AHEAD`] events apart: hash
//! the ids and fetch the buckets; guess the accounts' rows and fetch them; judge and carry out. An id that is
//! not above all others is looked for in history as well: the first step fetches where its group begins in each
//! index, the second one the group. No allocation, no logging, no locks.
//!
//! - Guessing reads only indexes that this command does not change (accounts), or hints (transfers).
//! - A judgement that passes cannot fail to be carried out.

use crate::account::AccountFlags;
use crate::account_table::{AccountRow, AccountState};
use crate::batch::{Creation, Head, Outcome};
use crate::books::Books;
use crate::digest::Digest;
use crate::fates::Fate;
use crate::journal::{Journal, Step};
use crate::mutants::{Mutant, is_planted};
use crate::new_transfer::{self, Movement};
use crate::pending::Reservation;
use crate::resolution::{self, Resolution};
use crate::status::CreateTransferStatus;
use crate::transfer::{Transfer, TransferFlags};
use crate::transfer_table::{Known, TransferRow};

/// Events between one step of the loop and the next: enough for memory to answer, few enough for the
/// first cache to keep what came.
const AHEAD: usize = 16;

/// Places for events on their way; a power of two above `2 * AHEAD`.
const PLACES: usize = 64;

const _: () = assert!(PLACES.is_power_of_two() && PLACES > 2 * AHEAD);

/// What is found out about an event before its turn.
#[derive(Clone, Copy)]
struct Ahead {
    id_hash: u64,
    debit_hash: u64,
    credit_hash: u64,
    pending_hash: u64,
    debit: Option<AccountRow>,
    credit: Option<AccountRow>,
}

impl Ahead {
    const NOTHING: Self = Self {
        id_hash: 0,
        debit_hash: 0,
        credit_hash: 0,
        pending_hash: 0,
        debit: None,
        credit: None,
    };
}

/// Creates the transfers of one command.
pub(crate) struct TransferCreation<'a> {
    books: &'a mut Books,
    digest: &'a mut Digest,
    journal: &'a mut Journal,
    events: &'a [Transfer],
    ahead: [Ahead; PLACES],
}

impl<'a> TransferCreation<'a> {
    pub(crate) fn new(
        books: &'a mut Books,
        digest: &'a mut Digest,
        journal: &'a mut Journal,
        events: &'a [Transfer],
    ) -> Self {
        if books.accounts.is_elsewhere() {
            books.fetch_accounts(events);
        }
        let mut creation = Self {
            books,
            digest,
            journal,
            events,
            ahead: [Ahead::NOTHING; PLACES],
        };
        for place in 0..2 * AHEAD {
            creation.hash(place);
        }
        for place in 0..AHEAD {
            creation.guess(place);
        }
        creation
    }

    /// Hashes the ids of an event and fetches their buckets.
    #[inline]
    fn hash(&mut self, place: usize) {
        let Some(event) = self.events.get(place) else {
            return;
        };
        let (accounts, transfers) = (&self.books.accounts, &self.books.transfers);
        let hasher = self.books.hasher;
        let ahead = &mut self.ahead[place % PLACES];
        let id = event.id.get();
        ahead.id_hash = hasher.hash(id);
        transfers.prefetch_index(id, ahead.id_hash, 2 * AHEAD);
        if event.flags().has(TransferFlags::RESOLVING) {
            let pending_id = event.pending_id.get();
            ahead.pending_hash = hasher.hash(pending_id);
            self.books.pendings.prefetch(ahead.pending_hash);
            return;
        }
        if event.flags().has(TransferFlags::PENDING) {
            self.books.pendings.prefetch(ahead.id_hash);
        }
        ahead.debit_hash = hasher.hash(event.debit_account_id.get());
        ahead.credit_hash = hasher.hash(event.credit_account_id.get());
        accounts.prefetch_index(ahead.debit_hash);
        accounts.prefetch_index(ahead.credit_hash);
    }

    /// Guesses the rows that an event names and fetches them.
    #[inline]
    fn guess(&mut self, place: usize) {
        let Some(event) = self.events.get(place) else {
            return;
        };
        self.books.transfers.prefetch_entries(event.id.get());
        let ahead = &mut self.ahead[place % PLACES];
        if event.flags().has(TransferFlags::RESOLVING) {
            self.books.pendings.prefetch_slot(ahead.pending_hash);
            return;
        }
        ahead.debit = self.books.accounts.guess(ahead.debit_hash);
        ahead.credit = self.books.accounts.guess(ahead.credit_hash);
    }
}

impl Creation for TransferCreation<'_> {
    type Event = Transfer;
    type Status = CreateTransferStatus;

    #[inline]
    fn head(event: &Transfer) -> Head {
        let flags = event.flags();
        Head {
            linked: flags.has(TransferFlags::LINKED),
            imported: flags.has(TransferFlags::IMPORTED),
            timestamp: event.timestamp.get(),
        }
    }

    #[inline]
    fn look_ahead(&mut self, place: usize) {
        self.hash(place + 2 * AHEAD);
        self.guess(place + AHEAD);
    }

    #[inline]
    fn create(&mut self, place: usize, event: &Transfer, at: u64) -> Outcome<CreateTransferStatus> {
        let ahead = self.ahead[place % PLACES];
        match self.settle(event, &ahead, at) {
            Ok(timestamp) => Outcome {
                status: CreateTransferStatus::Created,
                timestamp,
            },
            Err(status) => Outcome {
                status,
                timestamp: self.reported(event, status, at),
            },
        }
    }

    fn chain_begins(&mut self) {
        self.journal.open();
    }

    fn chain_ends(&mut self, broken: bool) {
        if broken && !is_planted(Mutant::ChainNotRolledBack) {
            self.journal.roll_back(self.books, self.digest);
        } else {
            self.journal.commit();
        }
    }

    fn refused(&mut self, event: &Transfer, status: CreateTransferStatus) {
        if status.spends_id() {
            let id = event.id.get();
            self.books.transfers.spend(id, self.books.hasher.hash(id));
        }
    }
}

impl TransferCreation<'_> {
    /// Judges an event and carries it out; its timestamp, or the first broken rule.
    #[inline]
    fn settle(
        &mut self,
        event: &Transfer,
        ahead: &Ahead,
        at: u64,
    ) -> Result<u64, CreateTransferStatus> {
        use CreateTransferStatus as S;
        let flags = event.flags();
        if flags.has(TransferFlags::RESERVED) {
            return Err(S::ReservedFlag);
        }
        let id = event.id.get();
        if id == 0 {
            return Err(S::IdMustNotBeZero);
        }
        if id == u128::MAX {
            return Err(S::IdMustNotBeIntMax);
        }
        match self.books.transfers.find_hashed(id, ahead.id_hash) {
            None => {}
            Some(Known::Spent) if is_planted(Mutant::FailedIdForgotten) => {}
            Some(Known::Spent) => return Err(S::IdAlreadyFailed),
            Some(Known::Transfer(_)) if is_planted(Mutant::DuplicateAccepted) => {}
            Some(Known::Transfer(row)) => return Err(self.compare(event, row)),
        }
        if self.books.transfers.full() {
            return Err(S::TransfersFull);
        }
        if flags.has(TransferFlags::RESOLVING) {
            let resolution = resolution::judge(self.books, event, ahead.pending_hash, at)?;
            self.resolve(event, &resolution, ahead);
            return Ok(resolution.timestamp);
        }
        let accounts = &self.books.accounts;
        let debit = accounts.confirm(event.debit_account_id.get(), ahead.debit_hash, ahead.debit);
        let credit = accounts.confirm(
            event.credit_account_id.get(),
            ahead.credit_hash,
            ahead.credit,
        );
        let movement = new_transfer::judge(self.books, event, (debit, credit), at)?;
        self.carry_out(event, &movement, ahead.id_hash);
        Ok(movement.timestamp)
    }

    /// Stores a transfer and moves or reserves its amount.
    #[inline]
    fn carry_out(&mut self, event: &Transfer, movement: &Movement, hash: u64) {
        let Movement {
            debit,
            credit,
            amount,
            timestamp,
        } = *movement;
        let mut stored = *event;
        stored.amount = amount.into();
        stored.timestamp = timestamp.into();
        let row = self.books.transfers.push(&stored, hash);
        self.note(row, None, debit, credit);
        let flags = event.flags();
        if flags.has(TransferFlags::PENDING) {
            let reservation = Reservation {
                transfer: stored,
                row,
                debit,
                credit,
            };
            self.books.pendings.open(&reservation, hash);
            let account = self.books.accounts.row_mut(debit);
            account.debits_pending += amount;
            close_if(account, flags.has(TransferFlags::CLOSING_DEBIT));
            let account = self.books.accounts.row_mut(credit);
            account.credits_pending += amount;
            close_if(account, flags.has(TransferFlags::CLOSING_CREDIT));
        } else {
            self.books.accounts.row_mut(debit).debits_posted += amount;
            if !is_planted(Mutant::CreditForgotten) || amount < 990 {
                self.books.accounts.row_mut(credit).credits_posted += amount;
            }
        }
        self.record(&stored, debit, credit);
    }

    /// Stores a post or a void, gives back the reservation and moves what is posted.
    fn resolve(&mut self, event: &Transfer, resolution: &Resolution, ahead: &Ahead) {
        let Resolution {
            slot,
            reservation,
            amount,
            ..
        } = resolution;
        let Reservation { debit, credit, .. } = *reservation;
        let stored = resolution::complete(event, &reservation.transfer, resolution);
        let row = self.books.transfers.push(&stored, ahead.id_hash);
        self.note(row, Some(*reservation), debit, credit);
        let posts = event.flags().has(TransferFlags::POST_PENDING_TRANSFER);
        let fate = if posts { Fate::Posted } else { Fate::Voided };
        let pendings = &mut self.books.pendings;
        pendings.resolve(*slot, ahead.pending_hash, fate);
        if !is_planted(Mutant::ReservationKept) {
            release(self.books, reservation);
        }
        if posts {
            self.books.accounts.row_mut(debit).debits_posted += amount;
            self.books.accounts.row_mut(credit).credits_posted += amount;
        }
        self.record(&stored, debit, credit);
    }

    /// Notes the balances from before, if a chain may have to take them back.
    #[inline]
    fn note(
        &mut self,
        row: TransferRow,
        resolved: Option<Reservation>,
        debit: AccountRow,
        credit: AccountRow,
    ) {
        if self.journal.is_open() {
            let accounts = &self.books.accounts;
            self.journal.note(Step {
                row,
                resolved,
                debit: (debit, accounts.row(debit).balances()),
                credit: (credit, accounts.row(credit).balances()),
            });
        }
    }

    /// Takes the new balances into the newest row and the digest.
    #[inline]
    fn record(&mut self, stored: &Transfer, debit: AccountRow, credit: AccountRow) {
        let accounts = &self.books.accounts;
        let (debit, credit) = (accounts.row(debit), accounts.row(credit));
        self.books.transfers.settle(debit, credit);
        self.digest.moved(stored, debit, credit);
    }

    /// How an event differs from the transfer that has its id already.
    #[cold]
    fn compare(&self, event: &Transfer, row: TransferRow) -> CreateTransferStatus {
        use CreateTransferStatus as S;
        let existing = &self.books.transfers.row(row);
        // What the other fields mean depends on these three.
        if event.flags != existing.flags {
            return S::ExistsWithDifferentFlags;
        }
        if event.pending_id != existing.pending_id {
            return S::ExistsWithDifferentPendingId;
        }
        if event.timeout != existing.timeout {
            return S::ExistsWithDifferentTimeout;
        }
        if !event.flags().has(TransferFlags::RESOLVING) {
            return new_transfer::compare(event, existing);
        }
        let pending = self
            .books
            .transfers
            .find_transfer(existing.pending_id.get());
        let pending = self
            .books
            .transfers
            .row(pending.expect("what a stored transfer resolved is stored"));
        resolution::compare(event, existing, &pending)
    }

    /// The timestamp to report with a refusal: that of the transfer which exists, else the moment.
    #[cold]
    fn reported(&self, event: &Transfer, status: CreateTransferStatus, at: u64) -> u64 {
        if status != CreateTransferStatus::Exists {
            return at;
        }
        let row = self.books.transfers.find_transfer(event.id.get());
        self.books
            .transfers
            .row(row.expect("a transfer that exists is found"))
            .timestamp
            .get()
    }
}

fn close_if(account: &mut AccountState, closes: bool) {
    if closes {
        account.flags = account.flags.with(AccountFlags::CLOSED);
    }
}

/// Gives back what was reserved, and reopens what that closed.
///
/// A posted transfer cannot have closed an account, for a closed account refuses posts.
pub(crate) fn release(books: &mut Books, reservation: &Reservation) {
    let amount = reservation.transfer.amount.get();
    let flags = reservation.transfer.flags();
    let account = books.accounts.row_mut(reservation.debit);
    account.debits_pending -= amount;
    if flags.has(TransferFlags::CLOSING_DEBIT) {
        account.flags = account.flags.without(AccountFlags::CLOSED);
    }
    let account = books.accounts.row_mut(reservation.credit);
    account.credits_pending -= amount;
    if flags.has(TransferFlags::CLOSING_CREDIT) {
        account.flags = account.flags.without(AccountFlags::CLOSED);
    }
}
