//! Apply: committed entries change the state, in order, once; reads that waited for them are answered.
//!
//! - One turn applies a bounded number of bytes and entries; the rest waits for the next turn.
//! - The outcome of an entry goes to the client that proposed it here, if it still waits.

use raft::ids::Time;
use raft::state_machine::{Command, StateMachine};

use crate::clock::Clock;
use crate::entry::EntryKind;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::receipt::Receipt;
use crate::replica::{Replica, Stamps};
use crate::stages::reply::{Position, Replies};

/// What one turn may still apply.
#[derive(Debug)]
pub struct Budget {
    entries: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            entries: limits::APPLY_ENTRIES_PER_TURN,
            bytes: limits::APPLY_BYTES_PER_TURN,
        }
    }
}

/// Applies what is committed in `replica`, as far as the budget and the window reach.
/// Returns true when more is left.
pub fn apply<M: StateMachine>(
    replica: &mut Replica<M>,
    replies: &mut Replies,
    budget: &mut Budget,
    scratch: &mut Vec<u8>,
    clock: &impl Clock,
) -> bool {
    if replica.is_void {
        return false;
    }
    let upto = if is_planted(Mutant::AppliesUncommitted) {
        replica.raft.last_index()
    } else {
        replica.commit
    };
    while replica.applied < upto && budget.entries > 0 && budget.bytes > 0 {
        let index = replica.applied.next();
        let Some(entry) = replica.window.get(index) else {
            break;
        };
        budget.entries -= 1;
        budget.bytes = budget.bytes.saturating_sub(entry.payload.len().max(1));
        scratch.clear();
        if entry.head.kind() == EntryKind::Command {
            replica.machine.apply_for(
                entry.head.asker(),
                Command {
                    index,
                    time: entry.head.time.get(),
                    operation: entry.head.operation,
                    payload: &entry.payload,
                },
                scratch,
            );
        }
        if entry.head.kind() == EntryKind::Receipt
            && let Some(receipt) = Receipt::parse(&entry.payload)
        {
            replica.shelf.received(&receipt);
        }
        replica.applied = index;
        if let Some(asked) = replica.take_asked(index) {
            let stamps = Stamps {
                applied: clock.now(),
                ..asked.stamps
            };
            let position = Position {
                index,
                term: replica.raft.term(),
                leader: replica.raft.leader(),
            };
            replies.answer(
                asked.connection,
                &asked.head,
                position,
                std::mem::take(scratch),
                stamps,
            );
        }
    }
    replica.raft.applied(replica.applied);
    answer_reads(replica, replies, clock.now());
    replica.applied < replica.commit && replica.window.get(replica.applied.next()).is_some()
}

/// Answers confirmed reads whose index is applied.
fn answer_reads<M: StateMachine>(replica: &mut Replica<M>, replies: &mut Replies, now: Time) {
    let mut at = 0;
    while at < replica.confirmed.len() {
        let is_early = replica.confirmed[at].0 > replica.applied;
        if is_early && !is_planted(Mutant::ReadsTooEarly) {
            at += 1;
            continue;
        }
        let (_, request) = replica.confirmed.swap_remove(at);
        read(replica, replies, &request, now);
    }
}

/// Answers one read from the state as it stands.
pub fn read<M: StateMachine>(
    replica: &Replica<M>,
    replies: &mut Replies,
    request: &crate::replica::Request,
    now: Time,
) {
    let mut body = Vec::new();
    replica
        .machine
        .query(request.head.operation, &request.payload, &mut body);
    let stamps = Stamps {
        applied: now,
        ..request.stamps
    };
    let position = Position {
        index: replica.applied,
        term: replica.raft.term(),
        leader: replica.raft.leader(),
    };
    replies.answer(request.connection, &request.head, position, body, stamps);
}

/// Frees what the window holds of applied and durable entries, beyond `keep_bytes`.
pub fn trim<M>(replica: &mut Replica<M>, keep_bytes: usize) -> usize {
    if is_planted(Mutant::NothingTrimmed) {
        return 0;
    }
    replica
        .window
        .trim(replica.applied.min(replica.durable), keep_bytes)
}
