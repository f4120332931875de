//! What the groups agreed on: every applied entry of every group, with the state hash after it, as the first replica told
//! it and all others must repeat it.
//!
//! - Entries are applied once and in order by every life of every replica, recoveries included.
//! - At one index all replicas apply the same command, answer it with the same bytes and have the same digest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use raft::state_machine::{
    Admission, Asker, Command, Refusal, RestoreError, Shelved, StateMachine,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::build::{Build, Met, NEWER};
use crate::machine::{Machine, Model};
use crate::verdict::{Broken, Scope};

/// One applied command.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The leader's wall clock.
    pub time: u64,
    /// What to do.
    pub operation: u8,
    /// The request's body.
    pub payload: Vec<u8>,
    /// Who asked.
    pub client: u128,
    /// The reply's hash.
    pub reply: u64,
    /// The state hash afterwards.
    pub digest: u128,
}

#[derive(Debug, Default)]
struct Inner {
    groups: BTreeMap<Scope, BTreeMap<u64, Applied>>,
    /// Bytes of all commands of a group.
    agreed_bytes: BTreeMap<Scope, u64>,
    broken: Option<Broken>,
    applications: u64,
    /// Images of the older program that the newer one read, and of the newer one that the older one refused.
    met: [u64; 2],
}

/// All groups of all clusters; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Chronicle(Rc<RefCell<Inner>>);

/// How a machine goes wrong; planted by the exam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flaw {
    /// Not at all.
    #[default]
    None,
    /// Applies one entry in so many twice.
    Twice(u64),
    /// Skips one entry in so many.
    Skips(u64),
    /// Takes the time of one entry in so many from its own clock.
    OwnClock(u64),
    /// Answers one read in so many from an empty ledger.
    EmptyReads(u64),
    /// Keeps so many bytes of every entry for good.
    Keeps(usize),
}

/// A replica's machine under observation.
pub struct Watched {
    machine: Machine,
    model: Model,
    build: Build,
    chronicle: Chronicle,
    scope: Scope,
    node: usize,
    last: u64,
    flaw: Flaw,
    /// What a flawed machine keeps.
    kept: Vec<u8>,
}

impl Chronicle {
    /// The first contradiction, once.
    #[must_use]
    pub fn take_broken(&self) -> Option<Broken> {
        self.0.borrow_mut().broken.take()
    }

    /// How often an entry was applied, by any replica.
    #[must_use]
    pub fn applications(&self) -> u64 {
        self.0.borrow().applications
    }

    /// How often the newer program read an image of the older one, and the older one refused one of the newer.
    #[must_use]
    pub fn met(&self) -> [u64; 2] {
        self.0.borrow().met
    }

    /// Bytes of all commands that a group agreed on, as far as any replica applied them.
    #[must_use]
    pub fn agreed_bytes(&self, scope: Scope) -> u64 {
        let inner = self.0.borrow();
        inner.agreed_bytes.get(&scope).copied().unwrap_or_default()
    }

    fn meet(&self, met: Option<Met>) {
        match met {
            Some(Met::ReadOlder) => self.0.borrow_mut().met[0] += 1,
            Some(Met::RefusedNewer) => self.0.borrow_mut().met[1] += 1,
            None => {}
        }
    }

    /// Reads the history of every group.
    pub fn read<T>(&self, look: impl FnOnce(&BTreeMap<Scope, BTreeMap<u64, Applied>>) -> T) -> T {
        look(&self.0.borrow().groups)
    }

    fn note(
        &self,
        (scope, node): (Scope, usize),
        (client, command): (u128, Command<'_>),
        reply: u64,
        digest: u128,
    ) {
        let inner = &mut *self.0.borrow_mut();
        let index = command.index.0;
        inner.applications += 1;
        let group = inner.groups.entry(scope).or_default();
        let Some(known) = group.get(&index) else {
            let (time, operation, payload) =
                (command.time, command.operation, command.payload.to_vec());
            *inner.agreed_bytes.entry(scope).or_default() += payload.len() as u64;
            group.insert(
                index,
                Applied {
                    time,
                    operation,
                    payload,
                    client,
                    reply,
                    digest,
                },
            );
            return;
        };
        let is_same_command = known.operation == command.operation
            && known.payload == command.payload
            && known.time == command.time
            && known.client == client;
        let broken = if !is_same_command {
            Broken::OtherCommand { scope, node, index }
        } else if known.digest != digest {
            Broken::OtherDigest { scope, node, index }
        } else if known.reply != reply {
            Broken::OtherReply { scope, node, index }
        } else {
            return;
        };
        inner.broken.get_or_insert(broken);
    }

    fn disorder(&self, scope: Scope, node: usize, last: u64, index: u64) {
        let broken = Broken::AppliedOutOfOrder {
            scope,
            node,
            last,
            index,
        };
        self.0.borrow_mut().broken.get_or_insert(broken);
    }
}

impl Watched {
    /// An empty machine of a group at a node.
    #[must_use]
    pub fn new(
        (model, build): (Model, Build),
        chronicle: &Chronicle,
        scope: Scope,
        node: usize,
        flaw: Flaw,
    ) -> Self {
        Self {
            machine: Machine::new(model, scope.group),
            model,
            build,
            chronicle: chronicle.clone(),
            scope,
            node,
            last: 0,
            flaw,
            kept: Vec::new(),
        }
    }

    /// Bytes of its state in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.machine.bytes() + self.kept.len()
    }

    /// What is observed.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl StateMachine for Watched {
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        self.machine.admit(operation, payload)
    }

    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>) {
        self.apply_for(Asker::default(), command, reply);
    }

    fn apply_for(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        let index = command.index.0;
        if index <= self.last {
            self.chronicle
                .disorder(self.scope, self.node, self.last, index);
        }
        self.last = index;
        let hits = |odds: u64| (index + self.node as u64).is_multiple_of(odds);
        match self.flaw {
            Flaw::Skips(odds) if hits(odds) => {}
            Flaw::Twice(odds) if hits(odds) => {
                self.machine.apply(asker, command, reply);
                reply.clear();
                self.machine.apply(asker, command, reply);
            }
            Flaw::OwnClock(odds) if hits(odds) => {
                let time = command.time + self.node as u64 + 1;
                self.machine
                    .apply(asker, Command { time, ..command }, reply);
            }
            Flaw::Keeps(bytes) => {
                self.kept.resize(self.kept.len() + bytes, 0);
                self.machine.apply(asker, command, reply);
            }
            _ => self.machine.apply(asker, command, reply),
        }
        let digest = self.machine.digest();
        self.chronicle.note(
            (self.scope, self.node),
            (asker.client, command),
            xxh3_64(reply),
            digest,
        );
    }

    fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>) {
        match self.flaw {
            Flaw::EmptyReads(odds) if (self.last + payload.len() as u64).is_multiple_of(odds) => {
                let empty = Machine::new(self.model, self.scope.group);
                empty.query(operation, payload, reply);
            }
            _ => self.machine.query(operation, payload, reply),
        }
    }

    fn digest(&self) -> u128 {
        self.machine.digest()
    }

    fn due(&self) -> Option<(u64, u8)> {
        self.machine.kept()?.due()
    }

    fn begin_image(&mut self) -> bool {
        self.build.begin();
        self.machine
            .kept_mut()
            .is_some_and(|kept| kept.begin_image())
    }

    fn next_image_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        let from = piece.len();
        let kept = self.machine.kept_mut();
        let is_last = kept.is_none_or(|kept| kept.next_image_piece(budget, piece));
        if self.model.has_sessions {
            self.build.wrote(&mut piece[from..]);
        }
        is_last
    }

    fn abandon_image(&mut self) {
        if let Some(kept) = self.machine.kept_mut() {
            kept.abandon_image();
        }
    }

    fn begin_restore(&mut self) {
        self.last = 0;
        self.build.begin();
        if let Some(kept) = self.machine.kept_mut() {
            kept.begin_restore();
        }
    }

    fn restore_piece(&mut self, piece: &[u8]) -> Result<(), RestoreError> {
        if self.model.has_sessions {
            let met = self.build.reads(piece);
            self.chronicle.meet(met);
            if met == Some(Met::RefusedNewer) {
                return Err(RestoreError::Version(NEWER));
            }
        }
        self.machine
            .kept_mut()
            .ok_or(RestoreError::Unsupported)?
            .restore_piece(piece)
    }

    fn end_restore(&mut self) -> Result<(), RestoreError> {
        self.machine
            .kept_mut()
            .ok_or(RestoreError::Unsupported)?
            .end_restore()
    }

    fn due_chapter(&self) -> Option<u64> {
        self.machine.kept()?.due_chapter()
    }

    fn next_chapter_piece(&mut self, budget: usize, piece: &mut Vec<u8>) -> bool {
        self.machine
            .kept_mut()
            .is_none_or(|kept| kept.next_chapter_piece(budget, piece))
    }

    fn shelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        self.machine
            .kept_mut()
            .ok_or(RestoreError::Unsupported)?
            .shelve(chapter, bytes)
    }

    fn reshelve(&mut self, chapter: u64, bytes: Arc<dyn Shelved>) -> Result<(), RestoreError> {
        self.machine
            .kept_mut()
            .ok_or(RestoreError::Unsupported)?
            .reshelve(chapter, bytes)
    }

    fn chapters(&self) -> u64 {
        self.machine.kept().map_or(0, |kept| kept.chapters())
    }
}
