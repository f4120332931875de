//! The archive thread: one per node, it takes sealed files of all cores to the object store, brings entries back, does chores.
//!
//! - Cores hand over, ask and take what comes, and never wait; what waits on a core's behalf is bounded.
//! - The thread is less urgent than those who serve clients. What it could not do it tells, and is asked again.
//! - It ends with the node; what was under way is begun anew after the next start, without harm. Uploads in parts go on
//!   where they were: the data folder remembers them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cold::chores::Plan;
use cold::depot::{Depot, DepotCounts};
use cold::jobs::JobError;
use cold::key::{FileKeeper, KeyKeeper};
use cold::limits::RECALLS_MAX;
use cold::location::Location;
use cold::offload::{Offloads, PARCELS_MAX, Policy};
use cold::recall::{Answer, Question};
use cold::store::remote::Remote;
use cold::tier::Tier;
use rustc_hash::FxHashMap;
use shard::offload::{Arrival, Coffer, Delivery, Found, Parcel, StoreCounts};
use shard::receipt::Receipt;
use shard::weld::weld;

use crate::clock::SystemClock;
use crate::driver::wake::Wake;
use crate::error::EngineError;
use crate::history::{ColdOptions, HistoryOptions, Stay};
use crate::uploads;

/// Files of one core that wait for the thread.
const WAITING_MAX: usize = 4;
/// Entries that one core looks for at a time.
const FINDING_MAX: usize = 8;
/// Bytes of files that the thread has in hand at a time.
const BYTES_MAX: u64 = 256 << 20;
/// Bytes that jobs compute before the thread looks at its orders again.
const BUDGET_BYTES: usize = 8 << 20;
/// How long the thread sleeps while tasks wait to be tried again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long it sleeps when there is nothing to do but to guess ahead of the hour.
const REST: Duration = Duration::from_secs(60);
/// How much less urgent the thread is than those who serve clients: nice levels.
const NICENESS: i32 = 10;

const COUNTS: usize = size_of::<StoreCounts>() / size_of::<u64>();

/// What the thread tells of itself, read by all cores.
#[derive(Debug)]
struct Counters {
    counts: [AtomicU64; COUNTS],
    /// What last went wrong, and at which second. Looked at when somebody asks for the status, and never waited for.
    trouble: Mutex<Option<(u64, Arc<str>)>>,
}

impl Counters {
    fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            trouble: Mutex::default(),
        }
    }

    fn tell(&self, counts: &StoreCounts) {
        let values: [u64; COUNTS] = zerocopy::transmute!(*counts);
        for (counter, value) in self.counts.iter().zip(values) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    fn told(&self) -> StoreCounts {
        let values: [u64; COUNTS] =
            std::array::from_fn(|nth| self.counts[nth].load(Ordering::Relaxed));
        zerocopy::transmute!(values)
    }
}

enum Order {
    /// A core's file.
    Store(Arc<Core>, Parcel),
    /// A core looks for the file that holds an entry: its token, the group, the entry.
    Find(Arc<Core>, u64, u64, u64),
    /// Groups are led here.
    Tend(Vec<u64>),
    /// The store has news.
    Woken,
    /// The node ends.
    End,
}

/// Who waits for deliveries.
struct Core {
    answers: Sender<Delivery>,
    found: Sender<Arrival>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The thread; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Porter(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    orders: Sender<Order>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Porter {
    /// Opens the store and starts the thread of the node that lives in `dir`. Nothing is contacted yet.
    ///
    /// # Errors
    /// `ColdAddress`, `ColdKeys`, `ColdStore`, and `Start` when the system has no thread left.
    pub(crate) fn start(
        history: &HistoryOptions,
        options: &ColdOptions,
        dir: &Path,
    ) -> Result<Self, EngineError> {
        let address = options.address.clone();
        let location: Location = address.parse().map_err(|source| EngineError::ColdAddress {
            address: address.clone(),
            source,
        })?;
        let keeper = options.keys.as_ref().map(|path| {
            let keeper = FileKeeper::open(path).map_err(|source| EngineError::ColdKeys {
                path: path.clone(),
                source,
            })?;
            Ok::<_, EngineError>(Box::new(keeper) as Box<dyn KeyKeeper>)
        });
        let keeper = keeper.transpose()?;
        let is_secret = keeper.is_some();
        let (orders, inbox) = channel();
        let woken = orders.clone();
        let wake = Arc::new(move || {
            // The thread may have ended.
            let _ = woken.send(Order::Woken);
        });
        let store = Remote::open(&location, keeper, wake)
            .map_err(|source| EngineError::ColdStore { address, source })?;
        let policy = match options.stay {
            Stay::Keep => Policy::Keep,
            Stay::Expire(stay) => Policy::Expire(stay.as_secs()),
            Stay::Lock(stay) => Policy::Lock(stay.as_secs()),
        };
        let remembered = dir.join(uploads::NAME);
        let offloads = Offloads::new(Tier::new(store, is_secret, BYTES_MAX), policy)
            .with_resumes(uploads::read(&remembered));
        let depot = Depot::new(offloads, options.cache.0, plan(history, options));
        let counters = Arc::new(Counters::new());
        let porter = Work {
            depot,
            remembered,
            counters: Arc::clone(&counters),
            next_token: 0,
            askers: FxHashMap::default(),
            finders: FxHashMap::default(),
            parcels: VecDeque::new(),
            questions: VecDeque::new(),
        };
        let thread = thread::Builder::new()
            .name("offload".to_owned())
            .spawn(move || porter.run(&inbox))
            .map_err(|source| EngineError::Start { core: 0, source })?;
        let thread = Some(thread);
        Ok(Self(Arc::new(Desk {
            orders,
            counters,
            thread,
        })))
    }

    /// A core's way to the store.
    pub(crate) fn coffer(&self, wake: &Wake) -> Box<dyn Coffer> {
        let (sender, answers) = channel();
        let (finder, found) = channel();
        let core = Core {
            answers: sender,
            found: finder,
            wake: wake.function(),
        };
        Box::new(PorterCoffer {
            porter: self.clone(),
            core: Arc::new(core),
            answers,
            found,
            waiting: 0,
            finding: 0,
        })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

/// How chores are done: small files are joined into ones of the size that is sealed.
fn plan(history: &HistoryOptions, options: &ColdOptions) -> Plan {
    let shape = history.of_core(0);
    Plan {
        grace: options.grace.as_secs(),
        every: options.chores_every.as_secs(),
        join_bytes: shape.file_bytes,
        weld: Box::new(move |files| weld(files, &shape)),
    }
}

struct PorterCoffer {
    porter: Porter,
    core: Arc<Core>,
    answers: Receiver<Delivery>,
    found: Receiver<Arrival>,
    waiting: usize,
    finding: usize,
}

impl Coffer for PorterCoffer {
    fn offer(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        if self.waiting >= WAITING_MAX {
            return Err(parcel);
        }
        let order = Order::Store(Arc::clone(&self.core), parcel);
        match self.porter.0.orders.send(order) {
            Ok(()) => {
                self.waiting += 1;
                Ok(())
            }
            Err(failed) => match failed.0 {
                Order::Store(_, parcel) => Err(parcel),
                _ => unreachable!("what was sent comes back"),
            },
        }
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) {
        while let Ok(delivery) = self.answers.try_recv() {
            self.waiting -= 1;
            deliveries.push(delivery);
        }
    }

    fn find(&mut self, token: u64, group: u64, index: u64) -> bool {
        let has_room = self.finding < FINDING_MAX;
        let order = Order::Find(Arc::clone(&self.core), token, group, index);
        let is_sent = has_room && self.porter.0.orders.send(order).is_ok();
        self.finding += usize::from(is_sent);
        is_sent
    }

    fn poll_found(&mut self, arrivals: &mut Vec<Arrival>) {
        while let Ok(arrival) = self.found.try_recv() {
            self.finding -= 1;
            arrivals.push(arrival);
        }
    }

    fn tend(&mut self, groups: &[u64]) {
        // A thread that has ended looks after nothing any more.
        let _ = self.porter.0.orders.send(Order::Tend(groups.to_vec()));
    }

    fn counts(&self) -> StoreCounts {
        self.porter.0.counters.told()
    }

    fn trouble(&self) -> Option<(u64, Arc<str>)> {
        let trouble = self.porter.0.counters.trouble.try_lock();
        trouble.ok().and_then(|trouble| trouble.clone())
    }
}

/// What the thread has in hand.
struct Work {
    depot: Depot<Remote>,
    remembered: PathBuf,
    counters: Arc<Counters>,
    next_token: u64,
    /// Whose files and questions are with the depot, by their tokens there.
    askers: FxHashMap<u64, (Arc<Core>, u64)>,
    finders: FxHashMap<u64, (Arc<Core>, u64)>,
    /// What the depot has no room for yet.
    parcels: VecDeque<(Arc<Core>, Parcel)>,
    questions: VecDeque<(Arc<Core>, Question)>,
}

impl Work {
    /// Takes orders, turns the depot, tells the cores.
    fn run(mut self, orders: &Receiver<Order>) {
        // Being less urgent is a courtesy to the cores: refused, everything works as well.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        loop {
            let rests =
                self.depot.is_idle() && self.parcels.is_empty() && self.questions.is_empty();
            let order = orders.recv_timeout(if rests { REST } else { PATIENCE });
            let second = SystemClock.wall() / 1_000_000_000;
            match order {
                Ok(Order::Store(core, parcel)) => self.parcels.push_back((core, parcel)),
                Ok(Order::Find(core, token, group, index)) => {
                    let question = Question {
                        token,
                        group,
                        index,
                    };
                    self.questions.push_back((core, question));
                }
                Ok(Order::Tend(groups)) => {
                    for group in groups {
                        self.depot.tend(group, second);
                    }
                }
                Ok(Order::Woken) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.hand_over();
            let now = SystemClock.now().0;
            self.depot.turn(now, second, BUDGET_BYTES, &mut || now);
            self.tell(second);
        }
    }

    /// Gives the depot what it has room for.
    fn hand_over(&mut self) {
        while self.askers.len() < PARCELS_MAX
            && let Some((core, parcel)) = self.parcels.pop_front()
        {
            self.next_token += 1;
            self.askers.insert(self.next_token, (core, parcel.group));
            let parcel = cold::offload::Parcel {
                token: self.next_token,
                group: parcel.group,
                first: parcel.first,
                last: parcel.last,
                file: parcel.contents,
            };
            if self.depot.offer(parcel).is_err() {
                unreachable!("as many askers as parcels");
            }
        }
        while self.finders.len() < RECALLS_MAX
            && let Some((core, question)) = self.questions.pop_front()
        {
            self.next_token += 1;
            let token = self.next_token;
            self.finders.insert(token, (core, question.token));
            if self.depot.ask(Question { token, ..question }).is_err() {
                unreachable!("as many finders as questions");
            }
        }
    }

    fn tell(&mut self, second: u64) {
        if let Some(trouble) = self.depot.offloads().tier().next_trouble()
            && let Ok(mut last) = self.counters.trouble.lock()
        {
            *last = Some((second, trouble.into()));
        }
        if let Some(changed) = self.depot.offloads().changed_resumes()
            && let Err(error) = uploads::write(&self.remembered, changed)
        {
            let place = self.remembered.display();
            log::warn!("uploads in parts would begin anew after a restart, {place}: {error}");
        }
        self.counters.tell(&counts(&self.depot.counts()));
        while let Some((token, result)) = self.depot.next_ended() {
            if let Some((core, group)) = self.askers.remove(&token) {
                tell_delivery(&core, group, result);
            }
        }
        while let Some((token, answer)) = self.depot.next_answered() {
            if let Some((core, token)) = self.finders.remove(&token) {
                tell_arrival(&core, token, answer);
            }
        }
    }
}

fn tell_delivery(core: &Core, group: u64, result: Result<cold::offload::Receipt, JobError>) {
    let receipt = match result {
        Ok(receipt) => {
            let segment = receipt.segment;
            Some(Receipt::new(
                receipt.since,
                (segment.first, segment.last),
                segment.bytes,
                receipt.number,
                segment.hash.0,
            ))
        }
        Err(error) => {
            log::warn!("a sealed file of group {group} is not stored and stays here: {error}");
            None
        }
    };
    // A core that has ended does not listen.
    let _ = core.answers.send(Delivery { group, receipt });
    (core.wake)();
}

fn tell_arrival(core: &Core, token: u64, answer: Result<Answer, JobError>) {
    let found = match answer {
        Ok(Answer::Here(_, file)) => Found::File(file),
        Ok(Answer::Nowhere(next)) => Found::Nowhere(next),
        Err(error) => {
            log::warn!("an old entry cannot be read from the object store: {error}");
            Found::Failed
        }
    };
    // A core that has ended does not listen.
    let _ = core.found.send(Arrival { token, found });
    (core.wake)();
}

const fn counts(counts: &DepotCounts) -> StoreCounts {
    let (tier, chores) = (&counts.tier, &counts.chores);
    StoreCounts {
        requests: tier.tasks,
        repeated: tier.repeated,
        failed: tier.failed,
        uploaded_bytes: tier.uploaded_bytes,
        downloaded_bytes: tier.downloaded_bytes,
        cache_hits: counts.reader.hits,
        cache_misses: counts.reader.misses,
        cache_bytes: counts.cached_bytes,
        guessed_bytes: counts.guessed.fetched,
        guessed_used_bytes: counts.guessed.used,
        guessed_wasted_bytes: counts.guessed.wasted,
        chores: chores.done,
        chores_failed: chores.failed,
        expired_segments: chores.expired,
        joined_segments: chores.joined,
        swept_objects: chores.swept.deleted,
        locked_objects: chores.swept.locked,
        uploads_given_up: counts.uploads_given_up,
    }
}
