//! The promises, and the ways in which a run can show that one was not kept.

use std::fmt;

use raft::invariants::Violation;
use thiserror::Error;

/// A group of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Number of the cluster.
    pub cluster: usize,
    /// The group.
    pub group: u64,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} of cluster {}", self.group, self.cluster)
    }
}

/// A promise that was not kept, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// Consensus.
    #[error("consensus: {scope}: {violation}")]
    Raft {
        /// Where.
        scope: Scope,
        /// What.
        violation: Violation,
    },
    /// An index went back within one life of a process.
    #[error("no regress: {scope}: node {node} went back in its {what} from {before} to {after}")]
    Regress {
        /// Where.
        scope: Scope,
        /// Which node.
        node: usize,
        /// Which number.
        what: &'static str,
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
    /// A replica that was started again lacks what it knew to be durable.
    #[error("durable: {scope}: node {node} lost its {what}: {before}, after its start {after}")]
    Forgot {
        /// Where.
        scope: Scope,
        /// Which node.
        node: usize,
        /// What.
        what: &'static str,
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
    /// A leader committed an entry of an earlier term by counting.
    #[error("own terms only: {scope}: node {node} committed {index}, of an earlier term")]
    CountedOldTerm {
        /// Where.
        scope: Scope,
        /// The leader.
        node: usize,
        /// The entry.
        index: u64,
    },
    /// The books differ from what a second, independent reckoning gives.
    #[error("the books are right: {scope}: at {index} {what}")]
    WrongBooks {
        /// Where.
        scope: Scope,
        /// The entry.
        index: u64,
        /// What differs.
        what: String,
    },
    /// Two replicas applied different commands at one index.
    #[error("one history: {scope}: node {node} applied another command at {index}")]
    OtherCommand {
        /// Where.
        scope: Scope,
        /// The later one of the two.
        node: usize,
        /// The index.
        index: u64,
    },
    /// Two replicas differ after one index.
    #[error("one state: {scope}: node {node} has another digest after {index}")]
    OtherDigest {
        /// Where.
        scope: Scope,
        /// The later one of the two.
        node: usize,
        /// The index.
        index: u64,
    },
    /// Two replicas answer one command differently.
    #[error("one answer: {scope}: node {node} answers otherwise at {index}")]
    OtherReply {
        /// Where.
        scope: Scope,
        /// The later one of the two.
        node: usize,
        /// The index.
        index: u64,
    },
    /// An entry was applied twice or late.
    #[error("applied once, in order: {scope}: node {node} applied {index} after {last}")]
    AppliedOutOfOrder {
        /// Where.
        scope: Scope,
        /// Which node.
        node: usize,
        /// Applied before.
        last: u64,
        /// Applied then.
        index: u64,
    },
    /// An acknowledged write is not in the history, or not as it was acknowledged.
    #[error(
        "nothing acknowledged is lost: {scope}: request {request}, acknowledged at {index}: {how}"
    )]
    Acknowledged {
        /// Where.
        scope: Scope,
        /// Which request.
        request: u64,
        /// At which index.
        index: u64,
        /// What is wrong.
        how: &'static str,
    },
    /// A request that was refused for good is in the history.
    #[error(
        "nothing refused happens: {scope}: request {request} was refused and stands at {index}"
    )]
    Refused {
        /// Where.
        scope: Scope,
        /// Which request.
        request: u64,
        /// At which index.
        index: u64,
    },
    /// A read answered something that the state never was.
    #[error("reads tell the truth: {scope}: request {request} at {index}")]
    ReadWrong {
        /// Where.
        scope: Scope,
        /// Which request.
        request: u64,
        /// At which index.
        index: u64,
    },
    /// An operation took effect outside its time.
    #[error(
        "linearizable: {scope}: request {request} took effect at {index}, but {known} was acknowledged before it began"
    )]
    NotLinear {
        /// Where.
        scope: Scope,
        /// Which request.
        request: u64,
        /// At which index.
        index: u64,
        /// What was known before.
        known: u64,
    },
    /// Money was made or lost.
    #[error("money is conserved: {scope}: debits and credits differ at node {node}")]
    NotConserved {
        /// Where.
        scope: Scope,
        /// Which node.
        node: usize,
    },
    /// The agreed history, done again from the beginning, leads elsewhere.
    #[error("the state follows from the history: {scope}: another digest after {index}")]
    NotReproduced {
        /// Where.
        scope: Scope,
        /// First index.
        index: u64,
    },
    /// A replica does not hold what the others hold when everything is healed and still.
    #[error("replicas become equal: {scope}: node {node} is at {applied} of {expected}")]
    NotEqual {
        /// Where.
        scope: Scope,
        /// Which node.
        node: usize,
        /// Where it stands.
        applied: u64,
        /// Where the others stand.
        expected: u64,
    },
    /// A change of members that was begun is not brought to its end though all is well.
    #[error(
        "it goes on: {scope}: its members are not those that were asked for after {waited_ms} ms"
    )]
    NotMoved {
        /// Where.
        scope: Scope,
        /// How long it was waited, in milliseconds.
        waited_ms: u64,
    },
    /// No progress though all is well.
    #[error(
        "it goes on: {scope}: no write was accepted within {waited_ms} ms after the last fault was healed"
    )]
    NotLive {
        /// Where.
        scope: Scope,
        /// How long, in milliseconds.
        waited_ms: u64,
    },
    /// A request is not answered though all is well.
    #[error(
        "it answers: {scope}: request {request} has no answer {waited_ms} ms after the last fault was healed"
    )]
    Unanswered {
        /// Where.
        scope: Scope,
        /// Which.
        request: u64,
        /// How long, in milliseconds.
        waited_ms: u64,
    },
    /// A log cannot be opened after a legal fault.
    #[error("it starts again: node {node}, core {core}: {error}")]
    CannotOpen {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
        /// Why.
        error: String,
    },
    /// A process stopped itself without a fault of its disk.
    #[error("it stops only for its disk: node {node}, core {core}")]
    Stopped {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
    },
    /// A process did not stop when its log had failed.
    #[error("it stops when its disk fails: node {node}, core {core} goes on")]
    WentOn {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
    },
    /// An election was won without the durable votes of a quorum.
    #[error("votes are durable: {scope}: node {node} leads term {term} by votes that nobody keeps")]
    VotesNotKept {
        /// Where.
        scope: Scope,
        /// The leader.
        node: usize,
        /// Its term.
        term: u64,
    },
    /// A queue grew beyond its bound.
    #[error("queues are bounded: node {node}, core {core}: {what} {size} > {most}")]
    Unbounded {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
        /// What.
        what: &'static str,
        /// How much there is.
        size: u64,
        /// How much there may be.
        most: u64,
    },
    /// A message could not be read by its receiver though no bit was flipped.
    #[error(
        "peers understand each other: node {node}, core {core} got {count} frames it could not read"
    )]
    Malformed {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
        /// How many.
        count: u64,
    },
    /// An entry that was applied is in no log, no sealed file and not in the object store.
    #[error("the past is within reach: {scope}: entry {index} is nowhere")]
    OutOfReach {
        /// Where.
        scope: Scope,
        /// The entry.
        index: u64,
    },
    /// A log tells of damage though nothing was done to its disk.
    #[error(
        "no false alarms: node {node}, core {core} found its log damaged, and its disk is sound"
    )]
    FalseAlarm {
        /// Which node.
        node: usize,
        /// Which core.
        core: u16,
    },
    /// Timestamps do not rise.
    #[error(
        "time rises: {scope}: the timestamp {after} of entry {index} is not above {before}, in ledger {ledger}"
    )]
    TimeStoodStill {
        /// Where.
        scope: Scope,
        /// Which entry.
        index: u64,
        /// The ledger; 0 is all of the group's together.
        ledger: u32,
        /// The highest before.
        before: u64,
        /// What was given.
        after: u64,
    },
    /// A group's memory of old entries is larger than it may be.
    #[error(
        "memory is bounded: {scope}: node {node} keeps {bytes} bytes of entries that nobody waits for, at most {most}"
    )]
    Hoards {
        /// Where.
        scope: Scope,
        /// Whose replica.
        node: usize,
        /// Bytes.
        bytes: u64,
        /// At most.
        most: u64,
    },
    /// A replica changed in a turn that is not known to have touched it.
    #[error(
        "every change is noticed: {scope}: node {node} changed its replica's {what} and did not say so"
    )]
    Unnoticed {
        /// Where.
        scope: Scope,
        /// Whose replica.
        node: usize,
        /// What of it.
        what: &'static str,
    },
    /// A state holds more in memory than what it was told accounts for.
    #[error(
        "memory follows what was agreed: {scope}: node {node}: the state holds {bytes} bytes, its budget is {most}"
    )]
    StateOverBudget {
        /// Where.
        scope: Scope,
        /// Whose state.
        node: usize,
        /// Bytes.
        bytes: u64,
        /// At most.
        most: u64,
    },
    /// A process holds more in memory than it may.
    #[error(
        "memory is bounded: the process of node {node} holds {bytes} bytes, its budget is {most}"
    )]
    OverBudget {
        /// Whose process.
        node: usize,
        /// Bytes.
        bytes: u64,
        /// At most.
        most: u64,
    },
    /// Two nodes sealed the same entries in other bytes.
    #[error(
        "sealed files are the same everywhere: {scope}: nodes {node} and {other}: {first}..={last}"
    )]
    SealedApart {
        /// Where.
        scope: Scope,
        /// One node.
        node: usize,
        /// The one that sealed them before.
        other: usize,
        /// First entry.
        first: u64,
        /// Last entry.
        last: u64,
    },
    /// A sealed file is not what it was.
    #[error(
        "sealed is sealed: {scope}: node {node}: the file that begins with {first} has other bytes"
    )]
    SealedChanged {
        /// Where.
        scope: Scope,
        /// Whose file.
        node: usize,
        /// Its first entry.
        first: u64,
    },
    /// A sealed entry is not the one that was agreed on.
    #[error("sealed is what was agreed: {scope}: node {node}: entry {index} is another")]
    SealedOtherwise {
        /// Where.
        scope: Scope,
        /// Who sealed it; the object store is nobody.
        node: usize,
        /// The entry.
        index: u64,
    },
    /// The log says of an entry that the object store has it, and it has not.
    #[error("stored is stored: {scope}: node {node} says so of {index}, which no manifest names")]
    NotStored {
        /// Where.
        scope: Scope,
        /// Who.
        node: usize,
        /// The entry.
        index: u64,
    },
    /// What a manifest names cannot be read back.
    #[error("stored is stored: cluster {cluster}: {why}")]
    StoreUnreadable {
        /// Whose store.
        cluster: usize,
        /// Why not.
        why: String,
    },
    /// A node told a group's past otherwise than the group agreed on it.
    #[error("the past is told as it was: {scope}: request {request}: {how}")]
    ToldWrong {
        /// Where.
        scope: Scope,
        /// Which request.
        request: u64,
        /// What is wrong.
        how: &'static str,
    },
    /// Two different texts are encrypted with one key and one nonce.
    #[error("a nonce serves once: cluster {cluster}: {why}")]
    NonceTwice {
        /// Whose store.
        cluster: usize,
        /// Which object.
        why: String,
    },
    /// An assertion of the code under test failed.
    #[error("no assertion fails: {0}")]
    Panicked(String),
    /// One seed, two different runs.
    #[error("one seed, one run: hashes {0:016x} and {1:016x}")]
    NotDeterministic(u64, u64),
    /// The network does not behave as its map says.
    #[error(
        "the map holds: from {from} to {to} a round trip is {injected_us} us, observed {observed_us} us"
    )]
    OffTheMap {
        /// From.
        from: String,
        /// To.
        to: String,
        /// By the map.
        injected_us: u64,
        /// As observed.
        observed_us: u64,
    },
}

impl Broken {
    /// The group that it is about, when it is about one.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Self::Raft { scope, .. }
            | Self::Regress { scope, .. }
            | Self::Forgot { scope, .. }
            | Self::CountedOldTerm { scope, .. }
            | Self::WrongBooks { scope, .. }
            | Self::OtherCommand { scope, .. }
            | Self::OtherDigest { scope, .. }
            | Self::OtherReply { scope, .. }
            | Self::AppliedOutOfOrder { scope, .. }
            | Self::Acknowledged { scope, .. }
            | Self::Refused { scope, .. }
            | Self::ReadWrong { scope, .. }
            | Self::NotLinear { scope, .. }
            | Self::NotConserved { scope, .. }
            | Self::NotReproduced { scope, .. }
            | Self::NotEqual { scope, .. }
            | Self::NotMoved { scope, .. }
            | Self::NotLive { scope, .. }
            | Self::Unanswered { scope, .. }
            | Self::VotesNotKept { scope, .. }
            | Self::OutOfReach { scope, .. }
            | Self::TimeStoodStill { scope, .. }
            | Self::Hoards { scope, .. }
            | Self::Unnoticed { scope, .. }
            | Self::SealedApart { scope, .. }
            | Self::SealedChanged { scope, .. }
            | Self::SealedOtherwise { scope, .. }
            | Self::NotStored { scope, .. }
            | Self::ToldWrong { scope, .. } => Some(*scope),
            _ => None,
        }
    }
}
