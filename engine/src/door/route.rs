//! Which group does what of a request, and how the answers become one again.
//!
//! - `ledger` decides: a group keeps all ledgers whose number is the group's modulo the number of groups.
//! - The order of events within a group is the order of the request; so is the order of the answers.
//! - A chain lies in one group. One that would not is refused event for event, before anything is sent.
//! - Pure: the same request is split the same way again, which is what makes a repetition harmless.

use std::ops::Range;

use bytes::Bytes;
use ledger::account::{Account, AccountFlags};
use ledger::status::CreateResult;
use ledger::transfer::{Transfer, TransferFlags};
use net::tigerbeetle::batches::{self, Batches};
use net::tigerbeetle::operation::Shape;
use rustc_hash::FxHashMap;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Status of the event by which a chain leaves the group of the events before it: `linked_event_chain_open`, since no
/// group can close it. Others of its chain answer `linked_event_failed`. Clients end their process at a status that
/// they do not know, so it has to be one of theirs.
pub const CHAIN_ACROSS_GROUPS: u32 = 2;
/// Statuses from here on are ours: no client of the protocol knows them.
const OURS: u32 = 1000;
const LINKED_EVENT_FAILED: u32 = 1;
const RESULT_BYTES: usize = size_of::<CreateResult>();

/// The group that keeps a ledger.
#[must_use]
pub fn group_of(ledger: u32, groups: u64) -> u64 {
    u64::from(ledger) % groups
}

/// What routing needs to know of an event.
#[derive(Clone, Copy)]
struct Seen {
    ledger: u32,
    linked: bool,
}

/// An event that is created.
trait Event: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    fn seen(&self) -> Seen;
}

impl Event for Account {
    fn seen(&self) -> Seen {
        Seen {
            ledger: self.ledger.get(),
            linked: self.flags().has(AccountFlags::LINKED),
        }
    }
}

impl Event for Transfer {
    fn seen(&self) -> Seen {
        Seen {
            ledger: self.ledger.get(),
            linked: self.flags().has(TransferFlags::LINKED),
        }
    }
}

/// A request to create, split over groups.
#[derive(Debug)]
pub struct Spread {
    /// For each group concerned: its part of the request, with as many batches.
    pub parts: Vec<Part>,
    /// Of each event, who answers it.
    places: Vec<Place>,
    /// Events of each batch.
    counts: Vec<u16>,
}

/// A group's part of a request.
#[derive(Debug)]
pub struct Part {
    /// The group.
    pub group: u64,
    /// The batches.
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The next result of this part.
    In(usize),
    /// Refused here.
    Refused(u32),
}

/// The pending transfers whose ledger has to be asked for: events that resolve one and do not say in which ledger.
#[must_use]
pub fn unknown_ledgers(batches: &Batches<'_>) -> Vec<u128> {
    let transfers = view::<Transfer>(batches.elements());
    let unknown = transfers
        .iter()
        .filter(|transfer| names_no_ledger(transfer));
    let mut ids: Vec<u128> = unknown.map(|transfer| transfer.pending_id.get()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn names_no_ledger(transfer: &Transfer) -> bool {
    let flags = transfer.flags();
    transfer.ledger.get() == 0
        && (flags.has(TransferFlags::POST_PENDING_TRANSFER)
            || flags.has(TransferFlags::VOID_PENDING_TRANSFER))
}

/// Splits accounts over groups.
#[must_use]
pub fn accounts(body: &Bytes, batches: &Batches<'_>, groups: u64) -> Spread {
    spread::<Account>(body, batches, groups, |account| account.seen().ledger)
}

/// Splits transfers over groups. `known` says the ledger of a pending transfer that was asked for; one that is nowhere
/// is answered by the group of ledger 0.
#[must_use]
pub fn transfers(
    body: &Bytes,
    batches: &Batches<'_>,
    groups: u64,
    known: impl Fn(u128) -> Option<u32>,
) -> Spread {
    let all = view::<Transfer>(batches.elements());
    let here: FxHashMap<u128, u32> = if all.iter().any(names_no_ledger) {
        let named = all.iter().filter(|transfer| transfer.ledger.get() != 0);
        named
            .map(|transfer| (transfer.id.get(), transfer.ledger.get()))
            .collect()
    } else {
        FxHashMap::default()
    };
    spread::<Transfer>(body, batches, groups, |transfer| {
        if !names_no_ledger(transfer) {
            return transfer.ledger.get();
        }
        let pending = transfer.pending_id.get();
        let here = here.get(&pending).copied();
        here.or_else(|| known(pending)).unwrap_or(0)
    })
}

fn view<T: Event>(elements: &[u8]) -> &[T] {
    <[T]>::ref_from_bytes(elements).expect("a list of batches holds whole elements")
}

fn spread<T: Event>(
    body: &Bytes,
    batches: &Batches<'_>,
    groups: u64,
    ledger: impl Fn(&T) -> u32,
) -> Spread {
    let events = view::<T>(batches.elements());
    let counts: Vec<u16> = batches.counts().map(|count| count as u16).collect();
    let of: Vec<u64> = events
        .iter()
        .map(|event| group_of(ledger(event), groups))
        .collect();
    let only = of.first().copied().unwrap_or(0);
    if of.iter().all(|&group| group == only) {
        let part = Part {
            group: only,
            body: body.clone(),
        };
        return Spread {
            parts: vec![part],
            places: vec![Place::In(0); events.len()],
            counts,
        };
    }
    let mut spreading = Spreading {
        groups: Vec::new(),
        bodies: Vec::new(),
        counts: Vec::new(),
    };
    let mut places = Vec::with_capacity(events.len());
    let mut start = 0;
    for (batch, &count) in counts.iter().enumerate() {
        let end = start + usize::from(count);
        for chain in chains(&events[start..end]) {
            let chain = start + chain.start..start + chain.end;
            let breaks = chain.clone().find(|&at| of[at] != of[chain.start]);
            for at in chain {
                places.push(match breaks {
                    None => spreading.take(of[at], batch, counts.len(), events[at].as_bytes()),
                    Some(broken) if broken == at => Place::Refused(CHAIN_ACROSS_GROUPS),
                    Some(_) => Place::Refused(LINKED_EVENT_FAILED),
                });
            }
        }
        start = end;
    }
    Spread {
        parts: spreading.close(size_of::<T>()),
        places,
        counts,
    }
}

/// The chains of a batch: runs of linked events, each with the one after it.
fn chains<T: Event>(events: &[T]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = events.get(start..).filter(|rest| !rest.is_empty())?;
        let linked = rest.iter().take_while(|event| event.seen().linked).count();
        let chain = start..start + (linked + 1).min(rest.len());
        start = chain.end;
        Some(chain)
    })
}

/// Parts under way.
struct Spreading {
    groups: Vec<u64>,
    bodies: Vec<Vec<u8>>,
    counts: Vec<Vec<u16>>,
}

impl Spreading {
    fn take(&mut self, group: u64, batch: usize, batches: usize, event: &[u8]) -> Place {
        let known = self.groups.iter().position(|&known| known == group);
        let part = known.unwrap_or_else(|| {
            self.groups.push(group);
            self.bodies.push(Vec::new());
            self.counts.push(vec![0; batches]);
            self.groups.len() - 1
        });
        self.bodies[part].extend_from_slice(event);
        self.counts[part][batch] += 1;
        Place::In(part)
    }

    fn close(self, element_bytes: usize) -> Vec<Part> {
        let parts = self.groups.into_iter().zip(self.bodies).zip(self.counts);
        parts
            .map(|((group, mut body), counts)| {
                batches::close(&mut body, 0, &counts, element_bytes);
                Part {
                    group,
                    body: body.into(),
                }
            })
            .collect()
    }
}

impl Spread {
    /// Makes one answer of the parts' answers; `None` if they are not answers to these parts.
    #[must_use]
    pub fn join(&self, answers: &[Bytes]) -> Option<Bytes> {
        if self.parts.len() == 1 && self.places.iter().all(|place| *place == Place::In(0)) {
            let results = Batches::parse(&answers[0], RESULT_BYTES).ok()?;
            let fits = results.elements().len() == self.places.len() * RESULT_BYTES;
            return fits.then(|| answers[0].clone());
        }
        let parsed: Option<Vec<&[[u8; RESULT_BYTES]]>> = answers
            .iter()
            .map(|answer| {
                let results = Batches::parse(answer, RESULT_BYTES).ok()?;
                Some(results.elements().as_chunks().0)
            })
            .collect();
        let mut parsed: Vec<_> = parsed?.into_iter().map(<[_]>::iter).collect();
        let mut body = Vec::with_capacity((self.places.len() + 1) * RESULT_BYTES);
        for place in &self.places {
            match *place {
                Place::In(part) => body.extend_from_slice(parsed[part].next()?),
                Place::Refused(status) => {
                    body.extend_from_slice(CreateResult::new(0, status).as_bytes());
                }
            }
        }
        if parsed.iter().any(|results| results.len() > 0) {
            return None;
        }
        batches::close(&mut body, 0, &self.counts, RESULT_BYTES);
        Some(body.into())
    }
}

/// Does a result have a status that no client of the protocol knows: is a table of the ledger full?
#[must_use]
pub fn is_full(body: &[u8]) -> bool {
    let Ok(results) = Batches::parse(body, RESULT_BYTES) else {
        return false;
    };
    let results = <[CreateResult]>::ref_from_bytes(results.elements());
    let ours = |result: &CreateResult| (OURS..u32::MAX).contains(&result.status.get());
    results.is_ok_and(|results| results.iter().any(ours))
}

/// Joins the answers of all groups to a lookup: for each id what the first group that has it says.
///
/// `None` if the answers hold what nobody asked for.
#[must_use]
pub fn join_lookup(batches: &Batches<'_>, shape: Shape, answers: &[Bytes]) -> Option<Bytes> {
    let size = shape.result_bytes;
    let mut rest: Vec<&[u8]> = answers.iter().map(|answer| &answer[..]).collect();
    let mut body = Vec::with_capacity(answers.iter().map(Bytes::len).sum::<usize>() + size);
    let mut counts = Vec::with_capacity(batches.len());
    for ids in batches.iter() {
        let before = body.len();
        for id in ids.chunks_exact(16) {
            let mut found = false;
            for rest in &mut rest {
                if rest.get(..16) == Some(id) {
                    let (row, behind) = rest.split_at_checked(size)?;
                    if !found {
                        body.extend_from_slice(row);
                    }
                    found = true;
                    *rest = behind;
                }
            }
        }
        counts.push(((body.len() - before) / size) as u16);
    }
    if rest.iter().any(|rest| !rest.is_empty()) {
        return None;
    }
    batches::close(&mut body, 0, &counts, size);
    Some(body.into())
}

/// What merging needs to know of an operation that takes filters.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The ledger that the filter names; 0 for all.
    pub ledger: u32,
    /// Most results.
    pub limit: usize,
    /// Newest first?
    pub reversed: bool,
}

/// Joins the answers of groups to one filter, in order of time, at most `limit`.
///
/// `None` if an answer is no array of results.
#[must_use]
pub fn join_filter(
    filter: &Filter,
    result_bytes: usize,
    time_at: usize,
    answers: &[Bytes],
) -> Option<Bytes> {
    if answers
        .iter()
        .any(|answer| !answer.len().is_multiple_of(result_bytes))
    {
        return None;
    }
    if let [only] = answers {
        return Some(only.slice(..only.len().min(filter.limit * result_bytes)));
    }
    let mut rows: Vec<(u64, &[u8])> = answers
        .iter()
        .flat_map(|answer| answer.chunks_exact(result_bytes))
        .map(|row| {
            let time = row[time_at..time_at + 8].try_into().expect("eight bytes");
            (u64::from_le_bytes(time), row)
        })
        .collect();
    rows.sort_by_key(|(time, _)| if filter.reversed { !time } else { *time });
    rows.truncate(filter.limit);
    let body: Vec<u8> = rows.iter().flat_map(|(_, row)| *row).copied().collect();
    Some(body.into())
}

#[cfg(test)]
mod tests;
