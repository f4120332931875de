//! A shard that echoes: the smallest user of all doors, to try drivers with.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use engine::clock::SystemClock;
use engine::config::Io;
use engine::driver::{Build, Doors, Next, Turn};
use engine::error::EngineError;
use net::frame::Kind;
use net::request::{RequestHead, Status};
use net::transport::{ConnectionId, Event, Frame, Outgoing, Remote, SendError, Transport};
use wal::block::buffer::Buffer;
use wal::device::file::FileDevice;
use wal::device::uring::UringDevice;
use wal::device::{ALIGNMENT, Completion, Device, Operation};

/// Reply at once with the same bytes.
pub(crate) const ECHO: u8 = 0;
/// Reply with the same bytes when one block was durably written.
pub(crate) const WRITE: u8 = 1;
/// Reply with the number of envelopes that peers sent, one each.
pub(crate) const PEERS: u8 = 2;
/// Reply after the milliseconds in the group number, without any news in between.
pub(crate) const LATER: u8 = 3;
/// Panic.
pub(crate) const PANIC: u8 = 4;
/// Reply with the number of turns so far.
pub(crate) const TURNS: u8 = 5;
/// Ask for turn after turn, as many as the group number says, and reply with how often the thread slept meanwhile.
pub(crate) const SPIN: u8 = 6;

/// Requests taken in one turn; the rest wait for the next one, which follows at once.
const PER_TURN_MAX: usize = 256;
/// Replies held for one connection whose queue is full, before it is closed.
const HELD_MAX: usize = 64;
const SEGMENT_BYTES: u64 = 1 << 20;
const MILLISECOND: u64 = 1_000_000;

/// Builds an echoing shard, with a disk when there is a folder for it.
pub(crate) struct EchoBuild {
    pub(crate) io: Io,
    pub(crate) dir: Option<PathBuf>,
    /// The shard cannot be built.
    pub(crate) fails: bool,
}

struct Disk {
    device: Box<dyn Device>,
    buffers: Vec<Buffer>,
    waiting: VecDeque<(ConnectionId, Frame)>,
    writing: BTreeMap<u64, (ConnectionId, Frame)>,
    completions: Vec<Completion>,
    written: u64,
}

struct Echo<T> {
    transport: T,
    disk: Option<Disk>,
    events: Vec<Event>,
    arrived: VecDeque<(ConnectionId, Frame)>,
    later: Vec<(u64, ConnectionId, Frame)>,
    held: BTreeMap<ConnectionId, VecDeque<Outgoing>>,
    envelopes: u64,
    turns: u64,
    spinning: Option<Spin>,
}

/// A core that has work in each turn.
struct Spin {
    left: u64,
    slept_before: u64,
    connection: ConnectionId,
    frame: Frame,
}

/// How often this thread gave up its processor of its own accord.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("the kernel counts them")
        .trim()
        .parse()
        .expect("a number")
}

impl Build for EchoBuild {
    fn build<T: Transport + 'static>(self, doors: Doors<T>) -> Result<impl Turn, EngineError> {
        if self.fails {
            let source = std::io::Error::other("no shard today");
            return Err(EngineError::Start {
                core: doors.core,
                source,
            });
        }
        let wake = doors.wake;
        let disk = self.dir.map(|dir| {
            let mut device: Box<dyn Device> = match self.io {
                Io::Glommio => {
                    let socket = wake.socket().expect("descriptors are left");
                    assert!(socket.is_some(), "the ring driver sleeps on a socket");
                    Box::new(UringDevice::open(&dir, SEGMENT_BYTES, socket).expect("a ring"))
                }
                Io::Threads => {
                    let function = Some(wake.function());
                    Box::new(FileDevice::open(&dir, SEGMENT_BYTES, 2, function).expect("a folder"))
                }
            };
            device.create_now(0).expect("room for a segment");
            let buffers = device.allocate(4, ALIGNMENT);
            Disk {
                device,
                buffers,
                waiting: VecDeque::new(),
                writing: BTreeMap::new(),
                completions: Vec::new(),
                written: 0,
            }
        });
        Ok(Echo {
            transport: doors.transport,
            disk,
            events: Vec::new(),
            arrived: VecDeque::new(),
            later: Vec::new(),
            held: BTreeMap::new(),
            envelopes: 0,
            turns: 0,
            spinning: None,
        })
    }
}

impl<T: Transport> Turn for Echo<T> {
    fn turn(&mut self, clock: SystemClock) -> Next {
        self.turns += 1;
        self.receive();
        for _ in 0..PER_TURN_MAX {
            let Some((connection, frame)) = self.arrived.pop_front() else {
                break;
            };
            self.answer(clock, connection, frame);
        }
        self.write(clock);
        let now = clock.now().0;
        let due = |entry: &mut (u64, ConnectionId, Frame)| entry.0 <= now;
        let due: Vec<_> = self.later.extract_if(.., due).collect();
        for (_, connection, frame) in due {
            self.reply(connection, &frame, None);
        }
        self.spin();
        self.transport.flush();
        if !self.arrived.is_empty() || self.spinning.is_some() {
            return Next::Again;
        }
        Next::Wait(
            self.later
                .iter()
                .map(|later| raft::ids::Time(later.0))
                .min(),
        )
    }
}

impl<T: Transport> Echo<T> {
    fn receive(&mut self) {
        self.transport.poll(&mut self.events);
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Opened(connection, Remote::Peer { .. }) => {
                    let envelope = Outgoing {
                        kind: Kind::ENVELOPE,
                        head: vec![7; 16],
                        ..Outgoing::default()
                    };
                    self.transport
                        .send(connection, envelope)
                        .expect("an empty queue takes a frame");
                }
                Event::Received(_, frame) if frame.kind == Kind::ENVELOPE => {
                    assert_eq!(*frame.head, [7; 16]);
                    self.envelopes += 1;
                }
                Event::Received(connection, frame) => self.arrived.push_back((connection, frame)),
                Event::Sent(connection, ..) => self.send_held(connection),
                Event::Closed(connection) => {
                    self.held.remove(&connection);
                    self.later.retain(|later| later.1 != connection);
                }
                Event::Opened(_, Remote::Client) => {}
            }
        }
        self.events = events;
    }

    fn answer(&mut self, clock: SystemClock, connection: ConnectionId, frame: Frame) {
        let Ok(head) = RequestHead::decode(&frame.head) else {
            return self.transport.close(connection);
        };
        match head.operation {
            WRITE => self
                .disk
                .as_mut()
                .expect("a test that writes has a disk")
                .waiting
                .push_back((connection, frame)),
            PEERS => {
                let count = self.envelopes.to_le_bytes().to_vec();
                self.reply(connection, &frame, Some(count));
            }
            LATER => {
                let due = clock.now().0 + head.group * MILLISECOND;
                self.later.push((due, connection, frame));
            }
            TURNS => {
                let turns = self.turns.to_le_bytes().to_vec();
                self.reply(connection, &frame, Some(turns));
            }
            SPIN => {
                self.spinning = Some(Spin {
                    left: head.group,
                    slept_before: sleeps(),
                    connection,
                    frame,
                });
            }
            PANIC => panic!("asked to panic"),
            _ => self.reply(connection, &frame, None),
        }
    }

    fn spin(&mut self) {
        let Some(spin) = &mut self.spinning else {
            return;
        };
        spin.left -= 1;
        if spin.left == 0 {
            let spin = self.spinning.take().expect("looked at above");
            let slept = sleeps() - spin.slept_before;
            self.reply(
                spin.connection,
                &spin.frame,
                Some(slept.to_le_bytes().to_vec()),
            );
        }
    }

    /// Replies with the request's own bulk, or with other bytes.
    fn reply(&mut self, connection: ConnectionId, frame: &Frame, other: Option<Vec<u8>>) {
        let request = RequestHead::decode(&frame.head).expect("decoded before");
        let (bulk, bulk_crc) = match other {
            None => (frame.bulk.clone(), frame.bulk_crc),
            Some(bytes) => (bytes.clone().into(), net::checksum::crc(&bytes)),
        };
        let mut outgoing = self.transport.spare();
        outgoing.kind = Kind::REPLY;
        outgoing
            .head
            .extend_from_slice(&request.reply(Status::Ok).encode());
        outgoing.bulk.push(bulk);
        outgoing.bulk_crc = bulk_crc;
        // Only who fills the queue needs to know when it empties.
        outgoing.token = u64::from(frame.bulk.len() > ALIGNMENT);
        self.held.entry(connection).or_default().push_back(outgoing);
        self.send_held(connection);
    }

    fn send_held(&mut self, connection: ConnectionId) {
        let Some(held) = self.held.get_mut(&connection) else {
            return;
        };
        while let Some(next) = held.pop_front() {
            let copy = Outgoing {
                head: next.head.clone(),
                bulk: next.bulk.clone(),
                ..next
            };
            match self.transport.send(connection, copy) {
                Ok(()) => {}
                Err(SendError::Busy) if held.len() < HELD_MAX => {
                    held.push_front(next);
                    return;
                }
                Err(SendError::Busy) => {
                    self.transport.close(connection);
                    break;
                }
                Err(SendError::Closed) => break,
            }
        }
        self.held.remove(&connection);
    }

    fn write(&mut self, clock: SystemClock) {
        let Some(disk) = &mut self.disk else { return };
        let now = clock.now().0;
        disk.device.poll(now, &mut disk.completions);
        let mut done = Vec::new();
        for completion in disk.completions.drain(..) {
            let Completion::Written(operation, result) = completion else {
                continue;
            };
            result.expect("the disk works");
            done.extend(disk.writing.remove(&operation.token));
            disk.buffers.push(operation.buffer);
        }
        while !disk.waiting.is_empty()
            && let Some(buffer) = disk.buffers.pop()
        {
            disk.written += 1;
            let offset = disk.written * ALIGNMENT as u64 % SEGMENT_BYTES;
            let operation = Operation {
                token: disk.written,
                slot: 0,
                offset,
                bytes: ALIGNMENT,
                buffer,
            };
            disk.device
                .write(now, operation)
                .expect("as many buffers as may be in flight");
            let waiting = disk.waiting.pop_front().expect("looked at above");
            disk.writing.insert(disk.written, waiting);
        }
        disk.device.submit(now);
        for (connection, frame) in done {
            self.reply(connection, &frame, None);
        }
    }
}
