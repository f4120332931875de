//! What agreement costs: our core and raft-rs side by side, CPU time per committed entry over three members.
//!
//! - One operation, for both: `batch` entries of 128 bytes are proposed at the leader one call each, sent to
//!   two followers, made durable on all three, acknowledged, committed, and applied on all three.
//! - One turn of a member, for both: take every message that waits, then do all that follows from them.
//! - No network, no disk, no encoding: messages are handed over as values, and a write is done at once.
//! - Time is the CPU time of this thread; the sides take turns, so that a busy neighbour meets all of them.
//! - After each cell every member of every group must have applied everything.
//!
//! ```text
//! cargo bench -p quorate-bench --bench consensus                    the whole table
//! cargo bench -p quorate-bench --bench consensus -- 1000 16 [SIDE]  one cell, or one side of it
//! cargo bench -p quorate-bench --bench consensus -- 1000 16 5000 SIDE   so many operations and no clock,
//!                                                                       for counters of instructions
//! ```

#![allow(clippy::print_stdout, reason = "a report")]

mod ours;
mod theirs;

use rustix::time::{ClockId, clock_gettime};

/// Members of a group.
pub(crate) const MEMBERS: usize = 3;
/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: u64 = 128;

const GROUPS: [usize; 4] = [1, 64, 1_000, 10_000];
const BATCHES: [u32; 3] = [1, 16, 256];
/// How often each side has its turn in a cell; the median is reported.
const SLICES: usize = 15;
/// CPU time of one slice, in nanoseconds, unless one operation of each group takes longer.
const SLICE_NANOS: u64 = 20_000_000;

/// One implementation, with all its groups.
pub(crate) trait Side {
    /// Takes `batch` entries of a group the whole way. `coming` are the groups whose turns follow.
    fn operation(&mut self, group: usize, coming: [usize; 3], batch: u32);
    /// Entries that every member of a group has applied.
    fn applied(&self, group: usize) -> u64;
}

/// One side's world, and what it has done.
struct Contestant {
    name: &'static str,
    side: Box<dyn Side>,
    turn: usize,
    /// Nanoseconds per entry of each slice.
    costs: Vec<f64>,
}

const NAMES: [&str; 4] = [
    "quorate",
    "quorate, one call",
    "raft-rs",
    "raft-rs, batch_append",
];

fn contestant(name: &'static str, groups: usize) -> Contestant {
    let side: Box<dyn Side> = match name {
        "quorate" => Box::new(ours::Groups::new(groups, ours::Propose::EachEntry)),
        "quorate, one call" => Box::new(ours::Groups::new(groups, ours::Propose::WholeBatch)),
        "raft-rs" => Box::new(theirs::Groups::new(groups, false)),
        _ => Box::new(theirs::Groups::new(groups, true)),
    };
    Contestant {
        name,
        side,
        turn: 0,
        costs: Vec::new(),
    }
}

/// CPU time of this thread in nanoseconds: other work on the machine does not count.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Contestant {
    fn run(&mut self, groups: usize, batch: u32, operations: usize) -> u64 {
        let start = cpu_nanos();
        for _ in 0..operations {
            let coming = [1, 2, 3].map(|ahead| (self.turn + ahead) % groups);
            self.side.operation(self.turn, coming, batch);
            self.turn = coming[0];
        }
        cpu_nanos() - start
    }

    /// Warms up, and finds how many operations fill a slice.
    fn calibrate(&mut self, groups: usize, batch: u32) -> usize {
        let first = groups.max(200);
        let nanos = self.run(groups, batch, first).max(1);
        let fill = first as u64 * SLICE_NANOS / nanos;
        (fill as usize).max(groups.min(first)).max(1)
    }

    fn median(&mut self) -> f64 {
        self.costs.sort_by(f64::total_cmp);
        self.costs[self.costs.len() / 2]
    }
}

/// One cell: the median cost of an entry in nanoseconds on each side.
fn cell(contestants: &mut [Contestant], groups: usize, batch: u32) -> Vec<f64> {
    let before: Vec<Vec<u64>> = contestants
        .iter()
        .map(|contestant| {
            (0..groups)
                .map(|group| contestant.side.applied(group))
                .collect()
        })
        .collect();
    let mut done = vec![0_usize; contestants.len()];
    let mut fills = Vec::new();
    for (contestant, done) in contestants.iter_mut().zip(&mut done) {
        contestant.costs.clear();
        fills.push(contestant.calibrate(groups, batch));
        *done += groups.max(200);
    }
    // A slice of a world of many groups costs much: fewer of them tell as much.
    let slices = if groups > 1_000 { 5 } else { SLICES };
    for _ in 0..slices {
        for (at, contestant) in contestants.iter_mut().enumerate() {
            let nanos = contestant.run(groups, batch, fills[at]);
            done[at] += fills[at];
            let entries = fills[at] as f64 * f64::from(batch);
            contestant.costs.push(nanos as f64 / entries);
        }
    }
    for ((contestant, before), done) in contestants.iter().zip(before).zip(done) {
        let applied: u64 = (0..groups)
            .map(|group| contestant.side.applied(group) - before[group])
            .sum();
        assert_eq!(
            applied,
            done as u64 * u64::from(batch),
            "{}",
            contestant.name
        );
    }
    contestants.iter_mut().map(Contestant::median).collect()
}

fn table(names: &[&'static str], all_groups: &[usize], batches: &[u32]) {
    println!("CPU time per committed entry over {MEMBERS} members, in nanoseconds: medians");
    print!("{:>8} {:>6}", "groups", "batch");
    for name in names {
        print!(" {name:>22}");
    }
    println!(
        " {:>10} {:>10} {:>10}",
        "/raft-rs", "/batch_app", "/1 group"
    );
    let mut alone = vec![0.0; batches.len()];
    for &groups in all_groups {
        let mut contestants: Vec<Contestant> =
            names.iter().map(|name| contestant(name, groups)).collect();
        for (at, &batch) in batches.iter().enumerate() {
            let costs = cell(&mut contestants, groups, batch);
            if groups == 1 {
                alone[at] = costs[0];
            }
            print!("{groups:>8} {batch:>6}");
            for cost in &costs {
                print!(" {cost:>22.1}");
            }
            if let [ours, _, default, batched] = costs[..] {
                print!(" {:>9.1}x {:>9.1}x", default / ours, batched / ours);
            }
            if alone[at] > 0.0 {
                print!(" {:>9.2}x", costs[0] / alone[at]);
            }
            println!();
        }
    }
}

fn main() {
    println!(
        "a replica of ours: {} bytes, a message: {} bytes",
        size_of::<raft::raft::Raft>(),
        size_of::<raft::message::Message>()
    );
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let numbers: Vec<usize> = arguments
        .iter()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let asked = &arguments[numbers.len()..];
    let chosen: Vec<&'static str> = NAMES
        .into_iter()
        .filter(|name| asked.is_empty() || asked.iter().any(|side| side == name))
        .collect();
    match numbers[..] {
        [groups, batch] => table(&chosen, &[groups], &[batch as u32]),
        [groups, batch, operations] => {
            for name in chosen {
                let mut side = contestant(name, groups).side;
                for at in 0..operations {
                    let coming = [1, 2, 3].map(|ahead| (at + ahead) % groups);
                    side.operation(at % groups, coming, batch as u32);
                }
                println!("{name}: {} entries of the first group", side.applied(0));
            }
        }
        _ => table(&chosen, &GROUPS, &BATCHES),
    }
}
