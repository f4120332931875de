//! Ports for nodes: below those that the kernel gives to clients, so that a stopped node finds its own free again.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An address with this many free ports from its own on, which no other test of this process is given.
pub(crate) fn free_address(ports: u16) -> SocketAddr {
    // Test processes that run at the same time begin at different places.
    let place = std::process::id().wrapping_mul(257);
    for _ in 0..COUNT {
        let taken = NEXT.fetch_add(u32::from(ports), Ordering::Relaxed);
        let first = FIRST + place.wrapping_add(taken) % COUNT;
        let first = u16::try_from(first).expect("below 30,000");
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + ports).all(is_free) {
            return SocketAddr::from(([127, 0, 0, 1], first));
        }
    }
    panic!("no free ports");
}
