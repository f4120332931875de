//! The portable device: a few threads that write durably and read, for machines without io_uring.
//!
//! - Works on any Unix; on Linux a write and its sync are one call, elsewhere two.
//! - The threads own the buffers while they work; nothing is shared but two queues.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::block::buffer::Buffer;
use crate::device::ahead::{self, Ahead};
use crate::device::filler::Filler;
pub use crate::device::filler::Waker;
use crate::device::folder::{self, Folder};
use crate::device::{Action, Completion, Device, DeviceError, Operation, Source, Traits};

/// Operations taken at once before the device gives them back.
const QUEUED_MAX: usize = 64;

struct Job {
    file: Arc<std::fs::File>,
    operation: Operation,
    is_write: bool,
}

#[derive(Default)]
struct Queues {
    jobs: VecDeque<Job>,
    completions: Vec<Completion>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    arrived: Condvar,
    completed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder of segment files, read and written by threads of its own.
pub struct FileDevice {
    folder: Folder,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    filler: Filler,
    taken: usize,
    /// Reads ahead that have ended and were not asked for yet.
    landed: Vec<Completion>,
}

impl FileDevice {
    /// Opens or makes the folder with segments of this size, `threads` workers, and a function to call
    /// from another thread when something has completed.
    ///
    /// # Errors
    /// When the folder cannot be opened, is in use, or holds files of another size.
    pub fn open(
        path: &Path,
        segment_bytes: u64,
        threads: usize,
        waker: Option<Waker>,
    ) -> Result<Self, DeviceError> {
        let folder = Folder::open(path, segment_bytes, true)?;
        let fail = |error: std::io::Error| DeviceError::from_io(Action::Open, None, &error);
        let filler = Filler::start(folder.maker(), waker.clone()).map_err(fail)?;
        let mut device = Self {
            folder,
            shared: Arc::default(),
            threads: Vec::new(),
            filler,
            taken: 0,
            landed: Vec::new(),
        };
        for number in 0..threads.max(1) {
            let (shared, waker) = (Arc::clone(&device.shared), waker.clone());
            let builder = thread::Builder::new().name(format!("log-io-{number}"));
            device.threads.push(
                builder
                    .spawn(move || work(&shared, waker.as_ref()))
                    .map_err(fail)?,
            );
        }
        Ok(device)
    }

    fn enqueue(&mut self, operation: Operation, is_write: bool) -> Result<(), Operation> {
        let Some(file) = self.folder.file(operation.slot) else {
            return Err(operation);
        };
        if self.taken >= QUEUED_MAX {
            return Err(operation);
        }
        let job = Job {
            file: Arc::clone(file),
            operation,
            is_write,
        };
        self.shared.lock().jobs.push_back(job);
        self.shared.arrived.notify_one();
        self.taken += 1;
        Ok(())
    }

    fn file_now(&self, slot: u32) -> &std::fs::File {
        self.folder
            .file(slot)
            .expect("the log names only slots that exist")
    }
}

/// One worker: takes jobs until the device is dropped.
fn work(shared: &Shared, waker: Option<&Waker>) {
    loop {
        let job = {
            let mut queues = shared.lock();
            loop {
                if let Some(job) = queues.jobs.pop_front() {
                    break job;
                }
                if queues.closed {
                    return;
                }
                queues = shared
                    .arrived
                    .wait(queues)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        let completion = perform(job);
        shared.lock().completions.push(completion);
        shared.completed.notify_one();
        if let Some(wake) = waker {
            wake();
        }
    }
}

fn perform(job: Job) -> Completion {
    let Job {
        file,
        mut operation,
        is_write,
    } = job;
    let (slot, offset, bytes) = (operation.slot, operation.offset, operation.bytes);
    if is_write {
        let result = folder::write_durably(&file, slot, offset, &operation.buffer[..bytes]);
        Completion::Written(operation, result)
    } else {
        let result = folder::read_exact(&file, slot, offset, &mut operation.buffer[..bytes]);
        Completion::Read(operation, result)
    }
}

impl Source for FileDevice {
    fn segment_bytes(&self) -> u64 {
        self.folder.segment_bytes()
    }

    fn slots_now(&mut self) -> Result<Vec<u32>, DeviceError> {
        Ok(self.folder.slots())
    }

    fn read_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &mut Buffer,
    ) -> Result<(), DeviceError> {
        folder::read_exact(self.file_now(slot), slot, offset, &mut buffer[..bytes])
    }

    fn read_ahead(&mut self, operation: Operation) -> Result<(), Operation> {
        self.enqueue(operation, false)
    }

    fn await_ahead(&mut self) -> Option<(Operation, Result<(), DeviceError>)> {
        ahead::take(self, |device| &mut device.landed)
    }
}

impl Ahead for FileDevice {
    fn has_begun(&self) -> bool {
        self.taken > 0
    }
}

impl Device for FileDevice {
    fn traits(&self) -> Traits {
        Traits {
            name: "threads",
            direct: self.folder.direct,
            ..Traits::default()
        }
    }

    fn create_now(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.folder.maker().make(slot)?;
        self.folder.open_slot(slot).map(|_| ())
    }

    fn write_now(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: usize,
        buffer: &Buffer,
    ) -> Result<(), DeviceError> {
        folder::write_durably(self.file_now(slot), slot, offset, &buffer[..bytes])
    }

    fn sync_now(&mut self, slot: u32) -> Result<(), DeviceError> {
        let synced = self.file_now(slot).sync_data();
        synced.map_err(|error| DeviceError::from_io(Action::Sync, Some(slot), &error))
    }

    fn allocate(&mut self, count: usize, bytes: usize) -> Vec<Buffer> {
        Buffer::row(count, bytes)
    }

    fn create(&mut self, _now_ns: u64, slot: u32) {
        self.filler.order(slot);
    }

    fn write(&mut self, _now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.enqueue(operation, true)
    }

    fn read(&mut self, _now_ns: u64, operation: Operation) -> Result<(), Operation> {
        self.enqueue(operation, false)
    }

    fn submit(&mut self, _now_ns: u64) {}

    fn wait(&mut self) {
        let mut queues = self.shared.lock();
        while self.taken > 0 && queues.completions.is_empty() {
            let woken = self.shared.completed.wait(queues);
            queues = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn poll(&mut self, _now_ns: u64, completions: &mut Vec<Completion>) {
        let before = completions.len();
        completions.append(&mut self.shared.lock().completions);
        self.taken -= completions.len() - before;
        while let Some((slot, made)) = self.filler.next_made() {
            let opened = made.and_then(|()| self.folder.open_slot(slot).map(|_| ()));
            completions.push(Completion::Created(slot, opened));
        }
    }
}

impl Drop for FileDevice {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there has been printed already; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}
