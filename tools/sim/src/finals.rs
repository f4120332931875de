//! The judges at the end: what the clients saw, held against what the groups agreed on.
//!
//! - The agreed history is done again on an empty ledger: state hashes and answers must come out the same, byte for byte.
//!   The product names the index of every answer, so no search is needed.
//! - An operation takes effect between its first attempt and its answer: its index is beyond every index that was
//!   acknowledged before it began.

use std::collections::{BTreeMap, BTreeSet};

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use ledger::status::{CreateResult, CreateTransferStatus};
use ledger::transfer::Transfer;
use net::request::Consistency;
use raft::ids::Index;
use raft::state_machine::{Asker, Command, StateMachine};
use shard::history::ENTRIES;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::chronicle::{Applied, Chronicle};
use crate::clocks::Clocks;
use crate::history::{Done, History};
use crate::machine::{Machine, Model, is_write};
use crate::reckoning;
use crate::told;
use crate::verdict::{Broken, Scope};

/// Everything that can be judged without looking at the nodes.
///
/// # Errors
/// The first promise that was not kept.
pub fn judge(model: Model, chronicle: &Chronicle, history: &History) -> Result<(), Broken> {
    let mut done: BTreeMap<Scope, Vec<&Done>> = BTreeMap::new();
    for one in &history.done {
        done.entry(one.request.scope).or_default().push(one);
    }
    chronicle.read(|groups| {
        let none = BTreeMap::new();
        for (scope, group) in groups {
            redo(model, *scope, group)?;
        }
        for (scope, done) in &mut done {
            let group = groups.get(scope).unwrap_or(&none);
            real_time(*scope, done)?;
            answers(model, *scope, group, done)?;
        }
        refusals(groups, history)
    })
}

/// The history from the beginning gives the same states.
fn redo(model: Model, scope: Scope, group: &BTreeMap<u64, Applied>) -> Result<(), Broken> {
    let mut machine = Machine::new(model, scope.group);
    let (mut reply, mut clocks) = (Vec::new(), Clocks::default());
    for (index, applied) in group {
        apply(&mut machine, *index, applied, &mut reply);
        clocks.rise(scope, *index, applied, &reply)?;
        if machine.digest() != applied.digest || xxh3_64(&reply) != applied.reply {
            return Err(Broken::NotReproduced {
                scope,
                index: *index,
            });
        }
    }
    let Some(ledger) = machine.ledger() else {
        return Ok(());
    };
    if !ledger.audit().conserves() {
        return Err(Broken::NotConserved {
            scope,
            node: usize::MAX,
        });
    }
    reckoning::judge(scope, group, ledger)
}

fn apply(machine: &mut Machine, index: u64, applied: &Applied, reply: &mut Vec<u8>) {
    reply.clear();
    let command = Command {
        index: Index(index),
        time: applied.time,
        operation: applied.operation,
        payload: &applied.payload,
    };
    let asker = Asker {
        client: applied.client,
        number: 0,
    };
    machine.apply(asker, command, reply);
}

/// Every answer is what the history gives at its index.
fn answers(
    model: Model,
    scope: Scope,
    group: &BTreeMap<u64, Applied>,
    done: &mut [&Done],
) -> Result<(), Broken> {
    done.sort_by_key(|done| (done.index, !is_write(done.request.operation)));
    let mut machine = Machine::new(model, scope.group);
    let mut entries = group.iter().peekable();
    let (mut reply, mut last) = (Vec::new(), 0);
    for done in done.iter() {
        while let Some((index, applied)) = entries.next_if(|(index, _)| **index <= done.index) {
            apply(&mut machine, *index, applied, &mut reply);
            last = *index;
        }
        let (request, index) = (done.request.number, done.index);
        if is_write(done.request.operation) {
            let lost = |how| {
                Err(Broken::Acknowledged {
                    scope,
                    request,
                    index,
                    how,
                })
            };
            let Some(applied) = group.get(&index).filter(|_| last == index) else {
                return lost("nothing stands there");
            };
            if applied.operation != done.request.operation
                || applied.payload != done.request.payload
            {
                return lost("something else stands there");
            }
            if reply != done.reply {
                return lost("the history gives another answer");
            }
        } else if done.request.operation == ENTRIES {
            if let Some(how) = told::wrong(group, &done.request.payload, &done.reply) {
                return Err(Broken::ToldWrong {
                    scope,
                    request,
                    how,
                });
            }
        } else {
            let mut told = Vec::new();
            machine.query(done.request.operation, &done.request.payload, &mut told);
            if told != done.reply {
                return Err(Broken::ReadWrong {
                    scope,
                    request,
                    index,
                });
            }
        }
    }
    Ok(())
}

/// The order of the history agrees with the clients' time.
fn real_time(scope: Scope, done: &[&Done]) -> Result<(), Broken> {
    let orders = |done: &&&Done| done.request.consistency == Consistency::Linearizable;
    let mut begun: Vec<&Done> = done.iter().filter(orders).copied().collect();
    let mut ended = begun.clone();
    begun.sort_by_key(|done| done.asked_at);
    ended.sort_by_key(|done| done.answered_at);
    let mut ended = ended.into_iter().peekable();
    let mut known = 0;
    for done in begun {
        while let Some(before) = ended.next_if(|before| before.answered_at < done.asked_at) {
            known = known.max(before.index);
        }
        let is_late = if is_write(done.request.operation) {
            done.index <= known
        } else {
            done.index < known
        };
        if is_late {
            let (request, index) = (done.request.number, done.index);
            return Err(Broken::NotLinear {
                scope,
                request,
                index,
                known,
            });
        }
    }
    Ok(())
}

/// What was refused by every attempt did not happen.
fn refusals(
    groups: &BTreeMap<Scope, BTreeMap<u64, Applied>>,
    history: &History,
) -> Result<(), Broken> {
    for request in history.refused.iter().map(|refused| &refused.request) {
        // Only transfers carry ids of their own; accounts are opened by many.
        if request.operation != operation::CREATE_TRANSFERS {
            continue;
        }
        let again = |done: &Done| done.request.payload == request.payload;
        let found = groups.get(&request.scope).and_then(|group| {
            group
                .iter()
                .find(|(_, applied)| applied.payload == request.payload)
        });
        if let Some((index, _)) = found
            && !history.done.iter().any(again)
        {
            return Err(Broken::Refused {
                scope: request.scope,
                request: request.number,
                index: *index,
            });
        }
    }
    Ok(())
}

/// Every transfer that was acknowledged is in this ledger, once, as it was acknowledged; and the books balance.
///
/// # Errors
/// The first that is not.
pub fn books(scope: Scope, node: usize, ledger: &Ledger, history: &History) -> Result<(), Broken> {
    if !ledger.audit().conserves() {
        return Err(Broken::NotConserved { scope, node });
    }
    let mut seen = BTreeSet::new();
    let transfers = history.done.iter().filter(|done| {
        done.request.scope == scope && done.request.operation == operation::CREATE_TRANSFERS
    });
    for done in transfers {
        let lost = |how| {
            Err(Broken::Acknowledged {
                scope,
                request: done.request.number,
                index: done.index,
                how,
            })
        };
        let (Ok(asked), Ok(results)) = (
            <[Transfer]>::ref_from_bytes(&done.request.payload),
            <[CreateResult]>::ref_from_bytes(&done.reply),
        ) else {
            return lost("the answer is no list of results");
        };
        if asked.len() != results.len() {
            return lost("the answer has another number of results");
        }
        for (asked, result) in asked.iter().zip(results) {
            if !seen.insert(asked.id.get()) {
                continue;
            }
            let mut found = Vec::new();
            ledger.query(operation::LOOKUP_TRANSFERS, asked.id.as_bytes(), &mut found);
            let status = result.transfer_status();
            // A chain asked for twice fails the second time, and stands in the books.
            if status == Some(CreateTransferStatus::LinkedEventFailed) {
                continue;
            }
            let exists = matches!(
                status,
                Some(CreateTransferStatus::Created | CreateTransferStatus::Exists)
            );
            let rows =
                <[Transfer]>::ref_from_bytes(&found).expect("the ledger answers with transfers");
            match rows {
                [] if !exists => {}
                [row] if exists => {
                    // Who posts or voids takes over what the reservation says.
                    let is_alike = asked.pending_id.get() != 0
                        || row.user_data_64 == asked.user_data_64
                            && row.amount == asked.amount
                            && row.debit_account_id == asked.debit_account_id
                            && row.credit_account_id == asked.credit_account_id;
                    let is_same =
                        is_alike && row.timestamp == result.timestamp && row.flags == asked.flags;
                    if !is_same {
                        return lost("a transfer stands in the books otherwise");
                    }
                }
                [] => return lost("a transfer is missing in the books of a node"),
                [_] => return lost("a refused transfer stands in the books"),
                _ => return lost("a transfer stands in the books twice"),
            }
        }
    }
    Ok(())
}
