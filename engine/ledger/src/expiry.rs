//! Gives back reservations whose time has passed, at the start of a command.
//!
//! - Driven by the command's time alone, so that every replica expires the same transfers at the same
//!   index.
//! - In order of expiry, then of age; at most [`EXPIRIES_MAX`] for one command.
//! - Each expiry takes a timestamp of its own. It writes no transfer and no account history.

use crate::books::Books;
use crate::create_transfers::release;
use crate::digest::Digest;
use crate::limits::EXPIRIES_MAX;
use crate::mutants::{Mutant, is_planted};
use crate::pending::PendingStatus;

/// Expires what is due by `now`; the number of timestamps that were used up.
pub(crate) fn expire(books: &mut Books, digest: &mut Digest, now: u64) -> u64 {
    let mut expired = 0;
    if is_planted(Mutant::ExpiryForgotten) {
        return expired;
    }
    while expired < EXPIRIES_MAX as u64 {
        let Some(row) = books.pendings.due(now) else {
            break;
        };
        let pending = *books.transfers.row(row);
        let hash = books.hasher.hash(pending.id.get());
        books.pendings.resolve(row, hash, PendingStatus::Expired);
        let find = |id| {
            books
                .accounts
                .find(id)
                .expect("the accounts of a stored transfer exist")
        };
        let (debit, credit) = (
            find(pending.debit_account_id.get()),
            find(pending.credit_account_id.get()),
        );
        release(books, &pending, debit, credit);
        digest.expired(
            &pending,
            books.accounts.row(debit),
            books.accounts.row(credit),
        );
        expired += 1;
    }
    expired
}
