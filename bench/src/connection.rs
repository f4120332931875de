//! One session's connection: never blocks, reads and writes as much as the kernel takes at a time.
//!
//! - Edge-triggered: whoever is told that it is readable reads until the kernel has no more.
//! - The outbox is taken from a pool while there is something to send, so that the one in use stays in
//!   the processor's cache however many sessions there are.
//!
//! Hot file: one read and one write per reply where replies are small.

use crate::error::ProtocolFault;
use crate::wire::{Found, Next, Outbox, next};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use net::frame::Kind;
use net::handshake::Welcome;
use net::refusal::Refusal;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// Room in an inbox beyond the frame that is due.
const READ_AHEAD: usize = 4096;

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The other end, or the network between, closed or refused it.
    Closed,
    /// The other end broke the protocol.
    Fault(ProtocolFault),
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Self {
        // Whatever the operating system says of a connection, the cure is another one.
        Lost::Closed
    }
}

/// How far the greeting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    Connecting,
    Said,
    Done,
}

/// A connection to a core of a node.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    cluster: u64,
    greeting: Greeting,
    inbox: Vec<u8>,
    /// Bytes of the inbox that are taken from, and that are filled.
    taken: usize,
    filled: usize,
    outbox: Option<Outbox>,
    sent: usize,
}

/// Outboxes not in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Outbox>,
}

impl Pool {
    /// An empty outbox, the one given back last.
    pub(crate) fn take(&mut self) -> Outbox {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut outbox: Outbox) {
        outbox.clear();
        self.free.push(outbox);
    }
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(
        address: SocketAddr,
        cluster: u64,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            cluster,
            greeting: Greeting::Connecting,
            inbox: vec![0; READ_AHEAD],
            taken: 0,
            filled: 0,
            outbox: None,
            sent: 0,
        })
    }

    /// Whether requests may be sent: greeted, and nothing left to write.
    pub(crate) fn is_writable(&self) -> bool {
        self.greeting == Greeting::Done && self.outbox.is_none()
    }

    /// Whether the greeting is done.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeting == Greeting::Done
    }

    /// Sends these frames as far as the kernel takes them; the rest follows when it is ready.
    pub(crate) fn send(&mut self, outbox: Outbox, pool: &mut Pool) -> Result<(), Lost> {
        debug_assert!(self.outbox.is_none(), "one outbox at a time");
        self.outbox = Some(outbox);
        self.sent = 0;
        self.flush(pool)
    }

    /// The kernel may take more.
    pub(crate) fn writable(&mut self, pool: &mut Pool) -> Result<(), Lost> {
        if self.greeting == Greeting::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            match self.stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.stream.set_nodelay(true)?;
            self.greeting = Greeting::Said;
            let mut hello = pool.take();
            hello.push_hello(self.cluster);
            return self.send(hello, pool);
        }
        self.flush(pool)
    }

    fn flush(&mut self, pool: &mut Pool) -> Result<(), Lost> {
        let Some(outbox) = &self.outbox else {
            return Ok(());
        };
        while self.sent < outbox.as_bytes().len() {
            match self.stream.write(&outbox.as_bytes()[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let outbox = self.outbox.take().expect("it was there above");
        pool.give(outbox);
        Ok(())
    }

    /// Reads once into the inbox: whether there may be more. `ended`: the other end has closed its side, so
    /// that no later event will tell of what is left.
    pub(crate) fn fill(&mut self, ended: bool) -> Result<bool, Lost> {
        if self.greeting == Greeting::Connecting {
            return Ok(false);
        }
        self.inbox.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let wanting = match self.look()? {
            Next::Frame(_) => return Ok(true),
            Next::Wanting(end) => end + READ_AHEAD,
        };
        if self.inbox.len() < wanting {
            self.inbox.resize(wanting, 0);
        }
        loop {
            let room = &mut self.inbox[self.filled..];
            let wanted = room.len();
            match self.stream.read(room) {
                Ok(0) => return Err(Lost::Closed),
                Ok(read) => {
                    self.filled += read;
                    // A short read has emptied the kernel's buffer: the next bytes bring their own event.
                    return Ok(read == wanted || ended);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next whole frame of the inbox, where there is one; its ranges are valid until `fill`.
    pub(crate) fn take(&mut self) -> Result<Option<Found>, Lost> {
        let Next::Frame(found) = self.look()? else {
            return Ok(None);
        };
        self.taken = found.end;
        if self.greeting == Greeting::Done && found.kind != Kind::GOODBYE {
            return Ok(Some(found));
        }
        let head = &self.inbox[found.head];
        match found.kind {
            Kind::WELCOME if self.greeting == Greeting::Said => {
                Welcome::decode(head).map_err(|_| Lost::Fault(ProtocolFault::Head))?;
                self.greeting = Greeting::Done;
                self.take()
            }
            Kind::GOODBYE => match Refusal::decode(head) {
                // These pass, or another node is asked; the others say that the benchmark is at fault.
                Ok(Refusal::ShuttingDown | Refusal::TooManyConnections(_) | Refusal::TooSlow) => {
                    Err(Lost::Closed)
                }
                Ok(refusal) => Err(Lost::Fault(ProtocolFault::Goodbye(refusal))),
                Err(_) => Err(Lost::Fault(ProtocolFault::Head)),
            },
            kind => Err(Lost::Fault(ProtocolFault::Kind(kind))),
        }
    }

    fn look(&self) -> Result<Next, Lost> {
        next(&self.inbox[..self.filled], self.taken, self.cluster).map_err(Lost::Fault)
    }

    /// Bytes of the inbox, for the ranges of a frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.inbox
    }

    /// Ends the connection.
    pub(crate) fn close(mut self, registry: &Registry, pool: &mut Pool) {
        // Closing the descriptor takes it out of the poll as well.
        let _ = registry.deregister(&mut self.stream);
        if let Some(outbox) = self.outbox.take() {
            pool.give(outbox);
        }
    }
}
