//! Which rare things were reached, and together with which faults: blind spots lie in what is never tried.
//!
//! - A point is named where it is reached, by `sometimes!`; all points are in one list, so that one never reached shows.
//! - A fault counts for a point while it lasts, and for a second after it struck.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::Kind;

/// A fault counts for so long after it struck, at least.
const ECHO_NS: u64 = 1_000_000_000;

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident $name:literal,)*) => {
        /// Something that happens rarely.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// In words.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// An election was won.
    Elected "elected",
    /// A leader gave way.
    Deposed "deposed",
    /// Entries were cut from a log.
    Cut "log-cut",
    /// A replica commits entries of an earlier term.
    OldTerm "commits-old-terms",
    /// A process started with a log that it had to cut.
    TornTail "torn-tail",
    /// A process started with entries that nobody had said to be committed.
    OpenTail "open-tail",
    /// A process could not start for want of space.
    TooFull "too-full-to-start",
    /// A process stopped because its disk failed.
    DiskFailed "disk-failed",
    /// Entries were read back from the log for a laggard.
    ReadBack "read-back",
    /// What rotted in a running log was written again where it lies.
    RotRepaired "rot-repaired",
    /// What rotted in a running log was covered by an image.
    RotCovered "rot-covered",
    /// A log began another segment.
    Rotated "rotated",
    /// The log had no room for what was to be written.
    LogBusy "log-busy",
    /// A write was refused for want of space.
    StorageFull "storage-full",
    /// A request was answered "busy".
    Busy "busy",
    /// A peer that did not read was cut off.
    DeafPeer "deaf-peer",
    /// Leadership was handed over on purpose.
    Transferred "transferred",
    /// A configuration was changed.
    Reconfigured "reconfigured",
    /// A replica lives in a joint configuration.
    Joint "joint",
    /// The outcome of a request was unknown, and it was asked again.
    AskedAgain "asked-again",
    /// A client gave a request up whose outcome nobody knows.
    Unknown "unknown-outcome",
    /// A request that was done before was done again.
    Repeated "repeated",
    /// A stretch of a log was sealed.
    Sealed "sealed",
    /// A sealed file took the place of others.
    SealedAnew "sealed-anew",
    /// A log said that a file is in the object store.
    Stored "stored",
    /// A file was not stored, for now.
    StoreFailed "store-failed",
    /// Files of the object store were joined.
    StoreJoined "store-joined",
    /// Old entries were told to a client from sealed files.
    ToldFromFiles "told-from-files",
    /// Old entries were told to a client from the object store.
    ToldFromStore "told-from-store",
    /// A group has the voters that an operator wanted, nodes under new ids among them.
    Redrawn "voters-redrawn",
    /// A program read an image that an older one wrote.
    OlderImage "older-image-read",
    /// A program was given an image that a newer one wrote, and refused it.
    NewerImage "newer-image-refused",
    /// A group is on its way to voters none of which voted before.
    Moved "group-moved",
}

/// Of one run.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// How long each kind of fault counts.
    until: BTreeMap<Kind, u64>,
    reached: BTreeMap<Point, u64>,
    pairs: BTreeSet<(Point, Kind)>,
}

impl Coverage {
    /// A fault strikes, and lasts.
    pub fn struck(&mut self, kind: Kind, now: u64, lasts_ns: u64) {
        let until = self.until.entry(kind).or_default();
        *until = (*until).max(now + lasts_ns.max(ECHO_NS));
    }

    /// A point was reached.
    pub fn reached(&mut self, point: Point, now: u64) {
        *self.reached.entry(point).or_default() += 1;
        let active = self.until.iter().filter(|(_, until)| **until >= now);
        self.pairs.extend(active.map(|(kind, _)| (point, *kind)));
    }

    /// Takes what another run reached.
    pub fn join(&mut self, other: &Self) {
        for (point, count) in &other.reached {
            *self.reached.entry(*point).or_default() += count;
        }
        self.pairs.extend(&other.pairs);
    }

    /// How often a point was reached.
    #[must_use]
    pub fn count(&self, point: Point) -> u64 {
        self.reached.get(&point).copied().unwrap_or(0)
    }

    /// How often each point was reached.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let count = |point: &Point| self.count(*point);
        Point::ALL
            .iter()
            .map(|point| (point.name(), count(point)))
            .collect()
    }

    /// Pairs of a point and one of these kinds that were never seen together.
    #[must_use]
    pub fn never(&self, kinds: &[Kind]) -> Vec<(Point, Kind)> {
        let all = Point::ALL
            .iter()
            .flat_map(|point| kinds.iter().map(move |kind| (*point, *kind)));
        all.filter(|pair| !self.pairs.contains(pair)).collect()
    }
}

/// Notes that something rare happened: `sometimes!(coverage, Point, now)`, or with a condition in front of `=>`.
macro_rules! sometimes {
    ($coverage:expr, $point:ident, $now:expr) => {
        $coverage.reached($crate::coverage::Point::$point, $now)
    };
    ($coverage:expr, $condition:expr => $point:ident, $now:expr) => {
        if $condition {
            sometimes!($coverage, $point, $now);
        }
    };
}
pub(crate) use sometimes;
