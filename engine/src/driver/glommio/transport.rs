//! The sockets of one core under glommio: tasks move the bytes, the endpoint decides, the shard polls and sends.
//!
//! - A read task per connection holds no memory while it waits. A frame it completes rings the shard's bell.
//! - Writing happens in the shard's own turn, all pieces of a connection in one call. Only a socket that is
//!   full hands over to its write task, which goes on when there is room.
//! - Where receive buffers run out, reading stops; it goes on when frames were let go.
//! - No borrow is held where a task is spawned: glommio runs a new task at once, in the middle of its parent.
//!
//! Hot path.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::glommio::spawn_local;
use ::glommio::timer::Timer;
use net::config::{ConfigError, TransportConfig};
use net::endpoint::{Endpoint, Order};
use net::pool::PoolExhausted;
use net::refusal::Refusal;
use net::transport::{ConnectionId, Event, Outgoing, SendError, Transport};
use raft::ids::Time;
use socket2::SockRef;

use crate::clock::SystemClock;
use crate::driver::glommio::bell::Bell;
use crate::driver::glommio::rest::Rest;
use crate::driver::glommio::rounds::Rounds;
use crate::driver::glommio::socket::{SLICES_MAX, Socket, adopt_listener};

/// Most bytes asked for in one read: larger ones are slower through the executor.
const READ_BYTES_MAX: usize = 256 << 10;
/// What a connection may take before others are looked for.
const READ_BYTES_PER_ROUND: usize = 1 << 20;
/// Connections accepted before others are looked for.
const ACCEPTS_PER_ROUND: usize = 32;
/// Pause of the listener when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything around the endpoint of a core. Shared by its tasks and the shard's transport.
pub(super) struct Hub {
    endpoint: RefCell<Endpoint>,
    lines: RefCell<Vec<Option<Rc<Line>>>>,
    inbox: RefCell<Vec<Event>>,
    /// Lines that wait for a receive buffer.
    starved: RefCell<Vec<Rc<Line>>>,
    /// Tells the shard that the inbox has something.
    bell: Rc<Bell>,
    rounds: Rc<Rounds>,
    /// Tells the upkeep task that its next instant may have changed.
    upkeep: Bell,
    is_closing: Cell<bool>,
    listener: RefCell<Option<TcpListener>>,
    /// Tasks that have not ended, and the bell of the last one.
    tasks: Cell<usize>,
    quiet: Bell,
}

/// A socket and its two tasks.
struct Line {
    id: ConnectionId,
    socket: RefCell<Socket>,
    /// The write task has the socket: it is full, still connecting, or broken.
    is_full: Cell<bool>,
    is_closed: Cell<bool>,
    /// Bytes read since the socket was last found empty, or since the last round.
    unbroken: Cell<usize>,
    /// Tells the write task that it has the socket.
    write: Bell,
    /// Tells the read task that there may be buffers again.
    read: Bell,
}

/// The network of a core as its shard sees it.
pub(super) struct GlommioTransport {
    hub: Rc<Hub>,
}

/// Counts a task while it lives.
struct Task(Rc<Hub>);

impl Task {
    fn new(hub: &Rc<Hub>) -> Self {
        hub.tasks.set(hub.tasks.get() + 1);
        Self(Rc::clone(hub))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
        self.0.quiet.ring();
    }
}

impl Transport for GlommioTransport {
    fn poll(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.hub.inbox.borrow_mut());
    }

    fn send(&mut self, to: ConnectionId, frame: Outgoing) -> Result<(), SendError> {
        self.hub.endpoint.borrow_mut().send(to, frame)
    }

    fn flush(&mut self) {
        self.hub.carry_out();
        self.hub.feed();
    }

    fn close(&mut self, connection: ConnectionId) {
        self.hub
            .endpoint
            .borrow_mut()
            .close(connection, Refusal::ShuttingDown);
        self.hub.collect();
    }

    fn spare(&mut self) -> Outgoing {
        self.hub.endpoint.borrow_mut().spare()
    }
}

impl Hub {
    pub(super) fn new(
        config: TransportConfig,
        bell: Rc<Bell>,
        rounds: Rc<Rounds>,
    ) -> Result<Rc<Self>, ConfigError> {
        Ok(Rc::new(Self {
            endpoint: RefCell::new(Endpoint::new(config, SystemClock.now().0)?),
            lines: RefCell::default(),
            inbox: RefCell::default(),
            starved: RefCell::default(),
            bell,
            rounds,
            upkeep: Bell::default(),
            is_closing: Cell::new(false),
            listener: RefCell::default(),
            tasks: Cell::new(0),
            quiet: Bell::default(),
        }))
    }

    /// The shard's side.
    pub(super) fn transport(self: &Rc<Self>) -> GlommioTransport {
        GlommioTransport {
            hub: Rc::clone(self),
        }
    }

    /// Begins to accept and to dial.
    pub(super) fn open(self: &Rc<Self>, listener: TcpListener) -> io::Result<()> {
        *self.listener.borrow_mut() = Some(listener.try_clone()?);
        spawn_local(accept(Task::new(self), listener)).detach();
        spawn_local(keep_up(Task::new(self))).detach();
        Ok(())
    }

    /// Tells everybody goodbye, closes all sockets and waits for all tasks to end.
    pub(super) async fn close(self: &Rc<Self>) {
        self.is_closing.set(true);
        self.endpoint.borrow_mut().close_all(Refusal::ShuttingDown);
        self.carry_out();
        if let Some(listener) = self.listener.borrow_mut().take() {
            // Wakes the task that accepts. A ring may hold the socket a little longer, but not the port.
            let _ = SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
        }
        let lines: Vec<Rc<Line>> = self
            .lines
            .borrow_mut()
            .iter_mut()
            .filter_map(Option::take)
            .collect();
        lines.iter().for_each(|line| line.close());
        self.upkeep.ring();
        while self.tasks.get() > 0 {
            self.quiet.wait().await;
        }
    }

    /// Carries out what the endpoint orders, until it orders nothing more.
    fn carry_out(self: &Rc<Self>) {
        loop {
            let order = self.endpoint.borrow_mut().next_order();
            match order {
                Some(Order::Dial(id, address)) => self.dial(id, address),
                Some(Order::Write(id)) => {
                    if let Some(line) = self.line(id).filter(|line| !line.is_full.get()) {
                        self.write(&line);
                    }
                }
                Some(Order::Shutdown(id)) => {
                    if let Some(line) = self.line(id) {
                        line.socket.borrow().shutdown_write();
                    }
                }
                Some(Order::Close(id)) => self.hang_up(id),
                None => break,
            }
        }
        self.collect();
    }

    /// A last word to someone for whom there is no place. Whoever has gone already is not told.
    fn say(&self, socket: &Socket, refusal: Refusal) {
        let bytes = refusal.to_bytes(self.endpoint.borrow().house().identity.cluster);
        let _ = socket.send(&[IoSlice::new(&bytes)]);
        socket.shutdown_write();
    }

    /// Moves the endpoint's events to the inbox and tells the shard.
    fn collect(&self) {
        let mut inbox = self.inbox.borrow_mut();
        self.endpoint.borrow_mut().drain_events(&mut inbox);
        if !inbox.is_empty() {
            self.bell.ring();
        }
    }

    /// Lets those read on who waited for a buffer.
    fn feed(&self) {
        self.starved
            .borrow_mut()
            .drain(..)
            .for_each(|line| line.read.ring());
    }

    fn dial(self: &Rc<Self>, id: ConnectionId, address: SocketAddr) {
        match Socket::connect(address) {
            Ok(socket) => self.add(id, socket),
            Err(_) => self.endpoint.borrow_mut().lost(id, SystemClock.now().0),
        }
    }

    fn add(self: &Rc<Self>, id: ConnectionId, socket: Socket) {
        let line = Rc::new(Line {
            id,
            socket: RefCell::new(socket),
            is_full: Cell::new(false),
            is_closed: Cell::new(false),
            unbroken: Cell::new(0),
            write: Bell::default(),
            read: Bell::default(),
        });
        {
            let mut lines = self.lines.borrow_mut();
            if lines.len() <= id.slot() {
                lines.resize_with(id.slot() + 1, || None);
            }
            let before = lines[id.slot()].replace(Rc::clone(&line));
            assert!(
                before.is_none(),
                "a slot is used again only after its socket was closed"
            );
        }
        spawn_local(read(Task::new(self), Rc::clone(&line))).detach();
        spawn_local(go_on_writing(Task::new(self), Rc::clone(&line))).detach();
        // A dialled connection has its first frame queued.
        self.write(&line);
        self.upkeep.ring();
    }

    fn line(&self, id: ConnectionId) -> Option<Rc<Line>> {
        let lines = self.lines.borrow();
        lines
            .get(id.slot())?
            .as_ref()
            .filter(|line| line.id == id)
            .cloned()
    }

    fn hang_up(&self, id: ConnectionId) {
        let line = self.line(id);
        if let Some(line) = line {
            self.lines.borrow_mut()[id.slot()] = None;
            line.close();
        }
        self.upkeep.ring();
    }

    /// Hands over what the kernel takes; what it does not take is left to the write task.
    fn write(&self, line: &Line) {
        while !line.is_full.get() {
            let mut endpoint = self.endpoint.borrow_mut();
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = endpoint.slices(line.id, &mut slices);
            if count == 0 {
                return;
            }
            let slices = &slices[..count];
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            // An error shows in the next read too, behind what the other end said before.
            let sent = line.socket.borrow().send(slices).unwrap_or(0);
            endpoint.wrote(line.id, sent, SystemClock.now().0);
            if sent < offered {
                line.is_full.set(true);
                line.write.ring();
            }
        }
    }

    /// Reads once, or remembers whom to wake; a buffer that was not needed is given back.
    fn poll_read(&self, line: &Line, context: &mut Context<'_>) -> Poll<Reading> {
        let mut endpoint = self.endpoint.borrow_mut();
        let space = match endpoint.space(line.id) {
            Ok(space) => space,
            Err(PoolExhausted) => return Poll::Ready(Reading::Starved),
        };
        let most = space.len().min(READ_BYTES_MAX);
        let read = line
            .socket
            .borrow_mut()
            .poll_read(context, &mut space[..most]);
        match read {
            Poll::Pending => {
                endpoint.rest(line.id);
                line.unbroken.set(0);
                Poll::Pending
            }
            Poll::Ready(Ok(count)) if count > 0 => {
                endpoint.filled(line.id, count, SystemClock.now().0);
                line.unbroken.set(line.unbroken.get() + count);
                Poll::Ready(Reading::Read {
                    is_more_likely: count == most,
                })
            }
            Poll::Ready(_) => Poll::Ready(Reading::Ended),
        }
    }

    /// Writes once as soon as there is room, or remembers whom to wake. An error ends the writing.
    fn poll_write(&self, line: &Line, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut endpoint = self.endpoint.borrow_mut();
        let mut slices = [IoSlice::new(&[])];
        if endpoint.slices(line.id, &mut slices) == 0 {
            return Poll::Ready(Ok(()));
        }
        let written = ready!(line.socket.borrow_mut().poll_write(context, &slices[0]))?;
        endpoint.wrote(line.id, written, SystemClock.now().0);
        Poll::Ready(Ok(()))
    }
}

/// What became of a read.
enum Reading {
    Read { is_more_likely: bool },
    Starved,
    Ended,
}

impl Line {
    fn close(&self) {
        self.is_closed.set(true);
        self.is_full.set(true);
        self.socket.borrow().shutdown();
        self.read.ring();
        self.write.ring();
    }
}

/// Reads one connection until it ends.
async fn read(task: Task, line: Rc<Line>) {
    let hub = &task.0;
    while !line.is_closed.get() {
        match poll_fn(|context| hub.poll_read(&line, context)).await {
            Reading::Read { is_more_likely } => {
                hub.carry_out();
                if line.unbroken.get() >= READ_BYTES_PER_ROUND {
                    line.unbroken.set(0);
                    hub.rounds.next().await;
                } else if is_more_likely {
                    // Others want to read, and the shard to take its turn.
                    ::glommio::executor().yield_now().await;
                }
            }
            Reading::Starved => {
                hub.starved.borrow_mut().push(Rc::clone(&line));
                line.read.wait().await;
                hub.endpoint
                    .borrow_mut()
                    .resume(line.id, SystemClock.now().0);
                hub.carry_out();
            }
            Reading::Ended => break,
        }
    }
    if !line.is_closed.get() {
        hub.endpoint.borrow_mut().lost(line.id, SystemClock.now().0);
        hub.hang_up(line.id);
        hub.carry_out();
    }
}

/// Writes whenever the socket was full, until the connection ends.
async fn go_on_writing(task: Task, line: Rc<Line>) {
    let hub = &task.0;
    while !line.is_closed.get() {
        line.write.wait().await;
        while line.is_full.get() && !line.is_closed.get() {
            if poll_fn(|context| hub.poll_write(&line, context))
                .await
                .is_err()
            {
                // The read task finds the error too, and ends the connection. Nothing is written any more.
                return;
            }
            if !line.is_closed.get() {
                line.is_full.set(false);
                hub.write(&line);
                hub.carry_out();
                hub.feed();
            }
        }
    }
}

/// Accepts connections until the listener is shut down.
async fn accept(task: Task, listener: TcpListener) {
    let hub = &task.0;
    let listener = adopt_listener(listener);
    for number in 1.. {
        if hub.is_closing.get() {
            break;
        }
        match Socket::accept(&listener).await {
            Ok((socket, from)) => {
                let accepted = hub.endpoint.borrow_mut().accept(from, SystemClock.now().0);
                match accepted {
                    Ok(id) => {
                        hub.add(id, socket);
                        hub.carry_out();
                    }
                    Err(refusal) => hub.say(&socket, refusal),
                }
            }
            Err(error) if is_exhausted(&error) => {
                Timer::new(ACCEPT_PAUSE).await;
            }
            // The one who connected is gone already, or the listener was shut down.
            Err(_) => {}
        }
        if number % ACCEPTS_PER_ROUND == 0 {
            hub.rounds.next().await;
        } else {
            ::glommio::executor().yield_now().await;
        }
    }
}

/// The system has nothing left to accept a connection with.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Dials who is due and ends what stands still.
async fn keep_up(task: Task) {
    let hub = &task.0;
    let mut rest = Rest::default();
    while !hub.is_closing.get() {
        hub.endpoint.borrow_mut().tick(SystemClock.now().0);
        hub.carry_out();
        hub.feed();
        let next = hub.endpoint.borrow().next_tick_at();
        let until = Some(Time(next)).filter(|&until| until.0 != u64::MAX);
        rest.wait(&hub.upkeep, until).await;
    }
}
