//! The clients' connections: bytes in and out, each within what one client may take.
//!
//! - A client that sends what is no message, half of one for too long, or reads nothing, loses its connection; nobody
//!   else notices.
//! - Places are few and bounded. When all are taken, the oldest connection that has not sent one right message yet is
//!   closed for the new one. When all have, the origin with the most connections gives up its quietest one, unless the
//!   new one comes from there: then the new one is closed.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use net::pool::Pool;
use net::tigerbeetle::reader::{Frame, Reader};
use raft::ids::Time;
use rustc_hash::FxHashMap;

use crate::door::counters::Counters;
use crate::door::desk::GuestId;
use crate::door::limits;
use crate::door::origins::{Origin, origin_of};

/// Pieces handed to one system call.
const SLICES: usize = 64;

/// One connection.
#[derive(Debug)]
struct Guest {
    id: GuestId,
    stream: TcpStream,
    reader: Reader,
    out: VecDeque<Bytes>,
    /// Bytes of `out`.
    unread: usize,
    opened_at: Time,
    /// When something last came.
    heard_at: Time,
    /// When the message that is under way began.
    half_since: Option<Time>,
    /// Since when the client takes nothing.
    stalled_since: Option<Time>,
    proven: bool,
    /// The kernel may have more to read.
    readable: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Guests {
    places: Vec<Option<Guest>>,
    turn: u64,
    base: usize,
    /// Memory of long requests, used again when their entries are.
    pool: Pool,
    counters: Arc<Counters>,
    /// Those that may be read on without a word from the kernel.
    pub ready: VecDeque<GuestId>,
    /// Those that are gone and the desk was not told yet.
    pub gone: Vec<GuestId>,
}

impl Guests {
    /// No guests; their tokens begin at `base`.
    #[must_use]
    pub fn new(base: usize, counters: Arc<Counters>) -> Self {
        Self {
            places: (0..limits::GUESTS_MAX).map(|_| None).collect(),
            turn: 0,
            base,
            pool: Pool::new(limits::GUEST_POOL_BYTES),
            counters,
            ready: VecDeque::new(),
            gone: Vec::new(),
        }
    }

    /// Is nobody here?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// Who has this token.
    #[must_use]
    pub fn by_token(&self, token: Token) -> Option<GuestId> {
        let place = token.0.checked_sub(self.base)?;
        Some(self.places.get(place)?.as_ref()?.id)
    }

    /// A new connection from this address.
    ///
    /// # Errors
    /// When the kernel refuses to watch it.
    pub fn accept(
        &mut self,
        mut stream: TcpStream,
        address: IpAddr,
        registry: &Registry,
        now: Time,
    ) -> io::Result<()> {
        let origin = origin_of(address);
        let free = self.places.iter().position(Option::is_none);
        let Some(place) = free.or_else(|| self.crowd_out(origin)) else {
            self.counters.crowded_out.add(1);
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let token = Token(self.base + place);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.turn += 1;
        let turn = self.turn;
        self.places[place] = Some(Guest {
            id: GuestId {
                place: place as u32,
                turn,
                origin,
            },
            stream,
            reader: Reader::new(self.pool.clone()),
            out: VecDeque::new(),
            unread: 0,
            opened_at: now,
            heard_at: now,
            half_since: None,
            stalled_since: None,
            proven: false,
            readable: true,
        });
        self.counters.accepted.add(1);
        self.count();
        Ok(())
    }

    /// The place of the oldest stranger, or else of the quietest from where the most come.
    fn crowd_out(&mut self, newcomer: Origin) -> Option<usize> {
        let strangers = self.places.iter().flatten().filter(|guest| !guest.proven);
        let oldest = strangers.min_by_key(|guest| guest.id.turn);
        let leaves = match oldest {
            Some(stranger) => stranger.id,
            None => self.dispensable(newcomer)?,
        };
        self.counters.crowded_out.add(1);
        self.close(leaves);
        Some(leaves.place as usize)
    }

    fn dispensable(&self, newcomer: Origin) -> Option<GuestId> {
        let mut counts: FxHashMap<Origin, usize> = FxHashMap::default();
        for guest in self.places.iter().flatten() {
            *counts.entry(guest.id.origin).or_default() += 1;
        }
        let most = *counts.values().max()?;
        if counts.get(&newcomer) == Some(&most) {
            return None;
        }
        let crowd = self.places.iter().flatten();
        let crowd = crowd.filter(|guest| counts[&guest.id.origin] == most);
        crowd
            .min_by_key(|guest| guest.heard_at)
            .map(|guest| guest.id)
    }

    fn get(&mut self, id: GuestId) -> Option<&mut Guest> {
        self.places[id.place as usize]
            .as_mut()
            .filter(|guest| guest.id == id)
    }

    /// Ends a connection.
    pub fn close(&mut self, id: GuestId) {
        if self.get(id).is_some() {
            self.places[id.place as usize] = None;
            self.gone.push(id);
            self.count();
        }
    }

    /// Ends the connection of somebody who does not keep to the protocol.
    pub fn close_malformed(&mut self, id: GuestId) {
        self.counters.malformed.add(1);
        self.close(id);
    }

    fn count(&self) {
        let here = self.places.iter().flatten().count();
        self.counters.connections.set(here as u64);
    }

    /// The kernel says that there is something to read, or room to write.
    pub fn woken(&mut self, id: GuestId, readable: bool, writable: bool, now: Time) {
        if readable && let Some(guest) = self.get(id) {
            guest.readable = true;
            if !self.ready.contains(&id) {
                self.ready.push_back(id);
            }
        }
        if writable {
            self.write(id, now);
        }
    }

    /// Reads what one guest may have read in one turn; whole messages go to `take`, until it wants no more.
    pub fn read(&mut self, id: GuestId, now: Time, frames: &mut Vec<Frame>) {
        let Some(guest) = self.get(id) else {
            return;
        };
        let mut taken = 0;
        while guest.readable && taken < limits::READ_PER_TURN {
            match guest.stream.read(guest.reader.space()) {
                Ok(0) => return self.close(id),
                Ok(count) => {
                    guest.reader.filled(count);
                    guest.heard_at = now;
                    taken += count;
                    if !guest.take_frames(frames) {
                        return self.close_malformed(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => guest.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(id),
            }
        }
        guest.half_since = match guest.reader.is_midway() {
            true => guest.half_since.or(Some(now)),
            false => None,
        };
        if guest.readable {
            self.ready.push_back(id);
        }
    }

    /// Says something to a guest.
    pub fn say(&mut self, id: GuestId, header: &[u8; 256], body: Bytes, now: Time) {
        let Some(guest) = self.get(id) else {
            return;
        };
        guest.unread += header.len() + body.len();
        guest.out.push_back(Bytes::copy_from_slice(header));
        if !body.is_empty() {
            guest.out.push_back(body);
        }
        if guest.unread > limits::UNREAD_BYTES_MAX {
            self.counters.slow.add(1);
            return self.close(id);
        }
        self.write(id, now);
    }

    fn write(&mut self, id: GuestId, now: Time) {
        let Some(guest) = self.get(id) else {
            return;
        };
        if guest.write(now).is_err() {
            self.close(id);
        }
    }

    /// Looks after those that are slow.
    pub fn sweep(&mut self, now: Time) {
        let is_over = |since: Option<Time>, most| since.is_some_and(|at| now.since(at) > most);
        let slow: Vec<GuestId> = self
            .places
            .iter()
            .flatten()
            .filter(|guest| {
                is_over(guest.half_since, limits::HALF_MESSAGE_NS)
                    || is_over(guest.stalled_since, limits::STALL_NS)
                    || !guest.proven && is_over(Some(guest.opened_at), limits::FIRST_MESSAGE_NS)
            })
            .map(|guest| guest.id)
            .collect();
        for id in slow {
            self.counters.slow.add(1);
            self.close(id);
        }
    }
}

impl Guest {
    /// False when what came is no message.
    fn take_frames(&mut self, frames: &mut Vec<Frame>) -> bool {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    self.proven = true;
                    self.half_since = None;
                    frames.push(frame);
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn write(&mut self, now: Time) -> io::Result<()> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(written) => {
                    self.stalled_since = None;
                    self.wrote(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stalled_since = self.stalled_since.or(Some(now));
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wrote(&mut self, mut written: usize) {
        self.unread -= written;
        while let Some(front) = self.out.front_mut() {
            if front.len() > written {
                let _ = front.split_to(written);
                return;
            }
            written -= front.len();
            self.out.pop_front();
        }
    }
}
