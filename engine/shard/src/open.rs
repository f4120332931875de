//! Opening a shard: the log is read, every group is put back where it stood, and the first turn may come.

use std::collections::VecDeque;

use net::transport::Transport;
use raft::config::{Config, ConfigError, Restored};
use raft::effects::Effects;
use raft::ids::{GroupId, Index, Term, Time};
use raft::liveness::Liveness;
use raft::membership::MembershipError;
use raft::raft::Raft;
use raft::state_machine::StateMachine;
use rustc_hash::FxHashMap;
use thiserror::Error;
use wal::{Device, Opening, Options, Wal, WalError};

use crate::balance::Balance;
use crate::catch_up::CatchUp;
use crate::limits;
use crate::peers::Peers;
use crate::recover::{RecoverError, Recovering, Recovery};
use crate::replica::Replica;
use crate::setup::Setup;
use crate::shard::{Counts, Shard};
use crate::stages::decide::{self, Carriers};
use crate::stages::persist::{Journal, Persisted};
use crate::stages::receive::Waiting;
use crate::stages::reply::Replies;
use crate::stopwatch::Stopwatch;
use crate::timers::Timers;
use crate::window::Window;

/// Why a shard could not be opened. Nothing on disk was changed by the attempt.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The log can be read but is not what this node's layout says.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The layout's nodes are no membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Reads the core's log and stands ready for the first turn. Damage keeps nothing from opening: the groups that
    /// lost something repair it from their peers, and neither vote nor count until then. It is in the report.
    ///
    /// `machine` makes the empty state machine of a group; the log is replayed into it.
    pub fn open(
        setup: Setup,
        device: D,
        options: Options,
        transport: T,
        mut machine: impl FnMut(GroupId) -> M,
        now: Time,
    ) -> Result<(Self, Opening), OpenError> {
        let mut recovery = Recovery::new(setup.own_groups().map(|group| (group, machine(group))));
        let (wal, opening) = Wal::open_with(device, options, now.0, &mut recovery)?;
        let mut replicas = Vec::new();
        let mut slots = FxHashMap::default();
        for (group, recovering) in recovery.finish()? {
            slots.insert(group, replicas.len() as u32);
            replicas.push(restore(&setup, group, recovering, now)?);
        }
        let mut shard = Self {
            peers: Peers::new(
                setup
                    .nodes
                    .iter()
                    .copied()
                    .filter(|node| *node != setup.node),
            ),
            watch: Stopwatch::new(setup.stopwatch),
            replies: Replies::of_core(setup.core),
            timers: Timers::new(replicas.len()),
            wal,
            transport,
            replicas,
            slots,
            liveness: Liveness::default(),
            counts: Counts::default(),
            balance: Balance::default(),
            catch_up: CatchUp::default(),
            waiting: Waiting::default(),
            journal: Journal::default(),
            outbound: Vec::new(),
            effects: Effects::default(),
            stash: VecDeque::new(),
            asking: Vec::new(),
            ready: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
            next_beat: now,
            storage: Persisted::All,
            damage: Vec::new(),
            damaged: 0,
            setup,
        };
        for damage in &opening.damage {
            shard.found_damage(*damage);
        }
        for slot in 0..shard.replicas.len() as u32 {
            shard.start(slot, now);
        }
        Ok((shard, opening))
    }

    /// Asks a group's core for its first deadline.
    fn start(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        replica.raft.tick(now, &self.liveness);
        decide::carry(replica, slot, &mut crate::shard::carriers!(self), now);
    }
}

/// One group as its log left it.
fn restore<M: StateMachine>(
    setup: &Setup,
    group: GroupId,
    recovering: Recovering<M>,
    now: Time,
) -> Result<Replica<M>, OpenError> {
    let (applied, last) = (recovering.applied, recovering.last);
    let restored = Restored {
        hard_state: recovering.hard_state,
        runs: recovering.runs,
        last,
        configurations: recovering.configurations,
        commit: applied,
        applied,
        damage: recovering.damage,
        ..Restored::initial(setup.membership()?)
    };
    let config = Config {
        election_timeout: setup.election_timeout,
        max_append_entries: limits::APPEND_ENTRIES_MAX,
        max_append_bytes: limits::ENVELOPE_BULK_MAX as u64 / 2,
        rank: setup.rank(group),
        ..Config::of(setup.node)
    };
    let seed = setup.seed ^ group.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut window = Window::starting_at(applied.next());
    for entry in recovering.tail {
        window.push(entry);
    }
    Ok(Replica {
        group,
        raft: Raft::new(config, restored, seed, now)?,
        machine: recovering.machine,
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
        durable: Index(last.0),
        cuts: 0,
        marked: recovering.marked,
        is_asking: false,
        is_ready: false,
    })
}
