//! No allocation per entry in steady state: counted, not believed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use raft::config::{Config, Restored};
use raft::effects::Effects;
use raft::ids::{Index, NodeId, Time};
use raft::liveness::Liveness;
use raft::membership::Membership;
use raft::raft::Raft;

/// The system's allocator, with a count per thread.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by contract; this one counts and passes on"
)]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of its callers.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    // SAFETY: as the trait demands of its callers.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

struct Group {
    members: Vec<Raft>,
    effects: Vec<Effects>,
    liveness: Liveness,
}

impl Group {
    fn new(count: u32) -> Self {
        let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let membership = Membership::of_voters(&ids).expect("voters");
        let mut liveness = Liveness::new();
        for &id in &ids {
            liveness.heard(id, 1, Time(1));
        }
        let member = |&id: &NodeId| {
            let restored = Restored::initial(membership.clone());
            Raft::new(Config::of(id), restored, u64::from(id.0), Time(1)).expect("sound")
        };
        let members: Vec<Raft> = ids.iter().map(member).collect();
        let effects = ids.iter().map(|_| Effects::default()).collect();
        let mut group = Self {
            members,
            effects,
            liveness,
        };
        group.members[0].campaign(Time(1));
        group.run();
        group
    }

    /// Everything that follows, until nobody has anything to say.
    fn run(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.members.len() {
                let effects = &mut self.effects[at];
                self.members[at].drain(effects);
                if let Some(persist) = effects.persist.take() {
                    self.members[at].persisted(persist.seq, Time(1));
                    idle = false;
                }
                if let Some(commit) = effects.commit.take() {
                    self.members[at].applied(commit);
                }
                for (to, message) in effects.send.drain(..) {
                    let from = NodeId(at as u32 + 1);
                    let to = to.0 as usize - 1;
                    self.members[to].step(from, &message, Time(1), &self.liveness);
                    idle = false;
                }
            }
            if idle {
                return;
            }
        }
    }
}

#[test]
fn nothing_is_allocated_per_entry() {
    for members in [1, 3, 5] {
        for (pipelined, batch) in [(1, 1), (1, 256), (16, 1), (64, 16)] {
            let mut group = Group::new(members);
            let round = |group: &mut Group| {
                for _ in 0..pipelined {
                    group.members[0]
                        .propose(batch, u64::from(batch) * 128)
                        .expect("a leader");
                    let effects = &mut group.effects[0];
                    group.members[0].drain(effects);
                    if let Some(persist) = effects.persist.take() {
                        group.members[0].persisted(persist.seq, Time(1));
                    }
                    for (to, message) in effects.send.drain(..) {
                        let to = to.0 as usize - 1;
                        group.members[to].step(NodeId(1), &message, Time(1), &group.liveness);
                    }
                }
                group.run();
                group.members[0].read(Time(1)).expect("a leader");
                group.run();
            };
            for _ in 0..50 {
                round(&mut group);
            }
            let before = COUNT.with(Cell::get);
            for _ in 0..1000 {
                round(&mut group);
                for effects in &mut group.effects {
                    effects.reads.clear();
                }
            }
            let allocated = COUNT.with(Cell::get) - before;
            let entries = 1 + 1050 * pipelined * u64::from(batch);
            let last = group.members.last().expect("a member");
            assert_eq!(last.commit(), Index(entries));
            assert_eq!(allocated, 0, "{members} members, {pipelined} x {batch}");
        }
    }
}
