//! The ledger's client for programs in C: connect, create, look up, query, close.
//!
//! - Every call blocks until it is answered or its time is up; threads may share a teller.
//! - Records are those of the ledger, byte for byte (docs/ledger.md); the caller owns all memory.
//! - A null pointer where none is allowed is `Invalid`, never a crash. What a pointer points at is the caller's word.

#![expect(unsafe_code, reason = "C hands over pointers and sizes")]

pub mod records;

use std::ffi::{CStr, c_char};
use std::time::Duration;

use engine::{Pending, Teller, TellerError};
use ledger::status::CreateResult;
use zerocopy::little_endian::U128;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::records::{
    QuorateAccount, QuorateAccountFilter, QuorateBalance, QuorateQueryFilter, QuorateResult,
    QuorateTransfer, QuorateU128,
};

/// What became of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorateStatus {
    /// Answered; what became of each record stands in its result.
    Ok = 0,
    /// A pointer is null, or an address is none.
    Invalid = 1,
    /// Too much waits to be sent: wait, then try again. Nothing was sent.
    Busy = 2,
    /// More than fits into one request (8,189 records). Nothing was sent.
    TooMuch = 3,
    /// What became of the call is not known: repeat it with the same ids.
    Unknown = 4,
    /// The cluster refuses; asking again would not help.
    Refused = 5,
    /// No answer in time. It may still come about: repeat it with the same ids.
    TimedOut = 6,
    /// The teller cannot go on.
    Closed = 7,
    /// No node answers at these addresses.
    NoNode = 8,
}

/// A client of one cluster. Made by `quorate_connect`, ended by `quorate_close`.
#[derive(Debug)]
pub struct QuorateTeller(Teller);

impl From<TellerError> for QuorateStatus {
    fn from(error: TellerError) -> Self {
        match error {
            TellerError::Busy => Self::Busy,
            TellerError::TooMuch => Self::TooMuch,
            TellerError::Forgotten => Self::Unknown,
            TellerError::Refused(_) => Self::Refused,
            TellerError::TimedOut => Self::TimedOut,
            TellerError::Closed | TellerError::Thread(_) => Self::Closed,
            TellerError::NoNode(_) => Self::NoNode,
        }
    }
}

/// Connects to the cluster of this number. `addresses`: where core 0 of each node listens, `IP:PORT`, with commas
/// between them. Writes the teller to `*teller`.
///
/// # Safety
/// `addresses` is null or a string that ends with a zero; `teller` is null or points to where a pointer may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_connect(
    cluster: u64,
    addresses: *const c_char,
    teller: *mut *mut QuorateTeller,
) -> QuorateStatus {
    if addresses.is_null() || teller.is_null() {
        return QuorateStatus::Invalid;
    }
    // SAFETY: it is not null, and the caller says that it ends with a zero.
    let text = unsafe { CStr::from_ptr(addresses) };
    let parsed = text.to_str().ok().map(|text| {
        let words = text.split(',').map(str::trim);
        words.map(str::parse).collect::<Result<Vec<_>, _>>()
    });
    let Some(Ok(addresses)) = parsed else {
        return QuorateStatus::Invalid;
    };
    match Teller::connect(cluster, &addresses) {
        Ok(connected) => {
            // SAFETY: it is not null, and the caller says that a pointer may be written there.
            unsafe { teller.write(Box::into_raw(Box::new(QuorateTeller(connected)))) };
            QuorateStatus::Ok
        }
        Err(error) => error.into(),
    }
}

/// Ends a teller. Null is allowed.
///
/// # Safety
/// `teller` is null or came from `quorate_connect` and was not closed yet; no other call with it is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_close(teller: *mut QuorateTeller) {
    if !teller.is_null() {
        // SAFETY: it came from a box, and the caller gives it back once.
        drop(unsafe { Box::from_raw(teller) });
    }
}

/// Bytes of records that may be sent before a call answers `Busy`; 0 for a null teller.
///
/// # Safety
/// `teller` is null or came from `quorate_connect` and was not closed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_room(teller: *const QuorateTeller) -> usize {
    // SAFETY: null or alive, in the caller's word.
    unsafe { teller.as_ref() }.map_or(0, |teller| teller.0.room())
}

/// Creates `count` accounts; writes a result for each to `results`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `accounts` and `results` have `count` elements each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_create_accounts(
    teller: *const QuorateTeller,
    accounts: *const QuorateAccount,
    count: usize,
    results: *mut QuorateResult,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        create(
            teller,
            accounts,
            count,
            results,
            timeout_ms,
            Teller::create_accounts,
        )
    }
}

/// Creates `count` transfers; writes a result for each to `results`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `transfers` and `results` have `count` elements each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_create_transfers(
    teller: *const QuorateTeller,
    transfers: *const QuorateTransfer,
    count: usize,
    results: *mut QuorateResult,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        create(
            teller,
            transfers,
            count,
            results,
            timeout_ms,
            Teller::create_transfers,
        )
    }
}

/// Writes the accounts of `count` ids to `accounts`, those left out that do not exist, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `ids` and `accounts` have `count` elements each, and
/// `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_lookup_accounts(
    teller: *const QuorateTeller,
    ids: *const QuorateU128,
    count: usize,
    accounts: *mut QuorateAccount,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        look_up(
            teller,
            ids,
            count,
            accounts,
            found,
            timeout_ms,
            Teller::lookup_accounts,
        )
    }
}

/// Writes the transfers of `count` ids to `transfers`, those left out that do not exist, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `ids` and `transfers` have `count` elements each, and
/// `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_lookup_transfers(
    teller: *const QuorateTeller,
    ids: *const QuorateU128,
    count: usize,
    transfers: *mut QuorateTransfer,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        look_up(
            teller,
            ids,
            count,
            transfers,
            found,
            timeout_ms,
            Teller::lookup_transfers,
        )
    }
}

/// Writes an account's transfers, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
/// and `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_account_transfers(
    teller: *const QuorateTeller,
    filter: *const QuorateAccountFilter,
    rows: *mut QuorateTransfer,
    capacity: usize,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        select(
            teller,
            filter,
            rows,
            capacity,
            found,
            timeout_ms,
            Teller::account_transfers,
        )
    }
}

/// Writes an account's balances after its transfers, if it remembers them, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
/// and `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_account_balances(
    teller: *const QuorateTeller,
    filter: *const QuorateAccountFilter,
    rows: *mut QuorateBalance,
    capacity: usize,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        select(
            teller,
            filter,
            rows,
            capacity,
            found,
            timeout_ms,
            Teller::account_balances,
        )
    }
}

/// Writes accounts by their fields, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
/// and `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_query_accounts(
    teller: *const QuorateTeller,
    filter: *const QuorateQueryFilter,
    rows: *mut QuorateAccount,
    capacity: usize,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        select(
            teller,
            filter,
            rows,
            capacity,
            found,
            timeout_ms,
            Teller::query_accounts,
        )
    }
}

/// Writes transfers by their fields, in order of time, to `rows`: at most `capacity`, which should be the filter's limit, and their number to `*found`.
///
/// # Safety
/// `teller` came from `quorate_connect` and was not closed yet; `filter` can be read; `rows` has `capacity` elements,
/// and `found` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quorate_query_transfers(
    teller: *const QuorateTeller,
    filter: *const QuorateQueryFilter,
    rows: *mut QuorateTransfer,
    capacity: usize,
    found: *mut usize,
    timeout_ms: u64,
) -> QuorateStatus {
    // SAFETY: handed on, with the caller's words.
    unsafe {
        select(
            teller,
            filter,
            rows,
            capacity,
            found,
            timeout_ms,
            Teller::query_transfers,
        )
    }
}

/// Creates what the array holds.
///
/// # Safety
/// As the calls that it serves.
unsafe fn create<C, T>(
    teller: *const QuorateTeller,
    events: *const C,
    count: usize,
    results: *mut QuorateResult,
    timeout_ms: u64,
    ask: fn(&Teller, &[T]) -> Result<Pending<CreateResult>, TellerError>,
) -> QuorateStatus
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    // SAFETY: handed on, with the caller's words.
    unsafe {
        let events = view(events, count);
        into_array(call(teller, events, ask, timeout_ms), results, count, None)
    }
}

/// Finds what has these ids.
///
/// # Safety
/// As the calls that it serves.
unsafe fn look_up<C, R>(
    teller: *const QuorateTeller,
    ids: *const QuorateU128,
    count: usize,
    rows: *mut C,
    found: *mut usize,
    timeout_ms: u64,
    ask: fn(&Teller, &[u128]) -> Result<Pending<R>, TellerError>,
) -> QuorateStatus
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Clone,
{
    let ask = |teller: &Teller, ids: &[U128]| {
        let ids: Vec<u128> = ids.iter().map(|id| id.get()).collect();
        ask(teller, &ids)
    };
    // SAFETY: handed on, with the caller's words.
    unsafe {
        let ids = view(ids, count);
        into_array(call(teller, ids, ask, timeout_ms), rows, count, Some(found))
    }
}

/// Finds what a filter selects.
///
/// # Safety
/// As the calls that it serves.
unsafe fn select<F, T, C, R>(
    teller: *const QuorateTeller,
    filter: *const F,
    rows: *mut C,
    capacity: usize,
    found: *mut usize,
    timeout_ms: u64,
    ask: fn(&Teller, &T) -> Result<Pending<R>, TellerError>,
) -> QuorateStatus
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Clone,
{
    // SAFETY: handed on, with the caller's words.
    unsafe {
        let filter = view(filter, 1);
        let ask = |teller: &Teller, filter: &[T]| ask(teller, &filter[0]);
        into_array(
            call(teller, filter, ask, timeout_ms),
            rows,
            capacity,
            Some(found),
        )
    }
}

/// The caller's array, as the ledger's records; `None` for null.
///
/// # Safety
/// Null, or `count` elements that can be read for as long as the result is used.
unsafe fn view<'a, C, T>(array: *const C, count: usize) -> Option<&'a [T]>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    assert!(size_of::<C>() == size_of::<T>(), "both are the same bytes");
    if array.is_null() {
        return (count == 0).then_some(&[]);
    }
    // SAFETY: it is not null and has `count` elements, in the caller's word; records of alignment 1 lie anywhere.
    Some(unsafe { std::slice::from_raw_parts(array.cast::<T>(), count) })
}

/// Asks and waits.
///
/// # Safety
/// `teller` is null, or came from `quorate_connect` and was not closed yet.
unsafe fn call<T, R>(
    teller: *const QuorateTeller,
    events: Option<&[T]>,
    ask: impl FnOnce(&Teller, &[T]) -> Result<Pending<R>, TellerError>,
    timeout_ms: u64,
) -> Result<Vec<R>, QuorateStatus>
where
    R: FromBytes + Immutable + KnownLayout + Unaligned + Clone,
{
    // SAFETY: null or alive, in the caller's word.
    let teller = unsafe { teller.as_ref() };
    let (Some(teller), Some(events)) = (teller, events) else {
        return Err(QuorateStatus::Invalid);
    };
    let pending = ask(&teller.0, events)?;
    Ok(pending.wait_for(Duration::from_millis(timeout_ms))?)
}

/// Writes what was answered to the caller's array.
///
/// # Safety
/// `array` is null or has `capacity` elements that may be written, and `found` is none, null or may be written.
unsafe fn into_array<C, R: IntoBytes + Immutable>(
    answer: Result<Vec<R>, QuorateStatus>,
    array: *mut C,
    capacity: usize,
    found: Option<*mut usize>,
) -> QuorateStatus {
    assert!(size_of::<C>() == size_of::<R>(), "both are the same bytes");
    let rows = match answer {
        Ok(rows) => rows,
        Err(status) => return status,
    };
    if array.is_null() && !rows.is_empty() || found.is_some_and(<*mut usize>::is_null) {
        return QuorateStatus::Invalid;
    }
    let count = rows.len().min(capacity);
    if count > 0 {
        // SAFETY: there are `count` rows, and room for as many in the caller's array, which is not one of ours.
        unsafe { std::ptr::copy_nonoverlapping(rows.as_ptr().cast::<C>(), array, count) };
    }
    if let Some(found) = found {
        // SAFETY: it is not null and may be written, in the caller's word.
        unsafe { found.write(count) };
    }
    QuorateStatus::Ok
}
