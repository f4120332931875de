//! How much a ledger may hold and how much a request may ask: every bound of the crate, in one place.
//!
//! - [`Limits`] are part of a group's configuration and equal on all its replicas, for the answer
//!   "full" is part of the replicated state.
//! - Limits bound memory; nothing is allocated for room that is not used yet.

use thiserror::Error;

/// Events (128 bytes) or ids (16 bytes) in one request: what fits a body of 1 MiB less a 256-byte header.
pub const EVENTS_MAX: usize = 8_190;

/// Rows in one reply to a query: as many as events in a request.
pub const RESULTS_MAX: usize = EVENTS_MAX;

/// Changes in one reply to `get_change_events`, of 384 bytes each; of `get_changes`, of 400 bytes, fewer fit.
pub const CHANGE_EVENTS_MAX: usize = EVENTS_MAX * 128 / 384;

/// Changes in one reply to `get_changes`.
pub const CHANGES_MAX: usize = EVENTS_MAX * 128 / 400;

const _: () = assert!(CHANGE_EVENTS_MAX * 384 <= 1_048_320 && CHANGES_MAX * 400 <= 1_048_320);

/// Accounts and moments in one request of `get_balances_at`: each is a search.
pub const MOMENTS_MAX: usize = 256;

/// Rows that one request of `get_account_sums` visits: some milliseconds.
pub const SUMS_VISITS_MAX: usize = 65_536;

/// Pending transfers that expire at the start of one command. The rest follow with the next commands,
/// so that a crowd that expires in one second delays nobody for long.
pub const EXPIRIES_MAX: usize = EVENTS_MAX;

/// The last timestamp that exists: 2^63 - 1 nanoseconds, in April 2262.
pub const TIMESTAMP_MAX: u64 = (1 << 63) - 1;

/// The latest moment a command's clock may claim. What is above is cut, so that one wild clock leaves
/// 2^50 timestamps to live on rather than none: 35 years at a million events a second.
pub const COMMAND_TIME_MAX: u64 = TIMESTAMP_MAX - (1 << 50);

/// The most rows a table can name: row numbers are 31 bits wide.
pub const ROWS_MAX: usize = (1 << 31) - 2;

/// How many chapters of one tier are followed by one of the next, as a power of two.
pub(crate) const FANOUT_BITS: u32 = 5;

/// Tiers of chapters: one of rows, two of indexes only.
pub(crate) const TIERS: usize = 3;

/// Rows that a chapter may have, as a power of two.
pub(crate) const CHAPTER_ROW_BITS: core::ops::RangeInclusive<u32> = 4..=16;

const _: () = assert!(*CHAPTER_ROW_BITS.end() + FANOUT_BITS * (TIERS as u32 - 1) <= 28);

/// How much one group's ledger may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accounts. 128 bytes each, about 20 more for the index and the list of transfers.
    pub accounts_max: usize,
    /// Transfers, and ids that failed for a passing reason. 128 bytes each, about 25 more for indexes.
    pub transfers_max: usize,
    /// Pending transfers that are neither posted, voided nor expired. 170 to 190 bytes each.
    pub pendings_max: usize,
    /// Transfers, expiries and spent ids in a chapter of history; a power of two from 16 to 65,536, or 0 for a
    /// ledger that never writes chapters and keeps all in memory. Changing it needs a new group.
    pub chapter_rows: usize,
    /// Rows that may wait in memory until they are in a chapter. Beyond it new transfers are refused as "busy" before
    /// the log. About 240 bytes each. The only limit that may differ between replicas.
    pub unshelved_max: usize,
}

/// Why a ledger cannot be built with such limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitsError {
    /// A table's rows could not all be numbered.
    #[error("a limit of {asked} rows is above the largest possible, {ROWS_MAX}")]
    TooManyRows {
        /// The limit that was asked for.
        asked: usize,
    },
    /// A chapter's rows are no power of two, or too few or too many.
    #[error("a chapter has a power of two from 16 to 65,536 rows, or 0 for none, not {asked}")]
    ChapterRows {
        /// The limit that was asked for.
        asked: usize,
    },
    /// Fewer rows may wait than a chapter needs to become complete.
    #[error("{asked} rows may wait for their chapter, at least two chapters must")]
    FewUnshelved {
        /// The limit that was asked for.
        asked: usize,
    },
}

impl Limits {
    /// Checks that every row can have a number, and that chapters can be written.
    ///
    /// # Errors
    /// If a limit is above [`ROWS_MAX`], or makes no sense for chapters.
    pub fn check(&self) -> Result<(), LimitsError> {
        for asked in [self.accounts_max, self.transfers_max, self.pendings_max] {
            if asked > ROWS_MAX {
                return Err(LimitsError::TooManyRows { asked });
            }
        }
        if self.chapter_rows == 0 {
            return Ok(());
        }
        let asked = self.chapter_rows;
        if !asked.is_power_of_two() || !CHAPTER_ROW_BITS.contains(&asked.trailing_zeros()) {
            return Err(LimitsError::ChapterRows { asked });
        }
        let asked = self.unshelved_max;
        if asked < 2 * self.chapter_rows {
            return Err(LimitsError::FewUnshelved { asked });
        }
        Ok(())
    }

    /// Rows of a chapter as a power of two; none if there are no chapters.
    pub(crate) fn chapter_row_bits(&self) -> Option<u32> {
        (self.chapter_rows > 0).then(|| self.chapter_rows.trailing_zeros())
    }
}

impl Default for Limits {
    /// A million accounts, sixteen million transfers, a million of them pending; as many rows, 4 GB, may wait for their
    /// chapter.
    fn default() -> Self {
        Self {
            accounts_max: 1_000_000,
            transfers_max: 16_000_000,
            pendings_max: 1_000_000,
            chapter_rows: 65_536,
            unshelved_max: 1 << 24,
        }
    }
}
