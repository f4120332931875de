//! A linearizability checker: whether one copy could have done these operations, each between its call and its return.
//!
//! - Wing and Gong's search with Lowe's memory of configurations ("Testing for linearizability", 2017); histories of
//!   independent keys are checked key by key by the caller.
//! - An operation without a return may take effect at any time after its call, or never be seen.
//! - Exponential in the worst case; for the product's own histories `finals` needs no search.

use std::collections::BTreeSet;

/// What a single copy does.
pub trait Model {
    /// Its state.
    type State: Clone + Ord;
    /// An operation with what came of it.
    type Operation;

    /// The state at the beginning.
    fn begin(&self) -> Self::State;

    /// The state after an operation; `None` if it cannot have come out this way.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation and its time.
#[derive(Clone, Debug)]
pub struct Interval<O> {
    /// Position of its call in the history.
    pub called: usize,
    /// Position of its return; `None` if it never returned.
    pub returned: Option<usize>,
    /// What it did.
    pub operation: O,
}

/// Calls and returns in order, as a list from which operations are lifted out and put back.
struct Events {
    next: Vec<usize>,
    prev: Vec<usize>,
    /// Operation and, for calls, the place of the return.
    what: Vec<(usize, Option<usize>)>,
}

/// Can the history have happened to a single copy?
#[must_use]
pub fn is_linearizable<M: Model>(model: &M, history: &[Interval<M::Operation>]) -> bool {
    search(model, history, u64::MAX).expect("a search without a limit ends")
}

/// Can the histories of independent keys have happened, all of them? Each gets more and more steps in turn: a wrong one
/// is often found long before the hardest right one is proved.
#[must_use]
pub fn are_linearizable<M: Model>(model: &M, histories: &[&[Interval<M::Operation>]]) -> bool {
    let mut open = histories.to_vec();
    let mut steps_max = 1 << 14;
    while !open.is_empty() {
        let mut left = Vec::new();
        for history in open {
            match search(model, history, steps_max) {
                Some(true) => {}
                Some(false) => return false,
                None => left.push(history),
            }
        }
        open = left;
        steps_max *= 4;
    }
    true
}

/// The search; `None` if it takes more than so many steps.
fn search<M: Model>(model: &M, history: &[Interval<M::Operation>], steps_max: u64) -> Option<bool> {
    let mut steps = 0;
    let mut events = Events::of(history);
    let mut done = vec![0_u64; history.len().div_ceil(64)];
    let mut state = model.begin();
    let mut seen = BTreeSet::new();
    let mut lifted: Vec<(usize, M::State)> = Vec::new();
    let mut at = events.next[0];
    while events.next[0] != 0 {
        steps += 1;
        if steps > steps_max {
            return None;
        }
        let (operation, end) = events.what[at];
        let Some(end) = end else {
            // A return whose call was not lifted: one step back.
            let Some((call, before)) = lifted.pop() else {
                return Some(false);
            };
            let (operation, end) = events.what[call];
            state = before;
            done[operation / 64] &= !(1 << (operation % 64));
            events.restore(call, end.expect("it is a call"));
            at = events.next[call];
            continue;
        };
        let after = model.step(&state, &history[operation].operation);
        if let Some(after) = after {
            done[operation / 64] |= 1 << (operation % 64);
            if seen.insert((done.clone(), after.clone())) {
                lifted.push((at, std::mem::replace(&mut state, after)));
                events.lift(at, end);
                at = events.next[0];
                continue;
            }
            done[operation / 64] &= !(1 << (operation % 64));
        }
        at = events.next[at];
    }
    Some(true)
}

impl Events {
    fn of<O>(history: &[Interval<O>]) -> Self {
        let mut order: Vec<(usize, usize, bool)> = Vec::new();
        for (number, interval) in history.iter().enumerate() {
            order.push((interval.called, number, false));
            order.push((interval.returned.unwrap_or(usize::MAX), number, true));
        }
        order.sort_unstable();
        let mut what = vec![(0, None)];
        let mut calls = vec![0; history.len()];
        for (nth, (_, number, is_return)) in order.iter().enumerate() {
            what.push((*number, None));
            if *is_return {
                what[calls[*number]].1 = Some(nth + 1);
            } else {
                calls[*number] = nth + 1;
            }
        }
        let count = what.len();
        Self {
            next: (0..count).map(|at| (at + 1) % count).collect(),
            prev: (0..count).map(|at| (at + count - 1) % count).collect(),
            what,
        }
    }

    fn lift(&mut self, call: usize, end: usize) {
        for at in [call, end] {
            let (prev, next) = (self.prev[at], self.next[at]);
            self.next[prev] = next;
            self.prev[next] = prev;
        }
    }

    fn restore(&mut self, call: usize, end: usize) {
        for at in [end, call] {
            let (prev, next) = (self.prev[at], self.next[at]);
            self.next[prev] = at;
            self.prev[next] = at;
        }
    }
}
