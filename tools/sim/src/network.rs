//! The made-up network: streams of bytes between places, with delays from a map and every fault that TCP lets through.
//!
//! - A stream keeps order and loses nothing but its tail, when it is torn. What a cut holds back arrives after the cut
//!   is healed, as retransmissions do.
//! - Whoever's machine loses its power says no goodbye: the other end learns of it when it writes to the machine after
//!   it came back.
//! - In flight on one stream and direction are at most `WINDOW_BYTES`; a sender has to wait beyond.
//! - Everything that somebody must look at makes a wake: the world turns it into an event.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::chance::Chance;

/// Bytes in flight on one stream and direction at most.
const WINDOW_BYTES: usize = 1 << 20;
/// Longest piece that travels, and may arrive, by itself.
const PIECE_BYTES: usize = 64 << 10;
/// Memory of pieces that is kept to be used again: so many of them, of so many bytes at most.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 16 << 10;
/// The longest that a retransmission waits after a cut is healed.
const RETRANSMIT_NS_MAX: u64 = 300_000_000;

/// Where bytes come from and go to: a core, or a client.
pub type Place = usize;
/// A machine: all cores of a node, or a client.
pub type Machine = usize;

/// How one direction between two machines behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// One way, in nanoseconds.
    pub delay_ns: u64,
    /// Up to this much is added, by chance.
    pub jitter_ns: u64,
    /// Bytes per second; 0 is without bound.
    pub bytes_per_second: u64,
    /// Nothing arrives for now.
    pub is_cut: bool,
    /// Added while the link is clogged.
    pub clog_ns: u64,
    /// One in so many pieces has a bit flipped behind a right checksum; 0 is none.
    pub flip_one_in: u64,
    /// At one in so many pieces the connection is torn; 0 is none.
    pub tear_one_in: u64,
}

/// One end of a stream: side 0 dialled, side 1 accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The stream.
    pub wire: usize,
    /// Which end.
    pub side: usize,
}

/// What a read finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing will come any more.
    Ended,
}

/// What the network did; for reports.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Traffic {
    /// Pieces that were sent.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections torn.
    pub torn: u64,
    /// Pieces with a flipped bit.
    pub flipped: u64,
}

#[derive(Debug)]
struct Piece {
    arrives_at: u64,
    bytes: Vec<u8>,
    /// So many of them were read.
    read: usize,
}

#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the last piece is through: the next one is not faster.
    last_at: u64,
    /// When the line is free again.
    free_at: u64,
    /// When the end of the stream arrives.
    shut_at: Option<u64>,
    /// Its sender found it full and waits for room.
    is_awaited: bool,
}

#[derive(Debug)]
struct Wire {
    places: [Place; 2],
    machines: [Machine; 2],
    /// Bytes towards each end.
    pipes: [Pipe; 2],
    /// Which ends were let go.
    is_gone: [bool; 2],
    /// From when on each end sees the connection torn.
    torn_at: [Option<u64>; 2],
}

/// Since when each end of a stream finds something when it reads, unless the way to it is cut; `u64::MAX`: never.
type News = [u64; 2];

#[derive(Debug)]
struct World {
    now: u64,
    chance: Chance,
    machines: usize,
    links: Vec<Link>,
    has_power: Vec<bool>,
    /// Places that listen, with streams on their way to them and when they are there.
    doors: BTreeMap<SocketAddr, Door>,
    /// Streams that wait at any of them.
    arriving: usize,
    wires: Vec<Wire>,
    /// Of each stream, beside it: most looks at a stream find that there is nothing.
    news: Vec<News>,
    /// Memory of pieces that were read, to be used again.
    spares: Vec<Vec<u8>>,
    live: BTreeSet<usize>,
    wakes: Vec<(u64, Place)>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Door {
    place: Place,
    machine: Machine,
    is_open: bool,
    waiting: VecDeque<(u64, usize)>,
}

/// The network; clones share it.
#[derive(Clone, Debug)]
pub struct Network(Rc<RefCell<World>>);

impl Network {
    /// A network between so many machines, all links perfect.
    #[must_use]
    pub fn new(machines: usize, seed: u64) -> Self {
        Self(Rc::new(RefCell::new(World {
            now: 0,
            chance: Chance::named(seed, "network"),
            machines,
            links: vec![Link::default(); machines * machines],
            has_power: vec![true; machines],
            doors: BTreeMap::new(),
            arriving: 0,
            wires: Vec::new(),
            news: Vec::new(),
            spares: Vec::new(),
            live: BTreeSet::new(),
            wakes: Vec::new(),
            traffic: Traffic::default(),
        })))
    }

    /// Time goes on.
    pub fn advance(&self, now: u64) {
        let mut world = self.0.borrow_mut();
        assert!(now >= world.now, "time goes one way");
        world.now = now;
    }

    /// Moves who is to be woken when to `wakes`.
    pub fn take_wakes(&self, wakes: &mut Vec<(u64, Place)>) {
        wakes.append(&mut self.0.borrow_mut().wakes);
    }

    /// What was done so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.borrow().traffic
    }

    // ---- The map and its faults.

    /// How a direction behaves.
    #[must_use]
    pub fn link(&self, from: Machine, to: Machine) -> Link {
        let world = self.0.borrow();
        world.links[from * world.machines + to]
    }

    /// Changes how a direction behaves. What a cut held back follows when it is healed.
    pub fn change(&self, from: Machine, to: Machine, change: impl FnOnce(&mut Link)) {
        let mut world = self.0.borrow_mut();
        let at = from * world.machines + to;
        let was = world.links[at];
        change(&mut world.links[at]);
        if was.is_cut && !world.links[at].is_cut {
            world.healed(from, to);
        }
        if was.bytes_per_second > 0 && world.links[at].bytes_per_second == 0 {
            world.widened(from, to);
        }
    }

    /// Tears all streams between two machines; each end learns it as soon as it can.
    pub fn tear(&self, one: Machine, other: Machine) {
        let mut world = self.0.borrow_mut();
        let between =
            world.streams(|machines| machines == [one, other] || machines == [other, one]);
        for wire in between {
            world.traffic.torn += 1;
            world.tear(wire, 0);
            world.tear(wire, 1);
        }
    }

    /// Streams between two machines are forgotten by the first, which sees them torn; the other is not told.
    pub fn half_open(&self, one: Machine, other: Machine) {
        let mut world = self.0.borrow_mut();
        let now = world.now;
        for wire in world.streams(|machines| machines == [one, other] || machines == [other, one]) {
            world.traffic.torn += 1;
            let state = &mut world.wires[wire];
            let side = usize::from(state.machines[1] == one);
            state.is_gone[side] = true;
            state.pipes[side] = Pipe::default();
            state.torn_at[side].get_or_insert(now);
            let place = state.places[side];
            world.wakes.push((now, place));
            world.look(wire, side);
            world.bury(wire);
        }
    }

    /// A machine's power goes: its streams end without a word.
    pub fn power_off(&self, machine: Machine) {
        let mut world = self.0.borrow_mut();
        world.has_power[machine] = false;
        for wire in world.streams(|machines| machines.contains(&machine)) {
            for side in 0..2 {
                if world.wires[wire].machines[side] == machine {
                    world.wires[wire].is_gone[side] = true;
                    world.wires[wire].pipes[side] = Pipe::default();
                    world.look(wire, side);
                }
            }
            world.bury(wire);
        }
    }

    /// A machine has power: it answers to streams it does not know with a reset.
    pub fn power_on(&self, machine: Machine) {
        self.0.borrow_mut().has_power[machine] = true;
    }

    // ---- Streams.

    /// A place listens at `address`.
    pub fn listen(&self, address: SocketAddr, place: Place, machine: Machine) {
        let mut world = self.0.borrow_mut();
        let door = world.doors.entry(address).or_insert(Door {
            place,
            machine,
            is_open: false,
            waiting: VecDeque::new(),
        });
        assert!(!door.is_open, "two processes at one address");
        door.is_open = true;
    }

    /// Nobody listens at `address` any more; streams that nobody accepted are torn.
    pub fn deafen(&self, address: SocketAddr) {
        let mut world = self.0.borrow_mut();
        let Some(door) = world.doors.get_mut(&address) else {
            return;
        };
        door.is_open = false;
        let waiting = std::mem::take(&mut door.waiting);
        world.arriving -= waiting.len();
        for (_, wire) in waiting {
            world.let_go(End { wire, side: 1 }, true);
        }
    }

    /// Begins a stream. It is there after one way, if somebody listens; else it is torn, or nothing is ever heard.
    pub fn dial(&self, place: Place, machine: Machine, address: SocketAddr) -> Option<End> {
        self.0.borrow_mut().dial(place, machine, address)
    }

    /// The next stream that has arrived at `address`, and from which machine.
    pub fn accept(&self, address: SocketAddr) -> Option<(End, Machine)> {
        let mut world = self.0.borrow_mut();
        if world.arriving == 0 {
            return None;
        }
        let (now, machines) = (world.now, world.machines);
        let World {
            doors,
            arriving,
            wires,
            links,
            ..
        } = &mut *world;
        let door = doors.get_mut(&address)?;
        let ready = |&(at, wire): &(u64, usize)| {
            at <= now && !links[wires[wire].machines[0] * machines + door.machine].is_cut
        };
        let nth = door.waiting.iter().position(ready)?;
        let (_, wire) = door.waiting.remove(nth)?;
        *arriving -= 1;
        Some((End { wire, side: 1 }, wires[wire].machines[0]))
    }

    /// Takes bytes into the stream, as many as there is room for.
    pub fn write(&self, end: End, bytes: &[u8]) -> usize {
        self.0.borrow_mut().write(end, bytes)
    }

    /// As [`Network::write`], bytes that lie in several places, in order.
    pub fn write_all(&self, end: End, slices: &[IoSlice<'_>]) -> usize {
        let mut world = self.0.borrow_mut();
        if let [one] = slices {
            return world.write(end, one);
        }
        let mut whole = world.spares.pop().unwrap_or_default();
        slices
            .iter()
            .for_each(|slice| whole.extend_from_slice(slice));
        let written = world.write(end, &whole);
        world.spare(whole);
        written
    }

    /// Takes what has arrived out of the stream, one piece at most.
    pub fn read(&self, end: End, space: &mut [u8]) -> Taken {
        self.0.borrow_mut().read(end, space)
    }

    /// Moves those of these ends to `ready` at which a read finds something.
    pub fn ready<K: Copy>(&self, ends: &[(K, End)], ready: &mut Vec<(K, End)>) {
        let world = self.0.borrow();
        ready.extend(ends.iter().filter(|(_, end)| world.is_ready(*end)));
    }

    /// A read at this end finds something.
    pub fn is_ready(&self, end: End) -> bool {
        self.0.borrow().is_ready(end)
    }

    /// Nothing will follow from this end.
    pub fn shut(&self, end: End) {
        self.0.borrow_mut().shut(end);
    }

    /// This end is let go: the other gets what is in flight, then the end, or (`reset`) at once that it is torn.
    pub fn close(&self, end: End, reset: bool) {
        self.0.borrow_mut().let_go(end, reset);
    }
}

impl World {
    fn link(&self, from: Machine, to: Machine) -> Link {
        self.links[from * self.machines + to]
    }

    fn streams(&self, which: impl Fn([Machine; 2]) -> bool) -> Vec<usize> {
        self.live
            .iter()
            .copied()
            .filter(|&wire| which(self.wires[wire].machines))
            .collect()
    }

    fn way(&mut self, link: Link) -> u64 {
        link.delay_ns + link.clog_ns + self.chance.below(link.jitter_ns + 1)
    }

    fn dial(&mut self, place: Place, machine: Machine, address: SocketAddr) -> Option<End> {
        let (target, owner, is_open) = {
            let door = self.doors.get(&address)?;
            (door.machine, door.place, door.is_open)
        };
        let there = self.link(machine, target);
        let back = self.link(target, machine);
        let arrives = self.now + self.way(there);
        let made = arrives + self.way(back);
        let wire = self.wires.len();
        self.traffic.connections += 1;
        let pipe = |last_at| Pipe {
            last_at,
            ..Pipe::default()
        };
        let one_way = made - arrives;
        self.wires.push(Wire {
            places: [place, owner],
            machines: [machine, target],
            pipes: [pipe(arrives + one_way), pipe(made + (arrives - self.now))],
            is_gone: [false; 2],
            torn_at: [None; 2],
        });
        self.news.push([u64::MAX; 2]);
        self.live.insert(wire);
        if is_open {
            let door = self.doors.get_mut(&address).expect("found above");
            door.waiting.push_back((arrives, wire));
            self.arriving += 1;
            self.wakes.push((arrives, owner));
        } else {
            self.wires[wire].is_gone[1] = true;
            if self.has_power[target] && !there.is_cut && !back.is_cut {
                self.wires[wire].torn_at[0] = Some(made);
                self.look(wire, 0);
                self.wakes.push((made, place));
            }
        }
        Some(End { wire, side: 0 })
    }

    fn write(&mut self, end: End, bytes: &[u8]) -> usize {
        let (from, to) = (end.side, 1 - end.side);
        let [sender, receiver] = [
            self.wires[end.wire].machines[from],
            self.wires[end.wire].machines[to],
        ];
        let (link, back) = (self.link(sender, receiver), self.link(receiver, sender));
        let wire = &mut self.wires[end.wire];
        if wire.torn_at[from].is_some() {
            return bytes.len();
        }
        if wire.is_gone[to] {
            // The kernel takes the bytes; if their machine answers, it says that it knows no such stream.
            if self.has_power[receiver] && !link.is_cut && !back.is_cut {
                let told = self.now + self.way(link) + self.way(back);
                self.wires[end.wire].torn_at[from] = Some(told);
                self.look(end.wire, from);
                self.wakes.push((told, self.wires[end.wire].places[from]));
            }
            return bytes.len();
        }
        let mut written = 0;
        for piece in bytes.chunks(PIECE_BYTES) {
            let room = WINDOW_BYTES.saturating_sub(self.wires[end.wire].pipes[to].bytes);
            let piece = &piece[..piece.len().min(room)];
            if piece.is_empty() {
                self.wires[end.wire].pipes[to].is_awaited = true;
                break;
            }
            written += piece.len();
            self.send(end.wire, to, link, piece);
        }
        written
    }

    fn send(&mut self, wire: usize, to: usize, link: Link, piece: &[u8]) {
        self.traffic.pieces += 1;
        self.traffic.bytes += piece.len() as u64;
        let on_line = (piece.len() as u64 * 1_000_000_000)
            .checked_div(link.bytes_per_second)
            .unwrap_or(0);
        let way = self.way(link);
        let mut bytes = self.spares.pop().unwrap_or_default();
        bytes.extend_from_slice(piece);
        if link.flip_one_in > 0 && self.chance.below(link.flip_one_in) == 0 {
            let bit = self.chance.place(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.traffic.flipped += 1;
        }
        let pipe = &mut self.wires[wire].pipes[to];
        pipe.free_at = pipe.free_at.max(self.now) + on_line;
        pipe.last_at = pipe.last_at.max(pipe.free_at + way);
        pipe.bytes += bytes.len();
        pipe.pieces.push_back(Piece {
            arrives_at: pipe.last_at,
            bytes,
            read: 0,
        });
        if pipe.pieces.len() == 1 {
            self.look(wire, to);
        }
        let pipe = &self.wires[wire].pipes[to];
        self.wakes.push((pipe.last_at, self.wires[wire].places[to]));
        if link.tear_one_in > 0 && self.chance.below(link.tear_one_in) == 0 {
            self.traffic.torn += 1;
            self.tear(wire, 0);
            self.tear(wire, 1);
        }
    }

    /// Sees anew what an end will find, and since when.
    fn look(&mut self, wire: usize, side: usize) {
        let state = &self.wires[wire];
        let pipe = &state.pipes[side];
        let first = pipe.pieces.front().map(|piece| piece.arrives_at);
        let first = first.or(pipe.shut_at).unwrap_or(u64::MAX);
        self.news[wire][side] = first.min(state.torn_at[side].unwrap_or(u64::MAX));
    }

    fn is_ready(&self, end: End) -> bool {
        if self.news[end.wire][end.side] > self.now {
            return false;
        }
        let wire = &self.wires[end.wire];
        let [sender, receiver] = [wire.machines[1 - end.side], wire.machines[end.side]];
        wire.torn_at[end.side].is_some_and(|at| at <= self.now)
            || !self.links[sender * self.machines + receiver].is_cut
    }

    fn read(&mut self, end: End, space: &mut [u8]) -> Taken {
        let now = self.now;
        if !self.is_ready(end) {
            return Taken::Nothing;
        }
        let wire = &mut self.wires[end.wire];
        if wire.torn_at[end.side].is_some_and(|at| at <= now) {
            return Taken::Ended;
        }
        let pipe = &mut wire.pipes[end.side];
        let Some(piece) = pipe.pieces.front_mut() else {
            return Taken::Ended;
        };
        let left = &piece.bytes[piece.read..];
        let count = left.len().min(space.len());
        space[..count].copy_from_slice(&left[..count]);
        piece.read += count;
        pipe.bytes -= count;
        if std::mem::take(&mut pipe.is_awaited) {
            let [sender, receiver] = [wire.machines[1 - end.side], wire.machines[end.side]];
            let back = self.links[receiver * self.machines + sender].delay_ns;
            self.wakes.push((now + back, wire.places[1 - end.side]));
        }
        if piece.read == piece.bytes.len() {
            let piece = pipe.pieces.pop_front().expect("it was just read");
            self.spare(piece.bytes);
            self.look(end.wire, end.side);
        }
        Taken::Bytes(count)
    }

    /// Keeps memory to be used again, as much as is worth it.
    fn spare(&mut self, mut bytes: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    fn shut(&mut self, end: End) {
        let to = 1 - end.side;
        let machines = self.wires[end.wire].machines;
        let way = self.way(self.link(machines[end.side], machines[to]));
        let wire = &mut self.wires[end.wire];
        let pipe = &mut wire.pipes[to];
        if pipe.shut_at.is_none() {
            let at = pipe.last_at.max(self.now + way);
            pipe.shut_at = Some(at);
            self.wakes.push((at, wire.places[to]));
            self.look(end.wire, to);
        }
    }

    fn let_go(&mut self, end: End, reset: bool) {
        if self.wires[end.wire].is_gone[end.side] {
            return;
        }
        if reset {
            self.tear(end.wire, 1 - end.side);
        } else {
            self.shut(end);
        }
        self.wires[end.wire].is_gone[end.side] = true;
        self.wires[end.wire].pipes[end.side] = Pipe::default();
        self.look(end.wire, end.side);
        self.bury(end.wire);
    }

    /// The end at `side` is told that the stream is torn, unless the word cannot get there.
    fn tear(&mut self, wire: usize, side: usize) {
        let machines = self.wires[wire].machines;
        let link = self.link(machines[1 - side], machines[side]);
        if link.is_cut || self.wires[wire].torn_at[side].is_some() {
            return;
        }
        let at = self.now + self.way(link);
        self.wires[wire].torn_at[side] = Some(at);
        self.look(wire, side);
        self.wakes.push((at, self.wires[wire].places[side]));
    }

    fn bury(&mut self, wire: usize) {
        let gone = &mut self.wires[wire];
        if gone.is_gone == [true; 2] {
            gone.pipes = Default::default();
            self.look(wire, 0);
            self.look(wire, 1);
            self.live.remove(&wire);
        }
    }

    /// The direction carries as much as before: what queued for it is through as soon as the way allows.
    fn widened(&mut self, from: Machine, to: Machine) {
        let soon = self.now + self.way(self.link(from, to));
        for wire in self.streams(|machines| machines == [from, to] || machines == [to, from]) {
            let state = &mut self.wires[wire];
            let to_side = usize::from(state.machines[1] == to);
            let pipe = &mut state.pipes[to_side];
            for piece in &mut pipe.pieces {
                piece.arrives_at = piece.arrives_at.min(soon);
            }
            pipe.free_at = pipe.free_at.min(self.now);
            pipe.last_at = pipe.last_at.min(soon);
            pipe.shut_at = pipe.shut_at.map(|at| at.min(soon));
            self.wakes.push((soon, state.places[to_side]));
            self.look(wire, to_side);
        }
    }

    /// The direction works again: what it held back arrives a little later, and what went nowhere is answered.
    fn healed(&mut self, from: Machine, to: Machine) {
        for wire in self.streams(|machines| machines == [from, to] || machines == [to, from]) {
            let to_side = usize::from(self.wires[wire].machines[1] == to);
            let again =
                self.now + self.chance.below(RETRANSMIT_NS_MAX) + self.way(self.link(from, to));
            let state = &mut self.wires[wire];
            if state.is_gone[to_side] {
                // What was sent meanwhile reaches a machine that knows no such stream.
                if self.has_power[to] {
                    state.torn_at[1 - to_side].get_or_insert(again);
                    self.wakes.push((again, state.places[1 - to_side]));
                    self.look(wire, 1 - to_side);
                }
                continue;
            }
            if state.is_gone[1 - to_side]
                && self.has_power[from]
                && state.pipes[to_side].shut_at.is_none()
            {
                state.torn_at[to_side].get_or_insert(again);
            }
            let pipe = &mut state.pipes[to_side];
            for piece in &mut pipe.pieces {
                piece.arrives_at = piece.arrives_at.max(again);
            }
            pipe.last_at = pipe.last_at.max(again);
            pipe.shut_at = pipe.shut_at.map(|at| at.max(again));
            self.wakes.push((again, state.places[to_side]));
            self.look(wire, to_side);
        }
        let doors: Vec<Place> = self
            .doors
            .values()
            .filter(|door| door.machine == to)
            .map(|door| door.place)
            .collect();
        self.wakes
            .extend(doors.into_iter().map(|place| (self.now, place)));
    }
}
