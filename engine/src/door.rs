//! The door for clients of TigerBeetle: one thread beside the cores that speaks their protocol to them and ours to the cores.
//!
//! ```text
//!   clients --> guests --> desk --> lines --> cores, of this node and of others
//!                 serve turns them; route splits and joins; limits bounds all of it
//! ```
//!
//! - The cores do not know that it is there: to them it is a client, and its requests are repeated as any client's.
//! - It keeps nothing that matters: sessions are the groups' ([`shard::sessions`]), so any node's door will do, and one
//!   that dies takes nothing with it.
//! - The protocol has no authentication: other addresses than the loopback have to be asked for.

pub mod counters;
pub mod desk;
pub mod guests;
pub mod limits;
pub mod lines;
pub mod once;
pub mod origins;
pub mod route;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use mio::{Poll, Waker};
use raft::ids::NodeId;
use shard::sessions::Sessions;

use crate::config::Layout;
use crate::core::{Stopper, patiently};
use crate::door::counters::Counters;
use crate::driver::hatch::Hatch;
use crate::driver::wake::Wake;
use crate::driver::{listen, slice};
use crate::error::EngineError;

/// The ledger with the sessions of its clients, as one group's machine: the same on every node, door or no door.
#[must_use]
pub fn with_sessions(
    group: raft::ids::GroupId,
    ledger: ledger::ledger::Ledger,
) -> Sessions<ledger::ledger::Ledger> {
    Sessions::new(ledger, once::LEDGER_ONCE, group.0 == 0)
}

/// Where the door is, and what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct DoorOptions {
    /// Where it listens.
    pub address: SocketAddr,
    /// May that be another address than the loopback? Whoever reaches it can move money.
    #[serde(default)]
    pub anywhere: bool,
}

impl DoorOptions {
    /// May a door be there?
    ///
    /// # Errors
    /// `DoorElsewhere` for an address beyond the loopback that was not asked for.
    pub fn check(&self) -> Result<(), EngineError> {
        let address = self.address;
        if address.ip().is_loopback() || self.anywhere {
            return Ok(());
        }
        Err(EngineError::DoorElsewhere { address })
    }
}

/// A door that is open. Dropping it closes it and waits for its thread.
#[derive(Debug)]
pub struct OpenDoor {
    flag: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<()>>>,
    address: SocketAddr,
    counters: Arc<Counters>,
}

impl OpenDoor {
    /// Opens it. When it ends by itself, which it never should, the node is asked to stop.
    ///
    /// # Errors
    /// `DoorElsewhere` for an address beyond the loopback that was not asked for, `Door`.
    pub fn open(
        options: &DoorOptions,
        layout: &Layout,
        node: NodeId,
        awake_ns: u64,
        counters: Arc<Counters>,
        hatches: &[Hatch],
        stopper: Stopper,
    ) -> Result<Self, EngineError> {
        let address = options.address;
        options.check()?;
        let failed = |source| EngineError::Door { address, source };
        let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        let listener = patiently(|| listen(address), in_use).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        let waker = Arc::new(Waker::new(poll.registry(), serve::WAKER).map_err(failed)?);
        let place = layout.nodes.iter().position(|known| known.id == node.0);
        let place = place.expect("a folder's node is in its layout");
        for hatch in hatches {
            let waker = Arc::clone(&waker);
            // It fails only when the counter in the kernel is at its end: then the door wakes in any case.
            hatch.wakes_door(Wake::new(Arc::new(move || drop(waker.wake()))));
        }
        let listener = mio::net::TcpListener::from_std(listener);
        let door = serve::Door::new(
            poll,
            listener,
            (layout, place),
            hatches,
            awake_ns,
            &counters,
        );
        let door = door.map_err(failed)?;
        let flag = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&flag);
        let body = move || {
            slice::ask();
            let ended = catch_unwind(AssertUnwindSafe(|| door.run(&stop)));
            stopper.stop();
            ended.unwrap_or_else(|_| Err(io::Error::other("the door's thread panicked")))
        };
        let thread = thread::Builder::new().name("quorate-door".to_owned());
        Ok(Self {
            flag,
            waker,
            thread: Some(thread.spawn(body).map_err(failed)?),
            address,
            counters,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Closes it.
    ///
    /// # Errors
    /// `Door`, if it had ended by itself before.
    pub fn close(mut self) -> Result<(), EngineError> {
        let address = self.address;
        self.end()
            .map_err(|source| EngineError::Door { address, source })
    }

    fn end(&mut self) -> io::Result<()> {
        self.flag.store(true, Ordering::Release);
        // It fails only when the counter in the kernel is at its end: then the thread wakes in any case.
        let _ = self.waker.wake();
        match self.thread.take() {
            Some(thread) => thread.join().expect("the door's thread catches its panics"),
            None => Ok(()),
        }
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
