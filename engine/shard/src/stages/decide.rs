//! Decide: the consensus core is told what happened and asked what to do; its answer is carried to the
//! journal, the peers, the appliers and the timers.
//!
//! - Effects are drained after every single mutation, so the entries of an effect are exactly the ones
//!   in hand.
//! - Nothing here waits: whatever depends on durability is withheld by the core itself.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::effects::{Append, Effects, HardState, Install, Made, Role, RoleChange};
use raft::ids::{Index, NodeId, Time};
use raft::message::Message;
use raft::raft::ProposeError;

use crate::entry::{Entry, EntryHead, EntryKind};
use crate::mutants::{Mutant, is_planted};
use crate::replica::{Asked, Replica, Request};
use crate::stages::persist::Journal;
use crate::stages::reply::{Replies, Status};
use crate::timers::Timers;

/// Where a decision goes. Lent by the shard for the time of a turn.
pub struct Carriers<'a> {
    /// What must become durable.
    pub journal: &'a mut Journal,
    /// What must be sent, by group slot.
    pub outbound: &'a mut Vec<(NodeId, u32, Message)>,
    /// Answers to clients.
    pub replies: &'a mut Replies,
    /// Deadlines.
    pub timers: &'a mut Timers,
    /// Groups with something to apply or to read.
    pub ready: &'a mut Vec<u32>,
    /// Groups whose core was told something, for whoever judges them.
    pub touched: &'a mut Vec<u32>,
    /// Reused for every drain.
    pub effects: &'a mut Effects,
    /// Entries in hand: the ones just proposed, or just received.
    pub stash: &'a mut VecDeque<Entry>,
    /// States that are wanted in place of a log.
    pub installs: &'a mut Vec<(u32, Install)>,
}

/// Proposes what waits in `replica`, as many as its group takes.
pub fn propose<M>(
    replica: &mut Replica<M>,
    slot: u32,
    carriers: &mut Carriers<'_>,
    now: Time,
    wall: u64,
) {
    let bytes = replica
        .waiting
        .iter()
        .map(|request| request.payload.len() as u64)
        .sum();
    let count = u32::try_from(replica.waiting.len()).unwrap_or(u32::MAX);
    match replica.raft.propose(count, bytes) {
        Ok(range) => {
            let requests = std::mem::take(&mut replica.waiting);
            proposed(replica, carriers.stash, *range.start(), requests, now, wall);
        }
        Err(ProposeError::Busy) if count > 1 => {
            propose_one_by_one(replica, slot, carriers, now, wall);
            return;
        }
        Err(error) => refuse(replica, carriers.replies, status(error)),
    }
    carry(replica, slot, carriers, now);
}

/// Proposes a receipt of the object store. False when this replica does not lead, or its group has no room.
pub fn propose_receipt<M>(
    replica: &mut Replica<M>,
    slot: u32,
    payload: Bytes,
    carriers: &mut Carriers<'_>,
    now: Time,
) -> bool {
    let Ok(range) = replica.raft.propose(1, payload.len() as u64) else {
        return false;
    };
    carriers.stash.push_back(Entry {
        index: *range.start(),
        term: replica.raft.term(),
        head: EntryHead::made(replica.raft.commit(), 0, EntryKind::Receipt),
        payload_crc: crc32fast::hash(&payload),
        payload,
    });
    carry(replica, slot, carriers, now);
    true
}

/// The group has room for some of the requests only: the rest is answered "busy".
fn propose_one_by_one<M>(
    replica: &mut Replica<M>,
    slot: u32,
    carriers: &mut Carriers<'_>,
    now: Time,
    wall: u64,
) {
    while let Some(request) = replica.waiting.pop_front() {
        match replica.raft.propose(1, request.payload.len() as u64) {
            Ok(range) => {
                let one = VecDeque::from([request]);
                proposed(replica, carriers.stash, *range.start(), one, now, wall);
                carry(replica, slot, carriers, now);
            }
            Err(error) => {
                replica.waiting.push_front(request);
                refuse(replica, carriers.replies, status(error));
            }
        }
    }
}

/// Turns requests into entries and remembers who waits for them.
fn proposed<M>(
    replica: &mut Replica<M>,
    stash: &mut VecDeque<Entry>,
    first: Index,
    requests: VecDeque<Request>,
    now: Time,
    wall: u64,
) {
    let term = replica.raft.term();
    let commit = replica.raft.commit();
    replica.asked_term = term;
    for (index, request) in (first.0..).map(Index).zip(requests) {
        let head = &request.head;
        let entry_head = EntryHead::command(commit, wall, head.client, head.number, head.operation);
        let mut stamps = request.stamps;
        stamps.decided = now;
        replica.asked.push_back(Asked {
            index,
            connection: request.connection,
            head: request.head,
            stamps,
        });
        stash.push_back(Entry {
            index,
            term,
            head: entry_head,
            payload: request.payload,
            payload_crc: request.payload_crc,
        });
    }
}

/// Proposes what the group's machine has due; nobody waits for its outcome. If it is not taken now it is due again.
pub fn propose_due<M>(
    replica: &mut Replica<M>,
    slot: u32,
    operation: u8,
    carriers: &mut Carriers<'_>,
    now: Time,
    wall: u64,
) {
    if let Ok(range) = replica.raft.propose(1, 0) {
        carriers.stash.push_back(Entry {
            index: *range.start(),
            term: replica.raft.term(),
            head: EntryHead::command(replica.raft.commit(), wall, 0, 0, operation),
            payload: Bytes::new(),
            payload_crc: crc32fast::hash(&[]),
        });
    }
    carry(replica, slot, carriers, now);
}

/// Asks the group to confirm that this replica leads, once for all reads that wait.
pub fn confirm_reads<M>(
    replica: &mut Replica<M>,
    slot: u32,
    carriers: &mut Carriers<'_>,
    now: Time,
) {
    let requests = std::mem::take(&mut replica.waiting_reads);
    match replica.raft.read(now) {
        Ok(id) => replica.reads.push((id, requests)),
        Err(error) => refuse_reads(replica, carriers.replies, requests, status(error)),
    }
    carry(replica, slot, carriers, now);
}

fn refuse_reads<M>(
    replica: &Replica<M>,
    replies: &mut Replies,
    requests: Vec<Request>,
    status: Status,
) {
    let leader = replica.raft.leader();
    for request in requests {
        replies.refuse(request.connection, &request.head, status, leader);
    }
}

/// Why a proposal was not taken, in the client's words.
fn status(error: ProposeError) -> Status {
    match error {
        ProposeError::Busy => Status::Busy,
        _ => Status::NotLeader,
    }
}

/// Refuses everything that waits to be proposed.
pub fn refuse<M>(replica: &mut Replica<M>, replies: &mut Replies, status: Status) {
    let leader = replica.raft.leader();
    for request in replica.waiting.drain(..) {
        replies.refuse(request.connection, &request.head, status, leader);
    }
}

/// Drains the core and carries everything it asks for to where it belongs.
pub fn carry<M>(replica: &mut Replica<M>, slot: u32, carriers: &mut Carriers<'_>, now: Time) {
    replica.touch(slot, carriers.touched);
    carriers.effects.clear();
    replica.raft.drain(carriers.effects);
    mark_damage(replica, slot, carriers.journal);
    if let Some(persist) = carriers.effects.persist.take() {
        if let Some(append) = &persist.append {
            take_entries(replica, carriers.stash, append);
        }
        carriers.journal.push(slot, persist);
    }
    carriers.stash.clear();
    carriers.outbound.extend(
        carriers
            .effects
            .send
            .drain(..)
            .map(|(to, message)| (to, slot, message)),
    );
    if let Some(role) = carriers.effects.role.take() {
        change_role(replica, role, carriers.replies);
    }
    if let Some(install) = carriers.effects.install.take() {
        carriers.installs.push((slot, install));
    }
    let mut ready = false;
    if let Some(commit) = carriers.effects.commit.take() {
        assert!(commit >= replica.commit, "the commit index never regresses");
        replica.commit = commit;
        replica.stamp_committed(commit, now);
        ready = true;
    }
    for (id, confirmation) in carriers.effects.reads.drain(..) {
        let Some(position) = replica.reads.iter().position(|(read, _)| *read == id) else {
            continue;
        };
        let (_, requests) = replica.reads.swap_remove(position);
        match confirmation {
            Ok(index) => {
                replica
                    .confirmed
                    .extend(requests.into_iter().map(|request| (index, request)));
                ready = true;
            }
            Err(_) => refuse_reads(replica, carriers.replies, requests, Status::NotLeader),
        }
    }
    if ready && !replica.is_ready {
        replica.is_ready = true;
        carriers.ready.push(slot);
    }
    carriers.timers.set(slot, carriers.effects.wake);
}

/// The log is to say what is lost here before anything is appended in its place, and no longer than that.
fn mark_damage<M>(replica: &mut Replica<M>, slot: u32, journal: &mut Journal) {
    let damage = replica.raft.damage();
    if damage != replica.marked {
        replica.marked = damage;
        let hard_state = HardState {
            term: replica.raft.term(),
            vote: replica.raft.vote(),
        };
        journal.mark(slot, hard_state);
    }
}

/// Moves the entries of an append from the hand into the window.
fn take_entries<M>(replica: &mut Replica<M>, stash: &mut VecDeque<Entry>, append: &Append) {
    if append.first <= replica.window.last() {
        replica.window.cut(append.first);
        replica.cut(append.first);
    }
    for index in (append.first.0..=append.last.0).map(Index) {
        let made = append.made.iter().find(|(at, _)| *at == index);
        let entry = match made {
            Some((_, made)) => made_entry(replica, index, made),
            None => loop {
                let entry = stash
                    .pop_front()
                    .expect("every entry that the core accepts is in hand");
                if entry.index == index {
                    break entry;
                }
            },
        };
        replica.window.push(entry);
    }
}

/// An entry whose content is the core's own.
fn made_entry<M>(replica: &Replica<M>, index: Index, made: &Made) -> Entry {
    let (kind, payload) = match made {
        Made::Empty => (EntryKind::Empty, Bytes::new()),
        Made::Configuration(membership) => {
            let mut payload = Vec::new();
            membership.encode(&mut payload);
            (EntryKind::Configuration, Bytes::from(payload))
        }
    };
    Entry {
        index,
        term: replica.raft.term(),
        head: EntryHead::made(replica.raft.commit(), 0, kind),
        payload_crc: crc32fast::hash(&payload),
        payload,
    }
}

/// A replica that no longer leads in the term of its requests cannot know their outcome.
fn change_role<M>(replica: &mut Replica<M>, change: RoleChange, replies: &mut Replies) {
    if change.role == Role::Leader && change.term == replica.asked_term {
        return;
    }
    for (connection, head, in_log) in replica.abandon() {
        let status = if in_log && is_planted(Mutant::DeposedRefuses) {
            Status::Busy
        } else if in_log {
            Status::Unavailable
        } else {
            Status::NotLeader
        };
        replies.refuse(connection, &head, status, change.leader);
    }
}
