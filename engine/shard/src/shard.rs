//! A core's shard: all its groups behind its doors, turned one pass at a time.
//!
//! - A turn never blocks and never waits; what it cannot finish it leaves for the next turn.
//! - Every group that a turn touches is in a list; untouched groups cost nothing.
//! - The same turn runs in production, in the simulator and in the benchmarks: only the doors differ.

use std::collections::VecDeque;

use net::transport::{Event, Transport};
use raft::effects::{Effects, Install, Role};
use raft::ids::{GroupId, Index, NodeId, Time};
use raft::liveness::Liveness;
use raft::message::Message;
use raft::state_machine::StateMachine;
use rustc_hash::FxHashMap;
use wal::archive::Archive;
use wal::{Damage, Device, Lsn, Stats, Wal};

use crate::balance::Balance;
use crate::catch_up::CatchUp;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::fetch::Fetches;
use crate::history::{Histories, HistoryCounts};
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::offload::Offloading;
use crate::past::{Past, SealCounts};
use crate::peers::{Peer, Peers};
use crate::pulse::Pulses;
use crate::recalling::Recalls;
use crate::repairing::Repairs;
use crate::replica::Replica;
use crate::rereading::Rereading;
use crate::restoring::Fault;
use crate::sealing::Sealing;
use crate::serve::Serves;
use crate::setup::Setup;
use crate::stages::apply::{self, Budget};
use crate::stages::decide::{self, Carriers};
use crate::stages::persist::{Journal, Persisted, UNASKED};
use crate::stages::receive::Waiting;
use crate::stages::reply::{Replies, ReplyCounts, Status};
use crate::stopwatch::{Stage, Stopwatch};
use crate::timers::Timers;
use crate::upkeep::{Upkeep, UpkeepCounts, Wants};

/// What a driver does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Turn again at once: there is work left.
    Again,
    /// Nothing to do until a door has news, or until this instant.
    Wait(Option<Time>),
    /// The log failed for good: nothing more may be promised. Stop the node.
    Stop,
}

/// One per core.
pub struct Shard<D: Device, T, M> {
    pub(crate) setup: Setup,
    pub(crate) wal: Wal<D>,
    pub(crate) archive: Box<dyn Archive>,
    pub(crate) transport: T,
    pub(crate) replicas: Vec<Replica<M>>,
    pub(crate) slots: FxHashMap<GroupId, u32>,
    pub(crate) peers: Peers,
    pub(crate) liveness: Liveness,
    pub(crate) watch: Stopwatch,
    pub(crate) counts: Counts,
    pub(crate) balance: Balance,
    pub(crate) catch_up: CatchUp,
    pub(crate) replies: Replies,
    pub(crate) waiting: Waiting,
    pub(crate) journal: Journal,
    pub(crate) timers: Timers,
    pub(crate) pulses: Pulses,
    pub(crate) outbound: Vec<(NodeId, u32, Message)>,
    pub(crate) effects: Effects,
    pub(crate) stash: VecDeque<Entry>,
    /// Groups with requests to propose or reads to confirm, in order of arrival.
    pub(crate) asking: Vec<u32>,
    /// Groups with something to apply, in order of commitment.
    pub(crate) ready: Vec<u32>,
    /// Groups whose core was told something since they were last taken from here, each once.
    pub(crate) touched: Vec<u32>,
    pub(crate) events: Vec<Event>,
    pub(crate) scratch: Vec<u8>,
    /// When the next beat is due.
    pub(crate) next_beat: Time,
    pub(crate) storage: Persisted,
    pub(crate) upkeep: Upkeep,
    pub(crate) sealing: Sealing,
    pub(crate) offloading: Offloading,
    pub(crate) histories: Histories,
    pub(crate) fetches: Fetches,
    pub(crate) serves: Serves,
    /// States that groups' cores want installed.
    pub(crate) installs: Vec<(u32, Install)>,
    /// Files that were found wrong when the shard was opened, and chapters that rotted since.
    pub(crate) faults: Vec<Fault>,
    /// Until then files of interrupted installations are kept.
    pub(crate) strays_until: Option<Time>,
    /// What runs beside the core and is told with it.
    pub(crate) annex: Option<Annex>,
    /// What was found wrong with the log, the first things only.
    pub(crate) damage: Vec<Damage>,
    /// How many things were found wrong with it.
    pub(crate) damaged: u64,
    /// Groups of which the log holds something rotten that no image covers yet.
    pub(crate) rotten: Vec<u32>,
    pub(crate) stirring: Stirring,
    /// Blocks of the log that are repaired.
    pub(crate) repairs: Repairs,
    pub(crate) recalls: Recalls,
    pub(crate) rereading: Rereading,
}

/// What the last turns had to do.
#[derive(Debug, Default)]
pub(crate) struct Stirring {
    /// Requests taken, records written and durable when the last turn ended; whether they were more than before it.
    seen: (u64, Lsn, Lsn),
    is_new: bool,
    /// Something came in this turn that is more than a sign of life.
    pub(crate) has_news: bool,
    /// The last turn that did its work left none behind, in the log and for the peers neither.
    was_done: bool,
}

/// Something that runs beside the core, in its own words: called when the core's status is asked for.
pub type Annex = Box<dyn Fn() -> serde_json::Value + Send>;

/// What happened on this core since it started.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Counts {
    /// Turns.
    pub turns: u64,
    /// Requests received.
    pub requests: u64,
    /// Requests or messages that could not be read.
    pub malformed: u64,
    /// Requests for a group that this node does not hold.
    pub unknown_group: u64,
    /// Requests for a group of another core.
    pub wrong_core: u64,
    /// Envelopes received.
    pub envelopes_in: u64,
    /// Envelopes sent.
    pub envelopes_out: u64,
    /// Consensus messages received.
    pub messages_in: u64,
    /// Consensus messages sent.
    pub messages_out: u64,
    /// Entries applied.
    pub applied: u64,
    /// Peers' connections closed because they did not read.
    pub deaf_peers: u64,
    /// Leaderships offered to the node that the layout prefers.
    pub transfers: u64,
}

/// Splits a shard into the parts that a decision is carried to.
macro_rules! carriers {
    ($shard:expr) => {
        Carriers {
            journal: &mut $shard.journal,
            outbound: &mut $shard.outbound,
            replies: &mut $shard.replies,
            timers: &mut $shard.timers,
            ready: &mut $shard.ready,
            touched: &mut $shard.touched,
            effects: &mut $shard.effects,
            stash: &mut $shard.stash,
            installs: &mut $shard.installs,
        }
    };
}
pub(crate) use carriers;

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Tells what runs beside this core with its status, as `beside`.
    pub fn set_annex(&mut self, annex: Annex) {
        self.annex = Some(annex);
    }

    /// One pass: receive, decide, persist, replicate, apply, reply.
    pub fn turn(&mut self, clock: &impl Clock) -> Next {
        let next = self.pass(clock);
        let seen = (
            self.counts.requests,
            self.wal.appended(),
            self.wal.durable(),
        );
        self.stirring.is_new = std::mem::replace(&mut self.stirring.seen, seen) != seen;
        next
    }

    /// Did the last turn take requests, write, or learn that what was written is durable? Then more news is near.
    #[must_use]
    pub const fn has_stirred(&self) -> bool {
        self.stirring.is_new
    }

    fn pass(&mut self, clock: &impl Clock) -> Next {
        let now = clock.now();
        self.counts.turns += 1;
        // The log's own word: a core with nothing more to write would never learn of its failure otherwise.
        let progress = self.wal.poll(now.0);
        let has_failed = progress.failed.is_some() && !is_planted(Mutant::FailureUnnoticed);
        self.stirring.has_news = has_failed || progress.completed > 0;
        self.durable(now);
        let mut events = std::mem::take(&mut self.events);
        self.transport.poll(&mut events);
        let busy = !events.is_empty();
        // What was read just now arrived after the turn began: a stage would be timed twice otherwise.
        let (began, now) = (now, if busy { clock.now() } else { now });
        for event in events.drain(..) {
            self.event(event, now, clock);
        }
        self.events = events;
        if !self.stirring.has_news && self.rests() {
            let wake = self.wake(clock);
            if wake > now {
                if self.wal.scrubs() {
                    // Its reading goes on at its own pace.
                    self.wal.submit(now.0);
                }
                if busy {
                    self.watch.record(Stage::Turn, clock.now().since(began));
                }
                return Next::Wait(Some(wake));
            }
        }
        self.stirring.was_done = false;
        self.look_at_damage(now);
        self.time_passed(now);
        self.decide(clock);
        self.pulse(clock);
        self.persist(now);
        self.replicate(now);
        // What peers wait for does not wait for this core's own work, nor do answers for its upkeep.
        self.transport.flush();
        let left = self.apply(clock);
        self.replies.send(&mut self.transport);
        self.transport.flush();
        self.take_installs(now);
        let is_busy = busy || left;
        let wants = self.upkeep(now, is_busy, &|| clock.now());
        self.transport.flush();
        if has_failed || self.storage == Persisted::Failed {
            return Next::Stop;
        }
        let left = left || !self.outbound.is_empty();
        if busy || left {
            self.watch.record(Stage::Turn, clock.now().since(began));
        }
        let left = left || !self.outbound.is_empty();
        let Wants::Wait(later) = wants else {
            return Next::Again;
        };
        if left {
            return Next::Again;
        }
        self.stirring.was_done = self.storage == Persisted::All
            && self.catch_up.is_idle()
            && self.repairs.is_empty()
            && self.peers.iter().all(Peer::is_clear);
        let wake = self.wake(clock);
        Next::Wait(Some(later.map_or(wake, |later| later.min(wake))))
    }

    /// Nothing is left to do but what the next news, alarm or beat will bring: a turn to which only signs of life came ends
    /// here. That is most turns of a node whose groups rest, and half of those of one that is not busy.
    fn rests(&self) -> bool {
        self.stirring.was_done
            && self.journal.is_idle()
            && self.outbound.is_empty()
            && self.asking.is_empty()
            && self.ready.is_empty()
            && self.installs.is_empty()
            && self.replies.is_clear()
            && self.has_no_upkeep()
    }

    /// When something is due: a group's deadline, the beat, or what a machine wants to have proposed.
    fn wake(&mut self, clock: &impl Clock) -> Time {
        let wake = self
            .timers
            .earliest()
            .map_or(self.next_beat, |at| at.min(self.next_beat));
        self.next_pulse(clock).map_or(wake, |pulse| pulse.min(wake))
    }

    /// States that the groups' cores asked for are fetched.
    fn take_installs(&mut self, now: Time) {
        for (slot, install) in self.installs.drain(..) {
            self.replicas[slot as usize].shelf.is_fetching = true;
            self.fetches.want(slot, install, now);
        }
    }

    /// The log's watermark moved: groups learn which of their promises are kept.
    fn durable(&mut self, now: Time) {
        let watermark = self.wal.durable();
        while let Some(written) = self.journal.durable(watermark) {
            let replica = &mut self.replicas[written.slot as usize];
            replica.written(written.last, written.cuts);
            replica.stamp_durable(written.last, now);
            if replica.raft.role() != Role::Leader {
                self.watch
                    .record(Stage::FollowerPersist, now.since(written.at));
            }
            apply::trim(replica, self.setup.window_bytes);
            if written.seq != UNASKED {
                replica.raft.persisted(written.seq, now);
            }
            decide::carry(replica, written.slot, &mut carriers!(self), now);
        }
        while let Some((slot, base)) = self.journal.noted(watermark) {
            self.base_recorded(slot, base, now);
        }
        let watch = &mut self.watch;
        self.wal
            .take_write_latencies(&mut |nanos| watch.record(Stage::LogWrite, nanos));
    }

    /// The log is not as it was written: remembered for whoever asks.
    pub(crate) fn found_damage(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damage.len() < limits::DAMAGE_TOLD_MAX {
            self.damage.push(damage);
        }
    }

    /// Groups with requests propose them; nothing is proposed while the log has no room, so that what
    /// waits grows into one larger write, and it is refused where none is in sight.
    fn decide(&mut self, clock: &impl Clock) {
        if self.asking.is_empty() {
            return;
        }
        let (now, wall) = (clock.now(), clock.wall());
        let is_shut = self.storage == Persisted::Full || self.is_cut_off();
        let is_full = is_shut && !self.comes_room(now);
        let room = self.journal.is_clear() && !is_shut;
        let asking = std::mem::take(&mut self.asking);
        for (at, &slot) in asking.iter().enumerate() {
            self.look_ahead(&asking[at + 1..]);
            let replica = &mut self.replicas[slot as usize];
            // Who does not lead has no need of room: it says who does.
            let leads = replica.raft.role() == Role::Leader;
            if is_full && leads {
                self.waiting.forget(&replica.waiting);
                decide::refuse(replica, &mut self.replies, Status::StorageFull);
            }
            if !replica.waiting_reads.is_empty() {
                decide::confirm_reads(replica, slot, &mut carriers!(self), now);
            }
            if !replica.waiting.is_empty() && !room && leads {
                self.asking.push(slot);
                continue;
            }
            replica.is_asking = false;
            if !replica.waiting.is_empty() {
                self.waiting.forget(&replica.waiting);
                decide::propose(replica, slot, &mut carriers!(self), now, wall);
            }
        }
    }

    /// Has the memory of the groups whose turn follows brought closer.
    fn look_ahead(&self, following: &[u32]) {
        let replica = |at: usize| following.get(at).map(|&slot| &self.replicas[slot as usize]);
        if let Some(third) = replica(2) {
            third.raft.prefetch();
        }
        if let Some(second) = replica(1) {
            second.raft.prefetch_leading();
        }
        if let Some(next) = replica(0) {
            next.raft.prefetch_peers();
        }
    }

    /// What the groups asked to make durable enters the log; the log submits what it may.
    fn persist(&mut self, now: Time) {
        self.storage = self.journal.write(&mut self.wal, &mut self.replicas, now);
        self.wal.submit(now.0);
    }

    /// Applies what is committed, within the turn's budget. Returns true when more is left.
    fn apply(&mut self, clock: &impl Clock) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let mut budget = Budget::default();
        let mut left = false;
        let ready = std::mem::take(&mut self.ready);
        for slot in ready {
            let replica = &mut self.replicas[slot as usize];
            let before = replica.applied;
            replica.is_ready = apply::apply(
                replica,
                &mut self.replies,
                &mut budget,
                &mut self.scratch,
                clock,
            );
            self.counts.applied += replica.applied.0 - before.0;
            self.pulses
                .set(slot, replica.machine.due().map(|(at, _)| at));
            if std::mem::take(&mut replica.shelf.has_receipt) {
                self.sealing.counts.receipts += 1;
                self.offloading.look_again = true;
                self.upkeep.look_again();
            }
            if replica.is_ready {
                self.ready.push(slot);
                left = true;
            }
            if self.journal.image_bytes > 0 && replica.machine.due_chapter().is_some() {
                self.upkeep.want_chapter(slot, replica);
            }
            apply::trim(replica, self.setup.window_bytes);
            decide::carry(replica, slot, &mut carriers!(self), clock.now());
        }
        left
    }
}

/// What may be asked of a shard between two turns.
impl<D: Device, T, M: StateMachine> Shard<D, T, M> {
    fn replica(&self, group: GroupId) -> Option<&Replica<M>> {
        self.slots
            .get(&group)
            .map(|slot| &self.replicas[*slot as usize])
    }

    /// The group's leader, as far as this replica knows.
    #[must_use]
    pub fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        self.replica(group)?.raft.leader()
    }

    /// The group's state machine.
    #[must_use]
    pub fn machine_of(&self, group: GroupId) -> Option<&M> {
        Some(&self.replica(group)?.machine)
    }

    /// The group's applied index and state hash.
    #[must_use]
    pub fn digest_of(&self, group: GroupId) -> Option<(Index, u128)> {
        let replica = self.replica(group)?;
        Some((replica.applied, replica.machine.digest()))
    }

    /// All groups of the core, in the order of their ids; for those who judge them.
    #[must_use]
    pub fn replicas(&self) -> &[Replica<M>] {
        &self.replicas
    }

    /// Moves the places among [`Shard::replicas`] of those that were told anything since the last call to `touched`; all
    /// others are as they were. For those who judge them after every turn.
    pub fn take_touched(&mut self, touched: &mut Vec<u32>) {
        for slot in &self.touched {
            self.replicas[*slot as usize].is_touched = false;
        }
        touched.append(&mut self.touched);
    }

    /// Every group of the core goes wrong in this way from here on.
    #[cfg(feature = "mutants")]
    pub fn plant(&mut self, mutant: raft::mutants::Mutant) {
        self.replicas
            .iter_mut()
            .for_each(|replica| replica.raft.plant(mutant));
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What became of requests since the start.
    #[must_use]
    pub fn reply_counts(&self) -> ReplyCounts {
        self.replies.counts
    }

    /// What was made, given up and fetched since the start.
    #[must_use]
    pub fn upkeep_counts(&self) -> UpkeepCounts {
        self.upkeep.counts
    }

    /// What was sealed, stored and let go since the start.
    #[must_use]
    pub fn seal_counts(&self) -> SealCounts {
        self.sealing.counts
    }

    /// What was read of histories since the start.
    #[must_use]
    pub fn history_counts(&self) -> HistoryCounts {
        self.histories.counts
    }

    /// What the group keeps of its past.
    #[must_use]
    pub fn past_of(&self, group: GroupId) -> Option<&Past> {
        Some(&self.replica(group)?.shelf.past)
    }

    /// The first and the last entry of the group that the log holds.
    #[must_use]
    pub fn log_of(&self, group: GroupId) -> Option<(Index, Index)> {
        let (first, count) = self.wal.entries(group.0)?;
        Some((Index(first), Index(first + count - 1)))
    }

    /// Files that were found wrong when the shard was opened, and chapters that rotted since and were not put right.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Groups whose state is fetched from peers, and states kept for peers that fetch them.
    #[must_use]
    pub fn transfers_open(&self) -> (usize, usize) {
        (self.fetches.len(), self.serves.pins())
    }

    /// Things found wrong with the log, at the start and since.
    #[must_use]
    pub const fn damage_found(&self) -> u64 {
        self.damaged
    }

    /// Bytes of segments that the log uses.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.wal.segments().0 as u64 * self.wal.segment_bytes()
    }

    /// The log's counters.
    #[must_use]
    pub fn log_stats(&self) -> Stats {
        self.wal.stats()
    }

    /// The network door, for the driver.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }
}
