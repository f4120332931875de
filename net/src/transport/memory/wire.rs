//! The wires of a network in memory: bytes in flight between two addresses, and what fate does to them.
//!
//! - A wire keeps order and loses nothing but its tail when it is torn, as TCP does.
//! - Each direction holds at most its link's window.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Buf, Bytes};

use crate::dice::Dice;
use crate::limits::{KIB, MIB};

/// How one direction between two addresses behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// From the sender's kernel to the receiver's, ns.
    pub delay_ns: u64,
    /// Up to this much is added to the delay, by chance, ns. Order is kept.
    pub jitter_ns: u64,
    /// Bytes per second; 0 is without bound.
    pub bytes_per_second: u64,
    /// Whether nothing arrives for now. What is in flight arrives when the link is whole again.
    pub is_cut: bool,
    /// Bytes in flight at most; a sender has to wait beyond.
    pub window_bytes: usize,
    /// Longest piece that travels, and may arrive, by itself.
    pub chunk_bytes_max: usize,
    /// One in so many pieces has a bit flipped; 0 is none.
    pub flip_one_in: u64,
    /// At one in so many pieces the connection is torn; 0 is none.
    pub tear_one_in: u64,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            delay_ns: 0,
            jitter_ns: 0,
            bytes_per_second: 0,
            is_cut: false,
            window_bytes: MIB,
            chunk_bytes_max: 64 * KIB,
            flip_one_in: 0,
            tear_one_in: 0,
        }
    }
}

/// One end of a wire: side 0 is the dialer's, side 1 the acceptor's.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireEnd {
    pub(super) wire: u64,
    pub(super) side: usize,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    dice: Dice,
    pub(super) links: BTreeMap<(SocketAddr, SocketAddr), Link>,
    pub(super) link: Link,
    /// Places that listen, with the wires that are being made to them.
    pub(super) doors: BTreeMap<SocketAddr, VecDeque<u64>>,
    pub(super) wires: BTreeMap<u64, Wire>,
    next_wire: u64,
}

#[derive(Debug)]
pub(super) struct Wire {
    /// The dialer's end, then the acceptor's.
    pub(super) addresses: [SocketAddr; 2],
    /// Bytes towards each end.
    pipes: [Pipe; 2],
    /// Which ends were let go.
    pub(super) is_closed: [bool; 2],
    pub(super) is_torn: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the last piece is through: the next one is not faster.
    last_at: u64,
    /// When the line is free again, bandwidth considered.
    free_at: u64,
    /// Whether nothing will follow.
    is_shut: bool,
}

#[derive(Debug)]
struct Piece {
    arrives_at: u64,
    bytes: Bytes,
}

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes(usize),
    Nothing,
    End,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            now: 0,
            dice: Dice::new(seed),
            links: BTreeMap::new(),
            link: Link::default(),
            doors: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_wire: 1,
        }
    }

    /// When the next piece arrives on a link that is whole.
    pub(super) fn next_arrival_at(&self) -> Option<u64> {
        let ends = self.wires.values().flat_map(|wire| [(wire, 0), (wire, 1)]);
        ends.filter_map(|(wire, side)| {
            let is_cut = self
                .link(wire.addresses[1 - side], wire.addresses[side])
                .is_cut;
            wire.pipes[side]
                .pieces
                .front()
                .filter(|_| !is_cut)
                .map(|piece| piece.arrives_at)
        })
        .min()
    }

    pub(super) fn link(&self, from: SocketAddr, to: SocketAddr) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.link)
    }

    pub(super) fn dial(&mut self, from: SocketAddr, to: SocketAddr) -> Option<u64> {
        let door = self.doors.get_mut(&to)?;
        let number = self.next_wire;
        self.next_wire += 1;
        door.push_back(number);
        let addresses = [from, to];
        let wire = Wire {
            addresses,
            pipes: Default::default(),
            is_closed: [false; 2],
            is_torn: false,
        };
        self.wires.insert(number, wire);
        Some(number)
    }

    /// Takes bytes into the pipe from `end` to the other side, as many as the window has room for.
    pub(super) fn write(&mut self, end: WireEnd, bytes: &[u8]) -> usize {
        let Some(wire) = self.wires.get(&end.wire) else {
            return bytes.len();
        };
        let (from, to) = (end.side, 1 - end.side);
        if wire.is_torn || wire.is_closed[to] {
            // The kernel takes them and finds out later.
            return bytes.len();
        }
        let link = self.link(wire.addresses[from], wire.addresses[to]);
        let wire = self.wires.get_mut(&end.wire).expect("found above");
        let pipe = &mut wire.pipes[to];
        let mut written = 0;
        for piece in bytes.chunks(link.chunk_bytes_max.max(1)) {
            let room = link.window_bytes.saturating_sub(pipe.bytes);
            let mut piece = piece[..piece.len().min(room)].to_vec();
            if piece.is_empty() {
                break;
            }
            wire.is_torn |= self.dice.one_in(link.tear_one_in);
            if self.dice.one_in(link.flip_one_in) {
                let bit = self.dice.below(piece.len() as u64 * 8) as usize;
                piece[bit / 8] ^= 1 << (bit % 8);
            }
            let on_line = (piece.len() as u64 * 1_000_000_000)
                .checked_div(link.bytes_per_second)
                .unwrap_or(0);
            pipe.free_at = pipe.free_at.max(self.now) + on_line;
            let delay = link.delay_ns + self.dice.below(link.jitter_ns);
            pipe.last_at = pipe.last_at.max(pipe.free_at + delay);
            written += piece.len();
            pipe.bytes += piece.len();
            pipe.pieces.push_back(Piece {
                arrives_at: pipe.last_at,
                bytes: piece.into(),
            });
        }
        written
    }

    /// Takes what has arrived at `end` out of its pipe, one piece at most.
    pub(super) fn read(&mut self, end: WireEnd, space: &mut [u8]) -> Taken {
        let Some(wire) = self.wires.get(&end.wire).filter(|wire| !wire.is_torn) else {
            return Taken::End;
        };
        if self
            .link(wire.addresses[1 - end.side], wire.addresses[end.side])
            .is_cut
        {
            return Taken::Nothing;
        }
        let now = self.now;
        let pipe = &mut self.wires.get_mut(&end.wire).expect("found above").pipes[end.side];
        match pipe.pieces.front_mut() {
            Some(piece) if piece.arrives_at <= now => {
                let count = piece.bytes.len().min(space.len());
                piece.bytes.copy_to_slice(&mut space[..count]);
                if piece.bytes.is_empty() {
                    pipe.pieces.pop_front();
                }
                pipe.bytes -= count;
                Taken::Bytes(count)
            }
            None if pipe.is_shut => Taken::End,
            _ => Taken::Nothing,
        }
    }

    /// Nothing will follow from `end`.
    pub(super) fn shut(&mut self, end: WireEnd) {
        if let Some(wire) = self.wires.get_mut(&end.wire) {
            wire.pipes[1 - end.side].is_shut = true;
        }
    }

    /// `end` lets go. The other side gets what is in flight, then the end.
    pub(super) fn close(&mut self, end: WireEnd) {
        self.shut(end);
        let Some(wire) = self.wires.get_mut(&end.wire) else {
            return;
        };
        wire.is_closed[end.side] = true;
        wire.pipes[end.side] = Pipe::default();
        if wire.is_closed == [true; 2] {
            self.wires.remove(&end.wire);
        }
    }
}
