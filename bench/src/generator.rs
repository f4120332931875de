//! One load thread: many sessions on one poll, in closed or open loop.
//!
//! - Closed loop: a session begins a request when one of its places is free.
//! - Open loop: requests are begun by the schedule; those for which no place is free are held back, and
//!   their latency counts from the intended instant all the same.
//! - No request is begun outside the timeline's load; what is in flight at its end is waited for.

use crate::acks::StreamLog;
use crate::carrier::{Carrier, Party, Readiness, Shared};
use crate::clock::{Clock, nanos};
use crate::connection::Pool;
use crate::error::{BenchError, ProtocolFault};
use crate::progress::Phase;
use crate::schedule::Schedule;
use crate::tally::{Departure, Tally, Timeline};
use crate::target::Target;
use crate::ticker::Ticker;
use crate::workload::Workload;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// A thread looks at least this often whether it shall stop.
const LOOK_NS: u64 = 50_000_000;
/// Waits shorter than this are not waited for: setting a timer takes about as long.
const SPIN_NS: u64 = 2_000;

/// What one load thread has to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its streams, with the group of each.
    pub(crate) streams: Vec<(u16, u32)>,
    /// Its connections: position of the stream, and of the leader of its group, and the sessions that share it.
    pub(crate) carriers: Vec<(usize, usize, Party)>,
    /// When requests are meant to leave; `None`: closed loop.
    pub(crate) schedule: Option<Schedule>,
    /// Whether to keep a histogram per second.
    pub(crate) intervals: bool,
    /// The processor to run on.
    pub(crate) pin: Option<usize>,
}

/// What the main thread and a load thread tell each other meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Transfers acknowledged since the load began.
    pub(crate) acknowledged: AtomicU64,
    /// The thread shall end, whatever is in flight.
    pub(crate) stop: AtomicBool,
}

/// What a load thread has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) tally: Tally,
    pub(crate) logs: Vec<StreamLog>,
}

/// A load thread's state.
pub(crate) struct Generator<'a> {
    poll: Poll,
    ticker: Ticker,
    carriers: Vec<Carrier>,
    shared: Shared<'a>,
    schedule: Option<Schedule>,
    intervals: bool,
    /// Whether the first requests of closed loop are under way.
    started: bool,
    /// Whether no request will be begun any more.
    closed: bool,
    /// Sessions by the free places they have, in open loop: one entry each.
    places: VecDeque<usize>,
    /// Since when there has been a free place.
    free_since: u64,
    pauses: BinaryHeap<Reverse<(u64, usize)>>,
    timer_at: u64,
    signals: &'a Signals,
}

const TICKER: Token = Token(usize::MAX);

impl<'a> Generator<'a> {
    /// Makes the carriers; none is connected yet.
    pub(crate) fn new(
        task: &Task,
        target: &'a Target,
        workload: &'a Workload,
        clock: Clock,
        signals: &'a Signals,
    ) -> Result<Self, BenchError> {
        let failed = || BenchError::io("making a poll");
        let poll = Poll::new().map_err(failed())?;
        let registry = poll.registry().try_clone().map_err(failed())?;
        let ticker = Ticker::unset()?;
        let timer = ticker.as_raw_fd();
        registry
            .register(&mut SourceFd(&timer), TICKER, Interest::READABLE)
            .map_err(failed())?;
        let carrier = |(index, &(stream, node, party)): (usize, &(usize, usize, Party))| {
            let (_, group) = task.streams[stream];
            Carrier::new(Token(index), stream, group, node, party)
        };
        let carriers: Vec<Carrier> = task.carriers.iter().enumerate().map(carrier).collect();
        let most = carriers.iter().map(Carrier::free).max().unwrap_or(0);
        let rounds = (0..most).flat_map(|round| {
            carriers
                .iter()
                .map(move |of| (of.free(), round))
                .enumerate()
        });
        let every_place: Vec<usize> = rounds
            .filter(|&(_, (free, round))| free > round)
            .map(|(at, _)| at)
            .collect();
        let nothing = Timeline {
            begin: 0,
            open: 0,
            close: 0,
            give_up: 0,
        };
        Ok(Self {
            places: if task.schedule.is_some() {
                every_place.into()
            } else {
                VecDeque::new()
            },
            poll,
            ticker,
            carriers,
            shared: Shared {
                target,
                workload,
                clock,
                registry,
                pool: Pool::default(),
                tally: Tally::new(nothing, false),
                logs: task
                    .streams
                    .iter()
                    .map(|&(stream, group)| StreamLog::new(stream, group))
                    .collect(),
                acknowledged: 0,
            },
            schedule: task.schedule.clone(),
            intervals: task.intervals,
            started: false,
            closed: false,
            free_since: 0,
            pauses: BinaryHeap::new(),
            timer_at: 0,
            signals,
        })
    }

    /// Makes all connections within this time.
    pub(crate) fn connect(&mut self, limit: Duration) -> Result<(), BenchError> {
        let until = self.shared.clock.now().saturating_add(nanos(limit));
        let mut events = Events::with_capacity(EVENTS);
        let now = self.shared.clock.now();
        for index in 0..self.carriers.len() {
            self.pump(index, now)?;
        }
        while !self.carriers.iter().all(Carrier::is_greeted) {
            let now = self.shared.clock.now();
            if now > until || self.signals.stop.load(Ordering::Relaxed) {
                let missing = self
                    .carriers
                    .iter()
                    .filter(|carrier| !carrier.is_greeted())
                    .count();
                let missing = format!(
                    "{missing} of {} connections are not made",
                    self.carriers.len()
                );
                let phase = Phase::Load;
                return Err(BenchError::Late {
                    phase,
                    limit,
                    missing,
                });
            }
            self.turn(now, until, &mut events)?;
        }
        Ok(())
    }

    /// Carries out the load, and waits for the last replies.
    pub(crate) fn run(mut self, timeline: Timeline) -> Result<Done, BenchError> {
        self.shared.tally = Tally::new(timeline, self.intervals);
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = self.shared.clock.now();
            let loading = now < timeline.close;
            // Once more after the close: what was due before it, and the thread was late for.
            if now >= timeline.begin && !std::mem::replace(&mut self.closed, !loading) {
                self.begin_due(now, &timeline)?;
            }
            let settled = !loading && self.carriers.iter().all(Carrier::is_settled);
            if settled || now >= timeline.give_up || self.signals.stop.load(Ordering::Relaxed) {
                break;
            }
            let until = self.next_instant(now, &timeline);
            self.turn(now, until, &mut events)?;
            self.signals
                .acknowledged
                .store(self.shared.acknowledged, Ordering::Relaxed);
        }
        self.drop_rest(&timeline);
        Ok(Done {
            tally: self.shared.tally,
            logs: self.shared.logs,
        })
    }

    /// Begins what is due in closed loop at the start, and by the schedule at any time.
    fn begin_due(&mut self, now: u64, timeline: &Timeline) -> Result<(), BenchError> {
        if self.schedule.is_none() {
            // Later ones are begun where their places become free.
            if !std::mem::replace(&mut self.started, true) {
                for index in 0..self.carriers.len() {
                    self.begin_free(index, now, timeline)?;
                }
            }
            return Ok(());
        }
        while let Some(schedule) = &mut self.schedule
            && timeline.begin + schedule.peek() <= now.min(timeline.close - 1)
        {
            let Some(index) = self.places.pop_front() else {
                return Ok(());
            };
            let intended = timeline.begin + schedule.take();
            let ready = intended.max(self.free_since);
            self.carriers[index].begin(Departure { intended, ready }, &mut self.shared.logs);
            self.pump(index, now)?;
        }
        Ok(())
    }

    /// Begins as many requests as the carrier has free places, in closed loop.
    fn begin_free(
        &mut self,
        index: usize,
        now: u64,
        timeline: &Timeline,
    ) -> Result<(), BenchError> {
        if now >= timeline.close {
            return Ok(());
        }
        while self.carriers[index].free() > 0 {
            self.carriers[index].begin(
                Departure {
                    intended: now,
                    ready: now,
                },
                &mut self.shared.logs,
            );
        }
        self.pump(index, now)
    }

    /// Counts what the schedule still held for the window.
    fn drop_rest(&mut self, timeline: &Timeline) {
        if let Some(schedule) = &mut self.schedule {
            while timeline.begin + schedule.peek() < timeline.close {
                schedule.take();
                self.shared.tally.dropped += 1;
            }
        }
    }

    fn next_instant(&self, now: u64, timeline: &Timeline) -> u64 {
        let scheduled = match &self.schedule {
            Some(schedule) if !self.places.is_empty() => timeline.begin + schedule.peek(),
            _ => u64::MAX,
        };
        let edge = if now < timeline.begin {
            timeline.begin
        } else if now < timeline.close {
            timeline.close.min(scheduled)
        } else {
            timeline.give_up
        };
        edge.max(now)
    }

    /// Waits for events until this instant and handles them; afterwards resumes those that paused.
    fn turn(&mut self, now: u64, until: u64, events: &mut Events) -> Result<(), BenchError> {
        let paused = self.pauses.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        let until = until.min(paused).min(now + LOOK_NS);
        let spin = until <= now + SPIN_NS;
        if !spin && (self.timer_at <= now || until < self.timer_at) {
            self.ticker.once_in(until - now)?;
            self.timer_at = until;
        }
        let timeout = spin.then_some(Duration::ZERO);
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(BenchError::io("waiting for replies")(error)),
        }
        let now = self.shared.clock.now();
        for event in events.iter() {
            if event.token() == TICKER {
                self.timer_at = 0;
                continue;
            }
            let ended = event.is_read_closed() || event.is_error();
            let readiness = Readiness {
                writable: event.is_writable(),
                ended,
            };
            self.serve(event.token().0, readiness, now)?;
        }
        while let Some(&Reverse((at, index))) = self.pauses.peek()
            && at <= now
        {
            self.pauses.pop();
            self.pump(index, now)?;
        }
        Ok(())
    }

    /// A connection is ready.
    fn serve(&mut self, index: usize, readiness: Readiness, now: u64) -> Result<(), BenchError> {
        let carrier = &mut self.carriers[index];
        let free_before = carrier.free();
        let served = carrier.ready(readiness, now, &mut self.shared);
        let freed = carrier.free() - free_before;
        self.after(index, served)?;
        if freed == 0 {
            return Ok(());
        }
        let now = self.shared.clock.now();
        if self.schedule.is_some() {
            if self.places.is_empty() {
                self.free_since = now;
            }
            self.places.extend(std::iter::repeat_n(index, freed));
            return Ok(());
        }
        let timeline = self.shared.tally.timeline();
        self.begin_free(index, now, &timeline)
    }

    fn pump(&mut self, index: usize, now: u64) -> Result<(), BenchError> {
        let pumped = self.carriers[index].pump(now, &mut self.shared);
        self.after(index, pumped)
    }

    /// Names the node of a fault, and remembers a pause.
    fn after(&mut self, index: usize, done: Result<(), ProtocolFault>) -> Result<(), BenchError> {
        let carrier = &mut self.carriers[index];
        let node = self.shared.target.nodes[carrier.node()].id;
        done.map_err(|fault| BenchError::Protocol { node, fault })?;
        if let Some(until) = carrier.take_pause() {
            self.pauses.push(Reverse((until, index)));
        }
        Ok(())
    }
}
