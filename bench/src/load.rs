//! Runs the load threads through connection, warm-up, window and drain, and looks on.

use crate::acks::StreamLog;
use crate::carrier::Party;
use crate::clock::{Clock, nanos};
use crate::error::BenchError;
use crate::generator::{Done, Generator, Signals, Task};
use crate::hiccup::Probe;
use crate::host::{self, Disk};
use crate::options::Options;
use crate::progress::{Phase, Progress};
use crate::schedule::Schedule;
use crate::setup::{Observers, Watch};
use crate::snapshot::Snapshot;
use crate::tally::{Tally, Timeline};
use crate::target::Target;
use crate::ticker::Ticker;
use crate::workload::Workload;
use hdrhistogram::Histogram;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// From the last connection to the first request.
const LEAD_IN_NS: u64 = 2_000_000;
/// How often progress is shown.
const SHOW_NS: u64 = 50_000_000;

/// What the load needs to know.
pub(crate) struct Plan<'a> {
    pub(crate) options: &'a Options,
    pub(crate) target: &'a Target,
    pub(crate) workload: &'a Workload,
    pub(crate) disk: Option<&'a Disk>,
    pub(crate) clock: Clock,
    /// Position of each group's leader.
    pub(crate) leaders: &'a [usize],
}

/// What the load has brought.
pub(crate) struct Loaded {
    pub(crate) tally: Tally,
    pub(crate) logs: Vec<StreamLog>,
    pub(crate) timeline: Timeline,
    pub(crate) threads: u32,
    pub(crate) opened: Snapshot,
    pub(crate) closed: Snapshot,
    pub(crate) hiccup: Histogram<u64>,
}

impl Plan<'_> {
    /// Carries the load out.
    pub(crate) fn run(
        &self,
        observers: &mut Observers,
        progress: &mut dyn Progress,
        watch: Watch,
    ) -> Result<Loaded, BenchError> {
        let tasks = self.tasks();
        let signals: Vec<Signals> = tasks.iter().map(|_| Signals::default()).collect();
        let (ready, are_ready) = channel();
        std::thread::scope(|scope| {
            let mut crew = Crew {
                signals: &signals,
                starts: Vec::new(),
                threads: Vec::new(),
            };
            for (task, signals) in tasks.iter().zip(&signals) {
                self.spawn(scope, task, signals, ready.clone(), &mut crew)?;
            }
            drop(ready);
            let looked = self.look_on(&mut crew, &are_ready, observers, progress, watch);
            let (done, looked) = crew.end(looked)?;
            let (opened, closed, hiccup, timeline) = looked;
            let mut all = done.into_iter();
            let Done {
                mut tally,
                mut logs,
            } = all.next().expect("at least one thread");
            for Done {
                tally: other,
                logs: more,
            } in all
            {
                tally.merge(other);
                logs.extend(more);
            }
            logs.sort_by_key(StreamLog::stream);
            let threads = u32::try_from(tasks.len()).expect("few threads");
            Ok(Loaded {
                tally,
                logs,
                timeline,
                threads,
                opened,
                closed,
                hiccup,
            })
        })
    }

    /// Deals the connections, each with its sessions, out to the threads in turn.
    fn tasks(&self) -> Vec<Task> {
        let options = self.options;
        let threads = options.threads_resolved(host::processors());
        let per_thread = options
            .rate
            .map(|rate| rate / f64::from(options.batch) / f64::from(threads));
        let mut streams_before = 0;
        let task = |thread: u32| {
            let mut task = Task {
                streams: Vec::new(),
                carriers: Vec::new(),
                schedule: per_thread.map(|rate| {
                    Schedule::new(options.seed, thread, threads, options.arrival, rate)
                }),
                intervals: options.hlog.is_some(),
                pin: options
                    .pin
                    .get(thread as usize % options.pin.len().max(1))
                    .copied(),
            };
            // Connections go round the groups, and of each group round the threads.
            let connections = options.connections_resolved();
            let sharing = options.clients / connections;
            for nth in (0..connections).filter(|nth| nth / options.groups % threads == thread) {
                let group = nth % options.groups;
                let known = task.streams.iter().position(|&(_, known)| known == group);
                let stream = known.unwrap_or_else(|| {
                    task.streams.push((streams_before, group));
                    streams_before += 1;
                    task.streams.len() - 1
                });
                let party = Party {
                    first: nth * sharing,
                    count: sharing,
                    window: options.window_resolved(),
                };
                let leader = self.leaders[group as usize];
                task.carriers.push((stream, leader, party));
            }
            task
        };
        (0..threads).map(task).collect()
    }

    fn spawn<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        task: &'scope Task,
        signals: &'scope Signals,
        ready: Sender<()>,
        crew: &mut Crew<'scope>,
    ) -> Result<(), BenchError> {
        let (start, started) = channel();
        let work = move || {
            if let Some(processor) = task.pin {
                core_affinity::set_for_current(core_affinity::CoreId { id: processor });
            }
            let mut generator =
                Generator::new(task, self.target, self.workload, self.clock, signals)?;
            generator.connect(self.options.start_limit)?;
            // The main thread waits for as many of these as there are threads, or for an end of one.
            let told = ready.send(());
            drop(ready);
            match (told, started.recv()) {
                (Ok(()), Ok(timeline)) => generator.run(timeline),
                _ => Err(BenchError::Cancelled {
                    during: Phase::Load,
                }),
            }
        };
        let thread = Builder::new()
            .name("bench-load".to_owned())
            .spawn_scoped(scope, work)
            .map_err(BenchError::io("starting a thread"))?;
        crew.starts.push(start);
        crew.threads.push(thread);
        Ok(())
    }

    fn look_on(
        &self,
        crew: &mut Crew,
        are_ready: &Receiver<()>,
        observers: &mut Observers,
        progress: &mut dyn Progress,
        watch: Watch,
    ) -> Result<Looked, BenchError> {
        for _ in 0..crew.threads.len() {
            // An error: a thread has ended without being ready, and tells why when it is joined.
            are_ready.recv().map_err(|_| BenchError::Cancelled {
                during: Phase::Load,
            })?;
        }
        let timeline = self.timeline();
        crew.start(timeline);
        let ticker = Ticker::unset()?;
        let mut look = Look {
            plan: self,
            crew,
            ticker: &ticker,
            progress,
            watch,
        };
        look.until(Phase::Warmup, timeline.begin, timeline.open)?;
        let probe = Probe::start(self.clock)?;
        let opened = look.snapshot(observers)?;
        look.until(Phase::Load, timeline.open, timeline.close)?;
        let hiccup = probe.finish()?;
        let closed = look.snapshot(observers)?;
        look.until_settled()?;
        Ok((opened, closed, hiccup, timeline))
    }

    fn timeline(&self) -> Timeline {
        let begin = self.clock.now() + LEAD_IN_NS;
        let open = begin + nanos(self.options.warmup);
        let close = open + nanos(self.options.duration);
        Timeline {
            begin,
            open,
            close,
            give_up: close + nanos(self.options.settle_limit),
        }
    }
}

type Looked = (Snapshot, Snapshot, Histogram<u64>, Timeline);

/// The load threads, seen from the main thread.
struct Crew<'scope> {
    signals: &'scope [Signals],
    starts: Vec<Sender<Timeline>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Done, BenchError>>>,
}

impl Crew<'_> {
    fn start(&mut self, timeline: Timeline) {
        for start in self.starts.drain(..) {
            // A thread that is gone tells why when it is joined.
            let _ = start.send(timeline);
        }
    }

    fn acknowledged(&self) -> u64 {
        self.signals
            .iter()
            .map(|signals| signals.acknowledged.load(Ordering::Relaxed))
            .sum()
    }

    /// Joins the threads, early where something went wrong. A thread's own error tells more than that
    /// the main thread saw it end.
    fn end<T>(mut self, looked: Result<T, BenchError>) -> Result<(Vec<Done>, T), BenchError> {
        if looked.is_err() {
            self.starts.clear();
            for signals in self.signals {
                signals.stop.store(true, Ordering::Relaxed);
            }
        }
        let mut done = Vec::new();
        let mut fault = None;
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(work)) => done.push(work),
                Ok(Err(BenchError::Cancelled { .. })) => {}
                Ok(Err(error)) => fault = fault.or(Some(error)),
                Err(_) => fault = Some(BenchError::Thread { thread: "load" }),
            }
        }
        match (looked, fault) {
            (Err(error @ BenchError::Exited { .. }), _) => Err(error),
            (_, Some(fault)) => Err(fault),
            (Err(error), None) => Err(error),
            (Ok(looked), None) => Ok((done, looked)),
        }
    }
}

/// The main thread while the others work.
struct Look<'a, 'b, 'scope> {
    plan: &'a Plan<'b>,
    crew: &'a Crew<'scope>,
    ticker: &'a Ticker,
    progress: &'a mut dyn Progress,
    watch: Watch<'a>,
}

impl Look<'_, '_, '_> {
    /// Shows progress until this instant.
    fn until(&mut self, phase: Phase, from: u64, to: u64) -> Result<(), BenchError> {
        self.progress
            .begin(phase, to.saturating_sub(from) / 1_000_000);
        loop {
            let now = self.plan.clock.now();
            if now >= to {
                return Ok(());
            }
            self.check(phase)?;
            if self.crew.threads.iter().any(ScopedJoinHandle::is_finished) {
                return Err(BenchError::Cancelled { during: phase });
            }
            self.progress.advance(
                now.saturating_sub(from) / 1_000_000,
                self.crew.acknowledged(),
            );
            self.ticker.once_in((to - now).min(SHOW_NS))?;
            self.ticker.wait();
        }
    }

    fn until_settled(&mut self) -> Result<(), BenchError> {
        self.progress.begin(Phase::Settle, 0);
        while !self.crew.threads.iter().all(ScopedJoinHandle::is_finished) {
            self.check(Phase::Settle)?;
            self.progress.advance(0, self.crew.acknowledged());
            self.ticker.once_in(SHOW_NS / 10)?;
            self.ticker.wait();
        }
        Ok(())
    }

    fn check(&mut self, during: Phase) -> Result<(), BenchError> {
        (self.watch)(during)?;
        if self.progress.cancelled() {
            Err(BenchError::Cancelled { during })
        } else {
            Ok(())
        }
    }

    fn snapshot(&mut self, observers: &mut Observers) -> Result<Snapshot, BenchError> {
        let plan = self.plan;
        let (at, acknowledged) = (plan.clock.now(), self.crew.acknowledged());
        Snapshot::take(plan.target, observers, plan.disk, at, acknowledged)
    }
}
