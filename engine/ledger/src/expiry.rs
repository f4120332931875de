//! Gives back reservations whose time has passed, at the start of a command.
//!
//! - Driven by the command's time alone, so that every replica expires the same transfers at the same
//!   index.
//! - In order of expiry, then of age; at most [`EXPIRIES_MAX`] for one command.
//! - Each expiry takes a timestamp of its own and a row of its own, with the balances after it. It is no transfer and
//!   shows in no account history, but among the changes.

use crate::books::Books;
use crate::create_transfers::release;
use crate::digest::Digest;
use crate::fates::Fate;
use crate::limits::EXPIRIES_MAX;
use crate::mutants::{Mutant, is_planted};

/// Expires what is due by `now`; the number of timestamps that were used up.
pub(crate) fn expire(books: &mut Books, digest: &mut Digest, now: u64) -> u64 {
    let mut expired = 0;
    if is_planted(Mutant::ExpiryForgotten) {
        return expired;
    }
    while expired < EXPIRIES_MAX as u64 {
        let Some(slot) = books.pendings.due(now) else {
            break;
        };
        let reservation = books.pendings.reservation(slot);
        let pending = &reservation.transfer;
        let hash = books.hasher.hash(pending.id.get());
        books.pendings.resolve(slot, hash, Fate::Expired);
        release(books, &reservation);
        let (debit, credit) = (
            books.accounts.row(reservation.debit),
            books.accounts.row(reservation.credit),
        );
        books
            .transfers
            .expire(pending, reservation.row, now + expired);
        books.transfers.settle(debit, credit);
        digest.expired(pending, debit, credit);
        expired += 1;
    }
    expired
}
