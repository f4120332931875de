//! Measures the log beside other logs and beside the bare device, in one run: every cell is measured in windows that
//! are taken in turns, and the median counts.
//!
//! - Mode `one-each`: every group has one append in flight and goes on when its entry is durable. The peers get a
//!   thread for each group.
//! - Mode `together`: one entry of each group for each durable write.
//! - Bare: the same bytes to the same file system without any log around them, through a ring, from one buffer;
//!   `bare-copied`: with one copy of each entry into the block.
//! - CPU is that of the whole process, kernel included.
//!
//! `cargo run --release --manifest-path bench/peers/Cargo.toml -- [--bytes 128] [--groups 16] [--mode together]
//! [--window-ms 300] [--windows 5] [--systems quorate,bare] [--folder DIR]`

#![expect(
    clippy::disallowed_methods,
    reason = "it measures, by the clock and for as long as it was told"
)]

mod arguments;
mod bare;
mod cell;
mod ours;
mod peers;
mod reopening;

use std::path::Path;

use crate::arguments::Arguments;
use crate::cell::{Reading, System, Work};

/// The systems that measure this cell, each in a folder of its own.
fn systems(arguments: &Arguments, work: &Work, folder: &Path) -> Vec<Box<dyn System>> {
    let mut systems: Vec<Box<dyn System>> = Vec::new();
    for name in &arguments.systems {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let system: Option<Box<dyn System>> = match name.as_str() {
            "quorate" => Some(Box::new(ours::Ours::open(&folder, work, false))),
            "quorate-woken" => Some(Box::new(ours::Ours::open(&folder, work, true))),
            "bare" => Some(Box::new(bare::Bare::open(&folder, work, false))),
            "bare-copied" => Some(Box::new(bare::Bare::open(&folder, work, true))),
            name => peers::open(name, &folder, work),
        };
        systems.extend(system);
    }
    systems
}

fn measure(arguments: &Arguments, work: Work) {
    let folder = tempfile::TempDir::new_in(&arguments.folder).expect("a folder can be made");
    let mut systems = systems(arguments, &work, folder.path());
    let mut readings: Vec<Vec<Reading>> = systems.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.windows {
        for (system, readings) in systems.iter_mut().zip(&mut readings) {
            readings.push(system.run(arguments.window));
        }
    }
    for (system, readings) in systems.iter().zip(readings) {
        println!("{}", cell::median(readings).row(system.name(), &work));
    }
}

fn main() {
    let arguments = Arguments::read();
    if arguments.reopen {
        return reopening::measure(&arguments);
    }
    println!("{}", cell::HEADING);
    for &bytes in &arguments.bytes {
        for &mode in &arguments.modes {
            for &groups in &arguments.groups {
                measure(
                    &arguments,
                    Work {
                        bytes,
                        groups,
                        mode,
                    },
                );
            }
        }
    }
}
