//! The faults: what may go wrong, which of it goes wrong in a run, and how it is put right.
//!
//! - Only what the fault model says must be survived: every red run is a bug.
//! - Swarm: which kinds are on at all, and how often they strike, is drawn from the seed.

use crate::chance::Chance;
use crate::network::Machine;

const MILLISECOND: u64 = 1_000_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)*) => {
        /// A way of going wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A process is killed; its machine and what it handed to the disk live on.
    Crash "crash",
    /// A machine loses its power: writes in flight are torn, lost or reordered, streams end without a word.
    Power "power",
    /// All machines of a cluster lose their power at once.
    Blackout "blackout",
    /// A process stands still for a while, its clocks do not.
    Pause "pause",
    /// A machine's cores take long for everything.
    SlowCore "slow-core",
    /// A wall clock steps, forth or back.
    ClockStep "clock-step",
    /// A wall clock jumps forth and back, again and again.
    Strobe "strobe",
    /// A machine stands still with all its clocks, as a virtual one does that is moved.
    Freeze "freeze",
    /// A cluster's clients ask without a pause.
    Rush "rush",
    /// A cluster's clients ask for nothing.
    Lull "lull",
    /// A cluster's clients all ask the same group.
    Crowd "crowd",
    /// Two parts of a cluster do not hear each other.
    Partition "partition",
    /// One node is cut off from its peers, with or without the clients.
    Isolate "isolate",
    /// One direction between two nodes is cut.
    OneWay "one-way",
    /// Two nodes do not hear each other, all others hear both.
    Bridge "bridge",
    /// A node is heard by nobody, and hears some of its peers.
    Mute "mute",
    /// A link comes and goes.
    Flap "flap",
    /// A node's links become slow.
    Clog "clog",
    /// A node's links become slow one after the other, and fast again in another order.
    Swizzle "swizzle",
    /// A node's links carry few bytes per second.
    Narrow "narrow",
    /// One end of a stream is gone, and the other is not told.
    HalfOpen "half-open",
    /// Connections are reset, frames torn in the middle.
    Reset "reset",
    /// Bits are flipped behind right checksums of the network.
    Flip "flip",
    /// A disk becomes slow.
    SlowDisk "slow-disk",
    /// A disk stands still for a while.
    StallDisk "stall-disk",
    /// A write fails for good: the node stops.
    Eio "eio",
    /// A disk is full for a while.
    Full "full",
    /// A bit of something durable rots, and shows when the log is read again.
    Rot "rot",
    /// Something durable turns out never to have been written.
    LostWrite "lost-write",
    /// A durable write turns out to lie where another one should.
    Misdirected "misdirected",
    /// A stretch of a disk cannot be read for a while.
    BadSector "bad-sector",
    /// Reads find for a while what a stretch of a disk held before it was written.
    StaleRead "stale-read",
    /// A node's disks are lost: it comes back with empty ones, and an operator lets it in again.
    EmptyDisk "empty-disk",
    /// A node's disks are put back to what they held a while ago, and an operator lets it in again.
    OldImage "old-image",
    /// Leadership of a group is handed over.
    Transfer "transfer",
    /// The quorum sizes of a group are changed.
    Quorums "quorums",
    /// A member of a group becomes a learner, or a voter again.
    Members "members",
    /// The object store is busy: it refuses, and nothing was done.
    StoreBusy "store-busy",
    /// The object store takes long for everything.
    StoreSlow "store-slow",
    /// Reads of the object store give fewer bytes than asked for, or wrong ones.
    StoreShort "store-short",
    /// Listings of the object store are those of a while ago.
    StoreStale "store-stale",
    /// A bit of something durable rots while the node runs, and reads its log again.
    QuietRot "quiet-rot",
    /// Answers of the object store are lost, those of conditional writes too: what was asked for is done, or is not.
    StoreMute "store-mute",
    /// A node under a new id joins all groups of its cluster.
    AddNode "add-node",
    /// A node leaves all groups of its cluster for good; its machine goes down and comes back with its old disk.
    RemoveNode "remove-node",
    /// A node under a new id takes the place of another one in all groups, in one joint change each.
    ReplaceNode "replace-node",
    /// A whole group moves to other nodes of its cluster, as far as there are any that never left it.
    MoveGroup "move-group",
    /// A node's program is exchanged for a newer one, which writes images in another version than the one before.
    Upgrade "upgrade",
}

impl Kind {
    /// Nodes come and go under new ids: worlds with these kinds have spare nodes.
    #[must_use]
    pub const fn is_of_nodes(self) -> bool {
        matches!(
            self,
            Self::AddNode | Self::RemoveNode | Self::ReplaceNode | Self::MoveGroup
        )
    }

    /// All kinds that strike a cluster whose nodes stay the same, their programs included.
    #[must_use]
    pub fn of_settled_clusters() -> Vec<Self> {
        let kinds = Self::ALL.iter().copied();
        let settled = |kind: &Self| !kind.is_of_nodes() && *kind != Self::Upgrade;
        kinds.filter(settled).collect()
    }

    /// It is the object store that goes wrong.
    #[must_use]
    pub const fn is_of_store(self) -> bool {
        matches!(
            self,
            Self::StoreBusy
                | Self::StoreSlow
                | Self::StoreShort
                | Self::StoreStale
                | Self::StoreMute
        )
    }
}

/// What puts something right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Starts the process of a node.
    Restart(usize),
    /// Cores of a node are fast again.
    Hurry(usize),
    /// These directions work again.
    Heal(Vec<(Machine, Machine)>),
    /// A link changes between cut and whole, so many times more.
    Flap(Machine, Machine, u64),
    /// These directions are fast again.
    Unclog(Vec<(Machine, Machine)>),
    /// No more torn streams or flipped bits between these.
    Calm(Vec<(Machine, Machine)>),
    /// A disk is fast again.
    Spin(usize),
    /// A disk goes on.
    Release(usize),
    /// A disk has room again.
    Free(usize),
    /// A disk can be read again.
    Read(usize),
    /// A direction becomes slow by so much.
    Clog((Machine, Machine), u64),
    /// These directions carry as much as before.
    Widen(Vec<(Machine, Machine)>),
    /// A wall clock is set forth or back by so much, so many times more.
    Strobe(usize, i64, u64),
    /// A machine that stood still since then goes on.
    Thaw(usize, u64),
    /// The disks of a node are exchanged for those put aside under this number.
    Exchange(usize, u64),
    /// A cluster's clients are as usual again.
    Ease(usize),
    /// The object store of a cluster is well again in this respect.
    Store(usize, Kind),
}

/// In so many runs of a thousand, where it is allowed.
const ODDS_OF_QUIET_ROT: u64 = 200;

/// Which faults a run has.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The kinds that are on.
    pub kinds: Vec<Kind>,
    /// Mean time between two faults.
    pub gap_ns: u64,
    /// How long a fault lasts: from, to.
    pub lasts_ns: (u64, u64),
}

impl Swarm {
    /// Draws which of the allowed kinds are on.
    #[must_use]
    pub fn draw(allowed: &[Kind], seed: u64) -> Self {
        let mut chance = Chance::named(seed, "swarm");
        let odds = chance.pick(&[150, 400, 700]);
        // Drawn apart: the seeds from before it was there are worth something as they are.
        let mut apart = Chance::named(seed, "quiet rot");
        let mut kinds: Vec<Kind> = allowed
            .iter()
            .copied()
            .filter(|kind| match kind {
                Kind::QuietRot => apart.permille(ODDS_OF_QUIET_ROT),
                _ => chance.permille(odds),
            })
            .collect();
        if kinds.is_empty() && !allowed.is_empty() {
            kinds.push(chance.pick(allowed));
        }
        let gap_ns = chance.magnitude(200 * MILLISECOND, 4_000 * MILLISECOND);
        let longest = chance.magnitude(200 * MILLISECOND, 8_000 * MILLISECOND);
        Self {
            kinds,
            gap_ns,
            lasts_ns: (5 * MILLISECOND, longest),
        }
    }
}

/// Reads a list of kinds: `all`, `settled` (all but those of nodes and programs that come and go), `none`, or names with commas.
///
/// # Errors
/// The name that is no kind.
pub fn parse(list: &str) -> Result<Vec<Kind>, String> {
    match list {
        "all" => Ok(Kind::ALL.to_vec()),
        "settled" => Ok(Kind::of_settled_clusters()),
        "none" => Ok(Vec::new()),
        _ => list
            .split(',')
            .map(|name| {
                let found = Kind::ALL
                    .iter()
                    .copied()
                    .find(|kind| kind.name() == name.trim());
                let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                found.ok_or_else(|| {
                    format!(
                        "no fault is called `{name}`; there are: all, settled, none, {}",
                        names.join(", ")
                    )
                })
            })
            .collect(),
    }
}
