//! The door's turn: who is woken is read, what the desk wants is done, and the thread sleeps until something happens.
//!
//! - One thread, one poll, no lock. Idle without clients it sleeps without end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use raft::ids::Time;

use crate::clock::SystemClock;
use crate::config::Layout;
use crate::door::counters::Counters;
use crate::door::desk::{Desk, Effect};
use crate::door::guests::Guests;
use crate::door::limits;
use crate::door::lines::{Lines, Question};
use crate::driver::hatch::Hatch;
use crate::driver::wakeful::Wakeful;

const LISTENER: Token = Token(usize::MAX);
/// The token of whoever stops the door.
pub(crate) const WAKER: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1024;
const ACCEPTS_PER_TURN: usize = 64;
/// Pause when the listener fails or buffers are wanting: nothing tells when that is over.
const RETRY: Duration = Duration::from_millis(5);

/// Everything the door's thread owns.
pub(crate) struct Door {
    poll: Poll,
    listener: TcpListener,
    desk: Desk,
    guests: Guests,
    lines: Lines,
    touched: Vec<usize>,
    effects: Vec<Effect>,
    swept_at: Time,
    acceptable: bool,
    wakeful: Wakeful,
}

impl Door {
    pub(crate) fn new(
        poll: Poll,
        mut listener: TcpListener,
        (layout, place): (&Layout, usize),
        hatches: &[Hatch],
        awake_ns: u64,
        counters: &Arc<Counters>,
    ) -> std::io::Result<Self> {
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let lines = Lines::with_hatches(layout, 0, place, hatches);
        Ok(Self {
            guests: Guests::new(lines.len(), Arc::clone(counters)),
            desk: Desk::new(layout.clone(), place, Arc::clone(counters)),
            poll,
            listener,
            lines,
            touched: Vec::new(),
            effects: Vec::new(),
            swept_at: SystemClock.now(),
            acceptable: true,
            wakeful: Wakeful::new(awake_ns),
        })
    }

    /// Turns until `stop` is set and the waker pulled.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !stop.load(Ordering::Acquire) {
            let mut timeout = self.timeout(SystemClock.now());
            let sleeps = timeout != Some(Duration::ZERO);
            if sleeps && (self.wakeful.looks_again(None) || !self.lines.may_sleep()) {
                timeout = Some(Duration::ZERO);
            }
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = SystemClock.now();
            self.desk.wall_is(SystemClock.wall());
            if !events.is_empty() {
                self.wakeful.stirred(now);
            }
            for event in &events {
                self.woken(event, now);
            }
            self.hear(now);
            self.turn(now);
        }
        Ok(())
    }

    /// Takes what the cores of this node have answered.
    fn hear(&mut self, now: Time) {
        let mut answers = Vec::new();
        self.lines.hear(now, &mut answers);
        if answers.is_empty() {
            return;
        }
        self.wakeful.stirred(now);
        for (head, body) in answers {
            self.desk.answer(&head, body, now, &mut self.effects);
        }
        self.do_effects(now);
    }

    fn timeout(&self, now: Time) -> Option<Duration> {
        let may_read = self.desk.has_room() && !self.guests.ready.is_empty();
        if may_read || self.acceptable {
            return Some(Duration::ZERO);
        }
        if self.lines.starved().next().is_some() {
            return Some(RETRY);
        }
        if self.guests.is_empty() {
            return None;
        }
        let look = now.plus(limits::LOOK_NS);
        let due = self.desk.next_due().map_or(look, |due| due.min(look));
        Some(Duration::from_nanos(due.since(now)))
    }

    fn woken(&mut self, event: &mio::event::Event, now: Time) {
        let token = event.token();
        if token == LISTENER {
            self.acceptable = true;
        } else if let Some(line) = self.lines.by_token(token) {
            self.read_line(line, now);
        } else if let Some(guest) = self.guests.by_token(token) {
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            self.guests.woken(guest, readable, event.is_writable(), now);
        }
    }

    fn turn(&mut self, now: Time) {
        self.accept(now);
        let starved: Vec<usize> = self.lines.starved().collect();
        for line in starved {
            self.read_line(line, now);
        }
        let mut frames = Vec::new();
        for _ in 0..self.guests.ready.len() {
            if !self.desk.has_room() {
                break;
            }
            let Some(guest) = self.guests.ready.pop_front() else {
                break;
            };
            self.guests.read(guest, now, &mut frames);
            for frame in frames.drain(..) {
                self.desk.message(guest, frame, now, &mut self.effects);
            }
            self.do_effects(now);
        }
        let guests = !self.guests.is_empty();
        self.desk.tick(guests, now, &mut self.effects);
        self.do_effects(now);
        if now.since(self.swept_at) >= limits::SWEEP_NS {
            self.swept_at = now;
            self.guests.sweep(now);
            self.desk.sweep(now);
        }
        for guest in std::mem::take(&mut self.guests.gone) {
            self.desk.gone(guest);
        }
        self.write_lines(now);
    }

    fn accept(&mut self, now: Time) {
        if !self.acceptable {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                // A connection that the kernel does not let us watch is dropped.
                Ok((stream, from)) => {
                    let registry = self.poll.registry();
                    drop(self.guests.accept(stream, from.ip(), registry, now));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.acceptable = false;
                    return;
                }
            }
        }
    }

    fn do_effects(&mut self, now: Time) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Ask {
                    place,
                    core,
                    head,
                    body,
                    crc,
                } => {
                    let line = self.lines.of(place, core);
                    let question = Question { head, body, crc };
                    if self.lines.ask(line, question, self.poll.registry(), now) {
                        self.touched.push(line);
                    } else {
                        self.desk.unreachable(head.id, now);
                    }
                }
                Effect::Say {
                    guest,
                    header,
                    body,
                } => self.guests.say(guest, &header, body, now),
                Effect::Close(guest) => self.guests.close_malformed(guest),
            }
        }
    }

    fn write_lines(&mut self, now: Time) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for line in touched.drain(..) {
            if !self.lines.write(line, now) {
                self.lose(line, now);
            }
        }
        self.touched = touched;
    }

    fn read_line(&mut self, line: usize, now: Time) {
        let mut answers = Vec::new();
        let lives = self.lines.read(line, now, &mut answers);
        for (head, body) in answers {
            self.desk.answer(&head, body, now, &mut self.effects);
        }
        self.do_effects(now);
        if !lives {
            self.lose(line, now);
        }
    }

    fn lose(&mut self, line: usize, now: Time) {
        let (place, core) = self.lines.end_of(line);
        self.lines.lose(line, now);
        self.desk.line_lost(place, core, now);
    }
}
