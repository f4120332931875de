//! Where the time of a request goes: one histogram per stage, one set per core, recorded per batch.
//!
//! The stages of a request are consecutive: each begins where the one before ended, so their sum is
//! the request's time on this server and nothing is unaccounted between them.

use hdrhistogram::Histogram;

/// A stretch of a request's way through the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First byte there -> frame whole and verified.
    Arrive,
    /// Frame whole -> taken by a turn, checked, ready to be proposed.
    Receive,
    /// Ready -> in the group's log: the turn had room for it.
    Decide,
    /// In the log -> durable here, or committed without us.
    Persist,
    /// Durable here -> committed: the wait for the quorum.
    Replicate,
    /// Committed -> applied.
    Apply,
    /// Applied -> last byte of the reply handed to the kernel.
    Reply,
    /// First byte there -> last byte of the reply handed to the kernel.
    Server,
    /// A follower's part: appended -> durable there.
    FollowerPersist,
    /// One durable write of the log: submitted -> completed.
    LogWrite,
    /// A linearizable read: ready -> answered.
    Read,
    /// One turn of the shard that had work.
    Turn,
}

/// Every stage, in the order of a request's way.
pub const STAGES: [Stage; 12] = [
    Stage::Arrive,
    Stage::Receive,
    Stage::Decide,
    Stage::Persist,
    Stage::Replicate,
    Stage::Apply,
    Stage::Reply,
    Stage::Server,
    Stage::FollowerPersist,
    Stage::LogWrite,
    Stage::Read,
    Stage::Turn,
];

/// Longest time that is told apart: longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;

/// One per shard.
#[derive(Debug)]
pub struct Stopwatch {
    stages: Vec<Histogram<u32>>,
    on: bool,
}

impl Stage {
    /// The name in reports, documents and file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrive => "arrive",
            Self::Receive => "receive",
            Self::Decide => "decide",
            Self::Persist => "persist",
            Self::Replicate => "replicate",
            Self::Apply => "apply",
            Self::Reply => "reply",
            Self::Server => "server.e2e",
            Self::FollowerPersist => "follower.persist",
            Self::LogWrite => "log.write",
            Self::Read => "read",
            Self::Turn => "turn",
        }
    }
}

impl Stopwatch {
    /// Empty histograms: 3 significant digits, 1 ns to 60 s, about 108 KiB each, of which a run touches few
    /// lines; with fewer digits the stages' means do not add up within a percent.
    /// With `on` false nothing is recorded, and the histograms have room for nothing: the measure of what recording costs.
    #[must_use]
    pub fn new(on: bool) -> Self {
        let (longest, digits) = if on { (LONGEST_NS, 3) } else { (2, 0) };
        let empty = || {
            Histogram::new_with_bounds(1, longest, digits)
                .expect("constant bounds that the type accepts")
        };
        Self {
            stages: STAGES.iter().map(|_| empty()).collect(),
            on,
        }
    }

    /// Records one duration.
    pub fn record(&mut self, stage: Stage, nanos: u64) {
        if self.on {
            self.stages[stage as usize].saturating_record(nanos.max(1));
        }
    }

    /// One stage's histogram.
    #[must_use]
    pub fn histogram(&self, stage: Stage) -> &Histogram<u32> {
        &self.stages[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_stages_is_the_order_of_histograms() {
        for (position, stage) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, position);
        }
        let mut watch = Stopwatch::new(true);
        watch.record(Stage::Apply, 1_000_000);
        watch.record(Stage::Apply, 100 * LONGEST_NS);
        assert_eq!(watch.histogram(Stage::Apply).len(), 2);
        assert_eq!(watch.histogram(Stage::Reply).len(), 0);
        let mut off = Stopwatch::new(false);
        off.record(Stage::Apply, 5);
        assert_eq!(off.histogram(Stage::Apply).len(), 0);
    }
}
