//! The state hash: 128 bits that two replicas compare to know that they hold the same money.
//!
//! What it covers, folded in the order of the log:
//! - each created account and transfer, all 128 bytes as stored, timestamp and moved amount included;
//! - the balances and flags of every touched account, read back from its row after the movement, so
//!   that a row that differed before shows at its next use;
//! - each expiry, and each account that a broken chain restored;
//! - the reply records of every command, so that refusals count too;
//! - the clock and the numbers of rows, when the digest is asked for.
//!
//! Each fold is a bijection of the former value, so that two replicas that once differ never agree
//! again by folding the same inputs. The order of folding makes the value depend on the log's commands,
//! which are the same on all replicas; it does not depend on the build, the machine's byte order or the
//! layout of any index.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};
use zerocopy::IntoBytes;

use crate::account_table::AccountState;
use crate::transfer::Transfer;

/// Odd, hence invertible modulo 2^128.
const STRIDE: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// One secret for each 64-bit lane of a row.
const LANES: [u64; 16] = [
    0x243F_6A88_85A3_08D3,
    0x1319_8A2E_0370_7344,
    0xA409_3822_299F_31D0,
    0x082E_FA98_EC4E_6C89,
    0x4528_21E6_38D0_1377,
    0xBE54_66CF_34E9_0C6C,
    0xC0AC_29B7_C97C_50DD,
    0x3F84_D5B5_B547_0917,
    0x9216_D5D9_8979_FB1B,
    0xD131_0BA6_98DF_B5AC,
    0x2FFD_72DB_D01A_DFB7,
    0xB8E1_AFED_6A26_7E96,
    0xBA7C_9045_F12C_7F99,
    0x24A1_9947_B391_6CF7,
    0x0801_F2E2_858E_FC16,
    0x6369_20D8_7157_4E69,
];

/// A 128-bit product folded to 64 bits: one pair of lanes.
#[inline]
fn pair(value: u128, lane: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (value as u64, (value >> 64) as u64);
    let product = u128::from(low ^ LANES[lane]) * u128::from(high ^ LANES[lane + 1]);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded
}

/// The running state hash of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    state: u128,
}

impl Digest {
    /// The running value, for an image.
    pub(crate) const fn state(self) -> u128 {
        self.state
    }

    /// Goes on from a running value.
    pub(crate) const fn of(state: u128) -> Self {
        Self { state }
    }

    #[inline]
    fn fold(&mut self, value: u64) {
        self.state = (self.state ^ u128::from(value))
            .wrapping_mul(STRIDE)
            .rotate_left(64);
    }

    /// A transfer was stored and moved the balances of two accounts.
    #[inline]
    pub(crate) fn moved(
        &mut self,
        transfer: &Transfer,
        debit: &AccountState,
        credit: &AccountState,
    ) {
        let row = stored(transfer);
        self.fold(
            row.wrapping_add(balances(debit))
                .wrapping_add(balances(credit).rotate_left(32)),
        );
    }

    /// A reservation expired.
    pub(crate) fn expired(
        &mut self,
        transfer: &Transfer,
        debit: &AccountState,
        credit: &AccountState,
    ) {
        self.fold(!stored(transfer));
        self.touched(debit);
        self.touched(credit);
    }

    /// An account was created, or a broken chain restored it.
    pub(crate) fn touched(&mut self, account: &AccountState) {
        self.fold(balances(account));
        self.fold(xxh3_64(account.to_wire().as_bytes()));
    }

    /// A command was answered.
    pub(crate) fn answered(&mut self, records: &[u8]) {
        self.fold(xxh3_64(records));
    }

    /// The value to compare, together with the state's numbers.
    pub(crate) fn value(self, numbers: &[u64]) -> u128 {
        let mut bytes = [0; 128];
        bytes[..16].copy_from_slice(&self.state.to_le_bytes());
        for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        xxh3_128(&bytes)
    }
}

#[inline]
fn balances(account: &AccountState) -> u64 {
    pair(account.debits_pending, 0)
        .wrapping_add(pair(account.debits_posted, 2))
        .wrapping_add(pair(account.credits_pending, 4))
        .wrapping_add(pair(account.credits_posted, 6))
        .wrapping_add(pair(
            u128::from(account.timestamp) << 64 | u128::from(account.flags.0),
            8,
        ))
}

#[inline]
fn stored(t: &Transfer) -> u64 {
    let (user_data_64, user_data_32) = (t.user_data_64.get(), t.user_data_32.get());
    let words = u128::from(user_data_64) << 64
        | u128::from(user_data_32) << 32
        | u128::from(t.timeout.get());
    let kinds = u128::from(t.ledger.get()) << 32
        | u128::from(t.code.get()) << 16
        | u128::from(t.flags.get());
    pair(t.id.get(), 0)
        .wrapping_add(pair(t.debit_account_id.get(), 2))
        .wrapping_add(pair(t.credit_account_id.get(), 4))
        .wrapping_add(pair(t.amount.get(), 6))
        .wrapping_add(pair(t.pending_id.get(), 8))
        .wrapping_add(pair(t.user_data_128.get(), 10))
        .wrapping_add(pair(words, 12))
        .wrapping_add(pair(u128::from(t.timestamp.get()) << 64 | kinds, 14))
}
