//! What the benchmark asks of a ledger: operation bytes, the layout of results, and two statuses.

/// Finds accounts by id.
pub const LOOKUP_ACCOUNTS: u8 = 140;
/// Finds transfers by id; those that do not exist are left out of the answer.
pub const LOOKUP_TRANSFERS: u8 = 141;
/// Creates accounts.
pub const CREATE_ACCOUNTS: u8 = 146;
/// Creates transfers.
pub const CREATE_TRANSFERS: u8 = 147;
/// Counts and sums a whole group.
pub const AUDIT: u8 = 200;

/// Bytes of a result: timestamp (u64), status (u32), four reserved.
pub const RESULT_SIZE: usize = 16;
/// Status of what exists from this moment on.
pub const CREATED: u32 = u32::MAX;
/// Status of a transfer that exists already, the very same.
pub const TRANSFER_EXISTS: u32 = 46;
/// Status of an account that exists already, the very same.
pub const ACCOUNT_EXISTS: u32 = 21;

/// The status in a result.
#[inline]
pub fn status_of(result: &[u8; RESULT_SIZE]) -> u32 {
    u32::from_le_bytes([result[8], result[9], result[10], result[11]])
}

/// A ledger's status for a reader.
pub fn status_name(status: u32) -> String {
    format!("status {status}")
}

/// What an audit tells: 192 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Transfers that exist.
    pub transfers: u64,
    /// Whether debits equal credits in every ledger, posted and pending.
    pub conservation_holds: bool,
    /// Sum of all posted debits, modulo 2^128.
    pub debits_posted: u128,
    /// Sum of all posted credits, modulo 2^128.
    pub credits_posted: u128,
}

impl Audit {
    /// Bytes of the answer.
    pub const SIZE: usize = 192;

    /// Reads an answer of the right length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        let amount = |at: usize| u128::from_le_bytes(*bytes[at..].first_chunk().expect("inside"));
        Some(Self {
            transfers: u64::from_le_bytes(*bytes[8..].first_chunk().expect("inside")),
            conservation_holds: bytes[40] == 1,
            debits_posted: amount(80),
            credits_posted: amount(112),
        })
    }
}
