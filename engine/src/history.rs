//! The history of a node: how it is kept, and the side thread that gives the sealed files of all cores to the object store.
//!
//! - Cores hand files over and take receipts, and never wait; what waits on a core's behalf is bounded.
//! - The thread is less urgent than those who serve clients. What it could not do it tells, and is asked again.
//! - It ends with the node; what was under way is begun anew after the next start, without harm.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cold::key::{FileKeeper, KeyKeeper};
use cold::location::Location;
use cold::offload::{Offloads, PARCELS_MAX, Policy};
use cold::store::remote::Remote;
use cold::tier::Tier;
use rustc_hash::FxHashMap;
use shard::offload::{Coffer, Delivery, Parcel, Receipt};
use shard::past::History;

use crate::clock::SystemClock;
use crate::config::size::ByteSize;
use crate::driver::wake::Wake;
use crate::error::EngineError;

/// Files of one core that wait for the thread.
const WAITING_MAX: usize = 4;
/// Bytes of files that the thread has in hand at a time.
const BYTES_MAX: u64 = 256 << 20;
/// Bytes that jobs compute before the thread looks at its orders again.
const BUDGET_BYTES: usize = 8 << 20;
/// How long the thread sleeps while tasks wait to be tried again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How much less urgent the thread is than those who serve clients: nice levels.
const NICENESS: i32 = 10;

/// How blocks of sealed files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheap both ways.
    Lz4,
    /// Zstandard at this level, 1 to 19.
    Zstd(u8),
    /// Zstandard at its quickest level.
    #[default]
    Usual,
}

/// How long what is stored stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// For ever.
    #[default]
    Keep,
    /// So many days.
    Expire(u64),
    /// So many days, and nobody deletes it before.
    Lock(u64),
}

/// Whether and how the entries that the log gives up are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Bytes of sealed files that one core keeps. Beyond, the oldest go, or with an object store nothing more is given
    /// up until it has taken some.
    pub bytes_max: ByteSize,
    /// How they are compressed.
    pub compression: Compression,
    /// Where they go, if anywhere.
    pub cold: Option<ColdOptions>,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            bytes_max: ByteSize(History::of(0).bytes_max),
            compression: Compression::default(),
            cold: None,
        }
    }
}

/// The object store of sealed files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdOptions {
    /// `file:///folder` or `s3://bucket/prefix?endpoint=URL&region=NAME`; credentials come from the environment.
    pub address: String,
    /// The file of keys; without it nothing is encrypted.
    pub keys: Option<PathBuf>,
    /// How long what is stored stays.
    pub stay: Stay,
}

impl HistoryOptions {
    /// What a core is told.
    pub(crate) fn of_core(&self, cluster: u64) -> History {
        History {
            codec: match self.compression {
                Compression::None => sealed::Codec::Plain,
                Compression::Lz4 => sealed::Codec::Lz4,
                Compression::Zstd(level) => sealed::Codec::Zstd(level),
                Compression::Usual => History::of(0).codec,
            },
            bytes_max: self.bytes_max.0,
            ..History::of(cluster.into())
        }
    }
}

enum Order {
    /// A core's file.
    Store(Arc<Core>, Parcel),
    /// The store has news.
    Woken,
    /// The node ends.
    End,
}

/// Who waits for deliveries.
struct Core {
    answers: Sender<Delivery>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The thread; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Porter(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Porter {
    /// Opens the store and starts the thread. Nothing is contacted yet.
    ///
    /// # Errors
    /// `ColdAddress`, `ColdKeys`, `ColdStore`, and `Start` when the system has no thread left.
    pub(crate) fn start(options: &ColdOptions) -> Result<Self, EngineError> {
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
        const DAY: u64 = 86_400;
        let policy = match options.stay {
            Stay::Keep => Policy::Keep,
            Stay::Expire(days) => Policy::Expire(days.saturating_mul(DAY)),
            Stay::Lock(days) => Policy::Lock(days.saturating_mul(DAY)),
        };
        let offloads = Offloads::new(Tier::new(store, is_secret, BYTES_MAX), policy);
        let thread = thread::Builder::new()
            .name("offload".to_owned())
            .spawn(move || work(&inbox, offloads))
            .map_err(|source| EngineError::Start { core: 0, source })?;
        let thread = Some(thread);
        Ok(Self(Arc::new(Desk { orders, thread })))
    }

    /// A core's way to the store.
    pub(crate) fn coffer(&self, wake: &Wake) -> Box<dyn Coffer> {
        let (sender, answers) = channel();
        let core = Core {
            answers: sender,
            wake: wake.function(),
        };
        Box::new(PorterCoffer {
            porter: self.clone(),
            core: Arc::new(core),
            answers,
            waiting: 0,
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

struct PorterCoffer {
    porter: Porter,
    core: Arc<Core>,
    answers: Receiver<Delivery>,
    waiting: usize,
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
                Order::Woken | Order::End => unreachable!("what was sent comes back"),
            },
        }
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) {
        while let Ok(delivery) = self.answers.try_recv() {
            self.waiting -= 1;
            deliveries.push(delivery);
        }
    }
}

/// The thread: takes orders, turns the jobs, tells the cores.
fn work(orders: &Receiver<Order>, mut offloads: Offloads<Remote>) {
    // Being less urgent is a courtesy to the cores: refused, everything works as well.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let mut askers: FxHashMap<u64, (Arc<Core>, u64)> = FxHashMap::default();
    let mut refused: Vec<(Arc<Core>, Parcel)> = Vec::new();
    let mut next_token = 0;
    loop {
        let order = if offloads.is_idle() && refused.is_empty() {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            orders.recv_timeout(PATIENCE)
        };
        match order {
            Ok(Order::Store(core, parcel)) => refused.push((core, parcel)),
            Ok(Order::Woken) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
        while askers.len() < PARCELS_MAX
            && let Some((core, parcel)) = refused.pop()
        {
            next_token += 1;
            askers.insert(next_token, (core, parcel.group));
            let parcel = cold::offload::Parcel {
                token: next_token,
                group: parcel.group,
                first: parcel.first,
                last: parcel.last,
                file: parcel.contents,
            };
            if offloads.offer(parcel).is_err() {
                unreachable!("as many askers as parcels");
            }
        }
        let (now, second) = (SystemClock.now().0, SystemClock.wall() / 1_000_000_000);
        offloads.turn(now, second, BUDGET_BYTES, &mut || now);
        while let Some((token, result)) = offloads.next_ended() {
            if let Some((core, group)) = askers.remove(&token) {
                tell(&core, group, result);
            }
        }
    }
}

fn tell(core: &Core, group: u64, result: Result<cold::offload::Receipt, cold::jobs::JobError>) {
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
