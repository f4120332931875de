//! What happened, in order: a running hash of everything, and the last events in words for whoever looks for a cause.
//!
//! - Two runs of one seed are the same run if their hashes are equal.
//! - Words are made when they are read: an event is a few numbers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// Events kept in words.
const KEPT: usize = 8_192;
/// Of these, what struck and who started or ended is kept this far back.
const KEPT_TURNS: usize = 4_096;
/// Of what is kept so much is told, of each sort.
const TOLD: usize = 60;

/// Who an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The world as a whole.
    World,
    /// A node.
    Node(usize),
    /// A node's core.
    Core(usize, u16),
    /// A client.
    Client(usize),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A fault began or ended, in its own words.
    Fault(&'static str, u64),
    /// A process started under this incarnation.
    Started(u64),
    /// A process ended: the reason.
    Ended(&'static str),
    /// A replica's role, term, commit or applied index changed: group, role, term, commit, applied.
    Moved(u64, &'static str, u64, u64, u64),
    /// A client asked: its number, the group, the operation, the node.
    Asked(u64, u64, u8, usize),
    /// A client was answered: the number of its request, the status, the index.
    Answered(u64, u8, u64),
    /// A client gave an attempt up.
    TimedOut(u64),
    /// A connection of a client ended.
    Hung,
    /// The run entered a phase.
    Phase(&'static str),
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Virtual nanoseconds since the beginning.
    pub at: u64,
    /// About whom.
    pub who: Who,
    /// What.
    pub what: What,
}

thread_local! {
    /// The run of this thread, for the words of a failed assertion.
    static WATCHED: RefCell<Option<(u64, Trace)>> = const { RefCell::new(None) };
}

/// The thread runs this one from here on.
pub fn watch(seed: u64, trace: &Trace) {
    WATCHED.set(Some((seed, trace.clone())));
}

/// The seed of the thread's run.
#[must_use]
pub fn watched_seed() -> u64 {
    WATCHED.with_borrow(|watched| watched.as_ref().map_or(0, |(seed, _)| *seed))
}

/// The last events of the thread's run.
#[must_use]
pub fn watched() -> Vec<Event> {
    WATCHED.with_borrow(|watched| {
        watched
            .as_ref()
            .map_or_else(Vec::new, |(_, trace)| trace.story(|_| true))
    })
}

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    count: u64,
    /// Events, with their numbers.
    last: VecDeque<(u64, Event)>,
    /// Of all, those that turned the run.
    turns: VecDeque<(u64, Event)>,
}

/// A run's record; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace(Rc<RefCell<Inner>>);

impl Trace {
    /// Notes an event.
    pub fn note(&self, at: u64, who: Who, what: What) {
        let mut inner = self.0.borrow_mut();
        let [a, b, c, d] = what.numbers();
        for number in [at, who.number(), a, b, c, d] {
            inner.mix(number);
        }
        inner.count += 1;
        let event = (inner.count, Event { at, who, what });
        keep(&mut inner.last, KEPT, event);
        if what.turns() {
            keep(&mut inner.turns, KEPT_TURNS, event);
        }
    }

    /// Mixes a number into the hash, without words.
    pub fn mix(&self, number: u64) {
        self.0.borrow_mut().mix(number);
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// Events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.borrow().count
    }

    /// Of the events that concern whoever asks the last ones, and what struck, started and ended before; oldest first.
    /// Nothing while somebody is writing.
    #[must_use]
    pub fn story(&self, concerns: impl Fn(&Event) -> bool) -> Vec<Event> {
        let Ok(inner) = self.0.try_borrow() else {
            return Vec::new();
        };
        let newest = |kept: &VecDeque<(u64, Event)>| {
            let told = kept.iter().rev().filter(|(_, event)| concerns(event));
            told.take(TOLD).copied().collect::<Vec<_>>()
        };
        let mut story = newest(&inner.last);
        story.extend(newest(&inner.turns));
        story.sort_by_key(|(number, _)| *number);
        story.dedup_by_key(|(number, _)| *number);
        story.into_iter().map(|(_, event)| event).collect()
    }
}

fn keep(kept: &mut VecDeque<(u64, Event)>, most: usize, event: (u64, Event)) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(event);
}

impl Inner {
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Who {
    fn number(self) -> u64 {
        match self {
            Self::World => 0,
            Self::Node(node) => 1 << 32 | node as u64,
            Self::Core(node, core) => 2 << 32 | (node as u64) << 8 | u64::from(core),
            Self::Client(client) => 3 << 32 | client as u64,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::World => "world".to_owned(),
            Self::Node(node) => format!("node {node}"),
            Self::Core(node, core) => format!("node {node}.{core}"),
            Self::Client(client) => format!("client {client}"),
        };
        f.pad(&words)
    }
}

impl What {
    /// Something struck, or somebody started or ended.
    fn turns(self) -> bool {
        matches!(
            self,
            Self::Fault(..) | Self::Started(_) | Self::Ended(_) | Self::Phase(_)
        )
    }

    fn numbers(self) -> [u64; 4] {
        let text = |words: &str| u64::from(crc32fast::hash(words.as_bytes()));
        match self {
            Self::Fault(name, number) => [1, text(name), number, 0],
            Self::Started(incarnation) => [2, incarnation, 0, 0],
            Self::Ended(why) => [3, text(why), 0, 0],
            Self::Moved(group, role, term, commit, applied) => {
                [4 ^ text(role) << 8, group << 32 | term, commit, applied]
            }
            Self::Asked(number, group, operation, node) => {
                [5, number, group << 8 | u64::from(operation), node as u64]
            }
            Self::Answered(number, status, index) => [6, number, u64::from(status), index],
            Self::TimedOut(number) => [7, number, 0, 0],
            Self::Hung => [8, 0, 0, 0],
            Self::Phase(name) => [9, text(name), 0, 0],
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fault(name, number) => write!(f, "{:<10} {name} {number}", "fault"),
            Self::Started(incarnation) => write!(f, "{:<10} incarnation {incarnation}", "started"),
            Self::Ended(why) => write!(f, "{:<10} {why}", "ended"),
            Self::Moved(group, role, term, commit, applied) => write!(
                f,
                "{:<10} group {group:<3} {role:<13} term {term:<4} commit {commit:<6} applied {applied}",
                "moved"
            ),
            Self::Asked(number, group, operation, node) => {
                write!(
                    f,
                    "{:<10} group {group:<3} request {number}, operation {operation}, of node {node}",
                    "asked"
                )
            }
            Self::Answered(number, status, index) => {
                write!(
                    f,
                    "{:<10} request {number}, status {status}, index {index}",
                    "answered"
                )
            }
            Self::TimedOut(number) => write!(f, "{:<10} request {number}", "timed out"),
            Self::Hung => write!(f, "{:<10} its connection ended", "hung up"),
            Self::Phase(name) => write!(f, "{:<10} {name}", "phase"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.at / 1_000_000_000, self.at % 1_000_000_000);
        write!(f, "{seconds:>6}.{nanos:09}  {:<10} {}", self.who, self.what)
    }
}
