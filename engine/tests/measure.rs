//! What a message costs under each driver: run by hand, `cargo test --release -p quorate-engine --test main -- --ignored --nocapture measure`.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::fs;
use std::thread;

use engine::config::Io;

use crate::drivers::{Alone, content, queue, reply};
use crate::echo::ECHO;
use engine::clock::SystemClock;
use net::limits::{CLIENT_BULK_BYTES_MAX, Limits};

/// Nanoseconds that the threads of cores have run so far.
fn cpu_ns() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("proc is mounted");
    let of_core = |path: &std::path::Path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        name.starts_with("quorate-").then_some(())?;
        let times = fs::read_to_string(path.join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks
        .flatten()
        .filter_map(|task| of_core(&task.path()))
        .sum()
}

/// `threads` clients with `wires` connections each, `window` requests at a time on each of them.
fn measure(io: Io, threads: usize, wires: usize, window: u64, bytes: usize, rounds: u64) {
    let alone = Alone::start(io, Limits::default());
    let (began, cpu) = (SystemClock.now(), cpu_ns());
    thread::scope(|scope| {
        for _ in 0..threads {
            let mut wires: Vec<_> = (0..wires).map(|_| alone.wire()).collect();
            scope.spawn(move || {
                let bulk = content(bytes, 3);
                for round in 0..rounds {
                    for wire in &mut wires {
                        for id in 0..window {
                            queue(wire, ECHO, 0, round * window + id, bulk.clone());
                        }
                        wire.flush().expect("the node reads");
                    }
                    for wire in &mut wires {
                        for id in 0..window {
                            reply(wire, round * window + id);
                        }
                    }
                }
            });
        }
    });
    let elapsed = SystemClock.now().since(began);
    let cpu = cpu_ns() - cpu;
    let messages = (threads * wires) as u64 * window * rounds;
    let rate = messages * 1_000_000_000 / elapsed;
    println!(
        "{io:?}: {threads} x {wires} connections, {window} at a time, {bytes} bytes: {rate}/s, {} MB/s each way, core {} ns per message, busy {} %",
        rate * bytes as u64 / 1_000_000,
        cpu / messages,
        100 * cpu / elapsed,
    );
    alone.stop();
}

#[test]
#[ignore = "a measurement"]
fn measure_both_drivers() {
    for _ in 0..2 {
        for io in [Io::Glommio, Io::Threads] {
            measure(io, 1, 64, 1, 128, 2000);
            measure(io, 2, 32, 16, 128, 500);
            measure(io, 1, 1, 1, 128, 20_000);
            measure(io, 1, 1, 1, CLIENT_BULK_BYTES_MAX, 2000);
            measure(io, 1, 4, 1, CLIENT_BULK_BYTES_MAX, 500);
        }
    }
}

/// An idle core with an idle connection.
#[test]
#[ignore = "a measurement"]
fn measure_idle_cores() {
    for io in [Io::Glommio, Io::Threads] {
        let alone = Alone::start(io, Limits::default());
        let wire = alone.wire();
        let (began, cpu) = (SystemClock.now(), cpu_ns());
        thread::park_timeout(std::time::Duration::from_secs(3));
        let parts = (cpu_ns() - cpu) * 1_000_000 / SystemClock.now().since(began);
        println!("{io:?}: idle core busy {parts} parts per million");
        drop(wire);
        alone.stop();
    }
}
