//! Opening a shard: the log is read, every group is put back where it stood, and the first turn may come.

use std::collections::{BTreeMap, VecDeque};

use net::transport::Transport;
use raft::config::{Config, ConfigError, Damage};
use raft::effects::Effects;
use raft::ids::{GroupId, Time};
use raft::liveness::Liveness;
use raft::membership::MembershipError;
use raft::raft::Raft;
use raft::state_machine::StateMachine;
use rustc_hash::FxHashMap;
use thiserror::Error;
use wal::archive::{Archive, ArchiveError, Name};
use wal::{Device, Opening, Options, OwnedRecord, ReadError, Wal, WalError};

use crate::balance::Balance;
use crate::catch_up::CatchUp;
use crate::fetch::Fetches;
use crate::history::Histories;
use crate::limits;
use crate::losses::Losses;
use crate::offload::Offloading;
use crate::peers::Peers;
use crate::promise::Base;
use crate::pulse::Pulses;
use crate::recalling::Recalls;
use crate::recover::{self, Overtaken, RecoverError, Recovering, Recovery};
use crate::repairing::Repairs;
use crate::replica::Replica;
use crate::rereading::Rereading;
use crate::restoring::{self, Fault};
use crate::sealing::Sealing;
use crate::serve::Serves;
use crate::setup::Setup;
use crate::shard::{Counts, Shard, Stirring};
use crate::stages::decide::{self, Carriers};
use crate::stages::persist::{Journal, Persisted};
use crate::stages::receive::Waiting;
use crate::stages::reply::Replies;
use crate::stopwatch::Stopwatch;
use crate::timers::Timers;
use crate::upkeep::Upkeep;
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
    /// A group's state is in a version that this program does not read, and its log was given up behind it.
    #[error("{0}; start the program that wrote it, or a newer one")]
    Version(Fault),
    /// A file that was read a moment ago reads otherwise now.
    #[error(transparent)]
    Changed(Fault),
    /// Entries that were read a moment ago cannot be read again.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The folder of images and chapters cannot be read.
    #[error("the archive cannot be read")]
    Archive(#[from] ArchiveError),
}

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Puts every group's newest sound image into its machine, reads the core's log on top of it, and stands ready
    /// for the first turn. Damage keeps nothing from opening: the groups that lost something repair it from their
    /// peers, and neither vote nor count until then. It is in the report.
    ///
    /// `machine` makes the empty state machine of a group.
    ///
    /// # Errors
    /// Nothing that concerns one group alone, but for a state of another version: a group that is otherwise unwell is damaged,
    /// see [`Shard::faults`].
    pub fn open(
        setup: Setup,
        device: D,
        mut archive: Box<dyn Archive>,
        options: Options,
        transport: T,
        mut machine: impl FnMut(GroupId) -> M,
        now: Time,
    ) -> Result<(Self, Opening), OpenError> {
        let scrub_rate = options.scrub_bytes_per_second;
        let Recovered {
            wal,
            opening,
            replicas,
            slots,
            faults,
        } = recover(&setup, device, &mut *archive, options, &mut machine, now)?;
        let keeping = setup.keeping;
        let has_strays = replicas.iter().any(|one| !one.shelf.strays.is_empty());
        let others = setup.nodes.iter().copied();
        let mut shard = Self {
            peers: Peers::new(others.filter(|node| *node != setup.node)),
            watch: Stopwatch::new(setup.stopwatch),
            replies: Replies::of_core(setup.core),
            timers: Timers::new(replicas.len()),
            pulses: Pulses::new(replicas.len()),
            wal,
            transport,
            replicas,
            slots,
            liveness: Liveness::default(),
            counts: Counts::default(),
            balance: Balance::default(),
            catch_up: CatchUp::default(),
            waiting: Waiting::default(),
            journal: Journal::new(keeping.image_bytes),
            archive,
            upkeep: Upkeep::default(),
            sealing: Sealing::default(),
            offloading: Offloading::default(),
            histories: Histories::default(),
            fetches: Fetches::new(keeping.fetch_bytes_per_second, now),
            serves: Serves::new(keeping.serve_bytes_per_second, now),
            installs: Vec::new(),
            faults,
            strays_until: has_strays.then(|| now.plus(limits::STRAYS_NS)),
            outbound: Vec::new(),
            effects: Effects::default(),
            stash: VecDeque::new(),
            asking: Vec::new(),
            ready: Vec::new(),
            touched: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
            next_beat: now,
            storage: Persisted::All,
            annex: None,
            damage: Vec::new(),
            damaged: 0,
            rotten: Vec::new(),
            stirring: Stirring::default(),
            repairs: Repairs::default(),
            recalls: Recalls::new(setup.node),
            rereading: Rereading::new(scrub_rate, now),
            setup,
        };
        (opening.damage.iter()).for_each(|damage| shard.found_damage(*damage));
        (0..shard.replicas.len() as u32).for_each(|slot| shard.start(slot, now));
        Ok((shard, opening))
    }

    /// Asks a group's core for its first deadline.
    fn start(&mut self, slot: u32, now: Time) {
        let replica = &mut self.replicas[slot as usize];
        if self.journal.image_bytes > 0 && replica.machine.due_chapter().is_some() {
            self.upkeep.want_chapter(slot, replica);
        }
        replica.raft.tick(now, &self.liveness);
        decide::carry(replica, slot, &mut crate::shard::carriers!(self), now);
    }
}

/// What disk and archive held.
struct Recovered<D: Device, M> {
    wal: Wal<D>,
    opening: Opening,
    replicas: Vec<Replica<M>>,
    slots: FxHashMap<GroupId, u32>,
    faults: Vec<Fault>,
}

fn recover<D: Device, M: StateMachine>(
    setup: &Setup,
    device: D,
    archive: &mut dyn Archive,
    options: Options,
    machine: &mut impl FnMut(GroupId) -> M,
    now: Time,
) -> Result<Recovered<D, M>, OpenError> {
    let mut faults = Vec::new();
    let found = images(setup, archive, machine, &mut faults)?;
    let mut shelves = BTreeMap::new();
    let (mut begun, mut unread) = (Vec::new(), BTreeMap::new());
    for (group, one) in found {
        unread.extend(one.unread.map(|unread| (group, unread)));
        begun.push((group, one.machine));
        shelves.insert(group, one.shelf);
    }
    let begun = begun
        .into_iter()
        .map(|(group, machine)| (group, machine, shelves[&group].manifest.as_ref()));
    let mut recovery = Recovery::new(begun);
    let (mut wal, opening) = Wal::open_with(device, options, now.0, &mut recovery)?;
    let mut replicas = Vec::new();
    let mut slots = FxHashMap::default();
    for (group, recovering) in recovery.finish()? {
        can_do_without(unread.get(&group), recovering.promise.base)?;
        slots.insert(group, replicas.len() as u32);
        let mut recovering = recovering;
        if recovering.is_doubtful() {
            // Where its log ends is known when it was read again.
            give_up(
                &mut wal,
                group,
                recovering.overtaken_upto().map(Overtaken::Upto),
            );
            let manifest = shelves[&group].manifest.as_ref();
            let mut anew = machine(group);
            if let Some(manifest) = manifest {
                restoring::restore_one(archive, manifest, &mut anew).map_err(OpenError::Changed)?;
            }
            let (promise, damage) = (recovering.promise, recovering.damage);
            recovering = Recovering::begin(anew, manifest);
            let found = reread(&mut wal, group, &mut recovering, now)?;
            recovering.damage = recover::worse(damage, found);
            recovering.promise = promise;
        }
        give_up(&mut wal, group, recovering.overtaken());
        if setup.is_rejoining {
            recovering.damage = Damage::Votes;
        }
        let receipts = std::mem::take(&mut recovering.receipts);
        let mut replica = restore(setup, group, recovering, now)?;
        replica.shelf = shelves.remove(&group).unwrap_or_default();
        receipts
            .iter()
            .for_each(|receipt| replica.shelf.received(receipt));
        replicas.push(replica);
    }
    Ok(Recovered {
        wal,
        opening,
        replicas,
        slots,
        faults,
    })
}

/// A state of a version that is not read may only be missed where the log was not given up behind it.
fn can_do_without(unread: Option<&(u64, Fault)>, base: Option<Base>) -> Result<(), OpenError> {
    match (unread, base) {
        (Some((index, fault)), Some(base)) if base.last.index.0 >= *index => {
            Err(OpenError::Version(*fault))
        }
        _ => Ok(()),
    }
}

/// Every group as its newest sound image left it.
fn images<M: StateMachine>(
    setup: &Setup,
    archive: &mut dyn Archive,
    machine: &mut impl FnMut(GroupId) -> M,
    faults: &mut Vec<Fault>,
) -> Result<BTreeMap<GroupId, restoring::Found<M>>, ArchiveError> {
    let files = archive.list_now()?;
    let mut found = BTreeMap::new();
    for group in setup.own_groups() {
        let of_group: Vec<(Name, u64)> = files
            .iter()
            .filter(|(name, _)| name.group == group.0)
            .copied()
            .collect();
        let make = &mut || machine(group);
        let one = restoring::restore(archive, group.0, &of_group, make, faults);
        found.insert(group, one);
    }
    Ok(found)
}

/// What does not count is not read again, neither by this core nor by whoever asks it.
fn give_up<D: Device>(wal: &mut Wal<D>, group: GroupId, overtaken: Option<Overtaken>) {
    match overtaken {
        None => {}
        Some(Overtaken::Upto(upto)) => wal.release(group.0, upto.0),
        Some(Overtaken::All) => wal.restart(group.0),
    }
}

/// Reads what the log holds of a group, and nothing that was superseded; up to the first entry that cannot be read,
/// whose loss is the answer.
fn reread<D: Device, M: StateMachine>(
    wal: &mut Wal<D>,
    group: GroupId,
    recovering: &mut Recovering<M>,
    now: Time,
) -> Result<Damage, OpenError> {
    let Some((first, count)) = wal.entries(group.0) else {
        return Ok(Damage::None);
    };
    let (mut next, mut end) = (first, first + count);
    let (mut found, mut span) = (Damage::None, count);
    let mut now = now.0;
    while next < end {
        let records = match read_on(wal, group, next, end.min(next + span) - 1, &mut now) {
            Ok(records) => records,
            Err(ReadError::Damaged { index, .. }) if (next..end).contains(&index) => {
                if recovering.is_covered(index) {
                    // The state holds its effect: the log begins behind it.
                    next = index + 1;
                } else {
                    (found, end) = (Damage::Entries, index);
                }
                continue;
            }
            // Nothing tells which of them cannot be read: from here on one by one.
            Err(ReadError::Device(_)) if span > 1 => {
                span = 1;
                continue;
            }
            Err(ReadError::Device(_)) => return Ok(Damage::Entries),
            Err(error) => return Err(error.into()),
        };
        next += records.len() as u64;
        for record in &records {
            recovering.take(group, &record.lent(), &mut Losses::default())?;
        }
    }
    Ok(found)
}

/// Reads entries and waits for them, on a clock that goes on meanwhile.
fn read_on<D: Device>(
    wal: &mut Wal<D>,
    group: GroupId,
    first: u64,
    last: u64,
    now: &mut u64,
) -> Result<Vec<OwnedRecord>, ReadError> {
    wal.read(group.0, first, last, limits::CATCH_UP_BYTES, 0)?;
    loop {
        wal.submit(*now);
        wal.poll(*now);
        if let Some((_, records)) = wal.next_read() {
            return records;
        }
        // A device with a clock of its own ignores this; one without needs it to get on.
        *now += 1_000;
    }
}

/// One group as its image and its log left it.
fn restore<M: StateMachine>(
    setup: &Setup,
    group: GroupId,
    mut recovering: Recovering<M>,
    now: Time,
) -> Result<Replica<M>, OpenError> {
    let restored = recovering.restored(&setup.membership()?);
    let applied = restored.applied;
    let (promised, base) = (restored.hard_state, recovering.promise.base);
    let marked = recovering.promise.damage;
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
    let raft = Raft::new(config, restored, seed, now)?;
    let mut replica = Replica::new(group, raft, recovering.machine, window, applied);
    (replica.promised, replica.base, replica.marked) = (promised, base, marked);
    Ok(replica)
}
