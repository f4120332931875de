//! What a request may ask: operations by number, and their bodies viewed in place.
//!
//! | number | operation | body: any number of | reply: any number of |
//! |---|---|---|---|
//! | 128 | pulse | nothing | nothing |
//! | 137 | get_change_events | one [`ChangeEventsFilter`] | `ChangeEvent` |
//! | 140 | lookup_accounts | id, 16 bytes | [`Account`] |
//! | 141 | lookup_transfers | id, 16 bytes | [`Transfer`] |
//! | 142 | get_account_transfers | one [`AccountFilter`] | [`Transfer`] |
//! | 143 | get_account_balances | one [`AccountFilter`] | `AccountBalance` |
//! | 144 | query_accounts | one [`QueryFilter`] | [`Account`] |
//! | 145 | query_transfers | one [`QueryFilter`] | [`Transfer`] |
//! | 146 | create_accounts | [`Account`] | `CreateResult`, one per event |
//! | 147 | create_transfers | [`Transfer`] | `CreateResult`, one per event |
//! | 200 | audit (ours) | nothing | one `Audit` |
//! | 201 | get_changes (ours) | one [`ChangesFilter`] | `Change` |
//! | 202 | get_balances_at (ours) | [`Moment`] | `BalanceAt` |
//! | 203 | get_account_sums (ours) | one [`SumsFilter`] | `AccountSums` |
//!
//! - Numbers below 200 are TigerBeetle's, with bodies as plain arrays.
//! - A body is at most [`EVENTS_MAX`] elements and a whole number of them.

use zerocopy::little_endian::U128;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::account::Account;
use crate::change::{ChangeEventsFilter, ChangesFilter};
use crate::filter::{AccountFilter, QueryFilter};
use crate::limits::{EVENTS_MAX, MOMENTS_MAX};
use crate::period::{Moment, SumsFilter};
use crate::transfer::Transfer;

/// Operations by number.
pub mod operation {
    /// Lets time pass: expires what is due and does nothing else.
    pub const PULSE: u8 = 128;
    /// What happened within a period.
    pub const GET_CHANGE_EVENTS: u8 = 137;
    /// Accounts by id.
    pub const LOOKUP_ACCOUNTS: u8 = 140;
    /// Transfers by id.
    pub const LOOKUP_TRANSFERS: u8 = 141;
    /// Transfers of an account.
    pub const GET_ACCOUNT_TRANSFERS: u8 = 142;
    /// Balances of an account after its transfers.
    pub const GET_ACCOUNT_BALANCES: u8 = 143;
    /// Accounts by their fields.
    pub const QUERY_ACCOUNTS: u8 = 144;
    /// Transfers by their fields.
    pub const QUERY_TRANSFERS: u8 = 145;
    /// New accounts.
    pub const CREATE_ACCOUNTS: u8 = 146;
    /// New transfers.
    pub const CREATE_TRANSFERS: u8 = 147;
    /// Ours: proves the books.
    pub const AUDIT: u8 = 200;
    /// Ours: what happened, from any change on.
    pub const GET_CHANGES: u8 = 201;
    /// Ours: balances of accounts at moments.
    pub const GET_BALANCES_AT: u8 = 202;
    /// Ours: sums and counts of an account's transfers by period.
    pub const GET_ACCOUNT_SUMS: u8 = 203;
}

/// A request, parsed: the operation with its body in place.
#[derive(Clone, Copy, Debug)]
pub enum Instruction<'a> {
    /// See [`operation::PULSE`].
    Pulse,
    /// See [`operation::CREATE_ACCOUNTS`].
    CreateAccounts(&'a [Account]),
    /// See [`operation::CREATE_TRANSFERS`].
    CreateTransfers(&'a [Transfer]),
    /// See [`operation::LOOKUP_ACCOUNTS`].
    LookupAccounts(&'a [U128]),
    /// See [`operation::LOOKUP_TRANSFERS`].
    LookupTransfers(&'a [U128]),
    /// See [`operation::GET_ACCOUNT_TRANSFERS`].
    GetAccountTransfers(&'a AccountFilter),
    /// See [`operation::GET_ACCOUNT_BALANCES`].
    GetAccountBalances(&'a AccountFilter),
    /// See [`operation::QUERY_ACCOUNTS`].
    QueryAccounts(&'a QueryFilter),
    /// See [`operation::QUERY_TRANSFERS`].
    QueryTransfers(&'a QueryFilter),
    /// See [`operation::GET_CHANGE_EVENTS`].
    GetChangeEvents(&'a ChangeEventsFilter),
    /// See [`operation::AUDIT`].
    Audit,
    /// See [`operation::GET_CHANGES`].
    GetChanges(&'a ChangesFilter),
    /// See [`operation::GET_BALANCES_AT`].
    GetBalancesAt(&'a [Moment]),
    /// See [`operation::GET_ACCOUNT_SUMS`].
    GetAccountSums(&'a SumsFilter),
}

/// Why bytes are no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// No operation has this number.
    #[error("the ledger has no operation {0}")]
    UnknownOperation(u8),
    /// The body is not a whole number of elements.
    #[error("a body of {bytes} bytes is not a whole number of elements of {element} bytes")]
    UnevenBody {
        /// Bytes of the body.
        bytes: usize,
        /// Bytes of an element.
        element: usize,
    },
    /// The body has more elements than a request may have, or a body where none is due.
    #[error("a body of {elements} elements is above the maximum of {elements_max}")]
    TooMany {
        /// Elements of the body.
        elements: usize,
        /// How many there may be.
        elements_max: usize,
    },
    /// The operation takes one filter and got none.
    #[error("the operation takes one filter")]
    NoFilter,
}

impl<'a> Instruction<'a> {
    /// Views a request in place.
    ///
    /// # Errors
    /// If the operation is unknown, or the body is no array of its elements within the bounds.
    pub fn parse(operation: u8, body: &'a [u8]) -> Result<Self, InstructionError> {
        Ok(match operation {
            operation::PULSE => {
                elements::<u8>(body, 0)?;
                Self::Pulse
            }
            operation::AUDIT => {
                elements::<u8>(body, 0)?;
                Self::Audit
            }
            operation::CREATE_ACCOUNTS => Self::CreateAccounts(elements(body, EVENTS_MAX)?),
            operation::CREATE_TRANSFERS => Self::CreateTransfers(elements(body, EVENTS_MAX)?),
            operation::LOOKUP_ACCOUNTS => Self::LookupAccounts(elements(body, EVENTS_MAX)?),
            operation::LOOKUP_TRANSFERS => Self::LookupTransfers(elements(body, EVENTS_MAX)?),
            operation::GET_ACCOUNT_TRANSFERS => Self::GetAccountTransfers(one(body)?),
            operation::GET_ACCOUNT_BALANCES => Self::GetAccountBalances(one(body)?),
            operation::QUERY_ACCOUNTS => Self::QueryAccounts(one(body)?),
            operation::QUERY_TRANSFERS => Self::QueryTransfers(one(body)?),
            operation::GET_CHANGE_EVENTS => Self::GetChangeEvents(one(body)?),
            operation::GET_CHANGES => Self::GetChanges(one(body)?),
            operation::GET_BALANCES_AT => Self::GetBalancesAt(elements(body, MOMENTS_MAX)?),
            operation::GET_ACCOUNT_SUMS => Self::GetAccountSums(one(body)?),
            unknown => return Err(InstructionError::UnknownOperation(unknown)),
        })
    }

    /// Does it change the state, so that it must travel through the log?
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::Pulse | Self::CreateAccounts(_) | Self::CreateTransfers(_)
        )
    }
}

fn elements<T>(body: &[u8], elements_max: usize) -> Result<&[T], InstructionError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    let (bytes, element) = (body.len(), size_of::<T>());
    let view =
        <[T]>::ref_from_bytes(body).map_err(|_| InstructionError::UnevenBody { bytes, element })?;
    if view.len() > elements_max {
        return Err(InstructionError::TooMany {
            elements: view.len(),
            elements_max,
        });
    }
    Ok(view)
}

fn one<T>(body: &[u8]) -> Result<&T, InstructionError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    elements(body, 1)?.first().ok_or(InstructionError::NoFilter)
}

#[cfg(test)]
mod tests {
    use super::{Instruction, InstructionError, operation};
    use crate::limits::EVENTS_MAX;

    fn check(operation: u8, bytes: usize, expected: Result<(), InstructionError>) {
        let body = vec![0; bytes];
        let parsed = Instruction::parse(operation, &body).map(|_| ());
        assert_eq!(parsed, expected, "operation {operation} with {bytes} bytes");
    }

    fn too_many(elements: usize, elements_max: usize) -> InstructionError {
        InstructionError::TooMany {
            elements,
            elements_max,
        }
    }

    #[test]
    fn bodies_are_whole_numbers_of_elements_within_bounds() {
        for op in [operation::CREATE_ACCOUNTS, operation::CREATE_TRANSFERS] {
            check(op, 0, Ok(()));
            check(op, 128, Ok(()));
            check(
                op,
                127,
                Err(InstructionError::UnevenBody {
                    bytes: 127,
                    element: 128,
                }),
            );
            check(op, EVENTS_MAX * 128, Ok(()));
            check(
                op,
                (EVENTS_MAX + 1) * 128,
                Err(too_many(EVENTS_MAX + 1, EVENTS_MAX)),
            );
        }
        for op in [operation::LOOKUP_ACCOUNTS, operation::LOOKUP_TRANSFERS] {
            check(op, 16, Ok(()));
            check(
                op,
                17,
                Err(InstructionError::UnevenBody {
                    bytes: 17,
                    element: 16,
                }),
            );
        }
        for (op, size) in [
            (137, 64),
            (142, 128),
            (143, 128),
            (144, 64),
            (145, 64),
            (203, 64),
            (201, 64),
        ] {
            check(op, size, Ok(()));
            check(op, 0, Err(InstructionError::NoFilter));
            check(op, 2 * size, Err(too_many(2, 1)));
            check(
                op,
                size - 1,
                Err(InstructionError::UnevenBody {
                    bytes: size - 1,
                    element: size,
                }),
            );
        }
        for op in [operation::PULSE, operation::AUDIT] {
            check(op, 0, Ok(()));
            check(op, 1, Err(too_many(1, 0)));
        }
        for op in [0, 127, 129, 136, 138, 139, 148, 199, 210, 255] {
            check(op, 0, Err(InstructionError::UnknownOperation(op)));
        }
    }

    #[test]
    fn a_body_is_read_at_any_address() {
        let bytes = [7; 129];
        for start in 0..2 {
            let body = &bytes[start..start + 128];
            let Ok(Instruction::CreateTransfers(events)) = Instruction::parse(147, body) else {
                panic!("128 bytes are one transfer");
            };
            assert_eq!(events[0].code.get(), 0x0707);
        }
    }
}
