//! The state machines of this world: the real ledger, and a shelf of small objects for the other workloads.
//!
//! - Each workload has one machine; all replicas of a run have the same.
//! - Where programs are exchanged while a world runs, the ledger has the sessions of production around it: it is their
//!   part of an image that has versions.
//! - Operations of the two never share a number.

use ledger::instruction::operation;
use ledger::ledger::Ledger;
use raft::state_machine::{Admission, Asker, Command, Refusal, StateMachine};
use shard::sessions::{REGISTER, Sessions};

use crate::shelf::{self, Shelf};

/// What clients do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Accounts and transfers on the real ledger.
    #[default]
    Bank,
    /// Registers that are read, written, and compared and set.
    Register,
    /// Lists that grow and are read.
    Append,
    /// Sets that grow and are read.
    Set,
}

/// Which machine the replicas of a run have.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// What clients do.
    pub workload: Workload,
    /// With sessions around it.
    pub has_sessions: bool,
}

/// A replica's machine.
pub enum Machine {
    /// The ledger of production.
    Ledger(Box<Ledger>),
    /// The same, with the sessions of production.
    Held(Box<Sessions<Ledger>>),
    /// Registers, lists or sets.
    Shelf(Shelf),
}

impl Machine {
    /// An empty machine of a group.
    #[must_use]
    pub fn new(model: Model, group: u64) -> Self {
        match model.workload {
            Workload::Bank => {
                let ledger = Ledger::new(limits()).expect("the limits are within bounds");
                if model.has_sessions {
                    return Self::Held(Box::new(Sessions::new(ledger, &[], group == 0)));
                }
                Self::Ledger(Box::new(ledger))
            }
            Workload::Register | Workload::Append | Workload::Set => Self::Shelf(Shelf::default()),
        }
    }

    /// The ledger, where there is one.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        match self {
            Self::Ledger(ledger) => Some(ledger),
            Self::Held(held) => Some(held.inner()),
            Self::Shelf(_) => None,
        }
    }

    /// What is kept in images and chapters, where anything is.
    #[must_use]
    pub fn kept(&self) -> Option<&dyn StateMachine> {
        match self {
            Self::Ledger(ledger) => Some(&**ledger),
            Self::Held(held) => Some(&**held),
            Self::Shelf(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn kept_mut(&mut self) -> Option<&mut dyn StateMachine> {
        match self {
            Self::Ledger(ledger) => Some(&mut **ledger),
            Self::Held(held) => Some(&mut **held),
            Self::Shelf(_) => None,
        }
    }

    /// May this request enter the log?
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal> {
        match self {
            Self::Ledger(ledger) => ledger.admit(operation, payload),
            Self::Held(held) => held.admit(operation, payload),
            Self::Shelf(_) => shelf::admit(operation, payload),
        }
    }

    /// Applies one entry.
    pub fn apply(&mut self, asker: Asker, command: Command<'_>, reply: &mut Vec<u8>) {
        match self {
            Self::Ledger(ledger) => ledger.apply(command, reply),
            Self::Held(held) => held.apply_for(asker, command, reply),
            Self::Shelf(shelf) => shelf.apply(command, reply),
        }
    }

    /// Answers a read.
    pub fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>) {
        match self {
            Self::Ledger(ledger) => ledger.query(operation, payload, reply),
            Self::Held(held) => held.query(operation, payload, reply),
            Self::Shelf(shelf) => shelf.query(payload, reply),
        }
    }

    /// Bytes of its state in memory, as far as it counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ledger(ledger) => ledger.bytes(),
            Self::Held(held) => held.inner().bytes(),
            Self::Shelf(shelf) => shelf.bytes(),
        }
    }

    /// The state hash.
    #[must_use]
    pub fn digest(&self) -> u128 {
        match self {
            Self::Ledger(ledger) => ledger.digest(),
            Self::Held(held) => held.digest(),
            Self::Shelf(shelf) => shelf.digest(),
        }
    }
}

/// Does this operation travel through the log?
#[must_use]
pub fn is_write(operation: u8) -> bool {
    matches!(
        operation,
        operation::CREATE_ACCOUNTS | operation::CREATE_TRANSFERS | operation::PULSE | REGISTER
    ) || shelf::is_write(operation)
}

/// What a ledger of this world may hold.
#[must_use]
pub fn limits() -> ledger::limits::Limits {
    ledger::limits::Limits {
        accounts_max: 10_000,
        transfers_max: 1_000_000,
        pendings_max: 10_000,
        ..ledger::limits::Limits::default()
    }
}
