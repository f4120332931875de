//! Who turns the shards: a driver waits for news, then lets the shard take its turn, one thread per core.
//!
//! - A driver has no policy: it knows sockets, timers and threads; what frames and records mean is the
//!   shard's. The same shard, byte for byte, runs under every driver and in the simulator.
//! - Waiting costs no CPU and no news is lost: whatever arrives after a turn began is followed by a turn.
//! - A core that has work never sleeps; one that has none does, after a moment in which more may come ([`Seat::awake_ns`]).

pub mod glommio;
pub mod hatch;
pub(crate) mod slice;
mod sockets;
pub mod threads;
pub mod wake;
pub(crate) mod wakeful;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use net::config::TransportConfig;
use net::transport::Transport;
pub use shard::shard::Next;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::clock::SystemClock;
use crate::driver::hatch::Hatch;
use crate::driver::wake::Wake;
use crate::error::EngineError;

/// Kernel buffers on each side of a connection: some large frames, so that a peer rarely waits for a turn.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// A silent remote is probed by the kernel from here on.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a driver drives.
pub trait Turn {
    /// One pass: take what the doors have, do it, hand out what follows. Never blocks.
    fn turn(&mut self, clock: SystemClock) -> Next;

    /// Was there news of requests or of the log in the last turn? Then more is near.
    fn has_stirred(&self) -> bool {
        false
    }
}

/// What a driver opens for the shard of a core.
#[derive(Debug)]
pub struct Doors<T> {
    /// The core.
    pub core: u16,
    /// Its network.
    pub transport: T,
    /// Wakes it: for the disk.
    pub wake: Wake,
}

/// Makes the shard of a core, on the thread of that core, whatever its network is.
pub trait Build: Send + 'static {
    /// Called once. May take its time: recovery happens here, and nothing is accepted before it returns.
    ///
    /// # Errors
    /// Why the core cannot run; the node does not start.
    fn build<T: Transport + 'static>(self, doors: Doors<T>) -> Result<impl Turn, EngineError>;
}

/// The place of a core: which it is, where it runs, and where it listens.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The core.
    pub core: u16,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Where it listens, and whom it talks to.
    pub network: TransportConfig,
    /// How long it looks on before it sleeps, after news.
    pub awake_ns: u64,
    /// The way from the door of this node, if it has one.
    pub hatch: Option<Hatch>,
}

/// Listens on an address that nobody else listens on: a port is never shared, so that a second process
/// on one address is an error and not a thief of connections.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart may listen while connections of the former process linger.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these.
    socket_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // A remote that vanished is found out.
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 6),
    )?;
    // The kernel clamps the sizes to its own limits without an error.
    socket.set_send_buffer_size(KERNEL_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES)
}
