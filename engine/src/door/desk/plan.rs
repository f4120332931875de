//! What a request needs of which groups, and whether its body is one at all.
//!
//! - A body that is objected to costs no group anything.
//! - The plan of a write is a function of its bytes and of the ledgers of transfers that were looked up.

use bytes::Bytes;
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::instruction::operation as inner;
use net::tigerbeetle::batches::{self, Batches};
use net::tigerbeetle::message::Reason;
use net::tigerbeetle::operation::{self, BODY_BYTES_MAX, REGISTER_BYTES, REGISTERED_BYTES, Shape};
use shard::sessions;
use zerocopy::FromBytes;

use crate::door::limits::PARTS_MAX;
use crate::door::once::{
    CREATE_ACCOUNTS_ONCE, CREATE_ACCOUNTS_TOLD, CREATE_TRANSFERS_ONCE, CREATE_TRANSFERS_TOLD,
};
use crate::door::origins::Origin;
use crate::door::route::{self, Filter, Spread};

/// Where the time stands in an element of a reply.
const TIME_IN_BALANCE: usize = 64;
const TIME_IN_OBJECT: usize = 120;
const TIME_IN_CHANGE: usize = 352;

/// What an order waits for.
#[derive(Debug)]
pub(super) enum Phase {
    /// Which session the client has.
    Session,
    /// A session's number.
    Register,
    /// In which ledgers transfers lie that are posted or voided.
    Ledgers,
    /// One group does it all.
    Whole,
    /// Several groups do their parts.
    Spread(Spread),
    /// Groups say what they have.
    Read(Reading),
}

impl Phase {
    /// Does a verdict stand behind its answers?
    pub(super) fn judges(&self) -> bool {
        matches!(self, Self::Register | Self::Whole | Self::Spread(_))
    }
}

/// A part, not yet asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) group: u64,
    pub(super) operation: u8,
    pub(super) body: Bytes,
}

/// How the answers to a read become one.
#[derive(Debug)]
pub(super) struct Reading {
    operation: u8,
    shape: Shape,
    /// Of each batch: its filter, and how many answers are its.
    filters: Vec<(Filter, usize)>,
}

pub(super) fn register(origin: Origin) -> Ask {
    Ask {
        group: 0,
        operation: sessions::REGISTER,
        body: Bytes::copy_from_slice(&origin.to_le_bytes()),
    }
}

pub(super) fn session_of(client: u128) -> Ask {
    Ask {
        group: 0,
        operation: sessions::SESSION_OF,
        body: Bytes::copy_from_slice(&client.to_le_bytes()),
    }
}

/// The body of the answer to REGISTER.
pub(super) fn registered() -> Bytes {
    let mut body = vec![0; REGISTERED_BYTES];
    body[..4].copy_from_slice(&(BODY_BYTES_MAX as u32).to_le_bytes());
    body.into()
}

pub(super) fn register_objection(body: &[u8]) -> Option<Reason> {
    if body.len() != REGISTER_BYTES {
        return Some(Reason::InvalidBodySize);
    }
    body.iter()
        .any(|&byte| byte != 0)
        .then_some(Reason::InvalidBody)
}

/// Why this is no body of its operation.
pub(super) fn objection(operation: u8, shape: Shape, body: &[u8], groups: u64) -> Option<Reason> {
    let fits = if shape.batched {
        Batches::parse(body, shape.event_bytes)
            .is_ok_and(|batches| batches_fit(operation, shape, &batches, groups))
    } else {
        body.len() == shape.event_bytes && groups <= PARTS_MAX as u64
    };
    (!fits).then_some(Reason::InvalidBody)
}

fn batches_fit(operation: u8, shape: Shape, batches: &Batches<'_>, groups: u64) -> bool {
    let mut results = 0;
    for batch in batches.iter() {
        let events = batch.len() / shape.event_bytes;
        if shape.filters {
            if events != 1 {
                return false;
            }
            results += filter(operation, batch).limit.min(shape.results_max());
        } else {
            if events > shape.events_max() {
                return false;
            }
            results += events;
        }
    }
    let trailer = batches::trailer_bytes(batches.len(), shape.result_bytes);
    let parts = (batches.len() as u64).saturating_mul(groups);
    results * shape.result_bytes + trailer <= BODY_BYTES_MAX
        && (!shape.filters || parts <= PARTS_MAX as u64)
}

/// The part of a filter that matters for merging; one that the ledger will call invalid asks for nothing.
fn filter(operation: u8, body: &[u8]) -> Filter {
    let nothing = Filter {
        ledger: 0,
        limit: 0,
        reversed: false,
    };
    match operation {
        operation::GET_ACCOUNT_TRANSFERS | operation::GET_ACCOUNT_BALANCES => {
            AccountFilter::read_from_bytes(body).map_or(nothing, |filter| Filter {
                ledger: 0,
                limit: filter.limit.get() as usize,
                reversed: filter.flags.get() & AccountFilter::REVERSED != 0,
            })
        }
        operation::QUERY_ACCOUNTS | operation::QUERY_TRANSFERS => {
            QueryFilter::read_from_bytes(body).map_or(nothing, |filter| Filter {
                ledger: filter.ledger.get(),
                limit: filter.limit.get() as usize,
                reversed: filter.flags.get() & QueryFilter::REVERSED != 0,
            })
        }
        // Timestamps, then the limit.
        operation::GET_CHANGE_EVENTS => body.get(16..20).map_or(nothing, |limit| Filter {
            limit: u32::from_le_bytes(limit.try_into().expect("four bytes")) as usize,
            ..nothing
        }),
        _ => nothing,
    }
}

/// What is to be asked of whom, for a session of this origin.
pub(super) fn parts(
    operation: u8,
    shape: Shape,
    body: &Bytes,
    groups: u64,
    origin: Origin,
) -> (Phase, Vec<Ask>) {
    let batches = || Batches::parse(body, shape.event_bytes).expect("it was not objected to");
    match operation {
        operation::CREATE_ACCOUNTS | operation::CREATE_TRANSFERS if groups == 1 => {
            let ask = Ask {
                group: 0,
                operation: once(operation),
                body: body.clone(),
            };
            (Phase::Whole, vec![ask])
        }
        operation::CREATE_ACCOUNTS => {
            let accounts = route::accounts(body, &batches(), groups);
            spread(operation, accounts, origin)
        }
        operation::CREATE_TRANSFERS => {
            let unknown = route::unknown_ledgers(&batches());
            if unknown.is_empty() {
                let nobody = |_| None;
                let transfers = route::transfers(body, &batches(), groups, nobody);
                return spread(operation, transfers, origin);
            }
            let ids: Vec<u8> = unknown.iter().flat_map(|id| id.to_le_bytes()).collect();
            let asks = of_all(groups, inner::LOOKUP_TRANSFERS, &ids.into());
            (Phase::Ledgers, asks)
        }
        operation::LOOKUP_ACCOUNTS | operation::LOOKUP_TRANSFERS => {
            let ids = body.slice(..batches().elements().len());
            let asks = if ids.is_empty() {
                Vec::new()
            } else {
                of_all(groups, operation, &ids)
            };
            let reading = Reading {
                operation,
                shape,
                filters: Vec::new(),
            };
            (Phase::Read(reading), asks)
        }
        _ => filters(operation, shape, body, groups),
    }
}

fn filters(operation: u8, shape: Shape, body: &Bytes, groups: u64) -> (Phase, Vec<Ask>) {
    let elements = if shape.batched {
        let batches = Batches::parse(body, shape.event_bytes);
        batches.expect("it was not objected to").elements().len()
    } else {
        body.len()
    };
    let (mut asks, mut filters) = (Vec::new(), Vec::new());
    for start in (0..elements).step_by(shape.event_bytes) {
        let body = body.slice(start..start + shape.event_bytes);
        let mut filter = filter(operation, &body);
        filter.limit = filter.limit.min(shape.results_max());
        let before = asks.len();
        match filter.ledger {
            _ if filter.limit == 0 => {}
            0 => asks.extend(of_all(groups, operation, &body)),
            ledger => asks.push(Ask {
                group: route::group_of(ledger, groups),
                operation,
                body,
            }),
        }
        filters.push((filter, asks.len() - before));
    }
    let reading = Reading {
        operation,
        shape,
        filters,
    };
    (Phase::Read(reading), asks)
}

fn of_all(groups: u64, operation: u8, body: &Bytes) -> Vec<Ask> {
    let ask = |group| Ask {
        group,
        operation,
        body: body.clone(),
    };
    (0..groups).map(ask).collect()
}

/// The parts of a write that several groups do. Group 0 knows where the session comes from, the others are told.
pub(super) fn spread(operation: u8, spread: Spread, origin: Origin) -> (Phase, Vec<Ask>) {
    let ask = |part: &route::Part| match part.group {
        0 => Ask {
            group: 0,
            operation: once(operation),
            body: part.body.clone(),
        },
        group => Ask {
            group,
            operation: told(operation),
            body: [&part.body[..], &origin.to_le_bytes()].concat().into(),
        },
    };
    let asks = spread.parts.iter().map(ask).collect();
    (Phase::Spread(spread), asks)
}

fn once(operation: u8) -> u8 {
    match operation {
        operation::CREATE_ACCOUNTS => CREATE_ACCOUNTS_ONCE,
        _ => CREATE_TRANSFERS_ONCE,
    }
}

fn told(operation: u8) -> u8 {
    match operation {
        operation::CREATE_ACCOUNTS => CREATE_ACCOUNTS_TOLD,
        _ => CREATE_TRANSFERS_TOLD,
    }
}

impl Reading {
    /// One body of all answers.
    pub(super) fn join(&self, request: &[u8], answers: &[Bytes]) -> Option<Bytes> {
        let Self {
            operation,
            shape,
            filters,
        } = self;
        if !shape.filters {
            let batches = Batches::parse(request, shape.event_bytes).ok()?;
            return route::join_lookup(&batches, *shape, answers);
        }
        let time_at = match *operation {
            operation::GET_ACCOUNT_BALANCES => TIME_IN_BALANCE,
            operation::GET_CHANGE_EVENTS => TIME_IN_CHANGE,
            _ => TIME_IN_OBJECT,
        };
        let (mut body, mut counts, mut rest) = (Vec::new(), Vec::new(), answers);
        for (filter, answers) in filters {
            let (own, others) = rest.split_at_checked(*answers)?;
            let rows = route::join_filter(filter, shape.result_bytes, time_at, own)?;
            counts.push((rows.len() / shape.result_bytes) as u16);
            body.extend_from_slice(&rows);
            rest = others;
        }
        if shape.batched {
            batches::close(&mut body, 0, &counts, shape.result_bytes);
        }
        Some(body.into())
    }
}
