//! The ledger's records as C sees them: the same bytes, with natural alignment. Little-endian machines only.

use ledger::account::{Account, AccountBalance};
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::status::CreateResult;
use ledger::transfer::Transfer;

const _: () = assert!(cfg!(target_endian = "little"));

/// A number of 128 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QuorateU128 {
    /// Its lower half.
    pub low: u64,
    /// Its upper half.
    pub high: u64,
}

/// An account.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the ledger's, drawn in docs/ledger.md"
)]
pub struct QuorateAccount {
    pub id: QuorateU128,
    pub debits_pending: QuorateU128,
    pub debits_posted: QuorateU128,
    pub credits_pending: QuorateU128,
    pub credits_posted: QuorateU128,
    pub user_data_128: QuorateU128,
    pub user_data_64: u64,
    pub user_data_32: u32,
    pub reserved: u32,
    pub ledger: u32,
    pub code: u16,
    pub flags: u16,
    pub timestamp: u64,
}

/// A transfer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the ledger's, drawn in docs/ledger.md"
)]
pub struct QuorateTransfer {
    pub id: QuorateU128,
    pub debit_account_id: QuorateU128,
    pub credit_account_id: QuorateU128,
    pub amount: QuorateU128,
    pub pending_id: QuorateU128,
    pub user_data_128: QuorateU128,
    pub user_data_64: u64,
    pub user_data_32: u32,
    pub timeout: u32,
    pub ledger: u32,
    pub code: u16,
    pub flags: u16,
    pub timestamp: u64,
}

/// What became of an account or a transfer: 4294967295 is created.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QuorateResult {
    /// The moment of its creation, or of the judgement.
    pub timestamp: u64,
    /// The status, by number.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

/// An account's balance after one of its transfers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the ledger's, drawn in docs/ledger.md"
)]
pub struct QuorateBalance {
    pub debits_pending: QuorateU128,
    pub debits_posted: QuorateU128,
    pub credits_pending: QuorateU128,
    pub credits_posted: QuorateU128,
    pub timestamp: u64,
    pub reserved: [u8; 56],
}

/// Which transfers or balances of an account.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the ledger's, drawn in docs/ledger.md"
)]
pub struct QuorateAccountFilter {
    pub account_id: QuorateU128,
    pub user_data_128: QuorateU128,
    pub user_data_64: u64,
    pub user_data_32: u32,
    pub code: u16,
    pub reserved: [u8; 58],
    pub timestamp_min: u64,
    pub timestamp_max: u64,
    pub limit: u32,
    pub flags: u32,
}

/// Which accounts or transfers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the ledger's, drawn in docs/ledger.md"
)]
pub struct QuorateQueryFilter {
    pub user_data_128: QuorateU128,
    pub user_data_64: u64,
    pub user_data_32: u32,
    pub ledger: u32,
    pub code: u16,
    pub reserved: [u8; 6],
    pub timestamp_min: u64,
    pub timestamp_max: u64,
    pub limit: u32,
    pub flags: u32,
}

// The same sizes, and the last field of each where the ledger has it: so are all before it.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<QuorateAccount>() == size_of::<Account>());
    assert!(offset_of!(QuorateAccount, timestamp) == offset_of!(Account, timestamp));
    assert!(offset_of!(QuorateAccount, flags) == offset_of!(Account, flags));
    assert!(size_of::<QuorateTransfer>() == size_of::<Transfer>());
    assert!(offset_of!(QuorateTransfer, timestamp) == offset_of!(Transfer, timestamp));
    assert!(offset_of!(QuorateTransfer, flags) == offset_of!(Transfer, flags));
    assert!(size_of::<QuorateResult>() == size_of::<CreateResult>());
    assert!(size_of::<QuorateBalance>() == size_of::<AccountBalance>());
    assert!(offset_of!(QuorateBalance, timestamp) == offset_of!(AccountBalance, timestamp));
    assert!(size_of::<QuorateAccountFilter>() == size_of::<AccountFilter>());
    assert!(offset_of!(QuorateAccountFilter, flags) == offset_of!(AccountFilter, flags));
    assert!(
        offset_of!(QuorateAccountFilter, timestamp_min) == offset_of!(AccountFilter, timestamp_min)
    );
    assert!(size_of::<QuorateQueryFilter>() == size_of::<QueryFilter>());
    assert!(offset_of!(QuorateQueryFilter, flags) == offset_of!(QueryFilter, flags));
    assert!(
        offset_of!(QuorateQueryFilter, timestamp_min) == offset_of!(QueryFilter, timestamp_min)
    );
};
