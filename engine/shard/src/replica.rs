//! One group's member on this core: its consensus, its state machine, and who waits for which entry.
//!
//! - `applied <= commit`; entries are applied once, in order.
//! - `asked` is sorted by index and holds only entries that this replica proposed in `asked_term`.
//! - The window holds every entry above `min(applied, durable)`.
//! - While `is_void` the machine holds no state that belongs to `applied`: nothing is applied or read.

use std::collections::VecDeque;

use bytes::Bytes;
use net::request::RequestHead;
use net::transport::ConnectionId;
use raft::config::Damage;
use raft::effects::HardState;
use raft::ids::{GroupId, Index, ReadId, Term, Time};
use raft::raft::Raft;

use crate::mutants::{Mutant, is_planted};
use crate::promise::{Base, Promise};
use crate::shelf::Shelf;
use crate::window::Window;

/// One per group and core.
#[derive(Debug)]
pub struct Replica<M> {
    /// Its group.
    pub group: GroupId,
    /// The group's agreement, as far as this node is concerned.
    pub raft: Raft,
    /// The group's state.
    pub machine: M,
    /// The newest entries' bytes.
    pub window: Window,
    /// Requests admitted and not yet proposed, in order of arrival.
    pub waiting: VecDeque<Request>,
    /// Requests proposed and not yet answered.
    pub asked: VecDeque<Asked>,
    /// How many of `asked`, from the front, are stamped durable.
    pub asked_durable: usize,
    /// How many of `asked`, from the front, are stamped committed.
    pub asked_committed: usize,
    /// The term in which `asked` was proposed.
    pub asked_term: Term,
    /// Linearizable reads admitted and not yet asked for.
    pub waiting_reads: Vec<Request>,
    /// Linearizable reads that wait for their confirmation, many to one.
    pub reads: Vec<(ReadId, Vec<Request>)>,
    /// Confirmed reads that wait until the index is applied.
    pub confirmed: Vec<(Index, Request)>,
    /// Everything up to it may be applied.
    pub commit: Index,
    /// Everything up to it is applied.
    pub applied: Index,
    /// Entries up to it are durable here, unless they were superseded since.
    pub durable: Index,
    /// How often a suffix was superseded: tells a write that completes from one that no longer counts.
    pub cuts: u64,
    /// Term and vote as the log was told them last.
    pub promised: HardState,
    /// Where the log begins, as it is to be recorded with every promise.
    pub base: Option<Base>,
    /// What is lost here, as the newest promise in the log says.
    pub marked: Damage,
    /// The machine is being given another state.
    pub is_void: bool,
    /// What is kept beside the log.
    pub shelf: Shelf,
    /// Stands in the list of replicas with something to propose or to confirm.
    pub is_asking: bool,
    /// Stands in the list of replicas with something to apply.
    pub is_ready: bool,
    /// Stands in the list of replicas that were touched.
    pub is_touched: bool,
}

/// A client's request, checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked.
    pub connection: ConnectionId,
    /// The request's head.
    pub head: RequestHead,
    /// Its body.
    pub payload: Bytes,
    /// CRC-32 of the body, as the client computed it and the transport verified it.
    pub payload_crc: u32,
    /// Its way so far.
    pub stamps: Stamps,
}

/// A request that is in the log.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Where.
    pub index: Index,
    /// Who asked.
    pub connection: ConnectionId,
    /// The request's head.
    pub head: RequestHead,
    /// Its way so far.
    pub stamps: Stamps,
}

/// When a request passed from one stage to the next; each is the end of a stage and the beginning of
/// the following one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    /// First byte there.
    pub began: Time,
    /// Whole and verified.
    pub arrived: Time,
    /// Checked by a turn.
    pub received: Time,
    /// In the group's log.
    pub decided: Time,
    /// Durable here, or committed if that came first.
    pub durable: Time,
    /// Committed.
    pub committed: Time,
    /// Applied.
    pub applied: Time,
}

impl<M> Replica<M> {
    /// A replica that has applied everything up to `applied`; the window holds the rest of its log.
    #[must_use]
    pub fn new(group: GroupId, raft: Raft, machine: M, window: Window, applied: Index) -> Self {
        Self {
            group,
            durable: raft.last_index(),
            marked: raft.damage(),
            raft,
            machine,
            window,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            asked_durable: 0,
            asked_committed: 0,
            asked_term: Term(0),
            waiting_reads: Vec::new(),
            reads: Vec::new(),
            confirmed: Vec::new(),
            commit: applied,
            applied,
            cuts: 0,
            promised: HardState::default(),
            base: None,
            is_void: false,
            shelf: Shelf::default(),
            is_asking: false,
            is_ready: false,
            is_touched: false,
        }
    }

    /// What a record of this moment says.
    #[must_use]
    pub fn promise(&self) -> Promise {
        Promise {
            state: self.promised,
            // Recovery applies what a promise vouches for from the entries before it in the log: it may not
            // vouch for entries that are committed and still on their way there.
            commit: if is_planted(Mutant::PromiseVouchesForAll) {
                self.commit
            } else {
                self.commit.min(self.durable)
            },
            damage: self.raft.damage(),
            base: self.base,
        }
    }

    /// The machine's state may be shown to those who do not ask how old it is.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.is_void && self.raft.damage() == Damage::None
    }

    /// Its agreement was told something: noted once.
    pub fn touch(&mut self, slot: u32, touched: &mut Vec<u32>) {
        if !self.is_touched {
            self.is_touched = true;
            touched.push(slot);
        }
    }

    /// Entries from `first` on are superseded.
    pub fn cut(&mut self, first: Index) {
        self.cuts += 1;
        self.durable = self.durable.min(Index(first.0 - 1));
    }

    /// Entries up to `last`, written after `cuts` cuts, are durable.
    pub fn written(&mut self, last: Index, cuts: u64) {
        if cuts == self.cuts || is_planted(Mutant::CutForgotten) {
            self.durable = self.durable.max(last);
        }
    }

    /// Stamps the requests whose entries became durable here up to `upto`.
    pub fn stamp_durable(&mut self, upto: Index, now: Time) {
        while let Some(asked) = self.asked.get_mut(self.asked_durable) {
            if asked.index > upto {
                break;
            }
            asked.stamps.durable = now;
            self.asked_durable += 1;
        }
    }

    /// Stamps the requests whose entries were committed up to `upto`.
    pub fn stamp_committed(&mut self, upto: Index, now: Time) {
        self.stamp_durable(upto, now);
        while let Some(asked) = self.asked.get_mut(self.asked_committed) {
            if asked.index > upto {
                break;
            }
            asked.stamps.committed = now;
            self.asked_committed += 1;
        }
    }

    /// Takes the request that proposed the entry at `index`, if somebody here waits for it.
    pub fn take_asked(&mut self, index: Index) -> Option<Asked> {
        if self.asked.front()?.index != index {
            return None;
        }
        self.asked_durable = self.asked_durable.saturating_sub(1);
        self.asked_committed = self.asked_committed.saturating_sub(1);
        self.asked.pop_front()
    }

    /// Takes everybody who waits; true for those whose request is in the log, so that its outcome is
    /// unknown here once leadership is lost.
    pub fn abandon(&mut self) -> impl Iterator<Item = (ConnectionId, RequestHead, bool)> + use<M> {
        self.asked_durable = 0;
        self.asked_committed = 0;
        let asked = std::mem::take(&mut self.asked);
        let waiting = std::mem::take(&mut self.waiting);
        let asked = asked
            .into_iter()
            .map(|asked| (asked.connection, asked.head, true));
        asked.chain(
            waiting
                .into_iter()
                .map(|request| (request.connection, request.head, false)),
        )
    }
}
