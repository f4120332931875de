//! Memory for the rows of transfers, touched before they come: the first touch of a page costs as much as all the rest of a transfer's way.
//!
//! - One thread of a node touches it, a huge page at a time and at most a quarter of the time, and ends when there is enough.
//! - Whoever draws never waits: an empty stock, or one that somebody else looks into, gives nothing, and memory is mapped as without it.
//! - As much as can be in use, but at most an eighth of the memory, which nodes on one host share.
//! - The system may take back what nobody wrote to yet, as any memory.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ledger::ledger::{CHUNK_BYTES, ChunkSource};
use memmap2::{Advice, MmapMut};
use raft::ids::NodeId;

use crate::clock::SystemClock;
use crate::config::Layout;
use crate::driver::slice;

/// A transfer's row and the balances after it.
const TRANSFER_BYTES: u64 = 128 + 64;

/// Touched in one go, which nobody interrupts: one huge page, about a millisecond where the host has to find it.
const TOUCHED_BYTES: usize = 2 << 20;

/// Of the time that touching takes, so many times it is rested.
const RESTS: u32 = 3;

/// Part of the memory that may be touched ahead.
const MEMORY_SHARE: u64 = 8;

/// Begins to touch memory for a node on which as many transfers of each group may wait for their chapter.
///
/// # Errors
/// If the system has no thread left.
pub fn begin(layout: &Layout, node: NodeId, waiting_max: u64) -> std::io::Result<ChunkSource> {
    let host = |id: u32| layout.nodes.iter().find(|known| known.id == id);
    let own = host(node.0).map(|known| known.address.ip());
    let neighbours = layout
        .nodes
        .iter()
        .filter(|known| Some(known.address.ip()) == own);
    let share = memory() / MEMORY_SHARE / neighbours.count().max(1) as u64;
    let wanted = waiting_max
        .saturating_mul(TRANSFER_BYTES)
        .saturating_mul(layout.groups);
    of(chunks(wanted, share))
}

/// A stock of so many chunks.
fn of(chunks: u64) -> std::io::Result<ChunkSource> {
    let (ready, stock) = channel();
    let (drawer, gone) = channel();
    let thread = thread::Builder::new().name("stock".to_owned());
    thread.spawn(move || {
        slice::ask();
        fill(&ready, &gone, chunks);
    })?;
    let stock = Mutex::new((stock, drawer));
    Ok(Arc::new(move |bytes| {
        let chunk = stock.try_lock().ok()?.0.try_recv().ok()?;
        (chunk.len() == bytes).then_some(chunk)
    }))
}

/// Chunks that are wanted, as far as a share of the memory has room for them.
const fn chunks(wanted: u64, share: u64) -> u64 {
    let (wanted, share) = (
        wanted.div_ceil(CHUNK_BYTES as u64),
        share / CHUNK_BYTES as u64,
    );
    if wanted < share { wanted } else { share }
}

/// Until there are enough, nobody draws any more, or the system has no memory.
fn fill(ready: &Sender<MmapMut>, gone: &Receiver<Infallible>, chunks: u64) {
    for _ in 0..chunks {
        let Ok(chunk) = MmapMut::map_anon(CHUNK_BYTES) else {
            return;
        };
        // Only wishes: without them pages are small, or touched when they are written.
        let _ = chunk.advise(Advice::HugePage);
        for start in (0..CHUNK_BYTES).step_by(TOUCHED_BYTES) {
            let before = SystemClock.now();
            let _ = chunk.advise_range(Advice::PopulateWrite, start, TOUCHED_BYTES);
            let rest = Duration::from_nanos(SystemClock.now().since(before)) * RESTS;
            if gone.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        if ready.send(chunk).is_err() {
            return;
        }
    }
}

/// Bytes of memory that this process may have: the machine's, or less where its control group says so.
fn memory() -> u64 {
    let machine = rustix::system::sysinfo();
    let all = machine.totalram.saturating_mul(u64::from(machine.mem_unit));
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/"));
    let folder = Path::new("/sys/fs/cgroup").join(group.unwrap_or_default());
    let limits = folder
        .ancestors()
        .take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    let limit = |folder: &Path| {
        fs::read_to_string(folder.join("memory.max"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    limits.filter_map(limit).fold(all, u64::min)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, chunks, memory, of};

    #[test]
    fn it_gives_as_many_chunks_as_there_are_and_then_none() {
        let stock = of(2).expect("a thread");
        let mut drawn = Vec::new();
        while drawn.len() < 2 {
            drawn.extend(stock(CHUNK_BYTES));
            std::thread::yield_now();
        }
        assert!(
            drawn
                .iter()
                .all(|chunk| chunk.iter().all(|&byte| byte == 0))
        );
        assert!(stock(CHUNK_BYTES).is_none());
    }

    #[test]
    fn it_is_as_large_as_what_is_wanted_or_as_its_share() {
        let chunk = CHUNK_BYTES as u64;
        assert_eq!((chunks(0, 9 * chunk), chunks(1, 9 * chunk)), (0, 1));
        assert_eq!(chunks(3 * chunk + 1, 9 * chunk), 4);
        assert_eq!(
            (chunks(u64::MAX, 2 * chunk), chunks(chunk, chunk - 1)),
            (2, 0)
        );
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(memory() > CHUNK_BYTES as u64);
    }
}
